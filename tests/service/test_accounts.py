"""Limits, sessions and account care through a real gateway."""

from __future__ import annotations

import itertools
import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from cloudgrpc import rpc
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cluster_harness import CALM, PATIENT, Cluster
from user import CALL_S, User, refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NUMBERS = itertools.count(1)
CODE = re.compile(r"OTP code for (\S+): (\d{6})")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("accounts"), nodes=2, capacity_gb=500, **CALM)
    try:
        yield cluster.start()
    finally:
        cluster.close()


@pytest.fixture
def strict(make_cluster: Callable[..., Cluster]) -> Callable[..., Cluster]:
    """A gateway alone, whose limits a test sets."""
    return lambda **settings: make_cluster(**{"nodes": 0, **PATIENT, **settings})


def send(cluster: Cluster, email: str, **options: Any) -> None:
    cluster.auth.SendOTP(pb.SendOTPRequest(email=email), timeout=CALL_S, **options)


def verify(cluster: Cluster, email: str, code: str = "", **options: Any) -> str:
    request = pb.VerifyOTPRequest(email=email, otp=code or newest_code(cluster, email))
    return cluster.auth.VerifyOTP(request, timeout=CALL_S, **options).verification_token


def newest_code(cluster: Cluster, email: str) -> str:
    def found() -> list[str]:
        return [code for address, code in CODE.findall(cluster.gateway.out.read_text()) if address == email]

    cluster.wait(found, what=f"a code for {email}")
    return found()[-1]


def someone(cluster: Cluster) -> User:
    return cluster.enroll(f"person{next(NUMBERS)}@example.org")


def sign_in(cluster: Cluster, email: str, **options: Any) -> str:
    request = pb.LoginRequest(email=email, verification_token=cluster.prove(email))
    return cluster.auth.Login(request, timeout=CALL_S, **options).session_token


def events(cluster: Cluster, kind: str) -> list[dict[str, Any]]:
    return [json.loads(details) for (details,) in cluster.rows(f"SELECT details FROM event WHERE kind = '{kind}'")]


def seconds_told(failure: grpc.RpcError) -> int:
    """In words and in trailing metadata, and the same in both."""
    told = dict(failure.trailing_metadata())[rpc.WAIT_KEY]  # type: ignore[attr-defined]
    assert f"{told} s" in failure.details()  # type: ignore[attr-defined]
    return int(told)


def failure_of(work: Callable[[], object]) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        work()
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # type: ignore[attr-defined]
    return caught.value


# Limits


def test_the_next_code_comes_after_the_wait_and_the_first_stays_good(strict: Callable[..., Cluster]) -> None:
    cluster = strict(limits_resend_s=250)
    send(cluster, "alice@example.org")
    assert 200 < seconds_told(failure_of(lambda: send(cluster, "alice@example.org"))) <= 250
    send(cluster, "bob@example.org")
    assert verify(cluster, "alice@example.org")
    cluster.wait(lambda: events(cluster, "refused.too_many_codes"), what="the event")
    assert events(cluster, "refused.too_many_codes")[0]["from"] == "127.0.0.1"


def test_limits_of_codes_outlive_the_gateway(strict: Callable[..., Cluster]) -> None:
    cluster = strict(limits_codes_per_hour=2)
    for _ in range(2):
        send(cluster, "alice@example.org")
    cluster.restart()
    assert 1700 < seconds_told(failure_of(lambda: send(cluster, "alice@example.org"))) <= 1800


def test_one_peer_may_ask_for_so_many_codes_for_whatever_address(strict: Callable[..., Cluster]) -> None:
    cluster = strict(limits_peer_codes_per_hour=3)
    for number in range(3):
        send(cluster, f"person{number}@example.org")
    assert seconds_told(failure_of(lambda: send(cluster, "other@example.org"))) > 1000
    assert cluster.rows("SELECT count(*) FROM otp_challenge") == [(3,)]


