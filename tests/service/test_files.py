"""Files over the wire: round trips, bad input, transfers that break off or stand still, and retries."""

from __future__ import annotations

import base64
import itertools
import json
import random
import socket
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from blake3 import blake3

from cloudgrpc import rpc
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.pb.cloud_storage_pb2_grpc import FileServiceStub
from cluster_harness import Cluster
from program import HOST
from user import CALL_S, User, refused, upload_messages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from postgres import Postgres

MIB = 1 << 20
CHUNK = 4 * MIB
SILENCE_S = 1.0
THREE_CHUNKS = 2 * CHUNK + 1

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("files"), nodes=2, capacity_gb=200)
    try:
        yield cluster.start()
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def postgres_cluster(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres) -> Iterator[Cluster]:
    database = postgres.fresh_database()
    cluster = Cluster(tmp_path_factory.mktemp("files-postgres"), nodes=2, capacity_gb=200, database=database)
    try:
        yield cluster.start()
    finally:
        cluster.close()
        postgres.drop(database)


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that ends silent transfers and collects what nobody needs, both within seconds."""
    quick = {"drive_silence_s": SILENCE_S, "drive_upload_lease_s": 3, "upkeep_grace_s": 3.1, "upkeep_inventory_s": 0.3}
    cluster = Cluster(tmp_path_factory.mktemp("impatient"), nodes=2, capacity_gb=200, **quick)
    try:
        yield cluster.start()
    finally:
        cluster.close()


@pytest.fixture
def alice(cluster: Cluster) -> User:
    return someone(cluster)


@pytest.fixture(params=["cluster", "postgres_cluster"], ids=["sqlite", "postgres"])
def anna(request: pytest.FixtureRequest) -> User:
    """Somebody on either engine."""
    return someone(request.getfixturevalue(request.param))


def someone(cluster: Cluster) -> User:
    return cluster.enroll(f"person{next(_numbers)}@example.org")


def content(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def digest(data: bytes) -> str:
    return f"blake3:{blake3(data).hexdigest()}"


def send(user: User, messages: Iterable[pb.UploadFileRequest]) -> pb.UploadFileResponse:
    return user.cluster.files.UploadFile(iter(messages), timeout=CALL_S)


def metadata(user: User, name: str = "a", size: int = 0, **more: Any) -> pb.UploadFileRequest:
    told = pb.FileMetadata(session_token=user.token, filename=name, file_size=size, **more)
    return pb.UploadFileRequest(metadata=told)


def data(piece: bytes) -> pb.UploadFileRequest:
    return pb.UploadFileRequest(chunk_data=piece)


def kept(user: User) -> object:
    """Everything that the metadata says this person has."""
    mine = f"account_id = '{user.user_id}'"
    entries = user.cluster.rows(f"SELECT entry_id, name, version_id, trashed_at FROM entry WHERE {mine} ORDER BY 1")
    versions = user.cluster.rows(
        f"SELECT version.version_id, size_bytes FROM version JOIN entry USING (entry_id) WHERE {mine}"
    )
    return entries, sorted(versions), user.cluster.used_bytes(user.email)


@contextmanager
def nothing_kept(user: User) -> Iterator[None]:
    """Whatever happens inside leaves this person's files and quota as they were."""
    before = kept(user)
    yield
    assert kept(user) == before


def versions_of(user: User, name: str) -> int:
    query = f"SELECT count(*) FROM version JOIN entry USING (entry_id) WHERE entry.account_id = '{user.user_id}'"
    return int(user.cluster.rows(f"{query} AND name = '{name}'")[0][0])


def upload_in_parallel(users: list[User], size: int = CHUNK + 1) -> None:
    """Uploads at the same time, all of which must succeed."""
    with ThreadPoolExecutor(len(users)) as pool:
        answers = list(pool.map(lambda user: user.upload("together", content(size)), users))
    assert [answer.checksum for answer in answers] == [digest(content(size))] * len(users)


