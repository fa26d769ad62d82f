"""Signing in by e-mail code, sessions, and which calls are open to whom."""

from __future__ import annotations

import itertools
import re
import sqlite3
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

import grpc
import psutil
import pytest

from cloudgrpc import rpc
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.pb.cloud_storage_pb2_grpc import AuthServiceStub
from cluster_harness import CALM, Cluster
from every_rpc import METHODS, Needs, names
from user import CALL_S, refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LATER = names(Needs.LATER)
NODE_CALLS = [name for name in METHODS if name.startswith("NodeService/")]
# Not RenewCertificate, which wants more than the secret: see test_tls and test_joining.
GATEWAYS_HALF = ["NodeService/RegisterNode", "NodeService/Heartbeat"]
NODES_HALF = [name for name in names(Needs.SECRET_OF_NODE) if name in NODE_CALLS]
BAD_EMAILS = ["", "a", "@", "a@", "@b.org", "a@b", "a b@c.org", "a@b@c.org", "a@-b.org", "a@b..org", "a@b.org\n@c.org"]
BAD_EMAILS += [
    "a\0@b.org",
    "a@b.org\0",
    "<a@b.org>",
    "=?utf-8?q?a=40c.org=2c_x?=@b.org",
    "a;b@c.org",
    "x" * 65 + "@b.org",
    f"a@{'b.' * 130}org",
    "é" * 10_000,
]

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One node, with room for as many accounts as these tests want."""
    cluster = Cluster(tmp_path_factory.mktemp("auth"), nodes=1, capacity_gb=500, **CALM)
    try:
        yield cluster.start()
    finally:
        cluster.close()


@pytest.fixture
def email() -> str:
    return f"person{next(_numbers)}@example.org"


@pytest.fixture
def connect(cluster: Cluster) -> Iterator[Callable[..., AuthServiceStub]]:
    """Connections of their own, each to be seen by the gateway as another peer."""
    channels: list[grpc.Channel] = []

    def connect(to: Cluster = cluster) -> AuthServiceStub:
        options = [*rpc.CHANNEL_OPTIONS, ("grpc.use_local_subchannel_pool", 1)]
        channels.append(grpc.insecure_channel(to.address, options=options))
        return AuthServiceStub(channels[-1])

    yield connect
    for channel in channels:
        channel.close()


def verify(cluster: Cluster, email: str, code: str, auth: AuthServiceStub | None = None) -> str:
    request = pb.VerifyOTPRequest(email=email, otp=code)
    return (auth or cluster.auth).VerifyOTP(request, timeout=CALL_S).verification_token


def enroll(auth: AuthServiceStub, email: str, token: str = "", full_name: str = "Test Person") -> pb.EnrollResponse:
    request = pb.EnrollRequest(email=email, full_name=full_name, verification_token=token)
    return auth.Enroll(request, timeout=CALL_S)


def log_in(auth: AuthServiceStub, email: str, token: str = "") -> pb.LoginResponse:
    return auth.Login(pb.LoginRequest(email=email, verification_token=token), timeout=CALL_S)


def who_am_i(cluster: Cluster, session_token: str) -> pb.WhoAmIResponse:
    return cluster.auth.WhoAmI(pb.WhoAmIRequest(session_token=session_token), timeout=CALL_S)


def another(code: str) -> str:
    """A code that is not this one."""
    return f"{(int(code) + 1) % 1_000_000:06}"


def change(cluster: Cluster, statement: str) -> None:
    """Change the metadata behind the gateway's back, e.g. to make a row older."""
    path = cluster.data / "metadata.sqlite3"
    with closing(sqlite3.connect(path, timeout=10)) as connection, connection:
        assert connection.execute(statement).rowcount == 1, statement


def call(cluster: Cluster, name: str, secret: str | None = None) -> None:
    """Call a method by its name, with an empty request. Raises: grpc.RpcError."""
    method = METHODS[name]
    shape = f"unary_{'stream' if method.server_streaming else 'unary'}"
    metadata = () if secret is None else ((rpc.SECRET_KEY, secret),)
    answer = getattr(cluster.channel, shape)(f"/cloudstorage.{name}")(b"", timeout=CALL_S, metadata=metadata)
    if method.server_streaming:
        list(answer)


