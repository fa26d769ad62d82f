"""Encryption at rest as whoever holds a disk or the database sees it, by a real gateway and real nodes."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

import grpc
import pytest

from cloudgrpc import rpc
from cloudgrpc.chunks.disk import HEADER
from cloudgrpc.core.sealing import TAG_BYTES
from cloudgrpc.errors import Exit
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cluster_harness import CALM, Cluster
from service.files_fixture import CHUNK, Unfinished, content, digest, someone
from service.test_upload_sessions import fresh_channel
from user import CALL_S, User

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NODES = ["node1", "node2"]
MARKER = b"a sentence that nobody but its owner may read; "
OPEN = b"what was stored before anything was encrypted; "
LETTER = MARKER * 40  # a small file
FILM = MARKER * (CHUNK // len(MARKER) + 9)  # two chunks


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Of two nodes, so that both hold every chunk; its accounts that are closed go at once."""
    settings = {**CALM, "upkeep_round_s": 0.3, "upkeep_closed_account_s": 0.01}
    cluster = Cluster(tmp_path_factory.mktemp("sealing"), nodes=2, capacity_gb=20, **settings)
    try:
        yield cluster.start()
    finally:
        cluster.close()


@pytest.fixture
def alice(cluster: Cluster) -> User:
    return someone(cluster)


def restart_gateway(cluster: Cluster, **settings: object) -> None:
    cluster.stop_gateway()
    cluster.start_gateway(**settings)
    fresh_channel(cluster)


def files_with(cluster: Cluster, words: bytes) -> list[Path]:
    """All files of gateway and nodes that hold these bytes."""
    found = []
    for path in cluster.data.rglob("*"):
        with suppress(FileNotFoundError):  # what is written aside goes again
            found += [path] if path.is_file() and words in path.read_bytes() else []
    return found


def refusal(user: User, file_id: str) -> tuple[bytes, str]:
    """What arrives of a file before its download fails, and the code of how it fails."""
    received = b""
    try:
        for piece in user.pieces(file_id):
            received += piece.chunk_data
    except grpc.RpcError as failure:
        return received, rpc.error_of(failure, "the gateway").code  # type: ignore[arg-type]
    raise AssertionError("the download succeeded")


def swap(cluster: Cluster, first: str, second: str) -> None:
    """Two chunks change places, on every node and in the metadata: by all that a node can check each is the other."""
    for node in NODES:
        files = cluster.chunk_files(node)
        one, other = (files[chunk_id].read_bytes() for chunk_id in (first, second))
        files[first].write_bytes(other)
        files[second].write_bytes(one)
    query = "SELECT checksum FROM chunk WHERE chunk_id = '{}'"
    sums = [cluster.rows(query.format(chunk_id))[0][0] for chunk_id in (first, second)]
    for chunk_id, checksum in zip((second, first), sums, strict=True):
        cluster.change(f"UPDATE chunk SET checksum = '{checksum}' WHERE chunk_id = '{chunk_id}'")


def test_neither_disks_nor_the_database_tell_what_a_file_is(cluster: Cluster, alice: User) -> None:
    letter, film = alice.upload("letter", LETTER).file_id, alice.upload("film", FILM).file_id
    upload = Unfinished(alice, "resumed", FILM)
    upload.put(1, 1)
    upload.put(0, 1)
    resumed = upload.finish().file_id
    assert [alice.download(one) for one in (letter, film, resumed)] == [LETTER, FILM, FILM]
    assert files_with(cluster, MARKER) == []
    for data in (LETTER, FILM):
        assert files_with(cluster, digest(data).removeprefix("blake3:").encode()) == [], "nor which known file it is"
    assert {path.name.removesuffix("-wal") for path in files_with(cluster, b"resumed")} == {"metadata.sqlite3"}
    for node in NODES:
        sizes = sorted(path.stat().st_size - HEADER.size - TAG_BYTES for path in cluster.chunk_files(node).values())
        assert sum(sizes) >= len(LETTER) + 2 * len(FILM), "though it is all there"


def test_the_digest_is_plain_for_its_owner_and_sealed_in_the_database(cluster: Cluster, alice: User) -> None:
    answer = alice.upload("letter", LETTER)
    assert answer.checksum == digest(LETTER) == alice.metadata(answer.file_id).checksum
    assert [entry.checksum for entry in alice.ls().files] == [digest(LETTER)]
    of_alice = f"WHERE account_id = '{alice.user_id}'"
    kept = cluster.rows(
        f"SELECT digest FROM version JOIN entry USING (entry_id) {of_alice} UNION ALL "
        f"SELECT digest FROM upload {of_alice} AND state = 'committed'"
    )
    assert {digest.partition(":")[0] for (digest,) in kept} == {"sealed"}