# Round trips


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 9 * MIB])
def test_a_file_comes_back_byte_for_byte(alice: User, size: int) -> None:
    sent = content(size)
    answer = alice.upload("film.mp4", sent)
    chunks = -(-size // CHUNK)
    assert (answer.success, answer.chunks_stored, answer.checksum) == (True, chunks, digest(sent))
    first, *pieces = alice.pieces(answer.file_id)
    info = first.file_info
    assert (info.filename, info.file_size, info.total_chunks, info.checksum) == ("film.mp4", size, chunks, digest(sent))
    assert b"".join(piece.chunk_data for piece in pieces) == sent
    told = alice.metadata(answer.file_id)
    assert (told.file.file_size, told.chunk_count, told.checksum) == (size, chunks, digest(sent))
    assert alice.cluster.used_bytes(alice.email) == (size, 0)


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
            FileServiceStub(plain).UploadFile(iter([metadata(alice, size=5 * MIB), data(content(5 * MIB))]), timeout=10)
        alice.cluster.wait(lambda: alice.cluster.used_bytes(alice.email) == (0, 0), what="the quota as before")
    assert alice.upload("after it", b"x").success


def test_no_message_to_a_client_is_larger_than_a_mebibyte(alice: User) -> None:
    pieces = list(alice.pieces(alice.upload("film.mp4", content(9 * MIB)).file_id))
    assert max(piece.ByteSize() for piece in pieces) <= MIB + 16
    assert len(pieces) < 20, "nor are they needlessly small"


# Folders, lists, paths


def test_folders_nest_and_paths_lead_to_what_is_in_them(alice: User) -> None:
    photos = alice.mkdir("photos")
    summer = alice.mkdir("été 2026", photos)
    file_id = alice.upload("a.jpg", b"jpg", folder=summer).file_id
    assert [folder.folder_name for folder in alice.ls().folders] == ["photos"]
    assert [(folder.folder_name, folder.file_count) for folder in alice.ls(photos).folders] == [("été 2026", 1)]
    assert resolve(alice, "/photos/été 2026/a.jpg").file.file_id == file_id
    assert resolve(alice, "//photos///été 2026/").folder.folder_id == summer
    assert resolve(alice, "/").folder.folder_name == ""


@pytest.mark.parametrize("path", ["/nothing", "/photos/nothing", "/photos/a.jpg/b", "/Photos", "/photos/A.jpg"])
def test_a_path_to_nothing_is_not_found(alice: User, path: str) -> None:
    alice.upload("a.jpg", b"jpg", folder=alice.mkdir("photos"))
    with refused("NOT_FOUND", "not_found"):
        resolve(alice, path)


@pytest.mark.parametrize(
    "path", ["", "photos", "/..", "/photos/../photos", "/.", "/a\0b", "/" + "x" * 256, "/x" * 5000]
)
def test_what_is_no_path_is_refused(alice: User, path: str) -> None:
    with refused("INVALID_ARGUMENT", "invalid_field") as errors:
        resolve(alice, path)
    assert str(errors[0]).startswith("path:")


def test_a_name_stands_once_in_its_folder(anna: User) -> None:
    photos = anna.mkdir("photos")
    anna.upload("notes", b"x")
    for taken in ("photos", "notes"):
        with refused("ALREADY_EXISTS", "name_taken"):
            anna.mkdir(taken)
    with nothing_kept(anna), refused("ALREADY_EXISTS", "name_taken"):
        anna.upload("photos", b"x")
    assert anna.mkdir("photos", photos), "in another folder it is free"
    anna.mkdir("caf\u00e9")
    with refused("ALREADY_EXISTS", "name_taken"):
        anna.mkdir("cafe\u0301")


def test_folders_made_at_the_same_time_under_one_name_are_one(anna: User) -> None:
    def make(_: int) -> str:
        with suppress(grpc.RpcError):
            return anna.mkdir("twin")
        return ""

    with ThreadPoolExecutor(8) as pool:
        made = [folder_id for folder_id in pool.map(make, range(8)) if folder_id]
    assert made == [folder.folder_id for folder in anna.ls().folders]


def test_pages_together_are_the_whole_list_in_its_order(anna: User) -> None:
    for number in range(5):
        anna.mkdir(f"folder {number}")
        anna.upload(f"file {number}", b"")
    whole = anna.ls()
    assert not whole.next_page_token
    for page_size in (1, 3, 10, 100):
        entries = [entry for page in pages(anna, page_size) for entry in (*page.folders, *page.files)]
        assert entries == [*whole.folders, *whole.files], page_size


BAD_TOKENS = ["x", "%%%", "é", base64.urlsafe_b64encode(b"[1,2,3]").decode(), "\0", "W10=", "W" * 100_000]
BAD_TOKENS += [base64.urlsafe_b64encode(b"[" * 50_000).decode(), base64.urlsafe_b64encode(b'["a","b"]').decode()]
BAD_TOKENS += [base64.urlsafe_b64encode(json.dumps(["file", odd, "x"]).encode()).decode() for odd in ("\ud800", "\0")]


@pytest.mark.parametrize("token", BAD_TOKENS, ids=range(len(BAD_TOKENS)))
def test_what_is_no_page_token_is_refused(anna: User, token: str) -> None:
    with refused("INVALID_ARGUMENT", "invalid_field") as errors:
        listing(anna, page_size=1, page_token=token)
    assert str(errors[0]).startswith("page_token:")


@pytest.mark.parametrize("page_size", [-1, 10_001, -(2**31), 2**31 - 1])
def test_a_page_has_its_limits(alice: User, page_size: int) -> None:
    with refused("INVALID_ARGUMENT", "invalid_field") as errors:
        listing(alice, page_size=page_size)
    assert str(errors[0]).startswith("page_size:")


def test_a_list_too_long_for_one_reply_is_refused_whole_and_given_in_pages(alice: User) -> None:
    (root,) = alice.cluster.rows(f"SELECT root_id FROM account WHERE account_id = '{alice.user_id}'")
    names = [f"{number:0255}" for number in range(15_000)]
    folders = [(f"{alice.user_id[:16]}{number:016x}", alice.user_id, *root, name) for number, name in enumerate(names)]
    with closing(sqlite3.connect(alice.cluster.data / "metadata.sqlite3", timeout=10)) as connection, connection:
        columns = "entry_id, account_id, parent_id, name, name_key, kind, created_at, modified_at"
        insert = f"INSERT INTO entry ({columns}) VALUES (?, ?, ?, ?4, ?4, 'folder', 1, 1)"
        connection.executemany(insert, folders)
    with refused("RESOURCE_EXHAUSTED", "list_too_long"):
        alice.ls()
    assert [folder.folder_name for page in pages(alice, 10_000) for folder in page.folders] == names


def resolve(user: User, path: str) -> pb.ResolvePathResponse:
    return user.cluster.files.ResolvePath(pb.ResolvePathRequest(session_token=user.token, path=path), timeout=CALL_S)


def listing(user: User, **fields: Any) -> pb.ListFilesResponse:
    return user.cluster.files.ListFiles(pb.ListFilesRequest(session_token=user.token, **fields), timeout=CALL_S)


def pages(user: User, page_size: int) -> Iterator[pb.ListFilesResponse]:
    token = ""
    while True:
        page = listing(user, page_size=page_size, page_token=token)
        yield page
        assert len(page.files) + len(page.folders) <= page_size
        token = page.next_page_token
        if not token:
            return


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
        resolve(anna, "/notes")
    anna.delete(file_id, permanent=True)
    assert anna.storage().used_bytes == 0
    assert not anna.ls(include_deleted=True).files
    for permanent in (True, False):
        with refused("NOT_FOUND", "not_found"):
            anna.delete(file_id, permanent=permanent)


def test_deleting_for_good_frees_every_version(anna: User) -> None:
    for size in (3, 5, 7):
        file_id = anna.upload("notes", content(size)).file_id
    anna.delete(file_id, permanent=True)
    assert anna.cluster.used_bytes(anna.email) == (0, 0)
    with refused("NOT_FOUND", "not_found"):
        anna.metadata(file_id)


def test_the_name_of_a_trashed_file_is_free(anna: User) -> None:
    old = anna.upload("notes", b"old").file_id
    anna.delete(old)
    new = anna.upload("notes", b"new").file_id
    assert new != old
    assert anna.download(new) == b"new"
    anna.delete(old, permanent=True)
    assert anna.names() == ["notes"]


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
def test_the_root_folder_cannot_be_deleted(anna: User, permanent: bool) -> None:
    ((root,),) = anna.cluster.rows(f"SELECT root_id FROM account WHERE account_id = '{anna.user_id}'")
    with refused("INVALID_ARGUMENT", "invalid_field"):
        anna.delete(root, permanent=permanent)


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


def test_storage_tells_what_is_used_and_by_what(anna: User) -> None:
    send(anna, upload_messages(anna.token, "a.jpg", b"12345", mime_type="image/jpeg"))
    send(anna, upload_messages(anna.token, "b.jpg", b"123", mime_type="image/jpeg", folder=anna.mkdir("photos")))
    send(anna, upload_messages(anna.token, "c", b"1", mime_type=""))
    info = anna.storage()
    assert (info.allocated_bytes, info.used_bytes, info.available_bytes) == (1 << 30, 9, (1 << 30) - 9)
    assert info.usage_percentage == pytest.approx(100 * 9 / (1 << 30))
    usage = anna.cluster.storage.GetStorageUsage(pb.StorageUsageRequest(session_token=anna.token), timeout=CALL_S)
    assert dict(usage.usage_by_type) == {"image/jpeg": 8, "application/octet-stream": 1}
    assert (usage.total_files, usage.total_folders) == (3, 1)


# Isolation


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


def test_what_belongs_to_others_does_not_exist(anna: User) -> None:
    bob = someone(anna.cluster)
    folder = bob.mkdir("private")
    file_id = bob.upload("diary", b"secret", folder=folder).file_id
    (root,) = bob.cluster.rows(f"SELECT root_id FROM account WHERE account_id = '{bob.user_id}'")
    tries = [with_file(anna, one) for one in (file_id, folder, root[0])]
    tries += [with_folder(anna, one) for one in (folder, root[0])]
    with nothing_kept(bob), nothing_kept(anna):
        for attempt in itertools.chain(*tries):
            with refused("NOT_FOUND", "not_found") as errors:
                attempt()
            assert "diary" not in str(errors[0])
    assert bob.download(file_id) == b"secret"


def test_a_folder_is_no_file_and_a_file_no_folder(anna: User) -> None:
    folder, file_id = anna.mkdir("photos"), anna.upload("notes", b"x").file_id
    with nothing_kept(anna):
        for attempt in (lambda: anna.download(folder), lambda: anna.metadata(folder), *with_folder(anna, file_id)):
            with refused("NOT_FOUND", "not_found"):
                attempt()


BAD_IDS = ["0" * 32, "../../x", "/etc/passwd", "a\0b", "\0", "x" * 10_000, "é", "%", "' OR 1=1 --"]


@pytest.mark.parametrize("bad", BAD_IDS, ids=range(len(BAD_IDS)))
def test_what_is_no_id_is_not_found(anna: User, bad: str) -> None:
    anna.upload("notes", b"x")
    with nothing_kept(anna):
        for attempt in (*with_file(anna, bad), *with_folder(anna, bad)):
            with refused("NOT_FOUND", "not_found"):
                attempt()


def test_an_empty_id_names_no_file(anna: User) -> None:
    for attempt in with_file(anna, ""):
        with refused("NOT_FOUND", "not_found"):
            attempt()


# Bad input

BAD_NAMES = ["", ".", "..", "a/b", "/", "../../x", "a\0b", "a\nb", "\x1b[31m", "\x7f", "\x85", "x" * 256, "é" * 128]
BAD_NAMES += ["\u202egpj.exe", "x" * 100_000]
GOOD_NAMES = [
    "x" * 255,
    "é" * 127,
    "...",
    ".hidden",
    " ",
    "a\\b",
    "CON",
    "'; DROP TABLE entry; --",
    "%s{0}",
    "李.txt",
    "👩‍👩‍👧",
]


@pytest.mark.parametrize("name", BAD_NAMES, ids=range(len(BAD_NAMES)))
def test_what_is_no_name_is_refused(alice: User, name: str) -> None:
    with nothing_kept(alice):
        with refused("INVALID_ARGUMENT", "invalid_field") as errors:
            alice.upload(name, b"x")
        assert str(errors[0]).startswith("filename:")
        with refused("INVALID_ARGUMENT", "invalid_field") as errors:
            alice.mkdir(name)
        assert str(errors[0]).startswith("folder_name:")


def test_a_name_comes_back_as_it_was_given(anna: User) -> None:
    for name in GOOD_NAMES:
        file_id = anna.upload(name, name.encode()).file_id
        assert next(anna.pieces(file_id)).file_info.filename == name
    assert sorted(anna.names()) == sorted(GOOD_NAMES)


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("file_size", {"size": -1}),
        ("file_size", {"size": -(2**63)}),
        ("request_id", {"request_id": "x" * 129}),
        ("request_id", {"request_id": "a\0b"}),
        ("mime_type", {"mime_type": "x" * 256}),
        ("mime_type", {"mime_type": "text/plain\0"}),
        ("mime_type", {"mime_type": "text/plain\r\nX: y"}),
    ],
)
def test_bad_metadata_is_refused_by_the_name_of_its_field(alice: User, field: str, fields: dict[str, Any]) -> None:
    with nothing_kept(alice), refused("INVALID_ARGUMENT", "invalid_field") as errors:
        send(alice, [metadata(alice, **fields)])
    assert str(errors[0]).startswith(f"{field}:")


