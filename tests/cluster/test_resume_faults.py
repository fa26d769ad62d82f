"""Transfers go on where they were when the client, the gateway or a node is killed in their middle.

What travels goes over a line that counts it and holds it at a given byte, so that each kill comes in the middle.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from cloudgrpc.clients.session import SignIn
from cloudgrpc.core.chunking import CHUNK_BYTES
from cloudgrpc.errors import Exit
from cluster_harness import PATIENT, Cluster
from line import Line
from person import Person
from program import HOST, free_port
from turned_clocks import wait_offline

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from postgres import Database
    from user import User

FILM = os.urandom(11 * CHUNK_BYTES + 5)
CHUNKS = 12
COPIES = 2
HALF = 6 * CHUNK_BYTES
MIB = 1 << 20


class Traveller(Person):
    """Somebody who reaches the gateway over a line, with a film."""

    def __init__(self, cluster: Cluster, user: User, folder: Path, line: Line) -> None:
        folder.mkdir()
        super().__init__(cluster, folder)
        self.line = line
        self.user = user
        self.film = self.write("film.mkv", FILM)
        self.reach(line.address)
        self.reach(cluster.address)

    def reach(self, address: str) -> None:
        self.store.remember(address, SignIn(self.user.email, self.user.token))

    def starts(self, *words: str) -> subprocess.Popen[str]:
        return self.start("--gateway", self.line.address, *words)

    def unfinished(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.here("uploads", "--json"))
        return found

    def stored_chunks(self) -> int:
        """Copies on the nodes' disks."""
        return sum(len(self.cluster.chunk_files(node)) for node in self.cluster.programs if node.startswith("node"))


@pytest.fixture(scope="module")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    # What is held stands still on purpose.
    settings: dict[str, Any] = {**PATIENT, "drive_silence_s": 300}
    cluster = Cluster(tmp_path_factory.mktemp("cluster"), **settings)
    try:
        yield cluster.start()
    finally:
        cluster.close()


@pytest.fixture
def cluster(shared_cluster: Cluster) -> Cluster:
    """All of it is up, whatever the test before did to it."""
    if not shared_cluster.gateway.is_running:
        shared_cluster.start_gateway()
    for node in ("node1", "node2", "node3"):
        if not shared_cluster.node(node).is_running:
            shared_cluster.start_node(node)
    return shared_cluster


@pytest.fixture
def alice(cluster: Cluster, tmp_path: Path) -> Iterator[Traveller]:
    """Another one in each test."""
    user = cluster.enroll(f"alice-{secrets.token_hex(4)}@example.org")
    with Line(cluster.port) as line:
        yield Traveller(cluster, user, tmp_path / "alice", line)


def finished(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=60)
    assert process.returncode == Exit.OK, out + err
    return out + err


def held_upload(alice: Traveller, *words: str) -> subprocess.Popen[str]:
    """An upload that is held when half of it went over the line and some of it is stored."""
    alice.line.up.hold_after(HALF)
    process = alice.starts("upload", *words)
    alice.line.up.wait_held()
    alice.cluster.wait(lambda: (found := alice.unfinished()) and found[0]["stored_bytes"], what="chunks stored")
    return process