def test_any_part_of_a_file_is_what_it_is(alice: User) -> None:
    film = content(2 * CHUNK + 77)
    file_id = alice.upload("film", film).file_id
    for start, end in ((0, 1), (CHUNK - 1, CHUNK + 1), (CHUNK, 2 * CHUNK), (2 * CHUNK + 3, len(film)), (17, 17)):
        request = pb.DownloadFileRequest(session_token=alice.token, file_id=file_id, offset=start, length=end - start)
        answer = alice.cluster.files.DownloadFile(request, timeout=CALL_S)
        assert b"".join(piece.chunk_data for piece in answer) == film[start:end]


def test_two_chunks_of_a_file_that_changed_places_everywhere_are_lost_and_never_mistaken(
    cluster: Cluster, alice: User
) -> None:
    file_id = alice.upload("film", content(2 * CHUNK)).file_id
    swap(cluster, *cluster.chunks_of(file_id))
    assert refusal(alice, file_id) == (b"", "data_lost")


def test_two_files_that_changed_places_everywhere_are_lost_and_never_mistaken(cluster: Cluster, alice: User) -> None:
    files = [alice.upload(f"letter{n}", os.urandom(1000)).file_id for n in range(2)]
    (first,), (second,) = (cluster.chunks_of(file_id) for file_id in files)
    swap(cluster, first, second)
    assert [refusal(alice, file_id) for file_id in files] == [(b"", "data_lost")] * 2


def test_a_version_that_was_given_the_chunks_of_another_is_lost_and_never_mistaken(
    cluster: Cluster, alice: User
) -> None:
    mine, other = (alice.upload(f"letter{n}", os.urandom(1000)).file_id for n in range(2))
    (chunk_id,) = cluster.chunks_of(other)
    cluster.change(
        f"UPDATE extent SET chunk_id = '{chunk_id}' WHERE version_id = "
        f"(SELECT version_id FROM entry WHERE entry_id = '{mine}')"
    )
    assert refusal(alice, mine) == (b"", "data_lost")
    assert len(alice.download(other)) == 1000


def test_a_copy_of_a_shared_file_is_readable_after_its_owner_is_gone(cluster: Cluster, alice: User) -> None:
    owner = someone(cluster)
    folder = owner.mkdir("shared")
    film = owner.upload("film", FILM, folder=folder).file_id
    owner.share(folder, alice.email)
    copies = []
    for what, name in ((film, "film"), (folder, "folder")):
        request = pb.CopyFileRequest(session_token=alice.token, file_id=what, new_name=name)
        copies.append(cluster.files.CopyFile(request, timeout=CALL_S).file_id)
    before = set(cluster.chunk_files("node1"))
    token = cluster.prove(owner.email)
    cluster.auth.CloseAccount(
        pb.CloseAccountRequest(session_token=owner.token, verification_token=token), timeout=CALL_S
    )
    gone = f"SELECT wrapped_key FROM account WHERE account_id = '{owner.user_id}'"
    cluster.wait(lambda: cluster.rows(gone) in ([("",)], []), what="the account being removed")
    in_folder = alice.resolve("/folder/film").file.file_id
    for copied in (copies[0], in_folder):
        assert alice.download(copied) == FILM
    assert set(cluster.chunk_files("node1")) == before, "no byte travelled"


def test_what_was_stored_before_is_read_beside_what_is_sealed(cluster: Cluster, alice: User) -> None:
    restart_gateway(cluster, encryption_at_rest=False, encryption_background_mib_s=0.001)
    letter, film = (data.replace(MARKER, OPEN) for data in (LETTER, FILM))
    plain = alice.upload("plain", letter).file_id
    upload = Unfinished(alice, "begun plain", film)
    upload.put(0, 1)
    assert files_with(cluster, OPEN)
    restart_gateway(cluster, encryption_background_mib_s=0.001)
    sealed = alice.upload("sealed", letter).file_id
    upload.put(1, 1)
    begun = upload.finish().file_id
    restart_gateway(cluster, encryption_at_rest=False)
    assert [alice.download(one) for one in (plain, sealed, begun)] == [letter, letter, film]
    restart_gateway(cluster, encryption_background_mib_s=0.001)
    assert [alice.download(one) for one in (plain, sealed, begun)] == [letter, letter, film]


def test_without_its_master_key_a_gateway_refuses_to_start_and_says_what_to_do(cluster: Cluster, alice: User) -> None:
    file_id = alice.upload("letter", LETTER).file_id
    key_file, aside = cluster.data / "secrets" / "master.key", cluster.folder / "master.key"
    (key_id,) = {key.partition(":")[0] for (key,) in cluster.rows("SELECT wrapped_key FROM account") if key}
    cluster.stop_gateway()
    key_file.rename(aside)
    told_before = len(cluster.gateway.err.read_text())
    program = cluster.start_gateway(ready=False)
    assert program.wait() == Exit.NOT_NOW
    told = program.err.read_text()[told_before:]
    assert f"The master key {key_id} is not here" in told
    assert "cloudgrpc secrets add master --from FILE" in told
    assert not key_file.exists(), "a new one would be in the way of the old"
    aside.rename(key_file)
    cluster.start_gateway()
    fresh_channel(cluster)
    assert alice.download(file_id) == LETTER