def outcomes(work: Callable[[int], object], times: int) -> Counter[str]:
    """How `times` calls at once ended: "ok" or the code of the error."""

    def one(number: int) -> str:
        try:
            work(number)
        except grpc.RpcError as failure:
            return rpc.error_of(failure, "the gateway").code  # type: ignore[arg-type]
        return "ok"

    with ThreadPoolExecutor(times) as pool:
        return Counter(pool.map(one, range(times)))


# Codes


def test_codes_and_tokens_are_told_once_and_written_down_nowhere(cluster: Cluster, email: str) -> None:
    code = cluster.send_code(email)
    with refused("INVALID_ARGUMENT", "code_wrong"):
        verify(cluster, email, another(code))
    proof = verify(cluster, email, code)
    session = enroll(cluster.auth, email, proof).session_token
    who_am_i(cluster, session)
    cluster.auth.Logout(pb.LogoutRequest(session_token=session), timeout=CALL_S)
    assert cluster.gateway.out.read_text().count(code) == 1
    alone = re.compile(rf"(?<![0-9a-f]){code}(?![0-9a-f])")  # a digest may hold these six digits by chance
    for log in cluster.logs.glob("*.err"):
        assert not alone.search(log.read_text()), log
    tables = [name for (name,) in cluster.rows("SELECT name FROM sqlite_master WHERE type = 'table'")]
    values = [str(value) for table in tables for row in cluster.rows(f"SELECT * FROM {table}") for value in row]
    assert not [value for value in values if alone.search(value)]
    for path in [*cluster.logs.iterdir(), *(path for path in cluster.data.rglob("*") if path.is_file())]:
        content = path.read_bytes()
        assert proof.encode() not in content, path
        assert session.encode() not in content, path


def test_no_reply_holds_the_code(cluster: Cluster, email: str) -> None:
    answer = cluster.auth.SendOTP(pb.SendOTPRequest(email=email), timeout=CALL_S)
    assert answer.success
    assert email in answer.message
    assert not re.search(r"\d{6}", answer.message.replace(email, ""))


def test_a_wrong_code_says_how_many_attempts_are_left(cluster: Cluster, email: str) -> None:
    code = cluster.send_code(email)
    for left in (4, 3):
        with refused("INVALID_ARGUMENT", "code_wrong") as errors:
            verify(cluster, email, another(code))
        assert f"{left} attempts are left" in str(errors[0])
    assert verify(cluster, email, code)


def test_after_five_wrong_codes_the_right_one_is_refused_too(cluster: Cluster, email: str) -> None:
    code = cluster.send_code(email)
    for _ in range(5):
        with refused("INVALID_ARGUMENT", "code_wrong"):
            verify(cluster, email, another(code))
    for typed in (code, another(code)):
        with refused("FAILED_PRECONDITION", "code_spent"):
            verify(cluster, email, typed)
    assert verify(cluster, email, cluster.send_code(email)), "a new code starts afresh"


def test_guessing_in_parallel_gives_no_more_attempts(cluster: Cluster, email: str) -> None:
    wrong = another(cluster.send_code(email))
    assert outcomes(lambda _: verify(cluster, email, wrong), 16) == {"code_wrong": 5, "code_spent": 11}


def test_a_new_code_voids_the_old_one(cluster: Cluster, email: str) -> None:
    old = cluster.send_code(email)
    new = old
    while new == old:  # once in a million they are the same
        new = cluster.send_code(email)
    with refused("INVALID_ARGUMENT", "code_wrong"):
        verify(cluster, email, old)
    assert verify(cluster, email, new)


def test_a_code_works_once_even_when_typed_twice_at_the_same_time(cluster: Cluster, email: str) -> None:
    code = cluster.send_code(email)
    assert outcomes(lambda _: verify(cluster, email, code), 8) == {"ok": 1, "code_spent": 7}