def held_download(alice: Traveller, back: Path) -> tuple[subprocess.Popen[str], Path]:
    """A download that is held when half of it went over the line, and what there is of it by then."""
    file_id = alice.user.upload("film.mkv", FILM).file_id
    alice.line.down.hold_after(HALF)
    process = alice.starts("download", "/film.mkv", str(back))
    alice.line.down.wait_held()
    part = back.with_name(f".{back.name}.{file_id[:8]}v1.part")
    alice.cluster.wait(lambda: part.exists() and part.stat().st_size > HALF // 2, what="some of it")
    return process, part


def check_film(alice: Traveller) -> None:
    (entry,) = alice.user.ls().files
    assert entry.version == 1
    assert alice.user.download(entry.file_id) == FILM
    assert alice.unfinished() == []
    assert alice.cluster.used_bytes(alice.user.email) == (len(FILM), 0)


def test_after_the_client_was_killed_only_what_is_missing_travels(alice: Traveller) -> None:
    process = held_upload(alice, "film.mkv")
    process.kill()
    process.communicate()
    alice.line.up.release()
    alice.line.wait_idle()
    stored = alice.unfinished()[0]["stored_bytes"]
    before = alice.stored_chunks()
    alice.line.up.count = 0
    told = alice.shell("--gateway", alice.line.address, "upload", "--resume", "film.mkv")
    assert "of it were there already" in told
    assert alice.line.up.count < len(FILM) - stored + MIB
    assert alice.stored_chunks() - before <= (CHUNKS - stored // CHUNK_BYTES) * COPIES
    check_film(alice)


def test_an_upload_outlives_the_death_of_the_gateway(alice: Traveller) -> None:
    process = held_upload(alice, "film.mkv")
    stored = alice.unfinished()[0]["stored_bytes"]
    alice.cluster.kill_gateway()
    alice.line.up.release()
    alice.cluster.start_gateway()
    finished(process)
    assert alice.line.up.count < HALF + len(FILM) - stored + MIB, "what was stored did not travel again"
    check_film(alice)


def test_an_upload_outlives_a_restart_of_the_gateway(alice: Traveller) -> None:
    """Stopped as an operator does it."""
    process = held_upload(alice, "film.mkv")
    alice.line.up.release()
    alice.cluster.stop_gateway()
    alice.cluster.start_gateway()
    finished(process)
    check_film(alice)


def test_a_download_outlives_the_death_of_the_gateway(alice: Traveller, tmp_path: Path) -> None:
    back = tmp_path / "back.mkv"
    process, _ = held_download(alice, back)
    alice.cluster.kill_gateway()
    alice.line.down.release()
    alice.cluster.start_gateway()
    finished(process)
    assert back.read_bytes() == FILM
    assert alice.line.down.count < len(FILM) + HALF, "it went on where it was"
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".part"]


def test_a_download_goes_on_after_its_client_was_killed(alice: Traveller, tmp_path: Path) -> None:
    back = tmp_path / "back.mkv"
    process, part = held_download(alice, back)
    process.kill()
    process.communicate()
    alice.line.down.release()
    alice.line.wait_idle()
    there = part.stat().st_size
    alice.line.down.count = 0
    told = alice.shell("--gateway", alice.line.address, "download", "/film.mkv", str(back))
    assert "of it were here already" in told
    assert back.read_bytes() == FILM
    assert alice.line.down.count < len(FILM) - there + 5 * CHUNK_BYTES, "and the start of a stream, before it knew"


def test_the_death_of_a_node_stops_neither_way(alice: Traveller, tmp_path: Path) -> None:
    process = held_upload(alice, "film.mkv")
    alice.cluster.kill("node1")
    alice.line.up.release()
    finished(process)
    check_film(alice)
    alice.cluster.start_node("node1")  # or its copies would be missing below
    back = tmp_path / "back.mkv"
    alice.line.down.hold_after(HALF)
    process = alice.starts("download", "/film.mkv", str(back))
    alice.line.down.wait_held()
    alice.cluster.kill("node2")
    alice.line.down.release()
    finished(process)
    assert back.read_bytes() == FILM


def test_an_upload_waits_for_nodes_that_come_back(alice: Traveller) -> None:
    process = held_upload(alice, "film.mkv")
    alice.cluster.kill("node1", "node2")
    alice.line.up.release()
    wait_offline(alice.cluster, "node1", "node2")
    alice.cluster.start_nodes("node1", "node2")
    finished(process)
    check_film(alice)


def test_an_upload_goes_on_through_another_gateway(
    make_cluster: Callable[..., Cluster], postgres_database: Database, tmp_path: Path
) -> None:
    # The nodes do not know the other gateway, and are silent for it from the death of this one on.
    settings: dict[str, Any] = {**PATIENT, "cluster_offline_after_s": 300, "drive_silence_s": 300}
    cluster = make_cluster(database=postgres_database, **settings)
    with Line(cluster.port) as line:
        alice = Traveller(cluster, cluster.enroll("alice@example.org"), tmp_path / "alice", line)
        process = held_upload(alice, "film.mkv")
        process.kill()
        process.communicate()
    stored = alice.unfinished()[0]["stored_bytes"]
    other = second_gateway(cluster)
    cluster.kill_gateway()
    with Line(other) as line:
        alice.line = line
        alice.reach(line.address)
        told = alice.shell("--gateway", line.address, "upload", "--resume", "film.mkv")
        assert "of it were there already" in told
        assert line.up.count < len(FILM) - stored + MIB
        alice.shell("--gateway", line.address, "download", "/film.mkv", "back.mkv")
    assert (alice.folder / "back.mkv").read_bytes() == FILM


def second_gateway(cluster: Cluster) -> int:
    """Its port. It has a folder of its own, with the same secrets."""
    port, data = free_port(), cluster.folder / "other"
    shutil.copytree(cluster.data / "secrets", data / "secrets")
    words = ["gateway", "--host", HOST, "--port", str(port), "--data-dir", str(data)]
    program = cluster._program("gateway2", words, {})
    program.start()
    cluster.wait_ready(program, port)
    return port
