"""What nodes are told to delete, and when; and what can never make them delete anything."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from cloudgrpc import rpc
from cloudgrpc.chunks.base import checksum_of
from cloudgrpc.errors import Exit
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.pb import cloud_storage_pb2_grpc as stubs
from cluster_harness import PATIENT, Cluster
from program import HOST, Program, free_port
from turned_clocks import YEAR_US, end_graces, turn, wait_collected, wait_offline
from user import refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from user import User

SMALL = 2_000
FILES = 130  # so many that one unknown file on a node is less than 1 %
GRACE_US = 3_600_000_000
ALMOST_US = GRACE_US - 900_000_000
NODES = ("node1", "node2")
SECRET = "known to all processes of this cluster"
SETTINGS: dict[str, Any] = {
    **PATIENT,
    "cluster_secret": SECRET,
    "upkeep_grace_s": GRACE_US / 1_000_000,
    "upkeep_inventory_s": 0.5,
    "upkeep_repair_delay_s": 600,
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes that both hold every chunk."""
    cluster = Cluster(tmp_path_factory.mktemp("collecting"), nodes=len(NODES), **SETTINGS)
    try:
        yield cluster.start()
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def alice(cluster: Cluster) -> User:
    """Somebody with so many files that a single unknown one is a small part."""
    alice = cluster.enroll("alice@example.com")
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: alice.upload(f"{number}.txt", os.urandom(SMALL)), range(FILES)))
    return alice


def test_the_chunks_of_a_file_deleted_for_good_go_from_every_node_after_the_grace_time_and_not_before(
    cluster: Cluster, alice: User
) -> None:
    file_id, chunk_id = small_file(alice, "unwanted.txt")
    used, _ = cluster.used_bytes(alice.email)
    alice.delete(file_id, permanent=True)
    assert cluster.used_bytes(alice.email) == (used - SMALL, 0)
    turn(cluster, chunk_id, ALMOST_US)
    see_another_collected(cluster, alice)
    assert cluster.holders(chunk_id) == list(NODES)
    turn(cluster, chunk_id, GRACE_US - ALMOST_US)
    cluster.wait(lambda: not cluster.holders(chunk_id), what="both copies deleted")


def test_a_few_unknown_files_are_deleted_when_they_were_known_of_for_the_grace_time_whatever_their_own_dates(
    cluster: Cluster, alice: User
) -> None:
    since = last_event(cluster)
    (stray,) = plant(cluster, "node1", 1)
    noticed = f"SELECT 1 FROM stray WHERE chunk_id = '{stray.name}' AND doomed_at IS NULL"
    cluster.wait(lambda: cluster.rows(noticed), what="the file being noticed")
    turn(cluster, stray.name, ALMOST_US)
    see_another_collected(cluster, alice)
    assert stray.exists()
    turn(cluster, stray.name, GRACE_US - ALMOST_US)
    cluster.wait(lambda: not stray.exists(), what="the unknown file deleted")
    assert collecting_events(cluster, since) == []


def test_many_unknown_files_stop_collecting_on_their_node_until_they_are_gone(cluster: Cluster, alice: User) -> None:
    since, strays = last_event(cluster), plant(cluster, "node1", 3)
    stopped = [("collecting.stopped", "node1")]
    cluster.wait(lambda: collecting_events(cluster, since) == stopped, what="collecting to stop")
    file_id, chunk_id = small_file(alice, "orphan.txt")
    alice.delete(file_id, permanent=True)
    wait_collected(
        cluster, lambda: cluster.holders(chunk_id) == ["node1"], "the orphan deleted where collecting goes on"
    )
    wait_for_inventories(cluster)
    assert cluster.holders(chunk_id) == ["node1"]
    assert all(stray.exists() for stray in strays)

    for stray in strays:
        stray.unlink()
    cluster.wait(lambda: not cluster.holders(chunk_id), what="the orphan deleted here, too")
    assert collecting_events(cluster, since) == [*stopped, ("collecting.resumed", "node1")]


