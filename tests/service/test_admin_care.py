"""Check, backup, restore and reconcile against real gateways and nodes."""

from __future__ import annotations

import shutil
import threading
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.services.read_only import OFFERED, OFFERED_SERVICES, REFUSED
from cluster_harness import CALM, PATIENT, Cluster
from every_rpc import METHODS, RPCS, admin_key, call, settle
from user import CALL_S, refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from postgres import Database
    from user import User

MIB = 1 << 20
FREE = "0" * 32


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """It mends nothing by itself."""
    settings = {**CALM, "cluster_node_timeout_s": 4}  # one test waits for it
    cluster = Cluster(tmp_path_factory.mktemp("care"), nodes=2, capacity_gb=20, **settings)
    try:
        yield cluster.start()
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def alice(cluster: Cluster) -> User:
    return cluster.enroll("alice@example.org")


def check(cluster: Cluster) -> tuple[list[pb.CheckClusterResponse], pb.CheckSummary]:
    """What was found, and the summary."""
    told = list(cluster.admin.CheckCluster(pb.CheckClusterRequest(admin_key=admin_key(cluster)), timeout=CALL_S))
    return [one for one in told if one.level != "progress"], told[-1].summary


def check_clean(cluster: Cluster) -> pb.CheckSummary:
    found, summary = check(cluster)
    assert found == [], found
    assert (summary.missing, summary.lost, summary.wrong, summary.unknown, summary.nodes_unreachable) == (0,) * 5
    return summary


def back_up(cluster: Cluster) -> bytes:
    pieces = cluster.admin.BackupMetadata(pb.BackupMetadataRequest(admin_key=admin_key(cluster)), timeout=CALL_S)
    told = [piece.data for piece in pieces]
    assert all(0 < len(data) <= MIB for data in told)
    return b"".join(told)


def restore(cluster: Cluster, data: bytes) -> pb.RestoreMetadataResponse:
    def messages() -> Iterator[pb.RestoreMetadataRequest]:
        yield pb.RestoreMetadataRequest(admin_key=admin_key(cluster))
        for start in range(0, len(data), 1000):
            yield pb.RestoreMetadataRequest(data=data[start : start + 1000])

    return cluster.admin.RestoreMetadata(messages(), timeout=CALL_S)


def reconcile(cluster: Cluster, **how: Any) -> pb.ReconcileClusterResponse:
    request = pb.ReconcileClusterRequest(admin_key=admin_key(cluster), **how)
    return cluster.admin.ReconcileCluster(request, timeout=CALL_S)


# Check


def test_a_check_of_a_whole_cluster_finds_nothing(cluster: Cluster, alice: User) -> None:
    before = check_clean(cluster)
    alice.upload("big", b"x" * (9 * MIB))
    after = check_clean(cluster)
    assert (after.files - before.files, after.chunks - before.chunks, after.copies - before.copies) == (1, 3, 6)
    assert after.nodes == 2


def test_a_check_finds_nothing_while_people_write(cluster: Cluster, alice: User) -> None:
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            alice.upload(f"busy {number % 5}", b"y" * 5000)
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(3):
            check_clean(cluster)
    finally:
        stop.set()
        writer.join()


def test_a_check_tells_copies_that_are_gone_and_what_is_lost(cluster: Cluster, alice: User) -> None:
    file_id = alice.upload("lonely", b"z" * 100, folder=alice.mkdir("a folder")).file_id
    (chunk_id,) = cluster.chunks_of(file_id)
    paths = [cluster.chunk_files(node)[chunk_id] for node in ("node1", "node2")]
    paths[0].rename(paths[0].with_suffix(".away"))
    found, summary = check(cluster)
    assert [(one.level, one.subject) for one in found] == [("missing", f"chunk {chunk_id}")]
    assert "node1 has no such file" in found[0].message
    assert (summary.missing, summary.lost) == (1, 0)
    paths[1].rename(paths[1].with_suffix(".away"))
    found, summary = check(cluster)
    assert [(one.level, one.subject) for one in found] == [("lost", "alice@example.org: /a folder/lonely")]
    assert (summary.missing, summary.lost) == (0, 1)
    for path in paths:
        path.with_suffix(".away").rename(path)
    check_clean(cluster)


def test_a_check_tells_of_files_that_no_row_names(cluster: Cluster, alice: User) -> None:
    alice.upload("small", b"s")
    some = next(iter(cluster.chunk_files("node2").values()))
    stray = some.parent.parent / FREE[:2] / FREE
    shutil.copy(some, stray)
    found, summary = check(cluster)
    stray.unlink()
    assert [(one.level, one.subject) for one in found] == [("note", f"chunk {FREE}")]
    assert "node2" in found[0].message
    assert summary.unknown == 1


def test_a_check_tells_what_is_wrong_in_the_metadata(cluster: Cluster, alice: User) -> None:
    mine = f"WHERE account_id = '{alice.user_id}'"
    cluster.change(f"UPDATE account SET used_bytes = used_bytes + 1 {mine}")
    found, summary = check(cluster)
    cluster.change(f"UPDATE account SET used_bytes = used_bytes - 1 {mine}")
    assert [(one.level, one.subject) for one in found] == [("wrong", "alice@example.org")]
    assert summary.wrong == 1


def test_a_check_goes_on_without_a_node_that_is_away(cluster: Cluster, alice: User) -> None:
    alice.upload("small", b"s")
    cluster.pause("node1")
    try:
        found, summary = check(cluster)
    finally:
        cluster.resume("node1")
    assert (summary.nodes, summary.nodes_unreachable, summary.lost) == (2, 1, 0)
    assert summary.missing == summary.chunks > 0
    assert [one.level for one in found if one.subject == "node1"] == ["note"]
    assert all("node1 cannot be reached" in one.message for one in found if one.level == "missing")
    cluster.wait(lambda: check(cluster)[1].nodes_unreachable == 0, what="node1 in reach")