def test_a_code_expires_after_five_minutes(cluster: Cluster, email: str) -> None:
    code = cluster.send_code(email)
    change(cluster, f"UPDATE otp_challenge SET expires_at = expires_at - 270000000 WHERE email = '{email}'")
    with refused("INVALID_ARGUMENT", "code_wrong"):
        verify(cluster, email, another(code))
    change(cluster, f"UPDATE otp_challenge SET expires_at = expires_at - 30000000 WHERE email = '{email}'")
    with refused("FAILED_PRECONDITION", "code_spent"):
        verify(cluster, email, code)


def test_a_code_is_good_for_its_own_address_only(cluster: Cluster, email: str) -> None:
    code = cluster.send_code(email)
    with refused("FAILED_PRECONDITION", "code_spent"):
        verify(cluster, f"other-{email}", code)


@pytest.mark.parametrize("typed", ["", "12345", "1234567", "12345a", "１２３４５６", "-12345", "0x1234", "9" * 10_000])  # noqa: RUF001
def test_what_is_no_code_is_bad_input_and_costs_no_attempt(cluster: Cluster, email: str, typed: str) -> None:
    code = cluster.send_code(email)
    with refused("INVALID_ARGUMENT", "invalid_field") as errors:
        verify(cluster, email, typed)
    assert str(errors[0]).startswith("otp:")
    with refused("INVALID_ARGUMENT") as errors:
        verify(cluster, email, another(code))
    assert "4 attempts" in str(errors[0])


@pytest.mark.parametrize("bad", BAD_EMAILS)
def test_what_is_no_address_is_refused_everywhere(cluster: Cluster, bad: str) -> None:
    auth = cluster.auth
    for attempt in (
        lambda: auth.SendOTP(pb.SendOTPRequest(email=bad), timeout=CALL_S),
        lambda: verify(cluster, bad, "123456"),
        lambda: enroll(auth, bad),
        lambda: log_in(auth, bad),
    ):
        with refused("INVALID_ARGUMENT", "invalid_field") as errors:
            attempt()
        assert str(errors[0]).startswith("email:")


# Proof


def test_a_verification_token_is_good_for_one_use(cluster: Cluster, email: str) -> None:
    proof = cluster.prove(email)
    enroll(cluster.auth, email, proof)
    with refused("UNAUTHENTICATED", "proof_missing"):
        log_in(cluster.auth, email, proof)


def test_a_verification_token_is_good_for_its_own_address_only(cluster: Cluster, email: str) -> None:
    proof = cluster.prove(email)
    with refused("UNAUTHENTICATED", "proof_missing"):
        enroll(cluster.auth, f"other-{email}", proof)


def test_a_verification_token_expires_after_ten_minutes(cluster: Cluster, email: str) -> None:
    proof = cluster.prove(email)
    change(cluster, f"UPDATE proof SET expires_at = expires_at - 600000000 WHERE email = '{email}'")
    with refused("UNAUTHENTICATED", "proof_missing"):
        enroll(cluster.auth, email, proof)


@pytest.mark.parametrize("token", ["", "nonsense", "x" * 10_000, "\0"])
def test_without_proof_nobody_gets_in(cluster: Cluster, email: str, token: str) -> None:
    for attempt in (enroll, log_in):
        with refused("UNAUTHENTICATED", "proof_missing"):
            attempt(cluster.auth, email, token)


def test_a_client_that_knows_only_the_contract_enrolls_once_by_its_connection(
    cluster: Cluster, connect: Callable[..., AuthServiceStub], email: str
) -> None:
    auth = connect()
    verify(cluster, email, cluster.send_code(email), auth)
    assert who_am_i(cluster, enroll(auth, email).session_token).email == email
    with refused("UNAUTHENTICATED", "proof_missing"):
        log_in(auth, email)
    verify(cluster, email, cluster.send_code(email), auth)
    assert log_in(auth, email).session_token