def test_behind_a_proxy_its_callers_are_told_apart_by_what_it_says(strict: Callable[..., Cluster]) -> None:
    cluster = strict(limits_peer_codes_per_hour=1, gateway_behind_proxy="true")

    def by(address: str, number: int) -> None:
        send(cluster, f"p{number}@example.org", metadata=(("x-forwarded-for", f"10.0.0.{number}, {address}"),))

    by("203.0.113.1", 1)
    by("203.0.113.2", 2)
    failure_of(lambda: by("203.0.113.1", 3))


def test_codes_cannot_be_guessed_by_asking_for_new_ones(strict: Callable[..., Cluster]) -> None:
    cluster = strict(limits_tries_per_hour=7)
    answers = []
    for _ in range(3):
        code = cluster.send_code("alice@example.org")
        for _ in range(4):
            try:
                verify(cluster, "alice@example.org", "000000" if code != "000000" else "111111")
            except grpc.RpcError as failure:
                answers.append(rpc.error_of(failure, "the gateway").code)  # type: ignore[arg-type]
    assert answers == ["code_wrong"] * 7 + ["too_many_tries"] * 5
    with refused("RESOURCE_EXHAUSTED", "too_many_tries"):
        verify(cluster, "alice@example.org", code)


def test_one_peer_may_try_so_many_codes_for_whatever_address(strict: Callable[..., Cluster]) -> None:
    cluster = strict(limits_peer_tries_per_hour=3)
    for number in range(3):
        with refused("FAILED_PRECONDITION", "code_spent"):
            verify(cluster, f"person{number}@example.org", "123456")
    failure_of(lambda: verify(cluster, "other@example.org", "123456"))


def test_a_session_that_calls_too_often_waits_and_others_do_not(strict: Callable[..., Cluster]) -> None:
    cluster = strict(limits_calls_per_second=1, drive_overcommit=1000, nodes=1)
    alice, bob = someone(cluster), someone(cluster)

    def who(user: User) -> None:
        cluster.auth.WhoAmI(pb.WhoAmIRequest(session_token=user.token), timeout=CALL_S)

    for _ in range(10):
        who(alice)
    failure = failure_of(lambda: [who(alice) for _ in range(50)])
    assert seconds_told(failure) == 1
    who(bob)


def test_a_peer_that_calls_too_often_waits_whatever_it_calls(strict: Callable[..., Cluster]) -> None:
    cluster = strict(limits_peer_calls_per_second=2)
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(failing_code, cluster) for _ in range(100)]
    answers = [call.result() for call in calls]
    assert set(answers) == {"session_ended", "too_many_calls"}
    assert answers.count("session_ended") >= 20


def failing_code(cluster: Cluster) -> str:
    try:
        cluster.auth.WhoAmI(pb.WhoAmIRequest(session_token="none"), timeout=CALL_S)
    except grpc.RpcError as failure:
        return rpc.error_of(failure, "the gateway").code  # type: ignore[arg-type]
    return "let in"


# Sessions


def sessions_of(cluster: Cluster, token: str) -> list[pb.SessionInfo]:
    return list(cluster.auth.ListSessions(pb.ListSessionsRequest(session_token=token), timeout=CALL_S).sessions)


def test_sessions_tell_where_they_are_used_and_end_one_by_one_or_together(cluster: Cluster) -> None:
    alice = someone(cluster)
    tokens = [sign_in(cluster, alice.email, metadata=((rpc.CLIENT_KEY, f"phone {n}"),)) for n in range(3)]
    found = sessions_of(cluster, alice.token)
    assert [one.client for one in found[:3]] == ["phone 2", "phone 1", "phone 0"]
    assert {one.peer for one in found} == {"127.0.0.1"}
    assert [one.is_current for one in found] == [False, False, False, True]
    assert not {alice.token, *tokens} & {one.session_id for one in found}, "what is shown is no key"
    stub = cluster.auth
    request = pb.EndSessionRequest(session_token=alice.token, session_id=found[0].session_id)
    assert stub.EndSession(request, timeout=CALL_S).ended == 1
    with refused("UNAUTHENTICATED", "session_ended"):
        sessions_of(cluster, tokens[2])
    with refused("NOT_FOUND", "session_unknown"):
        stub.EndSession(request, timeout=CALL_S)
    with refused("INVALID_ARGUMENT", "invalid_field"):
        stub.EndSession(pb.EndSessionRequest(session_token=alice.token), timeout=CALL_S)
    with refused("INVALID_ARGUMENT", "invalid_field"):
        stub.EndSession(pb.EndSessionRequest(session_token=alice.token, session_id="a", others=True), timeout=CALL_S)
    assert stub.EndSession(pb.EndSessionRequest(session_token=alice.token, others=True), timeout=CALL_S).ended == 2
    assert [one.is_current for one in sessions_of(cluster, alice.token)] == [True]