@pytest.mark.parametrize(
    ("announced", "sent"),
    [(1, 0), (0, 1), (CHUNK, CHUNK - 1), (CHUNK, CHUNK + 1), (CHUNK + 1, CHUNK), (9 * MIB, 1), (1, 9 * MIB)],
)
def test_a_size_that_was_announced_wrongly_is_refused(alice: User, announced: int, sent: int) -> None:
    alice.upload("notes", b"old")
    with nothing_kept(alice), refused("INVALID_ARGUMENT", "upload_size_wrong") as errors:
        alice.upload("notes", content(sent), size=announced)
    assert str(announced) in str(errors[0])


def test_metadata_comes_once_and_first(alice: User) -> None:
    first, empty = metadata(alice, size=2), pb.UploadFileRequest()
    streams: dict[str, list[pb.UploadFileRequest]] = {
        "nothing": [],
        "an empty message": [empty],
        "bytes first": [data(b"ab"), first],
        "no bytes, but twice": [first, first],
        "again between the bytes": [first, data(b"a"), first, data(b"b")],
        "again at the end": [first, data(b"ab"), first],
    }
    with nothing_kept(alice):
        for name, messages in streams.items():
            with refused("INVALID_ARGUMENT", "invalid_field") as errors:
                send(alice, messages)
                pytest.fail(f"accepted: {name}")
            assert str(errors[0]).startswith("metadata:")


