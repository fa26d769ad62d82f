"""Files over the wire: round trips, versions, deletes, and what is nobody's."""

from __future__ import annotations

import itertools
import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import grpc
import pytest

from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.pb.cloud_storage_pb2_grpc import FileServiceStub
from service.files_fixture import (
    CHUNK,
    MIB,
    arrived,
    content,
    data,
    digest,
    metadata,
    nothing_kept,
    root_of,
    send,
    someone,
    versions_of,
)
from user import CALL_S, User, refused, upload_messages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cluster_harness import Cluster

THREE_CHUNKS = 2 * CHUNK + 1


@pytest.fixture
def alice(calm: Cluster) -> User:
    return someone(calm)


@pytest.fixture(scope="module")
def zoe(calm: Cluster) -> User:
    """Somebody whose tries are all refused, so that many tests may share her."""
    return someone(calm)


@pytest.fixture
def anna(calm_on_either: Cluster) -> User:
    """Somebody on either engine."""
    return someone(calm_on_either)


# Round trips


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1])
def test_a_file_comes_back_byte_for_byte(alice: User, size: int) -> None:
    check_round_trip(alice, size)


def test_a_file_of_several_chunks_comes_back_byte_for_byte(anna: User) -> None:
    check_round_trip(anna, 9 * MIB)


