"""A walk over every RPC of every service, as strangers of every kind: nothing is told, and nothing changes.

The walk is the table of every_rpc; what the descriptors have and the table has not fails.
"""

from __future__ import annotations

import itertools
import secrets
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from cloudgrpc import rpc
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cluster_harness import Cluster
from every_rpc import (
    CONTENT,
    METHODS,
    RPCS,
    UNLIMITED,
    Needs,
    Person,
    admin_key,
    call,
    cluster_secret,
    names,
    settle,
    with_fields,
)
from program import PATIENCE_S
from user import CALL_S, User, upload_messages
from watching import CODES, Watch, about, check_refused, check_told_nothing, connect, with_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import grpc


TIERS = "PaymentService/GetStorageTiers"  # with a session it tells more
NOBODY = "nobody@example.org"
DAY_US = 24 * 3600 * 1_000_000
WITH_IDS = [
    name for name in names(Needs.SESSION) if RPCS[name].to_others == "NOT_FOUND" and name != "FileService/ResolvePath"
]
# After these, others have nothing left to ask for.
SPENDING = [f"AuthService/{name}" for name in ("Logout", "CloseAccount", "ReopenAccount")]
SPENDING += [f"FileService/{name}" for name in ("DeleteFile", "DeleteFolder")]
HALVES = names(Needs.SECRET_OF_GATEWAY, Needs.SECRET_OF_NODE)
FOR_PEOPLE = [name for name in RPCS if name not in HALVES]

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """It does nothing by itself while the tests run, so that whatever changes was changed by a call."""
    still = {
        "upkeep_round_s": 3600,
        "cluster_heartbeat_s": 3600,
        "cluster_offline_after_s": 7200,
        "cluster_node_timeout_s": PATIENCE_S,
        "logging_level": "info",
    }
    cluster = Cluster(tmp_path_factory.mktemp("isolation"), nodes=1, capacity_gb=2000, **still, **UNLIMITED)
    try:
        yield cluster.start()
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def watch(cluster: Cluster) -> Iterator[Watch]:
    with closing(Watch(cluster)) as watch:
        yield watch


@pytest.fixture(scope="module")
def giver(cluster: Cluster) -> User:
    """Who shares something with everybody else."""
    return cluster.enroll("giver@example.org")


@pytest.fixture(scope="module")
def alice(cluster: Cluster, giver: User) -> Person:
    """Whose things nobody else may see or touch; no test of this file changes them."""
    return settle(cluster, "alice", giver)


@pytest.fixture
def bob(cluster: Cluster) -> Person:
    """Somebody else, signed in, new for every test."""
    number = next(_numbers)
    return Person(cluster.enroll(f"bob{number}@example.org"), f"bob{number}")


@pytest.fixture
def carol(cluster: Cluster, giver: User) -> Person:
    """Somebody with things of their own, which a test may break."""
    return settle(cluster, f"carol{next(_numbers)}", giver)


@pytest.fixture(scope="module")
def stranger(cluster: Cluster) -> Iterator[grpc.Channel]:
    """A connection of its own: no address was ever verified on it."""
    with connect(cluster.address) as channel:
        yield channel


@pytest.fixture(scope="module")
def node(cluster: Cluster) -> Iterator[grpc.Channel]:
    with connect(f"127.0.0.1:{cluster.node_port('node1')}") as channel:
        yield channel


def packed(messages: object) -> bytes:
    return b"".join(message.SerializeToString() for message in messages)  # type: ignore[attr-defined]


# The table


def test_every_method_of_the_contract_is_in_the_walk() -> None:
    assert RPCS.keys() == METHODS.keys()


def test_the_table_agrees_with_the_contract() -> None:
    """What takes a session in its request needs one, and so on; a row cannot quietly be of an easier kind."""
    for name, method in METHODS.items():
        fields = method.input_type.fields_by_name
        inner = [inner for field in fields.values() if field.message_type for inner in field.message_type.fields]
        takes_session = "session_token" in fields or "session_token" in [field.name for field in inner]
        needs = RPCS[name].needs
        assert needs in {Needs.SESSION, Needs.LATER} or not takes_session or name == TIERS, name
        assert needs is not Needs.SESSION or takes_session, name
        assert (needs in {Needs.ADMIN_KEY, Needs.LATER}) or "admin_key" not in fields, name
        assert needs is not Needs.ADMIN_KEY or "admin_key" in fields, name
        assert (needs in {Needs.SECRET_OF_GATEWAY, Needs.SECRET_OF_NODE}) == name.startswith("NodeService/"), name
    assert {name.partition("/")[2] for name in names(Needs.NOTHING)} == {"SendOTP", "VerifyOTP", "GetStorageTiers"}
    assert {name.partition("/")[2] for name in names(Needs.PROOF)} == {"Enroll", "Login"}