def test_when_a_session_was_last_used_is_kept_to_the_minute(cluster: Cluster) -> None:
    alice = someone(cluster)
    query = f"SELECT last_used_at - created_at FROM session WHERE account_id = '{alice.user_id}'"
    alice.names()
    cluster.wait(lambda: cluster.rows(query)[0][0] > 0, what="the use to be written down")
    written = cluster.rows(query)
    for _ in range(20):
        alice.names()
    assert cluster.rows(query) == written, "not with every call"


# Account care


def test_a_person_can_be_called_otherwise(cluster: Cluster) -> None:
    alice = someone(cluster)
    request = pb.ChangeNameRequest(session_token=alice.token, full_name="  Ngozi Çelik  ")
    assert cluster.auth.ChangeName(request, timeout=CALL_S).full_name == "Ngozi Çelik"
    me = cluster.auth.WhoAmI(pb.WhoAmIRequest(session_token=alice.token), timeout=CALL_S)
    assert me.full_name == "Ngozi Çelik"
    for bad in ("", "a\nb", "x" * 201):
        with refused("INVALID_ARGUMENT", "invalid_field"):
            cluster.auth.ChangeName(pb.ChangeNameRequest(session_token=alice.token, full_name=bad), timeout=CALL_S)


def test_an_export_is_json_of_everything_of_mine_and_holds_no_secret(cluster: Cluster) -> None:
    alice, bob = someone(cluster), someone(cluster)
    folder = alice.mkdir('Bücher "neu"')
    kept = alice.upload("a.txt", b"new", folder=folder)
    alice.delete(alice.upload("gone.txt", b"x").file_id)
    bob.upload("bobs secret.txt", b"x")
    request = pb.ExportAccountRequest(session_token=alice.token)
    text = b"".join(piece.data for piece in cluster.auth.ExportAccount(request, timeout=CALL_S)).decode()
    data = json.loads(text)
    assert data["account"]["email"] == alice.email
    assert {row["name"] for row in data["entries"]} == {"", 'Bücher "neu"', "a.txt", "gone.txt"}
    assert {row["checksum"] for row in data["versions"]} >= {kept.checksum}
    assert "file.uploaded" in {row["kind"] for row in data["events"]}
    assert alice.token not in text
    assert "bobs" not in text


def close(cluster: Cluster, user: User, proof: str = "") -> str:
    proof = proof or cluster.prove(user.email)
    request = pb.CloseAccountRequest(session_token=user.token, verification_token=proof)
    return cluster.auth.CloseAccount(request, timeout=CALL_S).closes_at