def test_an_older_database_deletes_none_of_the_files_that_it_does_not_know(cluster: Cluster, alice: User) -> None:
    older, newer = cluster.folder / "older.sqlite3", cluster.folder / "newer.sqlite3"
    back_up(cluster, older)
    began_with = last_event(cluster)
    newest = {name: small_file(alice, name)[1] for name in ("new1.txt", "new2.txt", "new3.txt")}
    cluster.stop_gateway()
    back_up(cluster, newer)
    replace_database(cluster, older)
    cluster.start_gateway()
    stopped = {("collecting.stopped", node) for node in NODES}
    cluster.wait(lambda: set(collecting_events(cluster, began_with)) == stopped, what="collecting to stop")
    end_graces(cluster)
    for _ in range(2):  # with several rounds of collecting in between
        wait_for_inventories(cluster)
    assert [cluster.holders(chunk_id) for chunk_id in newest.values()] == [list(NODES)] * 3

    cluster.stop_gateway()
    replace_database(cluster, newer)
    cluster.start_gateway()
    cluster.wait(lambda: told(lambda: len(read_all(alice, newest))) == 3, what="the new files being readable")


def test_an_empty_or_foreign_database_makes_no_node_delete_anything(cluster: Cluster, alice: User) -> None:
    """Nodes belong to the cluster whose metadata they came to know first; with another they stop, with words."""
    right = cluster.folder / "right.sqlite3"
    cluster.stop_gateway()
    back_up(cluster, right)
    before = {node: contents(cluster.node_folder(node)) for node in NODES}
    for path in cluster.data.glob("metadata.sqlite3*"):
        path.unlink()
    cluster.start_gateway()
    for node in NODES:
        assert cluster.node(node).wait() == Exit.NOT_NOW
        assert "nothing was touched" in last_words(cluster.node(node))
    assert cluster.rows("SELECT count(*) FROM node") == [(0,)]

    cluster.start_node("node1", ready=False)  # by now the database is that of another cluster, no longer an empty one
    assert cluster.node("node1").wait() == Exit.NOT_NOW
    assert {node: contents(cluster.node_folder(node)) for node in NODES} == before

    cluster.stop_gateway()
    replace_database(cluster, right)
    cluster.start_gateway()
    cluster.start_nodes(*NODES)
    cluster.wait(lambda: told(lambda: read_all(alice, alice.names())), what="every file being readable")


def test_a_node_with_another_secret_is_refused_and_says_so(cluster: Cluster, alice: User) -> None:
    stranger = cluster.start_node(
        "stranger", ready=False, data=cluster.folder / "stranger", cluster_secret="not the secret of this cluster"
    )
    assert stranger.wait() == Exit.NOT_SIGNED_IN
    assert "does not hold this cluster's secret" in last_words(stranger)
    assert cluster.rows("SELECT 1 FROM node WHERE node_id = 'stranger'") == []


@pytest.mark.parametrize("chunk_id", ["../../precious", "..", "", "a/../../../precious", "A" * 32, "a" * 31, "a" * 33])
def test_what_is_no_chunk_id_never_reaches_a_path(cluster: Cluster, alice: User, chunk_id: str) -> None:
    precious = cluster.data / "precious"
    precious.write_text("kept")
    before = set(names_under(cluster.data))
    calls = {
        "StoreChunk": pb.StoreChunkRequest(chunk_id=chunk_id, chunk_data=b"x", checksum=checksum_of(b"x")),
        "RetrieveChunk": pb.RetrieveChunkRequest(chunk_id=chunk_id),
        "DeleteChunk": pb.DeleteChunkRequest(chunk_id=chunk_id),
        "DeleteChunks": pb.DeleteChunksRequest(chunk_ids=[chunk_id]),
    }
    with closing(grpc.insecure_channel(f"{HOST}:{cluster.node_port('node1')}")) as channel:
        for method, request in calls.items():
            with refused("INVALID_ARGUMENT", "invalid_field"):
                getattr(stubs.NodeServiceStub(channel), method)(
                    request, timeout=10, metadata=((rpc.SECRET_KEY, SECRET),)
                )
    assert precious.read_text() == "kept"
    assert set(names_under(cluster.data)) == before


def test_an_id_is_taken_over_only_when_its_node_is_gone_and_what_that_held_is_then_made_again(
    make_cluster: Callable[..., Cluster],
) -> None:
    cluster = make_cluster(nodes=2, cluster_secret=SECRET, **PATIENT)
    alice, data = cluster.enroll("alice@example.com"), os.urandom(SMALL)
    file_id = alice.upload("file.txt", data).file_id
    (chunk_id,) = cluster.chunks_of(file_id)
    first = instance(cluster, "node1")
    newcomer = start_beside(cluster, "node1")
    cluster.wait(lambda: "belongs to another folder" in newcomer.err.read_text(), what="the newcomer being refused")
    assert newcomer.is_running
    assert (instance(cluster, "node1"), cluster.holders(chunk_id)) == (first, list(NODES))

    cluster.kill("node1")
    wait_offline(cluster, "node1")
    its_file = cluster.folder / "beside" / "node_storage_node1" / chunk_id[:2] / chunk_id
    cluster.wait(its_file.exists, what="the copy made again on the newcomer")
    assert instance(cluster, "node1") != first
    assert cluster.rows("SELECT count(*) FROM event WHERE kind = 'node.replaced'") == [(1,)]
    cluster.kill("node2")
    cluster.wait(lambda: told(lambda: alice.download(file_id)) == data, what="the file from the newcomer")


