"""What operators do with nodes, over the wire on a real cluster: drain, remove, repair, scrub, and what is refused."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from cloudgrpc import rpc
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cluster_harness import Cluster
from every_rpc import admin_key
from user import CALL_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from user import User

FILES = {f"file{number}": random.Random(number).randbytes(100_000 * number + 1) for number in range(1, 9)}


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    """A cluster that is closed in the end."""
    started: list[Cluster] = []

    def make(nodes: int, **settings: Any) -> Cluster:
        started.append(Cluster(tmp_path, nodes=nodes, upkeep_round_s=0.1, **settings))
        return started[0].start()

    yield make
    for cluster in started:
        cluster.close()


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


def filled(cluster: Cluster) -> User:
    alice = cluster.enroll("alice@example.org")
    for name, content in FILES.items():
        alice.upload(name, content)
    return alice


def check_files(alice: User) -> None:
    ids = {file.filename: file.file_id for file in alice.ls().files}
    for name, content in FILES.items():
        assert alice.download(ids[name]) == content


def events(cluster: Cluster, kind: str) -> list[str]:
    return [str(message) for (message,) in cluster.rows(f"SELECT message FROM event WHERE kind = '{kind}'")]


def good_copies(cluster: Cluster) -> dict[str, set[str]]:
    """Of each chunk, the nodes that have one."""
    held: dict[str, set[str]] = {chunk_id: set() for (chunk_id,) in cluster.rows("SELECT chunk_id FROM chunk")}
    for chunk_id, node_id in cluster.rows("SELECT chunk_id, node_id FROM copy WHERE state = 'good'"):
        held[chunk_id].add(node_id)
    return held


def check_copies(cluster: Cluster, among: set[str]) -> None:
    """Two of each chunk that a file needs."""
    needed = {chunk_id for (chunk_id,) in cluster.rows("SELECT chunk_id FROM extent")}
    held = good_copies(cluster)
    assert all(len(held[chunk_id]) == 2 and held[chunk_id] <= among for chunk_id in needed)


def all_have(cluster: Cluster, copies: int, among: set[str]) -> bool:
    return all(len(nodes) == copies and nodes <= among for nodes in good_copies(cluster).values())


def test_a_drained_node_empties_is_removed_and_never_joins_again(start: Callable[..., Cluster]) -> None:
    cluster = start(4)
    alice = filled(cluster)
    gone = alice.upload("gone", b"x" * 100_000).file_id
    alice.delete(gone, permanent=True)  # its chunks stay for the grace time, but must not hold up the drain
    assert cluster.chunk_files("node4")
    reply = ask(cluster, "DrainNode", pb.DrainNodeRequest(node_id="node4"))
    assert (reply.node.node_id, bool(reply.node.draining_since)) == ("node4", True)
    assert (reply.copies_wanted, reply.copies_before) == (2, 2)
    check_files(alice)
    cluster.wait(lambda: events(cluster, "node.drained"), what="the drain's end")
    assert not cluster.chunk_files("node4")
    check_copies(cluster, {"node1", "node2", "node3"})
    check_files(alice)

    would = ask(cluster, "RemoveNode", pb.RemoveNodeRequest(node_id="node4", dry_run=True))
    assert (would.copies, would.chunks_lost) == (0, 0)
    assert "node4" in cluster.online()
    ask(cluster, "RemoveNode", pb.RemoveNodeRequest(node_id="node4"))
    assert refusal(cluster, "RemoveNode", pb.RemoveNodeRequest(node_id="node4"))[0] == "node_unknown"
    cluster.wait(lambda: not cluster.node("node4").is_running, what="the removed node to end")
    assert cluster.online() == ["node1", "node2", "node3"]
    check_files(alice)
    assert len(events(cluster, "node.drained")) == len(events(cluster, "node.removed")) == 1


def test_what_cannot_be_done_with_a_node_is_refused_with_the_reason(start: Callable[..., Cluster]) -> None:
    cluster = start(2)
    filled(cluster)
    copies = len(good_copies(cluster))
    with pytest.raises(grpc.RpcError) as failure:
        cluster.admin.DrainNode(pb.DrainNodeRequest(admin_key="wrong", node_id="node1"), timeout=CALL_S)
    assert "UNAUTHENTICATED" in str(failure.value)
    code, words = refusal(cluster, "RemoveNode", pb.RemoveNodeRequest(node_id="node1"))
    assert (code, str(copies) in words) == ("node_not_empty", True)
    for is_dry in (False, True):
        request = pb.RemoveNodeRequest(node_id="node1", lost=True, dry_run=is_dry)
        assert refusal(cluster, "RemoveNode", request)[0] == "node_not_offline"
    unknown: list[tuple[str, Any]] = [
        ("DrainNode", pb.DrainNodeRequest(node_id="node9")),
        ("DrainNode", pb.DrainNodeRequest(node_id="node9", undrain=True)),
        ("RemoveNode", pb.RemoveNodeRequest(node_id="node9", dry_run=True)),
        ("StartScrub", pb.StartScrubRequest(node_id="node9")),
    ]
    for method, asked in unknown:
        assert refusal(cluster, method, asked)[0] == "node_unknown"

    reply = ask(cluster, "DrainNode", pb.DrainNodeRequest(node_id="node1"))
    assert (reply.copies_wanted, reply.copies_before) == (1, 2)
    assert "1 instead of 2" in reply.message
    assert refusal(cluster, "DrainNode", pb.DrainNodeRequest(node_id="node2"))[0] == "last_node"
    cluster.wait(lambda: all_have(cluster, 1, {"node2"}), what="one copy of each, on the node that stays")
    ask(cluster, "DrainNode", pb.DrainNodeRequest(node_id="node1", undrain=True))
    cluster.wait(lambda: all_have(cluster, 2, {"node1", "node2"}), what="two copies again")


def test_a_lost_node_is_removed_and_what_went_with_it_is_told(start: Callable[..., Cluster]) -> None:
    cluster = start(3, upkeep_repair_delay_s=3600)
    alice = filled(cluster)
    alone = cluster.chunks_of(alice.upload("alone", b"only here").file_id)[0]
    keeper, *others = sorted(good_copies(cluster)[alone])
    for node_id in others:
        cluster.chunk_files(node_id)[alone].unlink()
        cluster.change(f"DELETE FROM copy WHERE chunk_id = '{alone}' AND node_id = '{node_id}'")
    cluster.kill(keeper)
    cluster.wait(lambda: keeper not in cluster.online(), what=f"{keeper} offline")
    would = ask(cluster, "RemoveNode", pb.RemoveNodeRequest(node_id=keeper, lost=True, dry_run=True))
    assert (would.chunks_lost, would.files_lost, list(would.files)) == (1, 1, ["alice@example.org: /alone"])
    assert len(cluster.rows("SELECT node_id FROM node")) == 3
    done = ask(cluster, "RemoveNode", pb.RemoveNodeRequest(node_id=keeper, lost=True))
    assert (done.copies, done.chunks_lost, list(done.files)) == (would.copies, 1, list(would.files))
    stay = {"node1", "node2", "node3"} - {keeper}
    cluster.wait(lambda: sum(nodes == stay for nodes in good_copies(cluster).values()) >= len(FILES), what="repair")
    check_files(alice)
    asked = ask(cluster, "StartRepair", pb.StartRepairRequest())
    assert (asked.chunks_missing, asked.chunks_lost) == (0, 1)


def test_an_operator_need_not_wait_for_a_node_that_is_away(start: Callable[..., Cluster]) -> None:
    cluster = start(3, upkeep_repair_delay_s=3600)
    alice = filled(cluster)
    cluster.kill("node3")
    cluster.wait(lambda: cluster.online() == ["node1", "node2"], what="node3 offline")
    here = {"node1", "node2"}
    on_it = [chunk_id for chunk_id, nodes in good_copies(cluster).items() if "node3" in nodes]
    away = len(on_it)
    waiting = ask(cluster, "StartRepair", pb.StartRepairRequest())
    assert waiting.chunks_missing == away
    assert sum("node3" in nodes and not here <= nodes for nodes in good_copies(cluster).values()) == away
    ask(cluster, "StartRepair", pb.StartRepairRequest(now=True))
    cluster.wait(lambda: all(here <= nodes for nodes in good_copies(cluster).values()), what="repair")
    # What would stay is read before anything goes. Whichever node is the fullest, one of these would have stayed.
    for node_id, chunk_id in zip(sorted(here), on_it, strict=False):
        flip(cluster.chunk_files(node_id)[chunk_id])
    cluster.start_node("node3")
    cluster.wait(lambda: all_have(cluster, 2, {*here, "node3"}), what="the third copies given up")
    assert events(cluster, "copy.bad")
    cluster.wait(lambda: len(cluster.rows("SELECT 1 FROM copy")) == 2 * len(good_copies(cluster)), what="told")
    held = good_copies(cluster)
    files = {node_id: cluster.chunk_files(node_id) for node_id in (*here, "node3")}
    assert all(set(files[node_id]) == {one for one in held if node_id in held[one]} for node_id in files)
    assert all(len({files[node_id][one].read_bytes() for node_id in held[one]}) == 1 for one in held)
    check_files(alice)


def test_a_new_empty_node_fills_up_and_then_nothing_moves_any_more(start: Callable[..., Cluster]) -> None:
    cluster = start(2, capacity_gb=0.02, node_disk_reserve_mb=0, upkeep_rebalance_percent=6, drive_overcommit=1000)
    alice = filled(cluster)
    both = {one: set(nodes) for one, nodes in good_copies(cluster).items()}
    assert all(nodes == {"node1", "node2"} for nodes in both.values())
    cluster.start_node("node3")
    fewest = []

    def is_even() -> bool:
        held = good_copies(cluster)
        fewest.append(min(map(len, held.values())))
        lengths = dict(cluster.rows("SELECT chunk_id, length FROM chunk"))
        used = [sum(lengths[one] for one in held if node in held[one]) for node in cluster.online()]
        return all_have(cluster, 2, set(cluster.online())) and max(used) - min(used) < 0.06 * 0.02 * (1 << 30)

    cluster.wait(is_even, what="an even fill")
    assert min(fewest) == 2
    assert cluster.chunk_files("node3")
    check_files(alice)
    settled = len(events(cluster, "copy.made"))
    beats = cluster.rows("SELECT max(last_heartbeat_at) FROM node")[0][0]
    later = f"SELECT count(*) FROM node WHERE last_heartbeat_at > {beats + 1_000_000}"
    cluster.wait(lambda: cluster.rows(later)[0][0] == 3, what="a second")
    assert len(events(cluster, "copy.made")) == settled


def test_scrubbing_finds_what_went_bad_though_nobody_read_it(start: Callable[..., Cluster]) -> None:
    cluster = start(3)
    alice = filled(cluster)
    flipped = min(cluster.chunk_files("node1"))
    gone = min(one for one in cluster.chunk_files("node2") if one != flipped)
    flip(cluster.chunk_files("node1")[flipped])
    cluster.chunk_files("node2")[gone].unlink()
    reply = ask(cluster, "StartScrub", pb.StartScrubRequest())
    assert sorted(reply.node_ids) == ["node1", "node2", "node3"]
    cluster.wait(lambda: len(events(cluster, "scrub.done")) == 3, what="the scrub's end")
    assert len(events(cluster, "copy.bad")) == 2
    cluster.wait(lambda: all_have(cluster, 2, {"node1", "node2", "node3"}), what="repair")
    assert list((cluster.node_folder("node1") / "quarantine").iterdir())
    check_files(alice)