def test_what_does_not_fit_is_refused_with_both_figures_before_a_byte_is_sent(alice: User) -> None:
    limit_quota(alice, 10 * MIB)
    alice.upload("notes", content(4 * MIB))
    ended = threading.Event()

    def only_metadata() -> Iterator[pb.UploadFileRequest]:
        yield metadata(alice, "film.mp4", 7 * MIB)
        ended.wait(CALL_S)

    with nothing_kept(alice):
        with refused("RESOURCE_EXHAUSTED", "quota_exceeded") as errors:
            send(alice, only_metadata())
        ended.set()
        for size in (6 * MIB + 1, 2**62, 2**63 - 1):
            with refused("RESOURCE_EXHAUSTED", "quota_exceeded"):
                send(alice, [metadata(alice, "film.mp4", size)])
    assert "7.0 MB" in str(errors[0])
    assert "6.0 MB of 10.0 MB" in str(errors[0])
    assert alice.upload("fits", content(6 * MIB)).success
    assert alice.download(alice.upload("empty", b"").file_id) == b"", "nothing always fits"
    alice.delete(alice.ls().files[0].file_id, permanent=True)


def test_uploads_at_the_same_time_never_pass_the_quota(anna: User) -> None:
    limit_quota(anna, 10 * MIB)

    def upload(number: int) -> bool:
        with suppress(grpc.RpcError):
            return anna.upload(f"film{number}", content(3 * MIB)).success
        return False

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(upload, range(6))) == 3
    assert anna.cluster.used_bytes(anna.email) == (9 * MIB, 0)
    assert len(anna.names()) == 3