# Backup


def test_who_leaves_in_the_middle_of_a_backup_leaves_nothing_behind(cluster: Cluster, alice: User) -> None:
    before = sorted(path.name for path in cluster.data.iterdir())
    pieces = cluster.admin.BackupMetadata(pb.BackupMetadataRequest(admin_key=admin_key(cluster)), timeout=CALL_S)
    next(pieces)
    pieces.cancel()
    assert back_up(cluster)
    assert sorted(path.name for path in cluster.data.iterdir()) == before


def test_a_gateway_in_use_is_not_restored(cluster: Cluster, alice: User) -> None:
    with refused("FAILED_PRECONDITION", "gateway_not_empty"):
        restore(cluster, back_up(cluster))
    with refused("FAILED_PRECONDITION", "not_restored"):
        reconcile(cluster)
    check_clean(cluster)


# The gate


def test_every_rpc_is_said_to_be_refused_or_offered_on_a_restored_drive() -> None:
    peoples = {name for name in METHODS if name.partition("/")[0] not in OFFERED_SERVICES}
    assert peoples == REFUSED | OFFERED
    assert not REFUSED & OFFERED


def test_a_restored_drive_refuses_every_change_and_offers_the_rest(cluster: Cluster, alice: User) -> None:
    bob = settle(cluster, "bob", alice)
    cluster.change("UPDATE cluster SET restored_at = 1, backup_made_at = 1")
    try:
        cluster.wait(lambda: is_refused(lambda: alice.mkdir("now")), what="the gate")
        for name in sorted(REFUSED):
            assert call(cluster.channel, name, RPCS[name].ask(bob)).code == "drive_restored", name
        for name in sorted(OFFERED - {"AuthService/Logout", "AuthService/EndSession"}):
            assert call(cluster.channel, name, RPCS[name].ask(bob)).code != "drive_restored", name
    finally:
        cluster.change("UPDATE cluster SET restored_at = NULL")
    cluster.wait(lambda: not is_refused(lambda: alice.mkdir("then")), what="the gate open")


def is_refused(act: Callable[[], object]) -> bool:
    try:
        act()
    except grpc.RpcError as error:
        return error.code() == grpc.StatusCode.UNAVAILABLE
    return False


# Restore


def test_a_lost_database_comes_back_on_the_other_engine(tmp_path: Path, postgres_database: Database) -> None:
    cluster = Cluster(tmp_path, nodes=2, capacity_gb=20, **PATIENT)
    try:
        cluster.start()
        alice = cluster.enroll("alice@example.org")
        folder = alice.mkdir("folder")
        kept = alice.upload("kept", b"k" * (5 * MIB), folder=folder).file_id
        lost = alice.upload("lost", b"l" * 100, folder=folder).file_id
        alice.begin("half", 1000)
        data = back_up(cluster)
        late = cluster.chunks_of(alice.upload("late", b"after the backup").file_id)
        for path in [cluster.chunk_files(node)[cluster.chunks_of(lost)[0]] for node in ("node1", "node2")]:
            path.unlink()
        short = cluster.chunks_of(kept)[0]
        cluster.chunk_files("node1")[short].unlink()
        for name in ("node1", "node2", "gateway"):
            cluster.stop(name)
        for path in cluster.data.glob("metadata.sqlite3*"):
            path.unlink()
        cluster.database = postgres_database
        cluster.start_gateway()
        come_back(cluster, data)
        cluster.start_node("node1")
        cluster.start_node("node2")
        go_on(cluster, alice, kept)
        cluster.wait(lambda: len(cluster.holders(short)) == 2, what="the missing copy made again")
        assert [cluster.holders(chunk_id) for chunk_id in late] == [["node1", "node2"]]
    finally:
        cluster.close()


def come_back(cluster: Cluster, data: bytes) -> None:
    with refused("FAILED_PRECONDITION", "backup_unreadable"):
        restore(cluster, data[:-1])
    told = restore(cluster, data)
    assert "Secrets are not in a backup" in told.message
    assert told.rows["account"] == 1
    with refused("FAILED_PRECONDITION", "gateway_not_empty"):
        restore(cluster, data)
    assert list(reconcile(cluster).nodes_waiting) == ["node1", "node2"]
    with refused("FAILED_PRECONDITION", "not_reconciled"):
        reconcile(cluster, open=True)


def go_on(cluster: Cluster, before: User, kept: str) -> None:
    cluster.wait(lambda: not reconcile(cluster).nodes_waiting, what="inventories")
    with refused("UNAUTHENTICATED", "session_ended"):
        before.download(kept)
    alice = cluster.login(before.email)
    assert alice.download(kept) == b"k" * (5 * MIB)
    with refused("UNAVAILABLE", "drive_restored"):
        alice.upload("new", b"n")
    found, summary = check(cluster)
    assert {one.subject for one in found if one.level == "lost"} == {"alice@example.org: /folder/lost"}
    assert (summary.wrong, summary.lost, summary.unknown) == (0, 1, 2)
    assert summary.missing == 1, "it was repaired before it was reconciled"
    told = reconcile(cluster, open=True)
    assert (told.is_open, told.chunks_lost, told.files_lost) == (True, 1, 1)
    assert list(told.files) == ["alice@example.org: /folder/lost"]
    alice.upload("new", b"n")
    kinds = {kind for (kind,) in cluster.rows("SELECT kind FROM event")}
    assert {"backup.made", "cluster.restored", "cluster.reconciled"} - kinds == {"backup.made"}  # it came after
