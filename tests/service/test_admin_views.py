"""What operators see of the whole, nodes and people, and what they do with an account, against a real gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest

from cloudgrpc import __version__, rpc
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cluster_harness import PATIENT, Cluster
from every_rpc import admin_key
from user import CALL_S, upload_messages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from user import User

GB = 1 << 30


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("views"), nodes=2, capacity_gb=100, node_zone="hall", **PATIENT)
    try:
        yield cluster.start()
    finally:
        cluster.close()


@pytest.fixture
def alice(cluster: Cluster, request: pytest.FixtureRequest) -> User:
    return cluster.enroll(f"alice-{abs(hash(request.node.name))}@example.org", "Alice Person")


def ask(cluster: Cluster, method: str, request: Any) -> Any:
    request.admin_key = admin_key(cluster)
    return getattr(cluster.admin, method)(request, timeout=CALL_S)


def status(cluster: Cluster) -> pb.SystemStatusResponse:
    told: pb.SystemStatusResponse = ask(cluster, "GetSystemStatus", pb.SystemStatusRequest())
    return told


def nodes(cluster: Cluster) -> list[pb.NodeInfo]:
    return list(ask(cluster, "ListAllNodes", pb.ListNodesRequest()).nodes)


def user_of(cluster: Cluster, person: User) -> pb.UserInfo:
    told: pb.UserInfo = ask(cluster, "GetUserDetails", pb.UserDetailsRequest(user_id=person.user_id)).user
    return told


def set_quota(cluster: Cluster, person: User, quota: int, expected: int | None = None) -> pb.SetQuotaResponse:
    request = pb.SetQuotaRequest(user=person.email, quota_bytes=quota, expected_bytes=expected)
    told: pb.SetQuotaResponse = ask(cluster, "SetQuota", request)
    return told


def set_disabled(cluster: Cluster, person: User, reason: str = "", *, disabled: bool = True) -> pb.UserInfo:
    request = pb.SetUserDisabledRequest(user=person.email, disabled=disabled, reason=reason)
    told: pb.UserInfo = ask(cluster, "SetUserDisabled", request).user
    return told


def refusal(error: pytest.ExceptionInfo[grpc.RpcError]) -> tuple[str, str]:
    """The status and our own code."""
    failure: Any = error.value
    return failure.code().name, dict(failure.trailing_metadata())[rpc.ERROR_KEY]


def test_the_status_tells_the_whole(cluster: Cluster, alice: User) -> None:
    alice.upload("a", b"x" * 1000)
    alice.begin("resting", 5)
    cluster.wait(lambda: status(cluster).chunks.whole == 1, what="counted")
    events = "SELECT count(*) FROM event"
    cluster.wait(lambda: status(cluster).last_event_id == cluster.rows(events)[0][0] > 0, what="all events numbered")
    told = status(cluster)
    assert told.version == __version__
    assert (told.total_nodes, told.online_nodes, told.can_write, told.mode) == (2, 2, True, "open")
    assert told.system_health == pytest.approx(1, abs=0.5)
    assert told.global_capacity_bytes == 200 * GB
    assert (told.total_users, told.sessions, told.global_allocated_bytes) == (1, 1, GB)
    assert (told.global_used_bytes, told.total_files, told.uploads) == (1000, 1, 1)
    assert (told.chunks.copies_wanted, told.chunks.write_quorum, told.chunks.copies_missing) == (2, 2, 0)
    assert told.chunks.repair_seconds_left == 0
    assert told.promisable_bytes == 200 * GB // 2 * 4  # two copies, promised four times
    assert told.started_at < told.asked_at


def test_speeds_are_told_of_now_and_of_the_last_minutes(cluster: Cluster, alice: User) -> None:
    def is_told() -> bool:
        """What moved a moment ago, unless this was stopped for longer than a moment."""
        alice.download(alice.upload("a", bytes(3 << 20)).file_id)
        told = status(cluster)
        return told.up_bytes_s > 0 and told.down_bytes_s > 0

    cluster.wait(is_told, what="the speed of now")
    cluster.wait(lambda: any(speed.down_bytes_s for speed in status(cluster).speeds), what="a span of five seconds")
    assert sum(speed.up_bytes_s * speed.span_s for speed in status(cluster).speeds) >= 3 << 20


def test_nodes_are_told_with_their_health(cluster: Cluster) -> None:
    cluster.wait(lambda: all(0 < node.heartbeat_age_s < 1 for node in nodes(cluster)), what="heartbeats")
    told = nodes(cluster)
    assert [node.node_id for node in told] == ["node1", "node2"]
    for node in told:
        assert (node.status, node.zone, node.reason, node.collecting) == ("online", "hall", "", True)
        assert node.port == cluster.node_port(node.node_id)
        assert 0 < node.health_score <= 1
        assert node.storage_capacity == 100 * GB
    cluster.wait(lambda: all(node.latency_ms > 0 for node in nodes(cluster)), what="latencies are measured")


def test_users_are_listed_by_pages_and_searched(cluster: Cluster, alice: User) -> None:
    bob = cluster.enroll("bob-of-the-list@example.org", "Bob Person")
    found, token = list[str](), ""
    while True:
        page = ask(cluster, "ListAllUsers", pb.ListUsersRequest(page_size=1, page_token=token))
        found += [user.email for user in page.users]
        token = page.next_page_token
        if not token:
            break
    everybody = ask(cluster, "ListAllUsers", pb.ListUsersRequest())
    assert found == [user.email for user in everybody.users]
    assert found[:2] == [bob.email, alice.email]
    searched = ask(cluster, "ListAllUsers", pb.ListUsersRequest(search="OF-THE-LIST"))
    assert [user.user_id for user in searched.users] == [bob.user_id]


@pytest.mark.parametrize(("size", "token"), [(-1, ""), (10_001, ""), (1, "nonsense")])
def test_a_page_that_cannot_be_is_refused(cluster: Cluster, size: int, token: str) -> None:
    with pytest.raises(grpc.RpcError) as error:
        ask(cluster, "ListAllUsers", pb.ListUsersRequest(page_size=size, page_token=token))
    assert refusal(error) == ("INVALID_ARGUMENT", "invalid_field")


def test_details_tell_what_a_person_has(cluster: Cluster, alice: User) -> None:
    folder = alice.mkdir("folder")
    file_id = alice.upload("a", b"one", folder=folder).file_id
    alice.upload("a", b"three", folder=folder)
    alice.delete(alice.upload("gone", b"1234567").file_id)
    told = ask(cluster, "GetUserDetails", pb.UserDetailsRequest(user_id=alice.email))
    assert (told.user.user_id, told.user.name, told.user.file_count) == (alice.user_id, "Alice Person", 1)
    assert [(file.file_id, file.version, file.file_size) for file in told.files] == [(file_id, 2, 5)]
    assert (told.trash_bytes, told.version_bytes, told.folder_count) == (7, 3, 1)
    assert told.user.storage_used == 15
    assert len(told.sessions) == 1
    assert told.events[0].event_type == "entry.trashed"
    assert told.events[0].by == alice.email


def test_details_of_nobody_are_not_found(cluster: Cluster) -> None:
    with pytest.raises(grpc.RpcError) as error:
        ask(cluster, "GetUserDetails", pb.UserDetailsRequest(user_id="nobody@example.org"))
    assert refusal(error) == ("NOT_FOUND", "user_unknown")


def test_a_quota_is_changed_and_told(cluster: Cluster, alice: User) -> None:
    before = status(cluster).promised_bytes
    told = set_quota(cluster, alice, 3 * GB, expected=GB)
    assert told.user.storage_allocated == 3 * GB
    assert told.promised_bytes == before + 2 * GB
    assert told.promisable_bytes == status(cluster).promisable_bytes
    with pytest.raises(grpc.RpcError) as error:
        set_quota(cluster, alice, GB, expected=2 * GB)
    assert refusal(error) == ("ABORTED", "quota_moved")


def test_an_event_is_told_the_same_of_an_account_and_in_the_stream(cluster: Cluster, alice: User) -> None:
    set_quota(cluster, alice, 2 * GB)
    request = pb.StreamEventsRequest(
        admin_key=admin_key(cluster), after_id=0, types=["quota."], user=alice.user_id, stop_at_end=True
    )
    streamed = list(cluster.admin.StreamSystemEvents(request, timeout=CALL_S))
    details = ask(cluster, "GetUserDetails", pb.UserDetailsRequest(user_id=alice.email))
    assert streamed == [event for event in details.events if event.event_type == "quota.changed"]
    assert [event.by for event in streamed] == ["operator the gateway's own key"]


@pytest.mark.parametrize("quota", [-1, (1 << 50) + 1])
def test_a_quota_that_cannot_be_is_refused(cluster: Cluster, alice: User, quota: int) -> None:
    with pytest.raises(grpc.RpcError) as error:
        set_quota(cluster, alice, quota)
    assert refusal(error) == ("INVALID_ARGUMENT", "invalid_field")
    assert user_of(cluster, alice).storage_allocated == GB


def test_a_person_without_room_reads_and_deletes(cluster: Cluster, alice: User) -> None:
    file_id = alice.upload("a", b"0123456789").file_id
    set_quota(cluster, alice, 5)
    with pytest.raises(grpc.RpcError) as error:
        alice.upload("b", b"x")
    assert refusal(error) == ("RESOURCE_EXHAUSTED", "quota_exceeded")
    assert alice.download(file_id) == b"0123456789"
    alice.delete(file_id, permanent=True)
    assert alice.upload("b", b"x").file_id


def test_a_disabled_person_is_out_until_let_in_again(cluster: Cluster, alice: User) -> None:
    file_id = alice.upload("a", b"kept").file_id
    resting = alice.begin("resting", 0)
    told = set_disabled(cluster, alice, "the bill is open")
    assert told.disabled_reason == "the bill is open"
    assert told.disabled_at
    assert told.sessions == 0
    with pytest.raises(grpc.RpcError) as error:
        alice.download(file_id)
    assert refusal(error) == ("UNAUTHENTICATED", "session_ended")
    with pytest.raises(grpc.RpcError) as error:
        cluster.uploads.FinishUpload(pb.FinishUploadRequest(session_token=alice.token, upload_id=resting))
    assert refusal(error) == ("UNAUTHENTICATED", "session_ended")
    with pytest.raises(grpc.RpcError, match="disabled by an operator: the bill is open") as error:
        cluster.login(alice.email)
    assert refusal(error) == ("PERMISSION_DENIED", "account_disabled")
    with pytest.raises(grpc.RpcError) as error:
        cluster.enroll(alice.email)
    assert refusal(error) == ("PERMISSION_DENIED", "account_disabled")
    assert status(cluster).disabled_users == 1
    set_disabled(cluster, alice, disabled=False)
    assert cluster.login(alice.email).download(file_id) == b"kept"


def test_an_upload_that_is_on_its_way_is_not_kept(cluster: Cluster, alice: User) -> None:
    """Its stream was let in before the person was shut out."""
    messages = list(upload_messages(alice.token, "late", bytes(3 << 20)))

    def sent() -> Iterator[pb.UploadFileRequest]:
        yield from messages[:-1]
        cluster.wait(lambda: cluster.used_bytes(alice.email)[1] > 0, what="the upload has begun")
        set_disabled(cluster, alice, "now")
        yield messages[-1]

    with pytest.raises(grpc.RpcError, match="disabled by an operator: now") as error:
        cluster.files.UploadFile(sent(), timeout=CALL_S)
    assert refusal(error) == ("PERMISSION_DENIED", "account_disabled")
    assert cluster.used_bytes(alice.email) == (0, 0)
    set_disabled(cluster, alice, disabled=False)


@pytest.mark.parametrize("reason", ["x" * 201, "two\nlines"])
def test_a_reason_that_cannot_be_shown_is_refused(cluster: Cluster, alice: User, reason: str) -> None:
    with pytest.raises(grpc.RpcError) as error:
        set_disabled(cluster, alice, reason)
    assert refusal(error) == ("INVALID_ARGUMENT", "invalid_field")
    assert not user_of(cluster, alice).disabled_at


def test_a_node_that_is_away_is_told_with_what_it_lacks(cluster: Cluster, alice: User) -> None:
    alice.upload("a", b"x" * 500)
    cluster.silence("node2")
    cluster.wait(lambda: not status(cluster).can_write, what="node2 known to be offline")
    cluster.wait(lambda: status(cluster).chunks.missing > 0, what="counted")
    told = status(cluster)
    assert (told.online_nodes, told.system_health) == (1, 0)
    assert told.chunks.whole == told.chunks.lost == 0
    assert told.chunks.copies_missing == told.total_chunks
    assert told.chunks.repair_seconds_left < 0  # there is no node to repair to
    assert [line.partition(":")[0] for line in told.warnings[:2]] == ["Nothing can be stored", "node2 is offline."]
    away = nodes(cluster)[1]
    assert (away.status, away.health_score) == ("offline", 0)
    assert away.offline_since
    assert "offline" in away.reason
