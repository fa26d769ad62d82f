"""Bad input by machine: whatever the bytes, the gateway and the nodes answer as documented, and go on working.

Every field of every RPC takes what works, ids of real things, and nonsense of every size; streams are cut anywhere.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
import socket
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import psutil
import pytest
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloudgrpc import rpc
from cloudgrpc.errors import CATALOGUE, Status
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cluster_harness import PATIENT, Cluster
from every_rpc import (
    CONTENT,
    FREE,
    METHODS,
    RPCS,
    UNLIMITED,
    Needs,
    Outcome,
    Person,
    call,
    cluster_secret,
    give_key_again,
    names,
    pay_again,
    settle,
    sign_in_again,
)
from user import upload_messages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message

    from postgres import Postgres

MIB = 1 << 20
EXAMPLES = 8  # of each RPC
SOAK_TIMES = 10
ANSWER_S = 40.0
MOST_GROWTH_MIB = 250.0  # one message of two million empty parts takes 150; the allocator keeps what is freed
DOCUMENTED = {status.value for status in Status} - {"INTERNAL", "UNIMPLEMENTED"}
UNTRUE = {"internal", "unexpected", "database_unavailable", "disk_failed"}  # they blame a machine that is well
FAULTS = re.compile(r"failed, reference|Traceback|never retrieved|Exception in ")
MOST_REPEATED_BYTES = 2 * rpc.MESSAGE_BYTES  # in one field: over the limit, and what is longer still is refused alike
SPEND_PROOF = {"AuthService/Enroll", "AuthService/Login", "AuthService/CloseAccount"}
UPLOAD = "FileService/UploadFile"
FOLLOWS, FOLLOW_S = "AdminService/StreamSystemEvents", 0.2  # a stream without an end
HEADS = {UPLOAD: pb.FileMetadata.DESCRIPTOR, "UploadService/PutChunks": pb.PutChunksHeader.DESCRIPTOR}  # of the streams
# A connection of its own, which sends messages beyond the limit too.
OPTIONS = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
# A Campay at which nobody answers: buying is tried to the very end. On PostgreSQL none on this machine is allowed.
SELLS: dict[str, Any] = {
    "campay_base_url": "http://127.0.0.1:1/api",
    "campay_username": "drive",
    "campay_password": "a password",
}
HALVES = names(Needs.SECRET_OF_GATEWAY, Needs.SECRET_OF_NODE)

_numbers = itertools.count(1)

Recipe = dict[str, Any]  # of a message: what to do with each of its fields
KEEP = "as it works"


@dataclass(frozen=True)
class Real:
    """Stands for something that exists, which is known only when the call is made."""

    what: str


@dataclass(frozen=True)
class Long:
    """A long text or long bytes, not drawn letter by letter; `length` in bytes."""

    piece: Any
    length: int

    def make(self) -> Any:
        return self.piece * (self.length // len(self.piece if isinstance(self.piece, bytes) else self.piece.encode()))


# What fields are filled with

LENGTHS = st.sampled_from([65, 129, 201, 255, 256, 257, 4095, 8193, 65_536, MIB])
ODD = [
    *(
        "",
        " ",
        "\0",
        "a\0b",
        ".",
        "..",
        "/",
        "//",
        "a/b",
        "../../etc/passwd",
        "\\",
        "-",
        "-1",
        "%",
        "%s%n",
        "{}",
        "{0}",
    ),
    *("{field}", "'", "' OR '1'='1", '"; DROP TABLE account; --', "\r\nx: y", "\x1b[2J", "\x7f", "\u2028", "\ufeff"),
    *(
        "\u202egpj.exe",
        "e\u0301",
        "\u0301",
        "\ud7ff\ue000",
        "\uffff",
        "\U0010ffff",
        "İ",
        "ß",
        "ﬃ",
        "Å",
        "👩‍👩‍👧‍👦",
        "\U0001d518",
        "٣٣٣٣٣٣",
    ),
    *(
        FREE,
        FREE.upper(),
        FREE[:-1],
        FREE + "0",
        "NaN",
        "null",
        "true",
        "9" * 5000,
        "[" * 5000,
        "127.0.0.1",
        "unix:/tmp/x",
    ),
]
# Marks out of their canonical order are what Unicode normalisation takes longest for.
PIECES = [
    "a",
    "é",
    "\0",
    "/a",
    "a/",
    "[",
    "\U0001d518",
    " ",
    ".",
    "%",
    "0",
    "a@",
    "a.",
    "\u0301\u0327",
    "\u0327\u0301",
    "\u202e",
]
REAL = [
    *(
        "file_id",
        "inner_id",
        "folder_id",
        "trashed_id",
        "root_id",
        "version_id",
        "chunk_id",
        "session_id",
        "request_id",
    ),
    *("upload_id", "whole_upload_id", "share_token", "given_token", "given_id", "payment_id"),
    *("token", "proof", "email", "name", "user_id", "other_token", "code"),
]
EMAILS = st.one_of(
    st.emails(),
    st.sampled_from(
        ["a@b", "A@B.ORG", " a@b.org ", "a@b.org\n", "İ@b.org", "a@İ.org", "@", "a@@b.org", "<a@b.org>", "a@xn--.org"]
    ),
    st.builds("{}@{}.org".format, st.text(max_size=70), st.text(max_size=70)),
)
PAGE_TOKENS = st.one_of(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(max_size=5)
        | st.sampled_from(["file", "folder"]),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
        max_leaves=6,
    ).map(lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).decode()),
    st.sampled_from(["[" * 100_000, '["file", "\\ud800", ""]', "[1e999, 1, 1]", "9" * 5000]).map(
        lambda text: base64.urlsafe_b64encode(text.encode()).decode()
    ),
    st.binary(max_size=20).map(lambda data: base64.urlsafe_b64encode(data).decode()),
)
HOSTS = st.sampled_from(
    ["127.0.0.1", "localhost", "::1", "[::1]", "", "no host", "a\0b", "unix:/tmp", "127.0.0.1:1", "-", "é", "a" * 300]
)
MOMENTS = st.sampled_from(
    [
        *("2099-12-31T23:59:59Z", "1969-12-31T23:59:60Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-23:59"),
        *("2099-02-30T00:00:00Z", "2099-12-31 23:59:59.999999999+00:00", "2099-W01-1", "20991231T000000Z", "now"),
    ]
)
PATHS = st.lists(st.sampled_from(["", "a", ".", "..", "\0", "é", "alice-folder", "x" * 256]), max_size=6).map("/".join)
TEXTS = st.one_of(
    st.sampled_from(REAL).map(Real),
    st.sampled_from(ODD),
    st.text(max_size=30),
    st.builds(Long, st.sampled_from(PIECES), LENGTHS),
)
BY_NAME: dict[str, st.SearchStrategy[Any]] = {
    "email": EMAILS,
    "share_with_email": EMAILS,
    "page_token": PAGE_TOKENS,
    "path": PATHS,
    "until": MOMENTS,
    "newer_than": MOMENTS,
    "since": MOMENTS,
    "types": st.sampled_from(["node.", "node.joined", "refused.", "nothing."]),
    "phone_number": st.from_regex(r"(\+?237)?6[0-9]{8}", fullmatch=True, alphabet="+0123456789"),
    "provider": st.sampled_from(["mtn_momo", "orange_money", "mtn"]),
    "tier_id": st.sampled_from(["starter", "basic", "Basic"]),
    "status": st.sampled_from(["completed", "processing", "paid"]),
    "permission": st.sampled_from(["read", "write", "own"]),
    "kind": st.sampled_from(["file", "folder", "root"]),
    "host": HOSTS,
    "source_host": HOSTS,
    "otp": st.from_regex(r"\d{5,7}", fullmatch=True) | st.just(Real("code")),
}
# Anything but a host name: no name that could be looked up leaves this machine.
ONLY = {"host", "source_host"}
DOORS = {
    "session_token",
    "admin_key",
    "verification_token",
    "instance_id",
    "checksum",
}  # behind which there is more to try
BYTES = st.one_of(st.binary(max_size=100), st.builds(Long, st.sampled_from([b"\0", b"a", b"\xff\x0a"]), LENGTHS))
RANGES = {
    FieldDescriptor.TYPE_INT32: (-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.TYPE_INT64: (-(1 << 63), (1 << 63) - 1),
}

WORST: dict[int, list[Any]] = {
    FieldDescriptor.TYPE_STRING: [
        "\0",
        "a\0b",
        *(Long(piece, MIB) for piece in ("a", "\u0301\u0327")),
    ],
    FieldDescriptor.TYPE_BYTES: [b"", Long(b"\0", 4 * MIB)],
    FieldDescriptor.TYPE_INT32: [*RANGES[FieldDescriptor.TYPE_INT32], -1, 0],
    FieldDescriptor.TYPE_INT64: [*RANGES[FieldDescriptor.TYPE_INT64], -1, 0],
}


def numbers(low: int, high: int) -> st.SearchStrategy[int]:
    edges = [low, -1, 0, 1, 10_000, 10_001, 50_001, 65_536, 4 * MIB, 1 << 30, high]
    return st.sampled_from(edges) | st.integers(low, high)


def values(told: FieldDescriptor) -> st.SearchStrategy[Any]:
    """What this field is filled with; mostly it is left as it works, so that calls get far."""
    if told.type == FieldDescriptor.TYPE_MESSAGE:
        one: st.SearchStrategy[Any] = recipes(told.message_type)
    elif told.type == FieldDescriptor.TYPE_STRING:
        special = BY_NAME.get(told.name)
        one = TEXTS if special is None else special if told.name in ONLY else special | TEXTS
    elif told.type == FieldDescriptor.TYPE_BYTES:
        one = BYTES
    elif told.type == FieldDescriptor.TYPE_BOOL:
        one = st.booleans()
    elif told.type in RANGES:
        one = numbers(*RANGES[told.type])
    else:
        raise AssertionError(f"{told.full_name}: no strategy for this type")
    if told.is_repeated:
        many = st.builds(repeated, one, st.sampled_from([100, 10_001]))
        one = st.lists(one, max_size=4) if told.message_type else st.lists(one, max_size=4) | many
    return one if told.message_type else mostly_kept(one, 85 if told.name in DOORS else 50)


def repeated(value: Any, times: int) -> list[Any]:
    """So often, or less of what is long: ten thousand MiB would only be too much for this process."""
    size = value.length if isinstance(value, Long) else len(value) if isinstance(value, str) else 1
    return [value] * min(times, MOST_REPEATED_BYTES // max(size, 1))


@st.composite
def mostly_kept(draw: st.DrawFn, one: st.SearchStrategy[Any], percent: int) -> Any:
    """Not a one_of, into which those of `one` would be counted singly. None: the field is left out."""
    chance = draw(st.integers(0, 99))
    if chance < percent:
        return KEEP
    return None if chance < percent + 5 else draw(one)


def recipes(kind: Descriptor) -> st.SearchStrategy[Recipe]:
    """Each field: as it works, left out, or filled otherwise."""
    return st.fixed_dictionaries({told.name: values(told) for told in kind.fields})


def harsh(kind: Descriptor) -> Iterator[Recipe]:
    """Each field by itself at its worst, all others as they work: what chance would seldom find."""
    kept = {told.name: KEEP for told in kind.fields}
    for told in kind.fields:
        if told.message_type:
            inside = [{**recipe} for recipe in harsh(told.message_type)]
            yield from ({**kept, told.name: [recipe] if told.is_repeated else recipe} for recipe in inside)
        elif told.is_repeated:
            yield from ({**kept, told.name: many} for many in ([Long("a", MIB)], [FREE] * 10_001, ["\0"] * 100_000))
        else:
            yield from ({**kept, told.name: value} for value in WORST.get(told.type, []))


def cook(message: Any, recipe: Recipe, real: Callable[[str], str]) -> None:
    """Make of a message that works what the recipe says; what the recipe does not name is left out."""
    for told in message.DESCRIPTOR.fields:
        value = recipe.get(told.name)
        if value is None:
            message.ClearField(told.name)
        elif isinstance(value, dict):
            cook(getattr(message, told.name), value, real)
            getattr(message, told.name).SetInParent()
        elif told.is_repeated and value != KEEP:
            message.ClearField(told.name)
            many = getattr(message, told.name)
            for one in value:
                if told.message_type:
                    cook(many.add(), one, real)
                elif one != KEEP:
                    many.append(_made(one, real))
        elif value != KEEP:
            setattr(message, told.name, _made(value, real))


def _made(value: Any, real: Callable[[str], str]) -> Any:
    if isinstance(value, Real):
        return real(value.what)
    return value.make() if isinstance(value, Long) else value


# Whom it is thrown at


class World:
    """A gateway and nodes, somebody whose things the calls may spend, and the law that every answer keeps."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.gateway = grpc.insecure_channel(cluster.address, options=OPTIONS)
        self.node = grpc.insecure_channel(f"127.0.0.1:{cluster.node_port('node1')}", options=OPTIONS)
        self.secret = cluster_secret(cluster)
        self.calls = 0
        self.statuses: dict[str, int] = {}
        self.read = dict.fromkeys(cluster.logs.glob("*.err"), 0)
        self.giver = cluster.enroll("giver@example.org")
        self.renew()
        for channel, service in ((self.gateway, "AuthService/WhoAmI"), (self.node, "NodeService/StoreChunk")):
            call(channel, service, [b"\x0a\x04" + b"x" * (4 * MIB)], timeout_s=ANSWER_S)  # the buffers are grown
        self.idle = self.resident()

    def renew(self) -> None:
        self._is_worn = False
        self.person: Person = settle(self.cluster, f"person{next(_numbers)}", self.giver)

    def _mend(self, name: str) -> None:  # noqa: C901 - a table, read by looking up
        """What such a call has spent is there again for the next."""
        person = self.person
        if name == "AuthService/CloseAccount":
            call(self.gateway, "AuthService/ReopenAccount", [pb.ReopenAccountRequest(session_token=person.token)])
        if name in SPEND_PROOF:
            person.proof = self.cluster.prove(person.email)
        elif name == "AuthService/Logout":
            person.user = self.cluster.login(person.email)
        elif name == "AuthService/EndSession":
            sign_in_again(person)
        elif name == "FileService/DeleteFile":
            person.file_id = person.user.upload(f"more{next(_numbers)}", CONTENT).file_id
            self._is_worn = True
        elif name == "FileService/DeleteFolder":
            person.folder_id = person.user.mkdir(f"more{next(_numbers)}")
            self._is_worn = True
        elif name in {"AdminService/SetQuota", "AdminService/SetUserDisabled"}:
            call(self.gateway, name, RPCS[name].ask(person))  # as it was; but the sessions have ended
            self._is_worn = True
        elif name in {"AdminService/DrainNode", "AdminService/RemoveNode"}:
            call(self.gateway, "AdminService/DrainNode", RPCS["AdminService/DrainNode"].ask(person))
        elif name == "AdminService/RevokeAdminKey":
            give_key_again(person)
        elif name.startswith(("PaymentService/", "AdminService/")):
            pay_again(person)
        elif name in {"HistoryService/RestoreFile", "HistoryService/EmptyTrash"}:
            person.trashed_id = person.user.upload(f"more{next(_numbers)}", CONTENT).file_id
            person.user.delete(person.trashed_id)
        elif name == "SharingService/UnshareFile":
            person.share_token = person.user.share(person.folder_id, f"friend{next(_numbers)}@example.org")
        elif name in {"UploadService/FinishUpload", "UploadService/CancelUpload", "UploadService/PutChunks"}:
            person.upload_id = person.user.begin(f"more{next(_numbers)}", len(CONTENT))
            person.whole_upload_id = person.user.begin(f"more{next(_numbers)}", 0)

    def real(self, what: str) -> str:
        more = {
            "token": self.person.token,
            "email": self.person.email,
            "user_id": self.person.user.user_id,
            "other_token": self.person.more_tokens[-1],
            "code": "000000",
        }
        return more[what] if what in more else str(getattr(self.person, what))

    def throw(
        self,
        channel: grpc.Channel,
        name: str,
        messages: Sequence[Message | bytes],
        *metadata: tuple[str, str],
        **how: Any,
    ) -> Outcome:
        """Make the call, and check that its answer is one of those that are documented."""
        is_endless = name == FOLLOWS and channel is self.gateway
        outcome = call(channel, name, messages, metadata, timeout_s=FOLLOW_S if is_endless else ANSWER_S, **how)
        self.calls += 1
        if is_endless and outcome.status == "DEADLINE_EXCEEDED":
            return outcome  # it was followed, and nothing more came
        self.statuses[outcome.status] = self.statuses.get(outcome.status, 0) + 1
        check_documented(name, outcome, offers=self.offers(channel, name))
        if outcome.status == "OK":
            self._mend(name)
        return outcome

    def offers(self, channel: grpc.Channel, name: str) -> bool:
        needs = RPCS[name].needs
        at_node = channel is self.node
        return needs is not Needs.LATER and at_node == (needs is Needs.SECRET_OF_NODE)

    def resident(self) -> dict[str, float]:
        """MiB in use, by process."""
        return {
            name: psutil.Process(program.pid).memory_info().rss / MIB for name, program in self.cluster.programs.items()
        }

    def check_whole(self) -> None:
        """Nothing failed behind the scenes, memory is as it was, and an ordinary person is served."""
        for path, start in self.read.items():
            with path.open("rb") as log:
                log.seek(start)
                told = log.read().decode(errors="replace")
                self.read[path] = log.tell()
            fault = FAULTS.search(told)
            assert not fault, f"{path.name}: {told[max(0, fault.start() - 300) : fault.end() + 3000]}"
        for name, mib in self.resident().items():
            assert mib - self.idle[name] < MOST_GROWTH_MIB, f"{name} grew by {mib - self.idle[name]:.0f} MiB"
        if self._is_worn:
            self.renew()
        self.cluster.wait(self._is_served, what="an ordinary upload and download")

    def _is_served(self) -> bool:
        """Nodes that a machine made up may be counted on for a moment, until they are seen to be silent."""
        name = f"ordinary{next(_numbers)}"
        sent = call(self.gateway, UPLOAD, list(upload_messages(self.person.token, name, CONTENT)))
        if sent.status == "UNAUTHENTICATED" or sent.code == "account_closed":
            self.renew()
        if sent.status != "OK":
            return False
        file_id = pb.UploadFileResponse.FromString(sent.replies[0]).file_id
        return self.person.user.download(file_id) == CONTENT

    def close(self) -> None:
        self.gateway.close()
        self.node.close()