@pytest.mark.parametrize("name", SPENDING)
def test_with_their_own_session_everybody_spends_what_they_ask_to(
    cluster: Cluster, stranger: grpc.Channel, carol: Person, name: str
) -> None:
    if name == "AuthService/ReopenAccount":
        assert call(stranger, "AuthService/CloseAccount", RPCS["AuthService/CloseAccount"].ask(carol)).status == "OK"
    outcome = call(stranger, name, RPCS[name].ask(carol))
    assert outcome.status == "OK", outcome


def test_with_their_own_session_everybody_gets_what_they_ask_for(stranger: grpc.Channel, carol: Person) -> None:
    """So that the refusals below are due to the session alone, and not to a request that never works."""
    for name in names(Needs.SESSION):
        if name not in SPENDING:
            outcome = call(stranger, name, RPCS[name].ask(carol))
            works = "UNAVAILABLE" if name == "PaymentService/InitiatePayment" else "OK"
            assert outcome.status == works, f"{name}: {outcome}"


# Sessions that are none


@pytest.fixture(scope="module")
def no_sessions(cluster: Cluster, alice: Person) -> dict[str, str]:
    """Tokens that open nothing, by what they are; some were a session of alice's, or are another secret of hers."""
    expired, ended, replaced = (cluster.login(alice.email).token for _ in range(3))
    newest = f"account_id = '{alice.user.user_id}' ORDER BY created_at DESC, rowid DESC LIMIT 3"
    third, second, first = [row[0] for row in cluster.rows(f"SELECT digest FROM session WHERE {newest}")]
    cluster.change(f"UPDATE session SET expires_at = expires_at - {DAY_US} WHERE digest = '{first}'")
    cluster.auth.Logout(pb.LogoutRequest(session_token=ended), timeout=CALL_S)
    cluster.change(f"DELETE FROM session WHERE digest = '{third}'")
    alice.more_tokens += [expired, ended, replaced]
    return {
        "missing": "",
        "invented": secrets.token_urlsafe(32),
        "expired": expired,
        "signed out": ended,
        "deleted": replaced,
        "cut short": alice.token[:-1],
        "too long": alice.token + "A",
        "with a space": f" {alice.token}",
        "with a line's end": f"{alice.token}\n",
        "ended by NUL": f"{alice.token}\0",
        "in other letters": alice.token.swapcase(),
        "NUL": "\0",
        "10 kB": "A" * 10_000,
        "no ASCII": "пароль-" + "é" * 40,
        "a wildcard": "%",
        "SQL": "' OR '1'='1",
        "its digest": first,
        "another's digest": second,
        "its id": alice.session_id,
        "a proof": alice.proof,
        "the account": alice.user.user_id,
        "the address": alice.email,
        "the cluster's secret": cluster_secret(cluster),
    }


@pytest.mark.parametrize("name", names(Needs.SESSION))
def test_without_a_live_session_nothing_is_told_or_changed(
    watch: Watch, stranger: grpc.Channel, alice: Person, no_sessions: dict[str, str], name: str
) -> None:
    asked = RPCS[name].ask(alice)
    for kind, token in no_sessions.items():
        because = f"{name} with a session that is {kind}"
        with watch.nothing_changes(because):
            outcome = call(stranger, name, with_fields(asked, session_token=token))
        check_refused(outcome, "UNAUTHENTICATED", "session_ended", because)
        check_told_nothing(outcome, alice, because)


