"""Storage nodes that die, hang, fill up, stay away and come back; the files outlive it."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from cloudgrpc import rpc
from cluster_harness import PATIENT, Cluster
from program import PATIENCE_S
from turned_clocks import end_leases, execute, wait_collected, wait_offline
from user import refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MIB = 1 << 20
CHUNK = 4 * MIB
SMALL = 50_000
NODE_TIMEOUT_S = 4.0
OFFLINE_AFTER_S = 3.0
REPAIR_DELAY_US = 1_000_000
# Neither to make lost copies again nor to even out how full the nodes are.
NOTHING_MOVES: dict[str, Any] = {"upkeep_repair_delay_s": 600, "upkeep_rebalance_percent": 100}
BIG = "node3"  # so much emptier than the others that practically every chunk is offered to it first


@pytest.fixture(scope="module")
def repairing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes, two copies, lost ones made again after a second."""
    settings: dict[str, Any] = {**PATIENT, "upkeep_repair_delay_s": REPAIR_DELAY_US / 1_000_000}
    cluster = Cluster(tmp_path_factory.mktemp("repairing"), **settings)
    try:
        yield cluster.start()
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def lopsided(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes, of which one gets a copy of practically every chunk; nothing is repaired."""
    settings: dict[str, Any] = {**PATIENT, **NOTHING_MOVES, "cluster_node_timeout_s": NODE_TIMEOUT_S}
    settings["drive_silence_s"] = 300  # a reader waits until others have read
    cluster = Cluster(tmp_path_factory.mktemp("lopsided"), nodes=0, **settings)
    try:
        cluster.start()
        for node, capacity_gb in (("node1", 0.2), ("node2", 0.2), (BIG, 200)):
            cluster.start_node(node, capacity_gb=capacity_gb)
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes of 20 MiB that both must hold every chunk."""
    settings: dict[str, Any] = {
        **PATIENT,
        **NOTHING_MOVES,
        "drive_new_account_mb": 64,
        "drive_overcommit": 100,
    }
    cluster = Cluster(tmp_path_factory.mktemp("tiny"), nodes=2, capacity_gb=0.02, **settings)
    try:
        yield cluster.start()
    finally:
        cluster.close()


def test_a_file_outlives_the_death_of_a_node_and_its_copies_are_made_anew_elsewhere(repairing: Cluster) -> None:
    alice, data = repairing.enroll("outlive@example.com"), os.urandom(2 * CHUNK + SMALL)
    file_id = alice.upload("movie.mp4", data).file_id
    chunks = repairing.chunks_of(file_id)
    victim = repairing.holders(chunks[0])[0]
    living = {"node1", "node2", "node3"} - {victim}
    lost = [chunk_id for chunk_id in chunks if victim in repairing.holders(chunk_id)]

    def are_made_anew() -> bool:
        return all(living <= set(repairing.holders(chunk_id)) for chunk_id in lost)

    assert not are_made_anew()
    repairing.kill(victim)
    assert alice.download(file_id) == data
    wait_offline(repairing, victim)
    repairing.wait(are_made_anew, what="the lost copies on the other nodes")
    ((offline_since,),) = repairing.rows(f"SELECT offline_since_at FROM node WHERE node_id = '{victim}'")
    repairing.wait(lambda: len(copies_made_at(repairing)) == len(lost), what="the copies noted")
    assert min(copies_made_at(repairing)) >= offline_since + REPAIR_DELAY_US
    assert alice.download(file_id) == data
    repairing.start_node(victim)


def test_after_the_death_of_everything_at_once_the_files_are_there_and_no_node_is_called_late_too_early(
    repairing: Cluster,
) -> None:
    """A gateway that was down heard no heartbeats, so it may not judge by them before new ones could come."""
    alice, data = repairing.enroll("restart@example.com"), os.urandom(CHUNK + SMALL)
    file_id = alice.upload("kept.bin", data).file_id
    repairing.kill("gateway", "node1", "node2", "node3")
    execute(repairing, "UPDATE node SET last_heartbeat_at = 1")
    end_leases(repairing)  # else the new gateway would wait for the dead one's before it judges anything
    assert len(repairing.online()) == 3

    repairing.start_gateway(cluster_offline_after_s=OFFLINE_AFTER_S)
    began_at = repairing.gateway.out.stat().st_mtime_ns // 1000  # when it said that it listens, awake a moment before
    repairing.wait(lambda: not repairing.online(), what="the dead nodes going offline")
    went = [since for (since,) in repairing.rows("SELECT offline_since_at FROM node")]
    assert min(went) >= began_at + OFFLINE_AFTER_S * 1_000_000 / 2

    repairing.start_nodes("node1", "node2", "node3")
    repairing.wait(lambda: told(lambda: alice.download(file_id)) == data, what="the file being readable")


def test_a_node_that_comes_back_with_its_folder_keeps_its_chunks_and_nothing_is_copied(lopsided: Cluster) -> None:
    alice, data = lopsided.enroll("back@example.com"), os.urandom(2 * CHUNK)
    file_id = alice.upload("back.bin", data).file_id
    before = {node: set(lopsided.chunk_files(node)) for node in ("node1", "node2", BIG)}
    assert set(lopsided.chunks_of(file_id)) <= before[BIG]
    lopsided.kill(BIG)
    wait_offline(lopsided, BIG)
    lopsided.start_node(BIG)

    back_at = time.time_ns() // 1000
    lopsided.wait(lambda: all(at > back_at for at in inventories(lopsided)), what="an inventory of every node")
    assert copies_made_at(lopsided) == []
    assert {node: set(lopsided.chunk_files(node)) for node in before} == before
    assert lopsided.rows("SELECT count(*) FROM copy WHERE state <> 'good'") == [(0,)]
    assert alice.download(file_id) == data


def test_an_upload_goes_on_with_the_other_nodes_when_one_is_killed(lopsided: Cluster) -> None:
    alice, data = lopsided.enroll("upload@example.com"), os.urandom(3 * CHUNK)
    before, failures = set(lopsided.chunk_files(BIG)), failures_of(lopsided, BIG)

    def pieces() -> Iterator[bytes]:
        yield from cut(data[:CHUNK])
        lopsided.wait(lambda: set(lopsided.chunk_files(BIG)) - before, what=f"the first chunk on {BIG}")
        lopsided.kill(BIG)
        yield from cut(data[CHUNK:])

    file_id = alice.upload("survivor.bin", pieces(), size=len(data)).file_id
    assert failures_of(lopsided, BIG) > failures
    assert alice.download(file_id) == data
    for chunk_id in lopsided.chunks_of(file_id)[1:]:
        assert lopsided.holders(chunk_id) == ["node1", "node2"]
    lopsided.start_node(BIG)


def test_downloads_go_on_from_the_other_copies_when_a_node_is_killed(lopsided: Cluster) -> None:
    """Several readers, since each chunk is asked of a copy chosen by chance: some must meet the dead node."""
    alice, data = lopsided.enroll("download@example.com"), os.urandom(6 * CHUNK)
    file_id = alice.upload("popular.bin", data).file_id
    # All six, but for one that chance, or a moment in which it was slow, gave to the two others.
    assert len(set(lopsided.chunks_of(file_id)) & set(lopsided.chunk_files(BIG))) >= 5
    failures = failures_of(lopsided, BIG)
    # Half of the chunks or so are read ahead by now.
    readers = [alice.pieces(file_id) for _ in range(6)]
    started = [next(reader).chunk_data + next(reader).chunk_data for reader in readers]
    lopsided.kill(BIG)
    for begun, reader in zip(started, readers, strict=True):
        assert begun + b"".join(piece.chunk_data for piece in reader) == data
    assert failures_of(lopsided, BIG) > failures
    lopsided.start_node(BIG)


def test_a_node_that_hangs_costs_a_deadline_and_not_the_transfer_and_is_used_again_once_it_answers(
    lopsided: Cluster,
) -> None:
    alice, data = lopsided.enroll("hang@example.com"), os.urandom(2 * CHUNK)
    file_id = alice.upload("read.bin", data).file_id
    failures = failures_of(lopsided, BIG)
    lopsided.pause(BIG)
    took = together(
        lambda: alice.upload("written.bin", data),
        # Each chunk is asked of a copy chosen by chance, so that one of ten readers practically always meets it.
        *[lambda: check_equal(alice.download(file_id), data)] * 10,
    )
    assert took[0] >= NODE_TIMEOUT_S
    assert max(took) < NODE_TIMEOUT_S + PATIENCE_S
    assert failures_of(lopsided, BIG) > failures
    written = next(entry.file_id for entry in alice.ls().files if entry.filename == "written.bin")
    assert {tuple(lopsided.holders(chunk_id)) for chunk_id in lopsided.chunks_of(written)} == {("node1", "node2")}
    assert alice.download(written) == data

    wait_offline(lopsided, BIG)
    lopsided.resume(BIG)

    def is_used_again() -> bool:
        again = alice.upload("again.bin", data).file_id
        return all(BIG in lopsided.holders(chunk_id) for chunk_id in lopsided.chunks_of(again))

    lopsided.wait(is_used_again, what=f"{BIG} getting chunks again")


def test_an_upload_that_loses_a_needed_node_fails_clearly_and_nothing_of_it_is_kept(tiny: Cluster) -> None:
    bob, data = tiny.enroll("bob@example.com"), os.urandom(2 * CHUNK)

    def pieces() -> Iterator[bytes]:
        yield from cut(data[:CHUNK])
        tiny.wait(lambda: tiny.chunk_files("node2"), what="the first chunk on node2")
        tiny.kill("node2")
        yield from cut(data[CHUNK:])

    with refused("UNAVAILABLE", "quorum_missed"):
        bob.upload("broken.bin", pieces(), size=len(data))
    assert bob.names() == []
    assert tiny.used_bytes("bob@example.com") == (0, 0)
    assert tiny.chunk_files("node2")
    tiny.start_node("node2")
    wait_collected(tiny, lambda: not tiny.chunk_files("node1"), "the chunks collected on node1")
    wait_collected(tiny, lambda: not tiny.chunk_files("node2"), "the chunks collected on node2, too")


def test_with_too_few_nodes_nothing_is_written_but_reading_and_deleting_work_and_a_late_node_deletes_when_it_is_back(
    tiny: Cluster,
) -> None:
    carol, data = tiny.enroll("carol@example.com"), os.urandom(SMALL)
    kept, unwanted, spare = (carol.upload(f"{name}.bin", data).file_id for name in ("kept", "unwanted", "spare"))
    (doomed,) = tiny.chunks_of(unwanted)
    tiny.kill("node2")
    carol.delete(unwanted, permanent=True)
    assert tiny.used_bytes("carol@example.com") == (2 * SMALL, 0)
    wait_offline(tiny, "node2")
    with refused("UNAVAILABLE", "nodes_too_few") as found:
        carol.upload("more.bin", data)
    assert "1 of the 2" in str(found[0])
    assert carol.download(kept) == data
    wait_collected(tiny, lambda: tiny.holders(doomed) == ["node2"], "the chunk deleted from node1")

    tiny.kill("node1")
    wait_offline(tiny, "node1")
    with refused("UNAVAILABLE", "nodes_too_few") as found:
        carol.upload("more.bin", data)
    assert "0 of the 2" in str(found[0])
    with refused("UNAVAILABLE", "copies_unreachable"):
        carol.download(kept)
    carol.delete(spare, permanent=True)
    assert carol.names() == ["kept.bin"]

    tiny.start_nodes("node1", "node2")
    tiny.wait(lambda: not tiny.holders(doomed), what="the missed delete being made up for")
    assert tiny.holders(*tiny.chunks_of(kept)) == ["node1", "node2"]
    tiny.wait(lambda: told(lambda: carol.download(kept)) == data, what="the file being readable")
    carol.delete(kept, permanent=True)


def test_full_nodes_refuse_and_deleting_makes_room_and_others_take_their_place(tiny: Cluster) -> None:
    dora, data = tiny.enroll("dora@example.com"), os.urandom(2 * CHUNK)
    first, _ = (dora.upload(f"{number}.bin", data).file_id for number in range(2))
    with refused("RESOURCE_EXHAUSTED", "pool_full"):
        dora.upload("too-much.bin", data)
    assert dora.names() == ["0.bin", "1.bin"]
    assert tiny.used_bytes("dora@example.com") == (2 * len(data), 0)

    dora.delete(first, permanent=True)
    wait_collected(tiny, lambda: succeeds(lambda: dora.upload("fits.bin", data)), "room after the grace time")
    wait_collected(tiny, lambda: succeeds(lambda: dora.upload("brim.bin", data[:CHUNK])), "the last room")
    assert dora.names() == ["1.bin", "brim.bin", "fits.bin"]
    with refused("RESOURCE_EXHAUSTED", "pool_full"):
        dora.upload("too-much.bin", data)
    for node in ("node3", "node4"):
        tiny.start_node(node, capacity_gb=0.2)
    elsewhere = dora.upload("elsewhere.bin", data).file_id
    assert [tiny.holders(chunk_id) for chunk_id in tiny.chunks_of(elsewhere)] == [["node3", "node4"]] * 2
    assert dora.download(elsewhere) == data


def test_nodes_that_find_out_only_now_that_their_disks_are_full_are_told_of_as_full(
    make_cluster: Callable[..., Cluster],
) -> None:
    """Their next word is a minute away, and the gateway has forgotten what it sent them."""
    slow = {"cluster_heartbeat_s": 60, "cluster_offline_after_s": 120}
    small = {**PATIENT, "capacity_gb": 6 / 1024, "drive_new_account_mb": 20, "drive_overcommit": 100}
    cluster = make_cluster(nodes=2, **{**small, **slow})
    alice = cluster.enroll("alice@example.com")
    alice.upload("fits.bin", os.urandom(CHUNK))
    cluster.kill_gateway()
    cluster.start_gateway()
    used = cluster.used_bytes(alice.email)
    with refused("RESOURCE_EXHAUSTED", "pool_full"):
        alice.upload("too-much.bin", os.urandom(CHUNK))
    assert failures_of(cluster, "node1") == failures_of(cluster, "node2") == 1
    assert alice.names() == ["fits.bin"]
    assert cluster.used_bytes(alice.email) == used


def test_with_one_node_there_is_one_copy_and_the_second_is_made_when_a_second_node_joins(
    make_cluster: Callable[..., Cluster],
) -> None:
    cluster = make_cluster(nodes=1, **PATIENT)
    alice, data = cluster.enroll("alice@example.com"), os.urandom(CHUNK + SMALL)
    file_id = alice.upload("early.bin", data).file_id
    chunks = cluster.chunks_of(file_id)
    assert [cluster.holders(chunk_id) for chunk_id in chunks] == [["node1"]] * 2
    cluster.start_node("node2")
    cluster.wait(lambda: all(len(cluster.holders(chunk_id)) == 2 for chunk_id in chunks), what="second copies")
    cluster.wait(lambda: len(copies_made_at(cluster)) == 2, what="the copies noted")
    cluster.kill("node1")
    assert alice.download(file_id) == data


def cut(data: bytes) -> Iterator[bytes]:
    return (data[start : start + MIB] for start in range(0, len(data), MIB))


def copies_made_at(cluster: Cluster) -> list[int]:
    return [at for (at,) in cluster.rows("SELECT at FROM event WHERE kind = 'copy.made'")]


def inventories(cluster: Cluster) -> list[int]:
    return [at or 0 for (at,) in cluster.rows("SELECT inventory_at FROM node")]


def failures_of(cluster: Cluster, node: str) -> int:
    """How often the gateway met this node failing at a chunk."""
    return cluster.gateway.err.read_text().count(f"{node} failed at chunk")


def told(call: Callable[[], object]) -> object:
    """What a call comes to: its answer, or the code of its error."""
    try:
        return call()
    except grpc.RpcError as failure:
        return rpc.error_of(failure, "the gateway").code  # type: ignore[arg-type]


def succeeds(call: Callable[[], object]) -> bool:
    return not isinstance(told(call), str)


def check_equal(got: bytes, wanted: bytes) -> None:
    assert got == wanted


def together(*work: Callable[[], object]) -> list[float]:
    """Do all at once; returns how long each took. Raises what one of them raised."""
    took = [0.0] * len(work)
    failures: list[BaseException] = []

    def run(number: int) -> None:
        start = time.monotonic()
        try:
            work[number]()
        except BaseException as error:  # noqa: BLE001 - a thread's failure belongs to the test
            failures.append(error)
        took[number] = time.monotonic() - start

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(work))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return took
