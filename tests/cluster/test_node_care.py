"""The care of nodes: they are drained, added, wiped, lost and brought back while people use the drive; nothing is lost.

After each story all that was promised is looked at: see `truth`. Every story makes sure that its fault was one.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from cloudgrpc.errors import Exit
from cluster_harness import PATIENT, Cluster
from operating import admin, admin_json
from truth import Traffic, Truth, Watch, check_whole, dice, good_copies, holders, wait_until_spread
from turned_clocks import wait_collected, wait_offline
from user import refused

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator
    from pathlib import Path

MIB = 1 << 20
SMALL = 50_000
SOAK_TURNS = 25
SETTINGS: dict[str, Any] = {
    **PATIENT,
    "upkeep_inventory_s": 0.5,
    "upkeep_rebalance_mib_s": 10_000,
    "upkeep_scrub_mib_s": 10_000,
    "upkeep_rebalance_percent": 5,
    "upkeep_repair_delay_s": 0.5,
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes of 40 MB, two copies; each story leaves it with as many, and whole."""
    cluster = Cluster(tmp_path_factory.mktemp("care"), nodes=3, capacity_gb=0.04, drive_overcommit=100, **SETTINGS)
    try:
        yield cluster.start()
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def truth(cluster: Cluster) -> Truth:
    truth = Truth(cluster.enroll("alice@example.org"))
    truth.fill(dice(), 60, 5 * SMALL)
    return truth


def test_a_new_empty_node_fills_up_to_the_mean_and_no_chunk_has_fewer_copies_meanwhile(
    cluster: Cluster, truth: Truth
) -> None:
    with Watch(cluster).looking(least=2), Traffic(truth, dice()).going_on():
        cluster.start_node("node4")
        cluster.wait(lambda: fullness(cluster)["node4"] >= 0.8 * mean(cluster), what="node4 as full as the others")
    assert fullness(cluster)["node4"] <= 1.3 * mean(cluster)
    check_whole(cluster, truth)


def test_a_node_is_drained_while_people_read_and_write_and_is_then_removed_for_good(
    cluster: Cluster, truth: Truth
) -> None:
    held = set(cluster.chunk_files("node1"))
    assert len(held) > 20
    admin(cluster, "node", "remove", "node1", "--yes", exit_code=Exit.NOT_NOW)
    with Watch(cluster).looking(least=2), Traffic(truth, dice()).going_on() as traffic:
        admin(cluster, "node", "drain", "node1", "--yes", "--wait")
        reads, writes = traffic.reads, traffic.writes
        cluster.wait(lambda: traffic.reads > reads + 10 and traffic.writes > writes + 5, what="traffic after it, too")
    assert held_by(cluster, "node1") == 0
    assert not held & {chunk_id for chunk_id, (_, _, nodes) in good_copies(cluster).items() if "node1" in nodes}
    assert "node1 is removed" in admin(cluster, "node", "remove", "node1", "--yes")
    assert [node["node_id"] for node in nodes_of(cluster)] == ["node2", "node3", "node4"]
    assert cluster.node("node1").wait() == Exit.NOT_NOW
    check_whole(cluster, truth)

    node = cluster.start_node("node1", ready=False)
    assert node.wait() == Exit.NOT_NOW, "a folder that was removed joins again"
    assert "removed" in node.err.read_text()


def test_a_node_whose_folder_was_wiped_gets_its_copies_again(cluster: Cluster, truth: Truth) -> None:
    before = set(cluster.chunk_files("node2"))
    cluster.kill("node2")
    wait_offline(cluster, "node2")
    shutil.rmtree(cluster.node_folder("node2"))
    cluster.start_node("node2")
    assert before
    truth.check()
    check_whole(cluster, truth)
    assert cluster.rows("SELECT count(*) FROM event WHERE kind = 'node.replaced' AND node_id = 'node2'") == [(1,)]