def check_documented(name: str, outcome: Outcome, *, offers: bool) -> None:
    if outcome.status in {"OK", "CANCELLED"}:
        return
    allowed = DOCUMENTED if offers else DOCUMENTED | {"UNIMPLEMENTED"}
    assert outcome.status in allowed, f"{name}: {outcome}"
    if not outcome.code:  # gRPC itself answered
        by_grpc = {"RESOURCE_EXHAUSTED"} if offers else {"RESOURCE_EXHAUSTED", "UNIMPLEMENTED"}
        assert outcome.status in by_grpc, f"{name}: {outcome}"
        return
    assert outcome.code in CATALOGUE.keys() - UNTRUE, f"{name}: {outcome}"
    assert CATALOGUE[outcome.code].status == outcome.status, f"{name}: {outcome}"
    assert outcome.words, f"{name}: {outcome}"


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.soak)])
def shared_world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    database, sells = None, SELLS
    if request.param == "postgres":
        server: Postgres = request.getfixturevalue("postgres")
        database, sells = server.fresh_database(), {}
    folder = tmp_path_factory.mktemp("fuzz")
    how: dict[str, Any] = {**PATIENT, **UNLIMITED, **sells, "logging_level": "info"}
    cluster = Cluster(folder, nodes=2, capacity_gb=4000, database=database, **how)
    try:
        world = World(cluster.start())
        yield world
        print(f"{world.calls} calls: {world.statuses}; MiB at first {world.idle}, at last {world.resident()}")
        world.close()
    finally:
        cluster.close()
        if database:
            server.drop(database)


