"""What operators do with nodes, over the wire: drain, remove, repair, scrub, and what is refused.

One cluster serves all, since a start of one takes longer than a test; each test takes the nodes that are there, and
leaves every chunk with its copies. The last ones take nodes away for good.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from cloudgrpc import rpc
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cluster_harness import PATIENT, Cluster
from every_rpc import admin_key
from user import CALL_S

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from user import User

# Small beside what nodes may differ by: none moves beyond the mean, so that large ones would lie unevenly for good.
FILES = {f"file{number}": random.Random(number).randbytes(50_000 * (1 + number % 8) + 1) for number in range(16)}


CAPACITY_GB = 0.02
PERCENT = 6  # of it may nodes differ
REST_S = 0.7  # many rounds, and two heartbeats
# After a look at all copies the gateway rests twenty times as long as that took, also when it stood still meanwhile.
REPAIR_S = 90.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(
        tmp_path_factory.mktemp("nodes"),
        nodes=4,
        capacity_gb=CAPACITY_GB,
        node_disk_reserve_mb=0,
        drive_overcommit=1000,
        upkeep_round_s=0.1,
        upkeep_repair_delay_s=3600,
        upkeep_rebalance_percent=PERCENT,
        **PATIENT,
    )
    try:
        yield cluster.start()
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def alice(cluster: Cluster) -> User:
    alice = cluster.enroll("alice@example.org")
    for name, content in FILES.items():
        alice.upload(name, content)
    return alice


def ask(cluster: Cluster, method: str, request: Any) -> Any:
    request.admin_key = admin_key(cluster)
    return getattr(cluster.admin, method)(request, timeout=CALL_S)


def refusal(cluster: Cluster, method: str, request: Any) -> tuple[str, str]:
    """Its stable code, and its words."""
    with pytest.raises(grpc.RpcError) as failure:
        ask(cluster, method, request)
    error: Any = failure.value
    return dict(error.trailing_metadata())[rpc.ERROR_KEY], error.details()


def flip(path: Path) -> None:
    """One bit, in the last byte."""
    path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1]))


def check_files(alice: User) -> None:
    ids = {file.filename: file.file_id for file in alice.ls().files}
    for name, content in FILES.items():
        assert alice.download(ids[name]) == content


def events(cluster: Cluster, kind: str) -> list[str]:
    return [str(message) for (message,) in cluster.rows(f"SELECT message FROM event WHERE kind = '{kind}'")]


def good_copies(cluster: Cluster) -> dict[str, set[str]]:
    """Of each chunk that a file needs, the nodes that have one."""
    held: dict[str, set[str]] = {chunk_id: set() for (chunk_id,) in cluster.rows("SELECT chunk_id FROM extent")}
    for chunk_id, node_id in cluster.rows("SELECT chunk_id, node_id FROM copy WHERE state = 'good'"):
        if chunk_id in held:
            held[chunk_id].add(node_id)
    return held


def all_have(cluster: Cluster, copies: int, among: set[str]) -> bool:
    return all(len(nodes) == copies and nodes <= among for nodes in good_copies(cluster).values())


def wait_rest(cluster: Cluster) -> None:
    """Until all nodes are there, each chunk is on two of them, and for some time nothing was moved any more."""
    seen: list[tuple[str, float]] = []

    def rests() -> bool:
        copies = str(cluster.rows("SELECT chunk_id, node_id, state FROM copy ORDER BY chunk_id, node_id"))
        going = "SELECT 1 FROM copy JOIN extent ON extent.chunk_id = copy.chunk_id WHERE state <> 'good'"
        is_busy = cluster.rows(f"SELECT 1 FROM node WHERE NOT is_online UNION {going}")
        if is_busy or not all_have(cluster, 2, set(cluster.online())):
            seen.clear()
            return False
        if not seen or seen[-1][0] != copies:
            seen.append((copies, time.monotonic()))
        return time.monotonic() - seen[-1][1] > REST_S

    cluster.wait(rests, REPAIR_S, "nothing left to do")


def test_a_drained_node_empties_is_removed_and_never_joins_again(cluster: Cluster, alice: User) -> None:
    gone = alice.upload("gone", b"x" * 100_000).file_id
    (unneeded,) = cluster.chunks_of(gone)
    alice.delete(gone, permanent=True)  # its chunks stay for the grace time, but must not hold up the drain
    is_unneeded = f"SELECT 1 FROM chunk WHERE chunk_id = '{unneeded}' AND unreferenced_at IS NOT NULL"
    cluster.wait(lambda: cluster.rows(is_unneeded), what="the sweep")
    wait_rest(cluster)
    leaving = max(cluster.holders(unneeded), key=lambda node_id: len(cluster.chunk_files(node_id)))
    its_copy = f"chunk_id = '{unneeded}' AND node_id = '{leaving}'"
    cluster.change(f"UPDATE copy SET state = 'bad' WHERE {its_copy}")  # nor when nobody can read them there
    stay = set(cluster.online()) - {leaving}
    assert cluster.chunk_files(leaving)
    reply = ask(cluster, "DrainNode", pb.DrainNodeRequest(node_id=leaving))
    assert (reply.node.node_id, bool(reply.node.draining_since)) == (leaving, True)
    assert (reply.copies_wanted, reply.copies_before) == (2, 2)
    check_files(alice)
    cluster.wait(lambda: events(cluster, "node.drained"), REPAIR_S, "the drain's end")
    assert not cluster.chunk_files(leaving)
    cluster.wait(lambda: all_have(cluster, 2, stay), REPAIR_S, "two copies of each on the others")
    check_files(alice)

    would = ask(cluster, "RemoveNode", pb.RemoveNodeRequest(node_id=leaving, dry_run=True))
    assert (would.copies, would.chunks_lost) == (0, 0)
    assert leaving in cluster.online()
    ask(cluster, "RemoveNode", pb.RemoveNodeRequest(node_id=leaving))
    assert refusal(cluster, "RemoveNode", pb.RemoveNodeRequest(node_id=leaving))[0] == "node_unknown"
    cluster.wait(lambda: not cluster.node(leaving).is_running, what="the removed node to end")
    assert set(cluster.online()) == stay
    assert len(events(cluster, "node.drained")) == len(events(cluster, "node.removed")) == 1


def test_scrubbing_finds_what_went_bad_though_nobody_read_it(cluster: Cluster, alice: User) -> None:
    wait_rest(cluster)
    one, two, *_ = cluster.online()
    mine = set(good_copies(cluster))
    flipped, unreadable = sorted(mine & cluster.chunk_files(one).keys())[:2]
    gone = min((mine & cluster.chunk_files(two).keys()) - {flipped, unreadable})
    flip(cluster.chunk_files(one)[flipped])
    cluster.chunk_files(two)[gone].unlink()
    reply = ask(cluster, "StartScrub", pb.StartScrubRequest())
    assert sorted(reply.node_ids) == cluster.online()
    cluster.wait(lambda: len(events(cluster, "scrub.done")) == len(cluster.online()), what="the scrub's end")
    assert len(events(cluster, "copy.bad")) == 2
    # A folder in place of a file: its disk says that it cannot be read, as it does of a bad sector.
    path = cluster.chunk_files(one)[unreadable]
    path.unlink()
    path.mkdir()
    ask(cluster, "StartScrub", pb.StartScrubRequest(node_id=one))
    cluster.wait(lambda: len(events(cluster, "copy.bad")) == 3, what="the unreadable one found")
    path.rmdir()
    cluster.wait(lambda: all_have(cluster, 2, set(cluster.online())), REPAIR_S, "repair")
    assert list((cluster.node_folder(one) / "quarantine").iterdir())
    check_files(alice)


def test_an_operator_need_not_wait_for_a_node_that_is_away(cluster: Cluster, alice: User) -> None:
    wait_rest(cluster)
    *stay, away = cluster.online()
    here = set(stay)
    cluster.silence(away)
    on_it = [chunk_id for chunk_id, nodes in good_copies(cluster).items() if away in nodes]
    assert on_it
    waiting = ask(cluster, "StartRepair", pb.StartRepairRequest())
    assert waiting.chunks_missing == len(on_it)
    assert sum(len(nodes & here) < 2 for nodes in good_copies(cluster).values()) == len(on_it)
    ask(cluster, "StartRepair", pb.StartRepairRequest(now=True))
    cluster.wait(lambda: all(len(nodes & here) == 2 for nodes in good_copies(cluster).values()), REPAIR_S, "repair")
    # What would stay is read before anything goes. Whichever node is the fullest, some of these would have stayed.
    was_bad, held = len(events(cluster, "copy.bad")), good_copies(cluster)
    for number, chunk_id in enumerate(on_it):
        flip(cluster.chunk_files(sorted(held[chunk_id] & here)[number % 2])[chunk_id])
    cluster.start_node(away)
    cluster.wait(lambda: all_have(cluster, 2, {*here, away}), REPAIR_S, "the third copies given up")
    assert len(events(cluster, "copy.bad")) > was_bad
    wait_rest(cluster)
    held = good_copies(cluster)
    files = {node_id: cluster.chunk_files(node_id) for node_id in cluster.online()}
    assert all(held.keys() & files[node_id] == {one for one in held if node_id in held[one]} for node_id in files)
    assert all(len({files[node_id][one].read_bytes() for node_id in held[one]}) == 1 for one in held)
    check_files(alice)


def test_a_new_empty_node_fills_up_and_then_nothing_moves_any_more(cluster: Cluster, alice: User) -> None:
    wait_rest(cluster)
    cluster.start_node("node5")
    fewest = []

    def is_even() -> bool:
        held = good_copies(cluster)
        fewest.append(min(map(len, held.values())))
        lengths = dict(cluster.rows("SELECT chunk_id, length FROM chunk"))
        used = [sum(lengths[one] for one in held if node in held[one]) for node in cluster.online()]
        return max(used) - min(used) < PERCENT / 100 * CAPACITY_GB * (1 << 30)

    cluster.wait(is_even, REPAIR_S, "an even fill")
    assert min(fewest) == 2
    wait_rest(cluster)
    assert is_even()
    assert cluster.chunk_files("node5")
    check_files(alice)


def test_a_lost_node_is_removed_and_what_went_with_it_is_told(cluster: Cluster, alice: User) -> None:
    alone = cluster.chunks_of(alice.upload("alone", b"only here").file_id)[0]
    wait_rest(cluster)
    keeper = min(good_copies(cluster)[alone])
    cluster.silence(keeper)

    def is_only_there() -> bool:
        """A copy may be moving from one of the others to the next."""
        for node_id in good_copies(cluster)[alone] - {keeper}:
            cluster.chunk_files(node_id)[alone].unlink(missing_ok=True)
            cluster.change(f"DELETE FROM copy WHERE chunk_id = '{alone}' AND node_id = '{node_id}'")
        return not any(alone in cluster.chunk_files(node_id) for node_id in cluster.online())

    cluster.wait(is_only_there, what="no other copy")
    stay = set(cluster.online())
    would = ask(cluster, "RemoveNode", pb.RemoveNodeRequest(node_id=keeper, lost=True, dry_run=True))
    assert (would.chunks_lost, would.files_lost, list(would.files)) == (1, 1, ["alice@example.org: /alone"])
    assert len(cluster.rows("SELECT node_id FROM node")) == len(stay) + 1
    done = ask(cluster, "RemoveNode", pb.RemoveNodeRequest(node_id=keeper, lost=True))
    assert (done.copies, done.chunks_lost, list(done.files)) == (would.copies, 1, list(would.files))
    cluster.wait(
        lambda: sum(len(nodes & stay) == 2 for nodes in good_copies(cluster).values()) >= len(FILES), REPAIR_S, "repair"
    )
    check_files(alice)
    asked = ask(cluster, "StartRepair", pb.StartRepairRequest())
    assert (asked.chunks_missing, asked.chunks_lost) == (0, 1)
    alice.delete(next(file.file_id for file in alice.ls().files if file.filename == "alone"), permanent=True)


def test_what_cannot_be_done_with_a_node_is_refused_with_the_reason(cluster: Cluster, alice: User) -> None:
    wait_rest(cluster)
    first, second, *others = cluster.online()
    with pytest.raises(grpc.RpcError) as failure:
        cluster.admin.DrainNode(pb.DrainNodeRequest(admin_key="wrong", node_id=first), timeout=CALL_S)
    assert "UNAUTHENTICATED" in str(failure.value)
    copies = cluster.rows(f"SELECT count(*) FROM copy WHERE node_id = '{first}'")[0][0]
    code, words = refusal(cluster, "RemoveNode", pb.RemoveNodeRequest(node_id=first))
    assert (code, str(copies) in words) == ("node_not_empty", True)
    for is_dry in (False, True):
        request = pb.RemoveNodeRequest(node_id=first, lost=True, dry_run=is_dry)
        assert refusal(cluster, "RemoveNode", request)[0] == "node_not_offline"
    unknown: list[tuple[str, Any]] = [
        ("DrainNode", pb.DrainNodeRequest(node_id="node9")),
        ("DrainNode", pb.DrainNodeRequest(node_id="node9", undrain=True)),
        ("RemoveNode", pb.RemoveNodeRequest(node_id="node9", dry_run=True)),
        ("StartScrub", pb.StartScrubRequest(node_id="node9")),
    ]
    for method, asked in unknown:
        assert refusal(cluster, method, asked)[0] == "node_unknown"

    for node_id in others:
        ask(cluster, "DrainNode", pb.DrainNodeRequest(node_id=node_id))
    reply = ask(cluster, "DrainNode", pb.DrainNodeRequest(node_id=first))
    assert (reply.copies_wanted, reply.copies_before) == (1, 2)
    assert "1 instead of 2" in reply.message
    assert refusal(cluster, "DrainNode", pb.DrainNodeRequest(node_id=second))[0] == "last_node"
    cluster.wait(lambda: all_have(cluster, 1, {second}), REPAIR_S, "one copy of each, on the node that stays")
    ask(cluster, "DrainNode", pb.DrainNodeRequest(node_id=first, undrain=True))
    cluster.wait(lambda: all_have(cluster, 2, {first, second}), REPAIR_S, "two copies again")
    check_files(alice)