@pytest.mark.parametrize("name", names(Needs.SESSION))
def test_a_session_counts_only_where_the_contract_has_it(
    cluster: Cluster, watch: Watch, stranger: grpc.Channel, alice: Person, name: str
) -> None:
    """Neither a token in the call's metadata nor the cluster's secret stands for the one in the request."""
    asked = with_fields(RPCS[name].ask(alice), session_token="")
    shown = [
        [("authorization", f"Bearer {alice.token}"), ("session_token", alice.token)],
        [(rpc.SECRET_KEY, cluster_secret(cluster))],
    ]
    for metadata in shown:
        with watch.nothing_changes(name):
            outcome = call(stranger, name, asked, metadata)
        check_refused(outcome, "UNAUTHENTICATED", "session_ended", name)
        check_told_nothing(outcome, alice, name)


# Other people's sessions


@pytest.mark.parametrize("name", names(Needs.SESSION))
def test_anothers_things_do_not_exist(
    watch: Watch, stranger: grpc.Channel, alice: Person, bob: Person, name: str
) -> None:
    """The very request that works for alice, by bob: refused where it names her things, else about him alone."""
    asked = with_fields(RPCS[name].ask(alice), session_token=bob.token)
    before = watch.look()
    outcome = call(stranger, name, asked)
    after = watch.look()
    if RPCS[name].to_others == "OK":
        assert outcome.status == "OK" or name == "AuthService/ReopenAccount", outcome
        assert about(alice, after) == about(alice, before)
    else:
        assert (outcome.status, outcome.replies) == (RPCS[name].to_others, ()), outcome
        assert after == before
    check_told_nothing(outcome, alice, name, packed(asked))


@pytest.mark.parametrize("name", WITH_IDS)
def test_no_id_of_anothers_opens_anything(
    watch: Watch, stranger: grpc.Channel, alice: Person, bob: Person, name: str
) -> None:
    """Any id in any field that takes one: also the root folder, and ids that people are never shown."""
    asked = with_fields(RPCS[name].ask(alice), session_token=bob.token)
    for kind, entry_id in alice.ids.items():
        because = f"{name} for {kind}"
        with watch.nothing_changes(because):
            outcome = call(stranger, name, with_id(name, asked, entry_id))
        check_refused(outcome, "NOT_FOUND", CODES.get(name, "not_found"), because)
        check_told_nothing(outcome, alice, because, f"{packed(asked)!r}{entry_id}".encode())