def limit_quota(user: User, quota_bytes: int) -> None:
    statement = f"UPDATE account SET quota_bytes = {quota_bytes} WHERE account_id = '{user.user_id}'"
    place = user.cluster.database
    if place is None:
        with closing(sqlite3.connect(user.cluster.data / "metadata.sqlite3", timeout=10)) as connection, connection:
            connection.execute(statement)
        return
    import psycopg2

    link = psycopg2.connect(host=place.host, port=place.port, dbname=place.name, user=place.user)
    with closing(link), link, link.cursor() as cursor:
        cursor.execute(statement)


# Transfers that break off


class Wire:
    """A stretch of network between a client and the gateway, which can swallow replies and break."""

    def __init__(self, port: int) -> None:
        self._gateway = (HOST, port)
        self._listener = socket.create_server((HOST, 0))
        self._ends: list[socket.socket] = []
        self.swallows_replies = False
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        return f"{HOST}:{self._listener.getsockname()[1]}"

    def cut(self) -> None:
        """Break every connection, as a router that goes down does; nobody gets through any more."""
        self._listener.close()
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                gateway = socket.create_connection(self._gateway)
                self._ends += [client, gateway]
                threading.Thread(target=self._carry, args=(client, gateway, False), daemon=True).start()
                threading.Thread(target=self._carry, args=(gateway, client, True), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, is_reply: bool) -> None:
        with suppress(OSError):
            while moved := source.recv(1 << 16):
                if not (is_reply and self.swallows_replies):
                    target.sendall(moved)