def test_a_closed_account_lets_nobody_at_its_files_until_it_is_taken_back(cluster: Cluster) -> None:
    alice, bob = someone(cluster), someone(cluster)
    file_id = alice.upload("a.txt", b"content").file_id
    for proof in (cluster.prove(bob.email), "none"):
        with refused("UNAUTHENTICATED", "proof_missing"):
            close(cluster, alice, proof)
    with refused("UNAUTHENTICATED", "proof_missing"):
        cluster.auth.CloseAccount(pb.CloseAccountRequest(session_token=alice.token), timeout=CALL_S)
    assert alice.names() == ["a.txt"]
    closes_at = close(cluster, alice)
    with refused("FAILED_PRECONDITION", "account_closed") as errors:
        alice.names()
    assert closes_at[:10] in str(errors[0])
    with refused("FAILED_PRECONDITION", "account_closed"):
        alice.download(file_id)
    with refused("FAILED_PRECONDITION", "account_closed"):
        alice.upload("b.txt", b"x")
    alice.token = sign_in(cluster, alice.email)
    me = cluster.auth.WhoAmI(pb.WhoAmIRequest(session_token=alice.token), timeout=CALL_S)
    assert me.closes_at == closes_at
    cluster.auth.ReopenAccount(pb.ReopenAccountRequest(session_token=alice.token), timeout=CALL_S)
    assert alice.download(file_id) == b"content"


def test_when_its_time_is_over_a_closed_account_goes_with_its_files(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(nodes=2, upkeep_closed_account_s=0.5, **PATIENT)
    alice = cluster.enroll("alice@example.org")
    (chunk_id,) = cluster.chunks_of(alice.upload("a.txt", b"content").file_id)
    close(cluster, alice)
    cluster.wait(lambda: not cluster.rows("SELECT 1 FROM account"), what="the account to go")
    with refused("UNAUTHENTICATED", "session_ended"):
        alice.names()
    unneeded = f"chunk_id = '{chunk_id}' AND unreferenced_at IS NOT NULL"
    cluster.wait(lambda: cluster.rows(f"SELECT 1 FROM chunk WHERE {unneeded}"), what="its chunk to be needed no more")
    cluster.change(f"UPDATE chunk SET unreferenced_at = 1 WHERE {unneeded}")  # so that its grace is over
    cluster.wait(lambda: not cluster.holders(chunk_id), what="its chunk to go from the nodes")
    again = cluster.enroll("alice@example.org")
    assert again.names() == []


# The trail, and what must not be in it


def test_who_did_what_from_where_is_in_the_record_and_no_secret_is(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(nodes=1, logging_level="debug")
    told = ((rpc.CLIENT_KEY, "a test"),)
    alice = cluster.enroll("alice@example.org")
    code = cluster.send_code(alice.email)
    with refused("INVALID_ARGUMENT", "code_wrong"):
        verify(cluster, alice.email, f"{(int(code) + 1) % 1_000_000:06}", metadata=told)
    proof = verify(cluster, alice.email, metadata=told)
    request = pb.LoginRequest(email=alice.email, verification_token=proof)
    token = cluster.auth.Login(request, timeout=CALL_S, metadata=told).session_token
    cluster.auth.Logout(pb.LogoutRequest(session_token=token), timeout=CALL_S, metadata=told)
    for _ in range(3):
        with refused("UNAUTHENTICATED", "session_ended"):
            cluster.auth.WhoAmI(pb.WhoAmIRequest(session_token=token), timeout=CALL_S, metadata=told)
    done = ["code.wrong", "code.verified", "session.started", "session.ended", "refused.session_ended"]
    where = {"from": "127.0.0.1", "client": "a test"}
    for kind in done:
        cluster.wait(lambda: any(where.items() <= event.items() for event in events(cluster, kind)), what=kind)  # noqa: B023
    assert len(events(cluster, "refused.session_ended")) == 1, "a flood of refusals does not fill the database"
    secrets = [proof, token, alice.token, cluster.data.joinpath("secrets", "digest.key").read_text().strip()]
    code_alone = rf"(?<![0-9a-f]){code}(?![0-9a-f])"  # times and digests may hold these six digits by chance
    tables = [name for (name,) in cluster.rows("SELECT name FROM sqlite_master WHERE type = 'table'")]
    kept = "\n".join(str(row) for table in tables for row in cluster.rows(f"SELECT * FROM {table}"))
    for secret in (code_alone, *map(re.escape, secrets)):
        assert not re.search(secret, kept)
        assert not re.search(secret, cluster.gateway.err.read_text())
