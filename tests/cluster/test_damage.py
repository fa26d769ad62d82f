"""Chunk files that rot, vanish or change places: a reader gets right bytes or an error, and copies are made again."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from itertools import combinations
from typing import TYPE_CHECKING

import grpc
import pytest

from cloudgrpc import rpc
from cloudgrpc.chunks.base import checksum_of
from cloudgrpc.chunks.disk import HEADER
from cluster_harness import PATIENT, Cluster
from turned_clocks import wait_offline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cloudgrpc.errors import CloudError
    from user import User

CHUNK = 4 << 20
SMALL = 50_000  # bytes: one chunk


def flip(path: Path) -> None:
    _change_byte(path, HEADER.size + SMALL // 2)


def damage_header(path: Path) -> None:
    _change_byte(path, HEADER.size - 1)  # in the checksum


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def remove(path: Path) -> None:
    path.unlink()


HARMS = [flip, damage_header, cut, empty, remove]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("damage"), **PATIENT)
    try:
        yield cluster.start()
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def alice(cluster: Cluster) -> User:
    return cluster.enroll("alice@example.com")


@pytest.mark.parametrize("harm", HARMS)
def test_one_bad_copy_never_reaches_a_reader_and_is_made_again(
    cluster: Cluster, alice: User, harm: Callable[[Path], None]
) -> None:
    data = os.urandom(SMALL)
    file_id, chunk_id = small_file(alice, f"one-{harm.__name__}", data)
    victim = cluster.holders(chunk_id)[0]
    path = cluster.chunk_files(victim)[chunk_id]
    with nothing_mended(cluster):
        harm(path)
        assert whole_copies(cluster, chunk_id) == 1
        harmed = path.read_bytes() if path.exists() else None

    def noticed() -> bool:
        assert alice.download(file_id) == data
        return is_called_bad(cluster, chunk_id)

    cluster.wait(noticed, what="the bad copy being noticed")
    cluster.wait(lambda: whole_copies(cluster, chunk_id) == 2, what="two whole copies again")
    assert [bad.read_bytes() for bad in quarantined(cluster, victim, chunk_id)] == ([] if harmed is None else [harmed])
    assert alice.download(file_id) == data


@pytest.mark.parametrize("harm", HARMS)
def test_when_every_copy_of_a_chunk_is_bad_the_reader_gets_an_error_and_not_one_wrong_byte(
    cluster: Cluster, alice: User, harm: Callable[[Path], None]
) -> None:
    data, other = os.urandom(2 * CHUNK + SMALL), os.urandom(SMALL)
    file_id = alice.upload(f"all-{harm.__name__}", data).file_id
    other_id = alice.upload(f"other-{harm.__name__}", other).file_id
    lost = cluster.chunks_of(file_id)[1]
    with nothing_mended(cluster):
        for holder in cluster.holders(lost):
            harm(cluster.chunk_files(holder)[lost])
        assert whole_copies(cluster, lost) == 0

    received, error = read_until_error(alice, file_id)
    assert (error.code, error.status) == ("data_lost", "DATA_LOSS")
    assert f"all-{harm.__name__}" in str(error)
    assert data.startswith(received)
    assert len(received) <= CHUNK
    assert alice.download(other_id) == other


def test_chunk_files_that_changed_places_on_one_node_are_not_taken_for_each_other(
    cluster: Cluster, alice: User
) -> None:
    """Each has a valid header, so only the gateway can know that it is not the chunk it asked for."""
    (first, second), nodes, data = two_files_on_the_same_nodes(cluster, alice, "swapped-once")
    with nothing_mended(cluster):
        swap(cluster, nodes[0], first[1], second[1])

    def noticed() -> bool:
        assert [alice.download(file_id) for file_id, _ in (first, second)] == data
        return all(is_called_bad(cluster, chunk_id) for _, chunk_id in (first, second))

    cluster.wait(noticed, what="both swapped copies being noticed")
    chunks = [chunk_id for _, chunk_id in (first, second)]
    cluster.wait(lambda: [good_copies(cluster, one) for one in chunks] == [2, 2], what="two good copies again")
    assert [alice.download(file_id) for file_id, _ in (first, second)] == data


def test_chunk_files_that_changed_places_on_every_node_are_lost_rather_than_mistaken(
    cluster: Cluster, alice: User
) -> None:
    (first, second), nodes, _ = two_files_on_the_same_nodes(cluster, alice, "swapped-everywhere")
    with nothing_mended(cluster):
        for node in nodes:
            swap(cluster, node, first[1], second[1])
    for file_id, _ in (first, second):
        received, error = read_until_error(alice, file_id)
        assert (received, error.code) == (b"", "data_lost")


def test_a_chunk_file_that_vanished_is_found_and_made_again_though_nobody_reads_it(
    cluster: Cluster, alice: User
) -> None:
    _, chunk_id = small_file(alice, "unread", os.urandom(SMALL))
    with nothing_mended(cluster):
        cluster.chunk_files(cluster.holders(chunk_id)[0])[chunk_id].unlink()
        assert whole_copies(cluster, chunk_id) == 1
    cluster.wait(lambda: whole_copies(cluster, chunk_id) == 2, what="the missing copy made again")


def test_a_node_that_cannot_list_its_files_does_not_keep_the_others_from_being_looked_at(
    cluster: Cluster, alice: User
) -> None:
    # In the order in which the gateway finds those that are due: as they registered.
    first_asked, *_ = [row[0] for row in cluster.rows("SELECT node_id FROM node ORDER BY rowid")]
    chunk_id = next(
        chunk_id
        for _, chunk_id in (small_file(alice, f"unlisted{number}", os.urandom(SMALL)) for number in range(60))
        if first_asked not in cluster.holders(chunk_id)
    )
    folders = cluster.node_folder(first_asked).glob("[0-9a-f][0-9a-f]")
    missing = next(folder for folder in folders if not any(folder.iterdir()))
    missing.rmdir()
    try:
        cluster.wait(lambda: f"disk of node {first_asked} failed" in cluster.gateway.err.read_text())
        cluster.chunk_files(cluster.holders(chunk_id)[0])[chunk_id].unlink()
        cluster.wait(lambda: whole_copies(cluster, chunk_id) == 2, what="the missing copy made again")
    finally:
        missing.mkdir()


def test_a_file_whose_copies_were_all_lost_is_readable_again_when_their_folders_come_back(
    cluster: Cluster, alice: User, tmp_path: Path
) -> None:
    data = os.urandom(SMALL)
    file_id, chunk_id = small_file(alice, "lost-and-found", data)
    holders = cluster.holders(chunk_id)
    cluster.kill(*holders)
    wait_offline(cluster, *holders)
    for node in holders:
        cluster.node_folder(node).rename(tmp_path / node)
    cluster.start_nodes(*holders)
    cluster.wait(lambda: outcome(alice, file_id) == "data_lost", what="the loss being told")

    cluster.kill(*holders)
    wait_offline(cluster, *holders)
    for node in holders:
        cluster.node_folder(node).rename(tmp_path / f"{node}-new")
        (tmp_path / node).rename(cluster.node_folder(node))
    cluster.start_nodes(*holders)
    cluster.wait(lambda: outcome(alice, file_id) == data, what="the file being readable again")


def small_file(user: User, name: str, data: bytes) -> tuple[str, str]:
    """The ids of a new file and of its one chunk."""
    file_id = user.upload(name, data).file_id
    (chunk_id,) = user.cluster.chunks_of(file_id)
    return file_id, chunk_id


def two_files_on_the_same_nodes(
    cluster: Cluster, user: User, name: str
) -> tuple[tuple[tuple[str, str], tuple[str, str]], list[str], list[bytes]]:
    """Their ids and chunk ids, the nodes, and their bytes. Of four files on pairs of three nodes two share a pair."""
    contents = [os.urandom(SMALL) for _ in range(4)]
    files = [small_file(user, f"{name}-{number}", data) for number, data in enumerate(contents)]
    for (one, first), (other, second) in combinations(enumerate(files), 2):
        if cluster.holders(first[1]) == cluster.holders(second[1]):
            return (first, second), cluster.holders(first[1]), [contents[one], contents[other]]
    raise AssertionError("four chunks on four different pairs of three nodes")


def swap(cluster: Cluster, node: str, first: str, second: str) -> None:
    files = cluster.chunk_files(node)
    one, other = files[first].read_bytes(), files[second].read_bytes()
    assert one != other
    files[first].write_bytes(other)
    files[second].write_bytes(one)


@contextmanager
def nothing_mended(cluster: Cluster) -> Iterator[None]:
    """The gateway stands still meanwhile, or it might notice a harm, and mend it, before the test has looked at it."""
    cluster.pause("gateway")
    try:
        yield
    finally:
        cluster.resume("gateway")


def read_until_error(user: User, file_id: str) -> tuple[bytes, CloudError]:
    """What arrives of a file before its download fails, and how it fails."""
    received = b""
    try:
        for piece in user.pieces(file_id):
            received += piece.chunk_data
    except grpc.RpcError as failure:
        return received, rpc.error_of(failure, "the gateway")  # type: ignore[arg-type]
    raise AssertionError("the download succeeded")


def outcome(user: User, file_id: str) -> bytes | str:
    """The file's bytes, or the code of the error. A node that was taken in just now is not reached at once."""
    try:
        return user.download(file_id)
    except grpc.RpcError as failure:
        return rpc.error_of(failure, "the gateway").code  # type: ignore[arg-type]