def test_another_connection_gets_nothing_from_the_one_that_verified(
    cluster: Cluster, connect: Callable[..., AuthServiceStub], email: str
) -> None:
    verifier, stranger = connect(), connect()
    verify(cluster, email, cluster.send_code(email), verifier)
    for attempt in (enroll, log_in):
        with refused("UNAUTHENTICATED", "proof_missing"):
            attempt(stranger, email)
    with refused("UNAUTHENTICATED", "proof_missing"):
        enroll(verifier, f"other-{email}")
    assert enroll(verifier, email).success


def test_a_connection_proves_for_a_minute_its_token_for_longer(
    cluster: Cluster, connect: Callable[..., AuthServiceStub], email: str
) -> None:
    auth = connect()
    proof = verify(cluster, email, cluster.send_code(email), auth)
    aged = "expires_at = expires_at - 60000000, peer_expires_at = peer_expires_at - 60000000"
    change(cluster, f"UPDATE proof SET {aged} WHERE email = '{email}'")
    with refused("UNAUTHENTICATED", "proof_missing"):
        enroll(auth, email)
    assert enroll(auth, email, proof).success


def test_behind_a_proxy_a_connection_proves_nothing(
    make_cluster: Callable[..., Cluster], connect: Callable[..., AuthServiceStub], email: str
) -> None:
    proxied = make_cluster(nodes=1, gateway_behind_proxy=True)
    auth = connect(proxied)
    proof = verify(proxied, email, proxied.send_code(email), auth)
    for attempt in (enroll, log_in):
        with refused("UNAUTHENTICATED", "proof_missing"):
            attempt(auth, email)
    assert enroll(auth, email, proof).success


# Accounts


def test_an_address_enrolls_once_however_it_is_written(cluster: Cluster, email: str) -> None:
    cluster.enroll(email)
    proof = cluster.prove(email)
    with refused("ALREADY_EXISTS", "already_enrolled"):
        enroll(cluster.auth, f"  {email.upper()} ", proof)
    assert log_in(cluster.auth, email, proof).success, "the refusal used nothing up"


def test_two_enrolments_at_once_make_one_account(cluster: Cluster, email: str) -> None:
    proofs = [cluster.prove(email) for _ in range(4)]
    ended = outcomes(lambda number: enroll(cluster.auth, email, proofs[number]), 4)
    assert ended == {"ok": 1, "already_enrolled": 3}


def test_login_of_an_unknown_address_is_not_found_and_leaves_the_proof_for_enrolling(
    cluster: Cluster, email: str
) -> None:
    proof = cluster.prove(email)
    with refused("NOT_FOUND", "account_unknown"):
        log_in(cluster.auth, email, proof)
    assert enroll(cluster.auth, email, proof).success


@pytest.mark.parametrize("full_name", ["", "   ", "a\0b", "a\nb", "a\x1b[31m", "x" * 201])
def test_what_is_no_name_of_a_person_is_refused(cluster: Cluster, email: str, full_name: str) -> None:
    proof = cluster.prove(email)
    with refused("INVALID_ARGUMENT", "invalid_field") as errors:
        enroll(cluster.auth, email, proof, full_name)
    assert str(errors[0]).startswith("full_name:")
    assert enroll(cluster.auth, email, proof, "Ngo Bélla 李").success


def test_a_new_account_has_one_gigabyte(cluster: Cluster, email: str) -> None:
    storage = cluster.enroll(email).storage()
    assert (storage.allocated_bytes, storage.used_bytes, storage.available_bytes) == (1 << 30, 0, 1 << 30)


def test_without_a_node_there_is_nothing_to_promise_and_the_last_gigabyte_is_promised_once(
    make_cluster: Callable[..., Cluster],
) -> None:
    bare = make_cluster(nodes=0)
    emails = [f"early{number}@example.org" for number in range(4)]
    proofs = {email: bare.prove(email) for email in emails}
    with refused("RESOURCE_EXHAUSTED", "pool_promised") as errors:
        enroll(bare.auth, emails[0], proofs[emails[0]])
    assert "no room" in str(errors[0])
    assert "storage node" in errors[0].hint
    bare.start_node("node1", capacity_gb=0.5)  # two copies, promised four times: room for one account
    ended = outcomes(lambda number: enroll(bare.auth, emails[number], proofs[emails[number]]), 4)
    assert ended == {"ok": 1, "pool_promised": 3}