def test_a_node_that_missed_deletes_deletes_when_it_is_back(cluster: Cluster, truth: Truth) -> None:
    unwanted = truth.fill(dice(), 20, SMALL, "unwanted")
    chunks = [chunk for path in unwanted for chunk in cluster.chunks_of(truth.files[path][0])]
    cluster.kill("node3")
    missing = {chunk for chunk, nodes in holders(cluster, chunks).items() if "node3" in nodes}
    assert missing
    for path in unwanted:
        truth.delete(path)

    def are_left() -> dict[str, set[str]]:
        return {chunk: nodes for chunk, nodes in holders(cluster, chunks).items() if nodes}

    wait_collected(cluster, lambda: not set().union(*are_left().values()) - {"node3"}, "the others deleting")
    assert set(are_left()) == missing
    cluster.start_node("node3")
    wait_collected(cluster, lambda: not are_left(), "node3 deleting, too")
    check_whole(cluster, truth)


def test_scrub_finds_a_bit_that_nobody_read_and_the_copy_is_made_again(cluster: Cluster, truth: Truth) -> None:
    rng = dice()
    for _ in range(3):
        wait_until_spread(cluster)
        needed = sorted(chunk for chunk, (_, _, nodes) in good_copies(cluster).items() if "node4" in nodes)
        victim = cluster.chunk_files("node4")[rng.choice(needed)]  # not what no file needs: that may go at any moment
        flipped = flip(victim, rng.randrange(64, victim.stat().st_size))
        told = admin(cluster, "scrub", "node4", "--wait", "--yes")
        if "1 on node4" in told:  # else the copy was moved just then, for nodes are evened out, and that found it
            break
    assert "1 on node4" in told
    assert ("node4", victim.name) in bad_copies(cluster)
    quarantined = [path.read_bytes() for path in (cluster.node_folder("node4") / "quarantine").iterdir()]
    assert flipped in quarantined
    check_whole(cluster, truth)


def test_a_node_that_returns_after_repair_makes_extra_copies_which_go_once_the_others_are_verified(
    cluster: Cluster, truth: Truth
) -> None:
    cluster.kill("node2")
    held = {chunk for chunk, (_, _, nodes) in good_copies(cluster).items() if "node2" in nodes}
    assert held
    wait_offline(cluster, "node2")
    wait_until_spread(cluster, lost=["node2"])
    where = holders(cluster, held)
    assert {len(nodes) for nodes in where.values()} == {3}
    # Of each of these one copy is good now, and of some it is the one that would lie better elsewhere.
    damaged = dice().sample(sorted(held), 10)
    for number, chunk in enumerate(damaged):
        for node in ("node2", ("node3", "node4")[number % 2]):
            flip(cluster.chunk_files(node)[chunk], -1)
    cluster.start_node("node2")
    wait_until_spread(cluster)
    admin(cluster, "scrub", "--wait", "--yes")
    check_whole(cluster, truth)
    wait_collected(
        cluster, lambda: {len(nodes) for nodes in holders(cluster, held).values()} == {2}, "the third copies deleted"
    )
    assert {chunk for _, chunk in bad_copies(cluster)} & set(damaged), "the damage was not met"


def test_two_nodes_of_five_are_lost_with_three_copies_and_everything_is_there(
    make_cluster: Callable[..., Cluster],
) -> None:
    settings = {**SETTINGS, "cluster_replication_factor": 3, "cluster_write_quorum": 2}
    cluster, rng = make_cluster(nodes=5, **settings), dice()
    truth = Truth(cluster.enroll("alice@example.org"))
    truth.fill(rng, 25, SMALL)
    wait_until_spread(cluster)
    # Of one chunk at least two of the three copies.
    lost = rng.sample(rng.choice([nodes for _, _, nodes in good_copies(cluster).values()]), 2)
    cluster.kill(*lost)
    truth.check()
    wait_offline(cluster, *lost)
    wait_until_spread(cluster, lost=lost)
    for node in lost:
        admin(cluster, "node", "remove", node, "--lost", "--yes")
    truth.upload("afterwards.bin", rng.randbytes(SMALL))
    check_whole(cluster, truth)