def whole_copies(cluster: Cluster, chunk_id: str) -> int:
    """Files on the nodes' disks that hold the chunk's bytes, by the checksum that the gateway keeps."""
    ((checksum,),) = cluster.rows(f"SELECT checksum FROM chunk WHERE chunk_id = '{chunk_id}'")
    count = 0
    for node in ("node1", "node2", "node3"):
        with suppress(FileNotFoundError):  # it may go to quarantine at any moment
            stored = (cluster.node_folder(node) / chunk_id[:2] / chunk_id).read_bytes()
            data = stored[HEADER.size :]
            header = HEADER.pack(b"CGCHNK", 1, 0, len(data), bytes.fromhex(checksum))
            count += checksum_of(data) == checksum and stored.startswith(header)
    return count


def good_copies(cluster: Cluster, chunk_id: str) -> int:
    query = f"SELECT count(*) FROM copy WHERE chunk_id = '{chunk_id}' AND state = 'good'"
    return int(cluster.rows(query)[0][0])


def is_called_bad(cluster: Cluster, chunk_id: str) -> bool:
    return bool(cluster.rows(f"SELECT 1 FROM event WHERE kind = 'copy.bad' AND details LIKE '%{chunk_id}%'"))


def quarantined(cluster: Cluster, node: str, chunk_id: str) -> list[Path]:
    return list((cluster.node_folder(node) / "quarantine").glob(f"{chunk_id}.*"))


def _change_byte(path: Path, position: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        (byte,) = file.read(1)
        file.seek(position)
        file.write(bytes([byte ^ 1]))