@pytest.fixture
def wire(request: pytest.FixtureRequest) -> Iterator[Callable[[Cluster], Wire]]:
    wires: list[Wire] = []

    def wire(cluster: Cluster) -> Wire:
        wires.append(Wire(cluster.port))
        return wires[-1]

    yield wire
    for one in wires:
        one.cut()


class Halting:
    """An upload that halts after some of its messages, until it is told to go on or broken off."""

    def __init__(self, user: User, messages: Iterable[pb.UploadFileRequest], address: str = "") -> None:
        options = [*rpc.CHANNEL_OPTIONS, ("grpc.use_local_subchannel_pool", 1)]
        self.channel = grpc.insecure_channel(address or user.cluster.address, options=options)
        self.halted, self._over = threading.Event(), threading.Event()
        self.call = FileServiceStub(self.channel).UploadFile.future(self._send(messages), timeout=CALL_S)

    def _send(self, messages: Iterable[pb.UploadFileRequest]) -> Iterator[pb.UploadFileRequest]:
        yield from messages
        self.halted.set()  # asked for another one: those before are on their way
        self._over.wait(CALL_S)

    def end(self) -> None:
        self._over.set()
        self.call.cancel()
        self.channel.close()


def test_an_upload_broken_off_at_any_message_leaves_nothing(
    impatient: Cluster, wire: Callable[[Cluster], Wire]
) -> None:
    """One by its client, who cancels; one by the network, which breaks."""
    alice, bob = someone(impatient), someone(impatient)
    count_of_all = len(list(upload_messages("", "film.mp4", content(THREE_CHUNKS))))
    for count in range(count_of_all + 1):
        line = wire(impatient)
        uploads = [Halting(alice, film(alice, count)), Halting(bob, film(bob, count), line.address)]
        whole_chunks = 3 if count == count_of_all else max(0, count - 1) // 4
        for user, upload in zip((alice, bob), uploads, strict=True):
            assert upload.halted.wait(CALL_S)
            expected = (THREE_CHUNKS if count else 0, 2 * whole_chunks)
            impatient.wait(lambda: arrived(user) == expected, what=f"{expected} to be there")  # noqa: B023
        uploads[0].call.cancel()
        line.cut()
        for user, upload in zip((alice, bob), uploads, strict=True):
            impatient.wait(lambda: impatient.used_bytes(user.email) == (0, 0), what="quota as before")  # noqa: B023
            upload.end()
            assert user.names() == [], f"broken off after {count} messages"
    upload_in_parallel([someone(impatient) for _ in range(8)])  # whoever was broken off holds nothing
    impatient.wait(lambda: not needless(impatient), what="needless chunks to be collected")
    assert not impatient.rows("SELECT 1 FROM node WHERE NOT is_collecting")


def film(user: User, count: int) -> Iterator[pb.UploadFileRequest]:
    """The first messages of an upload of three chunks."""
    return itertools.islice(upload_messages(user.token, "film.mp4", content(THREE_CHUNKS)), count)


def test_chunks_of_a_file_deleted_for_good_go_after_the_grace(impatient: Cluster) -> None:
    alice = someone(impatient)
    file_id, kept_id = (alice.upload(name, content(CHUNK + 1)).file_id for name in ("gone", "kept"))
    chunks = impatient.chunks_of(file_id)
    alice.delete(file_id, permanent=True)
    assert all(impatient.holders(chunk_id) for chunk_id in chunks), "not before the grace is over"
    impatient.wait(lambda: not any(map(impatient.holders, chunks)), what="the chunks to be collected")
    assert alice.download(kept_id) == content(CHUNK + 1)
    impatient.wait(lambda: not needless(impatient), what="needless chunks to be collected")


def arrived(user: User) -> tuple[int, int]:
    """What an open upload of this person has reserved, and how many receipts it has."""
    query = "SELECT count(*) FROM receipt JOIN upload_chunk USING (chunk_id) JOIN upload USING (upload_id)"
    ((receipts,),) = user.cluster.rows(f"{query} WHERE state = 'open' AND account_id = '{user.user_id}'")
    return user.cluster.used_bytes(user.email)[1], receipts


def needless(cluster: Cluster) -> set[str]:
    """Chunks on the nodes' disks that no file needs."""
    needed = {chunk_id for (chunk_id,) in cluster.rows("SELECT chunk_id FROM extent")}
    return {chunk_id for node in cluster.online() for chunk_id in cluster.chunk_files(node)} - needed


# Transfers that stand still