@pytest.mark.soak  # what an ordinary run sees of it: test_zones
def test_with_zones_every_chunk_is_in_both_and_one_zone_may_go(make_cluster: Callable[..., Cluster]) -> None:
    cluster, rng = make_cluster(nodes=0, **SETTINGS), dice()
    zones = {"node1": "east", "node2": "east", "node3": "west", "node4": "west"}
    for node, zone in zones.items():
        cluster.start_node(node, node_zone=zone)
    truth = Truth(cluster.enroll("alice@example.org"))
    truth.fill(rng, 25, SMALL)
    placed = {chunk: sorted(zones[node] for node in nodes) for chunk, (_, _, nodes) in good_copies(cluster).items()}
    assert set(map(tuple, placed.values())) == {("east", "west")}
    dead = rng.choice(["east", "west"])
    lost = [node for node, zone in zones.items() if zone == dead]
    cluster.kill(*lost)
    truth.check()
    wait_offline(cluster, *lost)
    wait_until_spread(cluster, lost=lost)
    truth.upload("meanwhile.bin", rng.randbytes(SMALL))
    for node in lost:
        cluster.start_node(node, node_zone=dead)
    check_whole(cluster, truth)
    cluster.wait(
        lambda: all(
            {zones[node] for node in nodes} == {"east", "west"} for _, _, nodes in good_copies(cluster).values()
        ),
        what="every chunk in both zones again",
    )


@pytest.mark.soak  # what an ordinary run sees of it: test_nodes_die
def test_a_disk_that_is_full_takes_nothing_more_says_why_and_takes_again_once_something_was_deleted(
    make_cluster: Callable[..., Cluster],
) -> None:
    cluster, rng = make_cluster(nodes=2, capacity_gb=0.01, drive_overcommit=1000, **SETTINGS), dice()
    truth = Truth(cluster.enroll("alice@example.org"))

    def is_full() -> bool:
        truth.can_upload(f"{len(truth.files):03}.bin", rng.randbytes(MIB))
        return all(re.search("full|room", reason) for reason in reasons(cluster))

    cluster.wait(is_full, what="both nodes saying that they are full")
    with refused("RESOURCE_EXHAUSTED", "pool_full"):
        truth.upload("too-much.bin", rng.randbytes(MIB))
    truth.check()
    for path in sorted(truth.files)[:4]:
        truth.delete(path)
    wait_collected(cluster, lambda: truth.can_upload("fits.bin", rng.randbytes(MIB)), "the gateway knowing it")
    assert reasons(cluster) == ["", ""]
    check_whole(cluster, truth)

    restart(cluster, node_disk_reserve_mb=1_000_000_000)
    cluster.wait(
        lambda: all(re.search("free", reason) for reason in reasons(cluster)), what="both out of their reserve"
    )
    with refused("RESOURCE_EXHAUSTED", "pool_full"):
        truth.upload("too-much.bin", rng.randbytes(SMALL))
    (chunk,) = cluster.chunks_of(truth.files["fits.bin"][0])
    truth.delete("fits.bin")
    wait_collected(cluster, lambda: not cluster.holders(chunk), "the chunk deleted from disks that take nothing more")
    truth.check()
    restart(cluster)
    cluster.wait(lambda: truth.can_upload("fits again.bin", rng.randbytes(SMALL)), what="the gateway knowing it")
    check_whole(cluster, truth)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_whatever_happens_to_one_node_after_the_other_nothing_is_lost(
    engine: str, make_cluster: Callable[..., Cluster], request: pytest.FixtureRequest
) -> None:
    database = request.getfixturevalue("postgres_database") if engine == "postgres" else None
    # An upload waits for a node that hangs, and its lease must outlive that.
    settings = {**SETTINGS, "drive_upload_lease_s": 8, "upkeep_grace_s": 9, "drive_overcommit": 100}
    cluster, rng = make_cluster(nodes=5, capacity_gb=0.2, database=database, **settings), dice()
    truth = Truth(cluster.enroll("alice@example.org"))
    truth.fill(rng, 100, SMALL)
    for turn in range(SOAK_TURNS):
        fault = rng.choice([dies, blinks, is_wiped, is_drained_and_stays, is_drained_and_replaced, goes_bad])
        node = f"node{rng.randint(1, 5)}"
        print(f"{turn}: {node} {fault.__name__}")
        with Traffic(truth, rng).going_on():
            fault(cluster, node, rng)
        for path in rng.sample(sorted(truth.files), 5):
            truth.delete(path)
        check_whole(cluster, truth, seconds=120)