def small_file(user: User, name: str) -> tuple[str, str]:
    """The ids of a new file and of its one chunk."""
    file_id = user.upload(name, os.urandom(SMALL)).file_id
    (chunk_id,) = user.cluster.chunks_of(file_id)
    return file_id, chunk_id


def plant(cluster: Cluster, node: str, count: int) -> list[Path]:
    """Files that look like chunks of long ago, of which the gateway knows nothing."""
    a_chunk = next(iter(cluster.chunk_files(node).values()))
    planted = []
    for _ in range(count):
        chunk_id = os.urandom(16).hex()
        path = cluster.node_folder(node) / chunk_id[:2] / chunk_id
        shutil.copy(a_chunk, path)
        os.utime(path, (1_000_000_000, 1_000_000_000))
        planted.append(path)
    return planted


def wait_for_inventories(cluster: Cluster) -> None:
    after = time.time_ns() // 1000

    def taken() -> bool:
        return all(at and at > after for (at,) in cluster.rows("SELECT inventory_at FROM node"))

    cluster.wait(taken, what="an inventory of every node")


def see_another_collected(cluster: Cluster, user: User) -> None:
    """A round of collecting goes by: a file that is deleted only now, but as if for long, is gone from all nodes."""
    file_id, chunk_id = small_file(user, "another.txt")
    user.delete(file_id, permanent=True)
    turn(cluster, chunk_id, YEAR_US)
    cluster.wait(lambda: not cluster.holders(chunk_id), what="another file's chunk deleted")


def last_event(cluster: Cluster) -> int:
    ((last,),) = cluster.rows("SELECT max(event_id) FROM event")
    return int(last)


def collecting_events(cluster: Cluster, since: int) -> list[tuple[str, str]]:
    query = f"SELECT kind, node_id FROM event WHERE kind LIKE 'collecting.%' AND event_id > {since} ORDER BY event_id"
    return [(kind, node) for kind, node in cluster.rows(query)]


def back_up(cluster: Cluster, target: Path) -> None:
    with (
        closing(sqlite3.connect(cluster.data / "metadata.sqlite3")) as source,
        closing(sqlite3.connect(target)) as copy,
    ):
        source.backup(copy)


def replace_database(cluster: Cluster, source: Path) -> None:
    for path in cluster.data.glob("metadata.sqlite3*"):
        path.unlink()
    shutil.copy(source, cluster.data / "metadata.sqlite3")
    with closing(sqlite3.connect(cluster.data / "metadata.sqlite3")) as database, database:
        database.execute("DELETE FROM lease")  # else the gateway would wait for that of its forerunner


def read_all(user: User, names: Iterable[str]) -> list[bytes]:
    wanted = set(names)
    return [user.download(entry.file_id) for entry in user.ls().files if entry.filename in wanted]


def told(call: Callable[[], object]) -> object:
    """The answer of a call; "" while it fails."""
    try:
        return call()
    except grpc.RpcError:
        return ""


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def names_under(folder: Path) -> list[str]:
    """Without what comes and goes by itself."""
    return [str(path) for path in folder.rglob("*") if path.parent.name != "tmp" and "metadata" not in path.name]


def last_words(program: Program) -> str:
    return program.err.read_text()


def instance(cluster: Cluster, node: str) -> str:
    return str(cluster.rows(f"SELECT instance_id FROM node WHERE node_id = '{node}'")[0][0])


def start_beside(cluster: Cluster, node: str) -> Program:
    """A second process that calls itself `node`, with a folder of its own."""
    words = ["node", node, str(free_port()), "2", "--host", HOST, "--gateway", cluster.address]
    words += ["--data-dir", str(cluster.folder / "beside")]
    program = cluster.programs["beside"] = Program("beside", words, cluster.environment(), cluster.logs)
    program.start()
    return program