@pytest.fixture
def world(shared_world: World) -> Iterator[World]:
    yield shared_world
    shared_world.check_whole()


Fuzz = Any  # a function of a strategy and a check


@pytest.fixture
def fuzz(pytestconfig: pytest.Config) -> Fuzz:
    """`fuzz(strategy, check)`: the same examples in every ordinary run; ten times as many, and new ones, in a soak."""
    is_long = bool(pytestconfig.getoption("--soak"))

    def run(strategy: st.SearchStrategy[Any], check: Callable[[Any], object], examples: int = EXAMPLES) -> None:
        @settings(
            max_examples=examples * (SOAK_TIMES if is_long else 1),
            derandomize=not is_long,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(strategy)
        def one(drawn: Any) -> None:
            check(drawn)

        one()

    return run


# Unary calls, and streams of answers


@pytest.mark.parametrize("name", [name for name in METHODS if name not in HEADS])
def test_whatever_the_fields_hold_the_answer_is_documented(world: World, fuzz: Fuzz, name: str) -> None:
    """Calls of machines show the cluster's secret mostly."""
    is_node = RPCS[name].needs is Needs.SECRET_OF_NODE
    channel = world.node if is_node else world.gateway
    shown = st.sampled_from([world.secret] * 4 + ["", "x"]) if name in HALVES else st.sampled_from(["", world.secret])
    takes = st.sampled_from([None, None, 1, 2])

    def check(drawn: tuple[Recipe, str, int | None]) -> None:
        recipe, secret, take = drawn
        (request,) = RPCS[name].ask(world.person)
        cook(request, recipe, world.real)
        _spare_real_nodes(request)
        world.throw(channel, name, [request], *([(rpc.SECRET_KEY, secret)] if secret else []), take=take)

    for recipe in harsh(METHODS[name].input_type):
        check((recipe, world.secret if name in HALVES else "", None))
    fuzz(st.tuples(recipes(METHODS[name].input_type), shown, takes), check)


def _spare_real_nodes(request: Any) -> None:
    """Who holds the secret could name another address for a real node, which would be no fault of anybody's."""
    if isinstance(request, pb.RegisterNodeRequest) and request.node_id.startswith("node"):
        request.node_id = "stranger"


@pytest.mark.parametrize("name", METHODS)
def test_bytes_that_are_no_message_are_refused(world: World, fuzz: Fuzz, name: str) -> None:
    """Also at the wrong port, and beyond the largest message of the contract."""

    def mangled(cut: tuple[int, bytes]) -> bytes:
        (first, *_) = RPCS[name].ask(world.person)
        packed: bytes = first.SerializeToString()
        at = cut[0] % (len(packed) + 1)
        return packed[:at] + cut[1]

    junk = st.one_of(
        st.binary(max_size=60),
        st.tuples(st.integers(0, 200), st.binary(max_size=4)),
        st.sampled_from(
            [b"\x0a\xff\xff\xff\xff\x07", b"\x0a\x02\xc3\x28", b"\x0b" * 5000, b"\xff" * 20, b"\x0a" * 9999]
        ),
        st.builds(Long, st.sampled_from([b"\0", b"\x0a\x00", b"\x12\x00", b"\x0a\x01\xff"]), st.just(100_000)),
    )
    secrets = st.sampled_from([(), ((rpc.SECRET_KEY, world.secret),)])

    def check(drawn: tuple[Any, tuple[tuple[str, str], ...], bool]) -> None:
        data, shown, at_node = drawn
        raw = mangled(data) if isinstance(data, tuple) else data.make() if isinstance(data, Long) else data
        world.throw(world.node if at_node else world.gateway, name, [raw], *shown)

    fuzz(st.tuples(junk, secrets, st.booleans()), check, EXAMPLES // 2)


@pytest.mark.parametrize("name", {name.partition("/")[0]: name for name in METHODS}.values())
def test_a_message_over_the_limit_is_refused(world: World, name: str) -> None:
    shown = (rpc.SECRET_KEY, world.secret)
    for channel in (world.gateway, world.node):
        outcome = world.throw(channel, name, [b"\x0a" + b"a" * (5 * MIB)], shown)
        assert outcome.status in {"RESOURCE_EXHAUSTED", "UNIMPLEMENTED"}, outcome


# Streams of requests

STEPS = st.one_of(
    st.tuples(st.just("data"), BYTES),
    st.tuples(st.just("data"), st.just(CONTENT)),
    st.tuples(st.just("data"), st.just(Long(b"a", MIB))),
    st.tuples(st.just("raw"), st.binary(max_size=30)),
    st.tuples(st.just("raw"), st.just(Long(b"a", 5 * MIB))),
    st.tuples(st.just("raw"), st.just(b"")),
)


@pytest.mark.parametrize("end", ["closed", "left", "connection lost"])
@pytest.mark.parametrize("name", HEADS)
def test_an_upload_of_any_messages_cut_anywhere_is_answered(world: World, fuzz: Fuzz, name: str, end: str) -> None:
    def check(steps: list[tuple[str, Any]]) -> None:
        if not steps and end != "closed":
            return
        messages = [_message(world, name, *step) for step in steps]
        with closing(grpc.insecure_channel(world.cluster.address, options=OPTIONS)) as own:
            leaves: dict[str, Any] = {"closed": None, "left": lambda under_way: under_way.cancel()}
            leave = leaves.get(end, lambda _: own.close())
            world.throw(own if end == "connection lost" else world.gateway, name, messages, leave=leave)

    for recipe in harsh(HEADS[name]):
        check([("head", recipe), ("data", CONTENT)])
    right = st.tuples(st.just("right head"), st.sampled_from([0, 1, len(CONTENT), 3 * MIB]))
    few = st.lists(STEPS | right | st.tuples(st.just("head"), recipes(HEADS[name])), max_size=5)
    fuzz(few | st.builds(lambda first, rest: [first, *rest], right, few), check)


def _message(world: World, name: str, kind: str, value: Any) -> Message | bytes:
    if kind == "raw":
        return bytes(_made(value, world.real))
    message: Any = RPCS[name].ask(world.person)[0]
    if kind == "head":
        cook(message, {message.WhichOneof("data"): value}, world.real)
    elif kind == "data":
        message.chunk_data = _made(value, world.real)  # in place of the head
    elif name == UPLOAD:
        message = next(upload_messages(world.person.token, f"fuzz{value}", b"", size=value))
    told: Message = message
    return told


# Connections


def test_bytes_that_are_no_http2_end_only_their_own_connection(world: World, fuzz: Fuzz) -> None:
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    frames = st.builds(
        lambda length, kind, flags, stream, data: (
            length.to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + data
        ),
        st.sampled_from([0, 1, 8, 100, 0xFFFFFF]),
        st.integers(0, 12),
        st.integers(0, 255),
        st.sampled_from([0, 1, 2, 3, 0x7FFFFFFF]),
        st.binary(max_size=100),
    )
    talk = st.tuples(
        st.sampled_from([b"", preface, preface[:10], b"GET / HTTP/1.1\r\n\r\n"]), st.lists(frames, max_size=5)
    )

    def check(drawn: tuple[bytes, list[bytes]]) -> None:
        for port in (world.cluster.port, world.cluster.node_port("node1")):
            with closing(socket.create_connection(("127.0.0.1", port), timeout=5)) as connection:
                connection.sendall(drawn[0] + b"".join(drawn[1]))

    fuzz(talk, check)


# Amplification


@pytest.mark.parametrize("where", ["gateway", "node"])
def test_two_million_empty_parts_of_one_message_take_little_memory(world: World, where: str) -> None:
    """StoreChunks is the one call whose message repeats messages; 4 MiB of the shortest become 140 MiB of objects."""
    channel = world.node if where == "node" else world.gateway
    world.throw(channel, "NodeService/StoreChunks", [b"\x0a\x00" * (2 * MIB)], (rpc.SECRET_KEY, world.secret))


# The sieve itself


def test_no_field_of_the_contract_is_without_a_strategy() -> None:
    for method in METHODS.values():
        recipes(method.input_type)


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome("INTERNAL", "internal", "Something went wrong.", ()),
        Outcome("UNKNOWN", "", "Unexpected", ()),
        Outcome("UNIMPLEMENTED", "not_offered", "No.", ()),
        Outcome("UNAVAILABLE", "", "Socket closed", ()),
        Outcome("DEADLINE_EXCEEDED", "", "Deadline Exceeded", ()),
        Outcome("NOT_FOUND", "invented", "No.", ()),
        Outcome("NOT_FOUND", "invalid_field", "No.", ()),
    ],
)
def test_answers_that_are_not_documented_are_seen(outcome: Outcome) -> None:
    with pytest.raises(AssertionError):
        check_documented("FileService/ListFiles", outcome, offers=True)