def test_who_sends_nothing_is_dropped_and_nobody_else_notices(impatient: Cluster) -> None:
    alice, bob = someone(impatient), someone(impatient)
    sent = content(CHUNK + 5)
    messages = list(upload_messages(alice.token, "film.mp4", sent))
    silent = [Halting(alice, messages[:count]) for count in (0, 1, 2, len(messages) - 1, len(messages))]
    assert bob.download(bob.upload("meanwhile", sent).file_id) == sent
    for upload in silent:
        with refused("DEADLINE_EXCEEDED", "peer_silent"):
            upload.call.result(timeout=CALL_S)
        upload.end()
    assert alice.names() == []
    assert impatient.used_bytes(alice.email) == (0, 0)


def test_empty_messages_are_no_sign_of_life(impatient: Cluster) -> None:
    alice = someone(impatient)
    over = threading.Event()

    def babble() -> Iterator[pb.UploadFileRequest]:
        yield metadata(alice, size=10)
        while not over.wait(0.01):
            yield data(b"")

    with refused("DEADLINE_EXCEEDED", "peer_silent"):
        send(alice, babble())
    over.set()


def test_many_silent_senders_give_their_room_back(impatient: Cluster) -> None:
    alice = someone(impatient)
    silent = [Halting(alice, [metadata(alice, f"film{number}", CHUNK)]) for number in range(12)]
    for upload in silent:
        with refused("DEADLINE_EXCEEDED", "peer_silent"):
            upload.call.result(timeout=CALL_S)
        upload.end()
    upload_in_parallel([someone(impatient) for _ in range(8)])


def trickle(user: User, name: str, over: threading.Event) -> Iterator[pb.UploadFileRequest]:
    """A chunk, a little at a time, until `over`."""
    yield metadata(user, name, CHUNK)
    while not over.wait(0.2):
        yield pb.UploadFileRequest(chunk_data=b"x" * 1000)


def test_slow_senders_make_way_for_others_and_one_account_cannot_have_too_many(cluster: Cluster) -> None:
    mallory, bob = someone(cluster), someone(cluster)
    over = threading.Event()
    slow = [
        cluster.files.UploadFile.future(trickle(mallory, f"film{number}", over), timeout=CALL_S) for number in range(20)
    ]
    try:
        time.sleep(0.5)
        started = time.monotonic()
        for number in range(4):
            bob.upload(f"file{number}", content(CHUNK + 1))
        took = time.monotonic() - started
        assert took < 10, "three rounds of six make way after two seconds each"
        cluster.wait(lambda: sum(call.done() for call in slow) == 8, what="those too many to be refused")
        for call in [call for call in slow if call.done()]:
            with refused("RESOURCE_EXHAUSTED", "too_many_slow"):
                call.result()
        assert mallory.names() == []
    finally:
        over.set()
        for call in slow:
            call.cancel()
    cluster.wait(lambda: cluster.used_bytes(mallory.email) == (0, 0), what="their quota as before")
    assert mallory.upload("film", content(CHUNK + 1)).file_id


def test_readers_that_stop_reading_are_dropped_and_the_others_are_served(impatient: Cluster) -> None:
    alice, bob = someone(impatient), someone(impatient)
    film = alice.upload("film.mp4", content(4 * CHUNK)).file_id
    stalled = [alice.pieces(film) for _ in range(12)]
    for reader in stalled:
        assert next(reader).file_info.file_size == 4 * CHUNK
    started = time.monotonic()
    assert alice.download(film) == content(4 * CHUNK)
    assert time.monotonic() - started < 15 * SILENCE_S
    dropped = "DownloadFile: peer_silent"
    impatient.wait(lambda: impatient.gateway.err.read_text().count(dropped) == 12, what="all readers dropped")
    for reader in stalled:
        with refused("DEADLINE_EXCEEDED", "peer_silent"):
            for _ in reader:
                pass
    upload_in_parallel([bob, alice, *(someone(impatient) for _ in range(6))])


def test_a_slow_reader_is_not_a_silent_one(impatient: Cluster) -> None:
    alice = someone(impatient)
    got = b""
    for piece in alice.pieces(alice.upload("film.mp4", content(CHUNK)).file_id):
        time.sleep(0.3 * SILENCE_S)  # more than SILENCE_S in all
        got += piece.chunk_data
    assert got == content(CHUNK)


# Retries


def test_a_retry_with_the_same_request_id_gets_the_first_answer(anna: User) -> None:
    first = anna.upload("notes", b"12345", request_id="once")
    assert anna.upload("notes", b"12345", request_id="once") == first
    assert versions_of(anna, "notes") == 1
    anna.upload("notes", b"newer")
    assert anna.upload("notes", b"12345", request_id="once") == first, "even when a newer version came"
    assert anna.download(first.file_id) == b"newer"
    assert anna.cluster.used_bytes(anna.email) == (10, 0)