def dies(cluster: Cluster, node: str, rng: random.Random) -> None:
    cluster.kill(node)
    if rng.random() < 0.5:
        wait_offline(cluster, node)
    cluster.start_node(node)


def blinks(cluster: Cluster, node: str, rng: random.Random) -> None:
    """It hangs, maybe for so long that it counts as offline."""
    cluster.pause(node)
    time.sleep(rng.uniform(0.1, 8))
    cluster.resume(node)
    cluster.wait(lambda: node in cluster.online(), what=f"{node} back")


def is_wiped(cluster: Cluster, node: str, rng: random.Random) -> None:
    cluster.kill(node)
    wait_offline(cluster, node)
    shutil.rmtree(cluster.node_folder(node))
    cluster.start_node(node)


def is_drained_and_stays(cluster: Cluster, node: str, rng: random.Random) -> None:
    admin(cluster, "node", "drain", node, "--yes")
    time.sleep(rng.uniform(0, 1))
    admin(cluster, "node", "undrain", node, "--yes")


def is_drained_and_replaced(cluster: Cluster, node: str, rng: random.Random) -> None:
    admin(cluster, "node", "drain", node, "--yes", "--wait")
    admin(cluster, "node", "remove", node, "--yes")
    cluster.node(node).wait()
    shutil.rmtree(cluster.node_folder(node))
    cluster.start_node(node)


def goes_bad(cluster: Cluster, node: str, rng: random.Random) -> None:
    """Some of what is on its disk. One that joined just now has too little for a moment."""
    cluster.wait(lambda: len(cluster.chunk_files(node)) >= 5, what=f"chunks on {node}")
    for path in rng.sample(sorted(cluster.chunk_files(node).values()), 5):
        with suppress(FileNotFoundError):  # it moved meanwhile
            flip(path, rng.randrange(64, path.stat().st_size))
    admin(cluster, "scrub", node, "--yes", "--wait")


def restart(cluster: Cluster, **settings: Any) -> None:
    """Both nodes, with these settings."""
    for node in ("node1", "node2"):
        cluster.stop(node)
        cluster.start_node(node, **settings)


def reasons(cluster: Cluster) -> list[str]:
    """Why each node takes no new chunks; "" where it takes some."""
    return [node["reason"] or "" for node in nodes_of(cluster)]


def nodes_of(cluster: Cluster) -> list[dict[str, Any]]:
    """As an operator sees them."""
    found: list[dict[str, Any]] = admin_json(cluster, "--nodes")
    return found


def held_by(cluster: Cluster, node: str) -> int:
    """How many copies the metadata counts on a node."""
    return int(cluster.rows(f"SELECT count(*) FROM copy WHERE node_id = '{node}' AND state <> 'doomed'")[0][0])


def bad_copies(cluster: Cluster) -> list[tuple[str, str]]:
    """Node and chunk of each that was ever found."""
    found = cluster.rows("SELECT node_id, details FROM event WHERE kind = 'copy.bad'")
    return [(node, json.loads(details)["chunk_id"]) for node, details in found]


def fullness(cluster: Cluster) -> dict[str, int]:
    """Bytes of good copies on each node."""
    query = "SELECT node_id, SUM(length) FROM copy JOIN chunk ON chunk.chunk_id = copy.chunk_id WHERE state = 'good'"
    return {"node4": 0, **{node: int(size) for node, size in cluster.rows(f"{query} GROUP BY node_id")}}


def mean(cluster: Cluster) -> float:
    found = fullness(cluster)
    return sum(found.values()) / len(found)


def flip(path: Path, position: int) -> bytes:
    """What is in the file afterwards."""
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)
    return bytes(data)