def test_what_is_anothers_and_what_is_nobodys_are_answered_alike(
    stranger: grpc.Channel, alice: Person, bob: Person
) -> None:
    for name in WITH_IDS:
        asked = with_fields(RPCS[name].ask(alice), session_token=bob.token)
        for kind, entry_id in alice.ids.items():
            free = secrets.token_hex(len(entry_id) // 2)
            real, none = (call(stranger, name, with_id(name, asked, one)) for one in (entry_id, free))
            assert (real.status, real.code) == (none.status, none.code), f"{name} for {kind}"
            assert real.words.replace(entry_id, "ID") == none.words.replace(free, "ID"), f"{name} for {kind}"


def test_a_path_leads_through_ones_own_folders_only(stranger: grpc.Channel, alice: Person, bob: Person) -> None:
    for path in (
        f"/{alice.name}-file",
        f"/{alice.name}-folder",
        f"/{alice.root_id}",
        f"/{alice.folder_id}/alice-inner",
    ):
        asked = [pb.ResolvePathRequest(session_token=bob.token, path=path)]
        outcome = call(stranger, "FileService/ResolvePath", asked)
        assert (outcome.status, outcome.code) == ("NOT_FOUND", "not_found"), outcome


def test_a_page_token_opens_no_other_list(stranger: grpc.Channel, carol: Person, bob: Person) -> None:
    carol.user.mkdir("second")
    asked = pb.ListFilesRequest(session_token=carol.token, page_size=1)
    first = call(stranger, "FileService/ListFiles", [asked])
    token = pb.ListFilesResponse.FromString(first.replies[0]).next_page_token
    assert token
    theirs = pb.ListFilesRequest(session_token=bob.token, page_size=1, page_token=token)
    outcome = call(stranger, "FileService/ListFiles", [theirs])
    assert pb.ListFilesResponse.FromString(outcome.replies[0]) == pb.ListFilesResponse(success=True)


def test_anothers_request_id_is_just_a_name(stranger: grpc.Channel, alice: Person, bob: Person) -> None:
    """The same request_id, name and size as alice's upload: bob gets an upload of his own, not her answer."""
    messages = list(upload_messages(bob.token, f"{alice.name}-file", CONTENT, request_id=alice.request_id))
    outcome = call(stranger, "FileService/UploadFile", messages)
    answer = pb.UploadFileResponse.FromString(outcome.replies[0])
    assert answer.file_id != alice.file_id
    assert bob.user.download(answer.file_id) == CONTENT


def test_ending_ones_other_sessions_ends_nobody_elses(
    cluster: Cluster, watch: Watch, stranger: grpc.Channel, alice: Person, bob: Person
) -> None:
    other = cluster.login(bob.email)
    before = about(alice, watch.look())
    asked = pb.EndSessionRequest(session_token=bob.token, others=True)
    assert call(stranger, "AuthService/EndSession", [asked]).status == "OK"
    assert about(alice, watch.look()) == before
    for token, status in {bob.token: "OK", other.token: "UNAUTHENTICATED"}.items():
        assert call(stranger, "AuthService/WhoAmI", [pb.WhoAmIRequest(session_token=token)]).status == status


# Proof of an address


NOT_PROOFS: dict[str, Callable[[Cluster, Person, Person], str]] = {
    "missing": lambda cluster, alice, bob: "",
    "invented": lambda cluster, alice, bob: secrets.token_urlsafe(32),
    "another's": lambda cluster, alice, bob: cluster.prove(bob.email),
    "used": lambda cluster, alice, bob: _used_proof(cluster, alice),
    "expired": lambda cluster, alice, bob: _expired_proof(cluster, alice),
    "cut short": lambda cluster, alice, bob: alice.proof[:-1],
    "ended by NUL": lambda cluster, alice, bob: alice.proof + "\0",
    "in other letters": lambda cluster, alice, bob: alice.proof.swapcase(),
    "NUL": lambda cluster, alice, bob: "\0",
    "10 kB": lambda cluster, alice, bob: "A" * 10_000,
    "no ASCII": lambda cluster, alice, bob: "é" * 43,
    "a session": lambda cluster, alice, bob: alice.token,
    "its digest": lambda cluster, alice, bob: _digest_of_proof(cluster, alice),
    "the code": lambda cluster, alice, bob: cluster.send_code(alice.email),
    "the cluster's secret": lambda cluster, alice, bob: cluster_secret(cluster),
}


def _used_proof(cluster: Cluster, person: Person) -> str:
    proof = cluster.prove(person.email)
    cluster.auth.Login(pb.LoginRequest(email=person.email, verification_token=proof), timeout=CALL_S)
    return proof


def _expired_proof(cluster: Cluster, person: Person) -> str:
    earlier = {row[0] for row in cluster.rows("SELECT digest FROM proof")}
    proof = cluster.prove(person.email)
    (digest,) = {row[0] for row in cluster.rows("SELECT digest FROM proof")} - earlier
    cluster.change(f"UPDATE proof SET expires_at = expires_at - {DAY_US} WHERE digest = '{digest}'")
    return proof


def _digest_of_proof(cluster: Cluster, person: Person) -> str:
    cluster.prove(person.email)  # an older one may have run out
    return str(cluster.rows(f"SELECT digest FROM proof WHERE email = '{person.email}'")[0][0])


@pytest.mark.parametrize("kind", NOT_PROOFS)
@pytest.mark.parametrize("name", [*names(Needs.PROOF), "AuthService/CloseAccount"])
def test_without_a_proof_of_the_address_nothing_is_told_or_changed(
    cluster: Cluster, watch: Watch, stranger: grpc.Channel, alice: Person, bob: Person, name: str, kind: str
) -> None:
    """Also for the holder of a session: a stolen one does not close an account."""
    token = NOT_PROOFS[kind](cluster, alice, bob)
    asked = with_fields(RPCS[name].ask(alice), verification_token=token)
    with watch.nothing_changes(f"{name}, {kind}"):
        outcome = call(stranger, name, asked)
    check_refused(outcome, "UNAUTHENTICATED", "proof_missing", f"{name}, {kind}")
    check_told_nothing(outcome, alice, f"{name}, {kind}", packed(asked) + alice.email.encode())


def test_a_proof_is_of_its_own_address_only(
    cluster: Cluster, watch: Watch, stranger: grpc.Channel, alice: Person, bob: Person
) -> None:
    bobs = cluster.prove(bob.email)
    for name in names(Needs.PROOF):
        for email in (alice.email, NOBODY, alice.email.upper(), f"{bob.email},{alice.email}", f"{bob.email}\0"):
            asked = with_fields(RPCS[name].ask(alice), email=email, verification_token=bobs)
            with watch.nothing_changes(f"{name} as {email}"):
                outcome = call(stranger, name, asked)
            assert outcome.status in {"UNAUTHENTICATED", "INVALID_ARGUMENT"}, outcome
    good = pb.LoginRequest(email=bob.email, verification_token=bobs)
    assert call(stranger, "AuthService/Login", [good]).status == "OK"


def test_the_connection_that_verified_proves_that_address_once_and_to_nobody_else(
    cluster: Cluster, watch: Watch, stranger: grpc.Channel, alice: Person, bob: Person
) -> None:
    """Clients that know only the contract send no token."""
    bobs, alices = pb.LoginRequest(email=bob.email), pb.LoginRequest(email=alice.email)
    closing_bob = pb.CloseAccountRequest(session_token=bob.token)
    with connect(cluster.address) as verified:
        code = pb.VerifyOTPRequest(email=bob.email, otp=cluster.send_code(bob.email))
        assert call(verified, "AuthService/VerifyOTP", [code]).status == "OK"
        with watch.nothing_changes("the proof of a connection"):
            assert call(stranger, "AuthService/Login", [bobs]).code == "proof_missing"
            assert call(verified, "AuthService/Login", [alices]).code == "proof_missing"
            assert call(verified, "AuthService/CloseAccount", [closing_bob]).code == "proof_missing"
        assert call(verified, "AuthService/Login", [bobs]).status == "OK"
        assert call(verified, "AuthService/Login", [bobs]).code == "proof_missing"


def test_nobody_learns_whether_an_address_is_enrolled(cluster: Cluster, stranger: grpc.Channel, alice: Person) -> None:
    requests = {
        "AuthService/SendOTP": lambda email: pb.SendOTPRequest(email=email),
        "AuthService/VerifyOTP": lambda email: pb.VerifyOTPRequest(email=email, otp="000000"),
        "AuthService/Enroll": lambda email: pb.EnrollRequest(email=email, full_name="X"),
        "AuthService/Login": lambda email: pb.LoginRequest(email=email),
    }
    assert set(requests) == {*names(Needs.NOTHING, Needs.PROOF)} - {TIERS}
    for name, make in requests.items():
        known, unknown = (call(stranger, name, [make(email)]) for email in (alice.email, NOBODY))
        assert (known.status, known.code) == (unknown.status, unknown.code), name
        words = [
            (pb.SendOTPResponse.FromString(outcome.replies[0]).message if outcome.replies else outcome.words)
            for outcome in (known, unknown)
        ]
        assert words[0].replace(alice.email, "") == words[1].replace(NOBODY, ""), name


# Machines


@pytest.mark.parametrize("name", HALVES)
@pytest.mark.parametrize("where", ["gateway", "node"])
def test_calls_of_machines_need_the_clusters_secret(
    cluster: Cluster, watch: Watch, stranger: grpc.Channel, node: grpc.Channel, alice: Person, name: str, where: str
) -> None:
    secret, asked = cluster_secret(cluster), RPCS[name].ask(alice)
    channel = node if where == "node" else stranger
    shown: dict[str, list[tuple[str, str]]] = {
        "nothing": [],
        "an empty secret": [(rpc.SECRET_KEY, "")],
        "a wrong secret": [(rpc.SECRET_KEY, secrets.token_urlsafe(32))],
        "half a secret": [(rpc.SECRET_KEY, secret[:-1])],
        "more than the secret": [(rpc.SECRET_KEY, f"{secret}A")],
        "the secret in other letters": [(rpc.SECRET_KEY, secret.swapcase())],
        "a session": [(rpc.SECRET_KEY, alice.token)],
        "a session elsewhere": [("session_token", alice.token), ("authorization", f"Bearer {alice.token}")],
        "the secret elsewhere": [("authorization", secret), ("cloudgrpc-node", "node1")],
    }
    for kind, metadata in shown.items():
        with watch.nothing_changes(f"{name} with {kind}"):
            outcome = call(channel, name, asked, metadata)
        check_refused(outcome, "UNAUTHENTICATED", "cluster_secret_wrong", f"{name} with {kind}")
        assert secret not in outcome.words
        check_told_nothing(outcome, alice, f"{name} with {kind}")


@pytest.mark.parametrize("name", HALVES)
def test_a_machine_offers_its_own_half_only(
    cluster: Cluster, watch: Watch, stranger: grpc.Channel, node: grpc.Channel, alice: Person, name: str
) -> None:
    other = node if RPCS[name].needs is Needs.SECRET_OF_GATEWAY else stranger
    with watch.nothing_changes(name):
        outcome = call(other, name, RPCS[name].ask(alice), [(rpc.SECRET_KEY, cluster_secret(cluster))])
    check_refused(outcome, "UNIMPLEMENTED", "not_offered", name)


def test_with_the_secret_a_machine_gets_what_it_asks_for(
    cluster: Cluster, stranger: grpc.Channel, node: grpc.Channel, carol: Person
) -> None:
    """So that the refusals above are due to the secret alone; deleting comes last."""
    shown = [(rpc.SECRET_KEY, cluster_secret(cluster))]
    # Papers are renewed where they are shown only: see test_joining.
    others = {"NodeService/RegisterNode", "NodeService/RenewCertificate"}
    working = sorted(set(HALVES) - others, key=lambda name: "Delete" in name)
    for name in working:
        channel = stranger if RPCS[name].needs is Needs.SECRET_OF_GATEWAY else node
        outcome = call(channel, name, RPCS[name].ask(carol), shown)
        assert outcome.status == "OK", f"{name}: {outcome}"


@pytest.mark.parametrize("name", FOR_PEOPLE)
def test_a_node_serves_no_people(cluster: Cluster, watch: Watch, node: grpc.Channel, alice: Person, name: str) -> None:
    for metadata in ([], [(rpc.SECRET_KEY, cluster_secret(cluster))]):
        with watch.nothing_changes(name):
            outcome = call(node, name, RPCS[name].ask(alice), metadata)
        assert (outcome.status, outcome.replies) == ("UNIMPLEMENTED", ()), outcome
        check_told_nothing(outcome, alice, name)


# Operators


@pytest.mark.parametrize("name", names(Needs.ADMIN_KEY))
def test_without_the_admin_key_nothing_is_told_or_changed(
    cluster: Cluster, watch: Watch, stranger: grpc.Channel, alice: Person, name: str
) -> None:
    key = admin_key(cluster)
    asked = RPCS[name].ask(alice)
    for shown in ("", "x", key[:-1], f"{key}x", key.swapcase(), f" {key}", alice.token, cluster_secret(cluster), "\0"):
        with watch.nothing_changes(name):
            outcome = call(stranger, name, with_fields(asked, admin_key=shown))
        check_refused(outcome, "UNAUTHENTICATED", "admin_key_wrong", name)
        check_told_nothing(outcome, alice, name)


def test_with_the_admin_key_operators_get_what_they_ask_for(stranger: grpc.Channel, carol: Person) -> None:
    """So that the refusals above are due to the key alone. Nothing is sold here, so Campay cannot be asked."""
    works = {"ReconcilePayment": "UNAVAILABLE"}
    works |= dict.fromkeys(["SetPaymentReference", "RefundPayment"], "FAILED_PRECONDITION")
    works |= {"InviteNode": "FAILED_PRECONDITION", "RevokeNode": "NOT_FOUND"}  # there is no authority: see test_joining
    works |= dict.fromkeys(["RestoreMetadata", "ReconcileCluster"], "FAILED_PRECONDITION")  # nothing is empty, or was
    for name in names(Needs.ADMIN_KEY):
        outcome = call(stranger, name, RPCS[name].ask(carol))
        assert outcome.status == works.get(name.partition("/")[2], "OK"), f"{name}: {outcome}"


# What is not offered yet


@pytest.mark.parametrize("name", names(Needs.LATER))
def test_what_is_not_offered_is_so_for_everybody(
    cluster: Cluster, watch: Watch, stranger: grpc.Channel, alice: Person, name: str
) -> None:
    for metadata in ([], [(rpc.SECRET_KEY, cluster_secret(cluster))]):
        with watch.nothing_changes(name):
            outcome = call(stranger, name, RPCS[name].ask(alice), metadata)
        check_refused(outcome, "UNIMPLEMENTED", "not_offered", name)
        check_told_nothing(outcome, alice, name)