def test_a_request_id_belongs_to_one_upload_of_one_person(anna: User) -> None:
    anna.upload("notes", b"12345", request_id="once")
    folder = anna.mkdir("other")
    with nothing_kept(anna):
        for name, sent, where in (("other name", b"12345", ""), ("notes", b"1", ""), ("notes", b"12345", folder)):
            with refused("INVALID_ARGUMENT", "request_id_reused"):
                anna.upload(name, sent, folder=where, request_id="once")
    assert someone(anna.cluster).upload("notes", b"x", request_id="once").success
    assert anna.upload("other name", b"x", request_id="x" * 128).success


def test_an_upload_that_failed_leaves_its_request_id_free(anna: User) -> None:
    with refused("INVALID_ARGUMENT", "upload_size_wrong"):
        anna.upload("notes", b"1234", size=5, request_id="once")
    answer = anna.upload("notes", b"12345", request_id="once")
    assert anna.download(answer.file_id) == b"12345"


def test_when_the_reply_was_lost_on_its_way_the_retry_gets_it(anna: User, wire: Callable[[Cluster], Wire]) -> None:
    line = wire(anna.cluster)
    sent = content(10_000)  # less than the gateway must make room for by a reply

    def messages() -> Iterator[pb.UploadFileRequest]:
        first, *more = upload_messages(anna.token, "notes", sent, request_id="once")
        yield first
        anna.cluster.wait(lambda: anna.cluster.used_bytes(anna.email) == (0, 10_000), what="the upload to begin")
        line.swallows_replies = True
        yield from more

    with closing(grpc.insecure_channel(line.address, options=rpc.CHANNEL_OPTIONS)) as channel:
        call = FileServiceStub(channel).UploadFile.future(messages(), timeout=CALL_S)
        anna.cluster.wait(lambda: anna.names() == ["notes"], what="the upload to be committed")
        assert not call.done()
        line.cut()
        with refused("UNAVAILABLE"):
            call.result()
    with nothing_kept(anna):
        answer = anna.upload("notes", sent, request_id="once")
    assert (answer.file_id, answer.checksum) == (anna.ls().files[0].file_id, digest(sent))
    assert versions_of(anna, "notes") == 1
    assert anna.cluster.used_bytes(anna.email) == (10_000, 0)


def test_a_client_that_leaves_around_its_last_message_may_always_retry(anna: User) -> None:
    sent = content(CHUNK + 1)
    for number in range(8):
        name = f"film{number}"
        messages = upload_messages(anna.token, name, sent, request_id=name)
        call = anna.cluster.files.UploadFile.future(messages, timeout=CALL_S)
        with suppress(grpc.FutureTimeoutError):
            call.result(timeout=0.015 * number)
        call.cancel()
        answer = anna.upload(name, sent, request_id=name)
        assert anna.download(answer.file_id) == sent
        assert versions_of(anna, name) == 1
    anna.cluster.wait(lambda: anna.cluster.used_bytes(anna.email) == (8 * len(sent), 0), what="every byte charged once")


def test_of_uploads_at_once_with_one_request_id_exactly_one_counts(anna: User) -> None:
    sent = content(100_000)
    for round_ in range(4):
        name = f"film{round_}"

        def upload(_: int, name: str = name) -> pb.UploadFileResponse | str:
            try:
                return anna.upload(name, sent, request_id=name)
            except grpc.RpcError as failure:
                return rpc.error_of(failure, "the gateway").code  # type: ignore[arg-type]

        with ThreadPoolExecutor(4) as pool:
            ended = list(pool.map(upload, range(4)))
        answers = [answer for answer in ended if isinstance(answer, pb.UploadFileResponse)]
        assert {one for one in ended if isinstance(one, str)} <= {"upload_ended"}
        assert len({answer.file_id for answer in answers}) == 1
        assert versions_of(anna, name) == 1
    assert anna.cluster.used_bytes(anna.email) == (4 * len(sent), 0)


def test_first_uploads_of_one_name_at_once_become_versions_of_one_file(anna: User) -> None:
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda number: anna.upload("notes", content(number)), range(1, 7)))
    assert len({answer.file_id for answer in answers}) == 1
    assert versions_of(anna, "notes") == 6
    assert anna.cluster.used_bytes(anna.email) == (21, 0)