# Sessions


def test_a_session_says_whose_it_is_until_it_is_signed_out(cluster: Cluster, email: str) -> None:
    first = cluster.enroll(email, "Ada Lovelace")
    second = cluster.login(email)
    for user in (first, second):
        me = who_am_i(cluster, user.token)
        assert (me.user_id, me.email, me.full_name) == (first.user_id, email, "Ada Lovelace")
    assert cluster.auth.Logout(pb.LogoutRequest(session_token=first.token), timeout=CALL_S).success
    with refused("UNAUTHENTICATED", "session_ended"):
        who_am_i(cluster, first.token)
    assert who_am_i(cluster, second.token).email == email


def test_a_session_lasts_24_hours_and_is_kept_over_a_restart(cluster: Cluster, email: str) -> None:
    user = cluster.enroll(email)
    cluster.stop_gateway()
    cluster.start_gateway()
    assert who_am_i(cluster, user.token).email == email
    day = 24 * 3600 * 1_000_000
    (row,) = cluster.rows(f"SELECT created_at, expires_at FROM session WHERE account_id = '{user.user_id}'")
    assert row[1] - row[0] == day


# What is open to whom


@pytest.mark.parametrize("name", LATER)
def test_what_is_not_built_yet_says_so(cluster: Cluster, name: str) -> None:
    with refused("UNIMPLEMENTED", "not_offered") as errors:
        call(cluster, name)
    assert name.partition("/")[2] in str(errors[0])


@pytest.mark.parametrize("name", NODES_HALF)
def test_a_gateway_is_no_node(cluster: Cluster, name: str) -> None:
    with refused("UNIMPLEMENTED", "not_offered"):
        call(cluster, name, secret=cluster_secret(cluster))


@pytest.mark.parametrize("name", NODE_CALLS)
def test_calls_between_machines_need_the_clusters_secret(cluster: Cluster, email: str, name: str) -> None:
    secret = cluster_secret(cluster)
    token = cluster.enroll(email).token
    before = cluster.rows("SELECT node_id, capacity_bytes, instance_id FROM node")
    for shown in (None, "", "x", secret[:-1], f"{secret}x", secret.upper(), token):
        with refused("UNAUTHENTICATED", "cluster_secret_wrong") as errors:
            call(cluster, name, secret=shown)
        assert secret not in str(errors[0])
    assert cluster.rows("SELECT node_id, capacity_bytes, instance_id FROM node") == before
    assert secret not in cluster.gateway.err.read_text()


@pytest.mark.parametrize("name", GATEWAYS_HALF)
def test_the_secret_does_not_make_nonsense_a_node(cluster: Cluster, name: str) -> None:
    with refused("NOT_FOUND" if name.endswith("Heartbeat") else "INVALID_ARGUMENT"):
        call(cluster, name, secret=cluster_secret(cluster))


def cluster_secret(cluster: Cluster) -> str:
    return (cluster.data / "secrets" / "cluster.key").read_text().strip()


def test_refused_requests_are_not_kept_in_memory(cluster: Cluster) -> None:
    def memory_mib() -> float:
        return psutil.Process(cluster.gateway.pid).memory_info().rss / 2**20

    large = pb.ListFilesRequest(session_token="x" * (3 << 20))
    wrong = pb.CreateFolderRequest(session_token="none", folder_name="x" * (3 << 20))
    before = memory_mib()
    for _ in range(100):
        with refused("UNAUTHENTICATED"):
            cluster.files.ListFiles(large, timeout=CALL_S)
        with refused("UNAUTHENTICATED"):
            cluster.files.CreateFolder(wrong, timeout=CALL_S)
    assert memory_mib() - before < 150