def check_round_trip(user: User, size: int) -> None:
    sent = content(size)
    answer = user.upload("film.mp4", sent)
    chunks = -(-size // CHUNK)
    assert (answer.success, answer.chunks_stored, answer.checksum) == (True, chunks, digest(sent))
    first, *pieces = user.pieces(answer.file_id)
    info = first.file_info
    assert (info.filename, info.file_size, info.total_chunks, info.checksum) == ("film.mp4", size, chunks, digest(sent))
    assert b"".join(piece.chunk_data for piece in pieces) == sent
    assert max((piece.ByteSize() for piece in pieces), default=0) <= MIB + 16, "no message is larger than a mebibyte"
    assert len(pieces) <= -(-size // MIB), "nor are they needlessly small"
    told = user.metadata(answer.file_id)
    assert (told.file.file_size, told.chunk_count, told.checksum) == (size, chunks, digest(sent))
    assert user.cluster.used_bytes(user.email) == (size, 0)


def test_every_chunk_is_on_two_nodes_when_the_reply_comes(alice: User) -> None:
    answer = alice.upload("film.mp4", content(THREE_CHUNKS))
    chunks = alice.cluster.chunks_of(answer.file_id)
    assert len(chunks) == 3
    assert [alice.cluster.holders(chunk_id) for chunk_id in chunks] == [["node1", "node2"]] * 3


def test_messages_may_have_any_size_and_be_empty(alice: User) -> None:
    sent = content(THREE_CHUNKS)
    dice, cuts = random.Random(7), [0]
    while cuts[-1] < len(sent):
        cuts.append(cuts[-1] + dice.choice([0, 1, 17, 4095, 65_537, 999_983, 3 * MIB]))
    answer = alice.upload("odd", (sent[start:end] for start, end in itertools.pairwise(cuts)), size=len(sent))
    assert alice.download(answer.file_id) == sent


def test_a_message_of_four_mebibytes_is_accepted(alice: User) -> None:
    sent = content(CHUNK + 10)
    whole = [sent[: CHUNK - 10], sent[CHUNK - 10 :]]
    assert data(whole[0]).ByteSize() <= CHUNK
    answer = alice.upload("big messages", iter(whole), size=len(sent))
    assert alice.download(answer.file_id) == sent


def test_a_larger_message_is_refused(alice: User) -> None:
    with nothing_kept(alice):
        with closing(grpc.insecure_channel(alice.cluster.address)) as plain, refused("RESOURCE_EXHAUSTED"):
            FileServiceStub(plain).UploadFile(
                iter([metadata(alice, size=5 * MIB), data(content(5 * MIB))]), timeout=CALL_S
            )
        alice.cluster.wait(lambda: alice.cluster.used_bytes(alice.email) == (0, 0), what="the quota as before")
    assert alice.upload("after it", b"x").success


# Versions, trash, storage


def test_uploading_to_a_name_that_exists_replaces_the_content_and_keeps_the_old_as_a_version(anna: User) -> None:
    first = anna.upload("notes", b"old")
    second = anna.upload("notes", b"newer")
    assert second.file_id == first.file_id
    assert anna.names() == ["notes"]
    assert anna.download(first.file_id) == b"newer"
    assert versions_of(anna, "notes") == 2
    assert anna.cluster.used_bytes(anna.email) == (8, 0), "what can be restored counts"


def test_a_deleted_file_lies_in_the_trash_and_counts_until_it_is_deleted_for_good(anna: User) -> None:
    file_id = anna.upload("notes", b"12345").file_id
    anna.delete(file_id)
    assert anna.names() == []
    (trashed,) = anna.ls(include_deleted=True).files
    assert (trashed.file_id, trashed.is_deleted) == (file_id, True)
    assert anna.metadata(file_id).file.is_deleted
    assert anna.storage().used_bytes == 5
    with refused("NOT_FOUND", "not_found"):
        anna.download(file_id)
    with refused("NOT_FOUND", "not_found"):
        anna.delete(file_id)
    with refused("NOT_FOUND", "not_found"):
        anna.resolve("/notes")
    anna.delete(file_id, permanent=True)
    assert anna.storage().used_bytes == 0
    assert not anna.ls(include_deleted=True).files
    for permanent in (True, False):
        with refused("NOT_FOUND", "not_found"):
            anna.delete(file_id, permanent=permanent)


def test_deleting_for_good_frees_every_version(alice: User) -> None:
    for size in (3, 5, 7):
        file_id = alice.upload("notes", content(size)).file_id
    alice.delete(file_id, permanent=True)
    assert alice.cluster.used_bytes(alice.email) == (0, 0)
    with refused("NOT_FOUND", "not_found"):
        alice.metadata(file_id)


def test_the_name_of_a_trashed_file_is_free(alice: User) -> None:
    old = alice.upload("notes", b"old").file_id
    alice.delete(old)
    new = alice.upload("notes", b"new").file_id
    assert new != old
    assert alice.download(new) == b"new"
    alice.delete(old, permanent=True)
    assert alice.names() == ["notes"]


def test_a_file_deleted_for_good_twice_at_once_is_freed_once(anna: User) -> None:
    anna.upload("other", b"123")
    file_id = anna.upload("notes", b"12345").file_id

    def delete(_: int) -> bool:
        with suppress(grpc.RpcError):
            anna.delete(file_id, permanent=True)
            return True
        return False

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(delete, range(4))) == [False, False, False, True]
    assert anna.cluster.used_bytes(anna.email) == (3, 0)


def test_deleting_a_folder_takes_with_it_all_it_holds(anna: User) -> None:
    photos = anna.mkdir("photos")
    summer = anna.mkdir("summer", photos)
    inside = [anna.upload("a", b"12345", folder=photos).file_id, anna.upload("b", b"123", folder=summer).file_id]
    beside = anna.upload("a", b"1").file_id
    anna.delete(photos)
    assert anna.ls().folders == []
    assert [folder.folder_name for folder in anna.ls(include_deleted=True).folders] == ["photos"]
    lost = [lambda: anna.delete(photos), *with_folder(anna, photos), *with_folder(anna, summer)]
    for attempt in (*lost, *(lambda one=one: anna.download(one) for one in inside)):
        with refused("NOT_FOUND", "not_found"):
            attempt()
    assert anna.storage().used_bytes == 9
    anna.delete(photos, permanent=True)
    assert anna.storage().used_bytes == 1
    for one in (photos, summer, *inside):
        with refused("NOT_FOUND", "not_found"):
            anna.delete(one, permanent=True)
    assert anna.download(beside) == b"1"


@pytest.mark.parametrize("permanent", [False, True])
def test_the_root_folder_cannot_be_deleted(zoe: User, permanent: bool) -> None:
    with refused("INVALID_ARGUMENT", "invalid_field"):
        zoe.delete(root_of(zoe), permanent=permanent)


@pytest.mark.parametrize("permanent", [False, True], ids=["to the trash", "for good"])
def test_an_upload_whose_folder_is_deleted_meanwhile_ends_and_leaves_nothing(anna: User, permanent: bool) -> None:
    folder = anna.mkdir("photos")

    def messages() -> Iterator[pb.UploadFileRequest]:
        first, *more = upload_messages(anna.token, "film.mp4", content(THREE_CHUNKS), folder=folder)
        yield from [first, *more[:5]]
        anna.cluster.wait(lambda: arrived(anna) == (THREE_CHUNKS, 2), what="the first chunk")
        anna.delete(folder, permanent=permanent)
        yield from more[5:]

    with refused("ABORTED", "upload_ended"):
        send(anna, messages())
    assert anna.cluster.used_bytes(anna.email) == (0, 0)


def test_storage_tells_what_is_used_and_by_what(alice: User) -> None:
    send(alice, upload_messages(alice.token, "a.jpg", b"12345", mime_type="image/jpeg"))
    send(alice, upload_messages(alice.token, "b.jpg", b"123", mime_type="image/jpeg", folder=alice.mkdir("photos")))
    send(alice, upload_messages(alice.token, "c", b"1", mime_type=""))
    info = alice.storage()
    assert (info.allocated_bytes, info.used_bytes, info.available_bytes) == (1 << 30, 9, (1 << 30) - 9)
    assert info.usage_percentage == pytest.approx(100 * 9 / (1 << 30))
    usage = alice.cluster.storage.GetStorageUsage(pb.StorageUsageRequest(session_token=alice.token), timeout=CALL_S)
    assert dict(usage.usage_by_type) == {"image/jpeg": 8, "application/octet-stream": 1}
    assert (usage.total_files, usage.total_folders) == (3, 1)


# What is nobody's; what is somebody else's stands in test_isolation


def with_file(user: User, file_id: str) -> list[Callable[[], object]]:
    """Everything that can be asked about a file by its id."""
    return [
        lambda: user.download(file_id),
        lambda: user.metadata(file_id),
        lambda: user.delete(file_id),
        lambda: user.delete(file_id, permanent=True),
    ]


def with_folder(user: User, folder_id: str) -> list[Callable[[], object]]:
    """And about a folder."""
    return [
        lambda: user.ls(folder_id),
        lambda: user.ls(folder_id, include_deleted=True),
        lambda: user.mkdir("mine", folder_id),
        lambda: user.upload("mine", b"x", folder=folder_id),
    ]


def test_a_folder_is_no_file_and_a_file_no_folder(alice: User) -> None:
    folder, file_id = alice.mkdir("photos"), alice.upload("notes", b"x").file_id
    with nothing_kept(alice):
        for attempt in (
            lambda: alice.download(folder),
            lambda: alice.metadata(folder),
            *with_folder(alice, file_id)[:3],
        ):
            with refused("NOT_FOUND", "not_found"):
                attempt()


BAD_IDS = ["0" * 32, "../../x", "/etc/passwd", "a\0b", "\0", "x" * 10_000, "é", "%", "' OR 1=1 --"]


@pytest.mark.parametrize("bad", BAD_IDS, ids=range(len(BAD_IDS)))
def test_what_is_no_id_is_not_found(zoe: User, bad: str) -> None:
    with nothing_kept(zoe):
        for attempt in (*with_file(zoe, bad), *with_folder(zoe, bad)):
            with refused("NOT_FOUND", "not_found"):
                attempt()


def test_an_empty_id_names_no_file(zoe: User) -> None:
    for attempt in with_file(zoe, ""):
        with refused("NOT_FOUND", "not_found"):
            attempt()
