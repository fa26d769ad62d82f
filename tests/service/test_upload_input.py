"""What uploads refuse, and then keep nothing of: names, metadata, sizes, messages, more than the quota."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from cloudgrpc.pb import cloud_storage_pb2 as pb
from service.files_fixture import (
    CHUNK,
    MIB,
    Unfinished,
    content,
    data,
    limit_quota,
    metadata,
    nothing_kept,
    send,
    someone,
)
from user import CALL_S, User, refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cluster_harness import Cluster

BAD_NAMES = ["", ".", "..", "a/b", "/", "../../x", "a\0b", "a\nb", "\x1b[31m", "\x7f", "\x85", "x" * 256, "é" * 128]
BAD_NAMES += ["\u202egpj.exe", "x" * 100_000]
GOOD_NAMES = ["x" * 255, "é" * 127, "...", ".hidden", " ", "a\\b", "CON", "'; DROP TABLE entry; --", "%s{0}"]
GOOD_NAMES += ["李.txt", "👩‍👩‍👧"]


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


@pytest.mark.parametrize("name", BAD_NAMES, ids=range(len(BAD_NAMES)))
def test_what_is_no_name_is_refused(zoe: User, name: str) -> None:
    with nothing_kept(zoe):
        with refused("INVALID_ARGUMENT", "invalid_field") as errors:
            zoe.upload(name, b"x")
        assert str(errors[0]).startswith("filename:")
        with refused("INVALID_ARGUMENT", "invalid_field") as errors:
            zoe.mkdir(name)
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
def test_bad_metadata_is_refused_by_the_name_of_its_field(zoe: User, field: str, fields: dict[str, Any]) -> None:
    with nothing_kept(zoe), refused("INVALID_ARGUMENT", "invalid_field") as errors:
        send(zoe, [metadata(zoe, **fields)])
    assert str(errors[0]).startswith(f"{field}:")


@pytest.mark.parametrize(
    ("announced", "sent"),
    [(1, 0), (0, 1), (CHUNK, CHUNK - 1), (CHUNK, CHUNK + 1), (CHUNK + 1, CHUNK), (9 * MIB, 1), (1, 9 * MIB)],
)
def test_a_size_that_was_announced_wrongly_is_refused(zoe: User, announced: int, sent: int) -> None:
    zoe.upload("notes", b"old")
    with nothing_kept(zoe), refused("INVALID_ARGUMENT", "upload_size_wrong") as errors:
        zoe.upload("notes", content(sent), size=announced)
    assert str(announced) in str(errors[0])


def test_metadata_comes_once_and_first(zoe: User) -> None:
    first, empty = metadata(zoe, size=2), pb.UploadFileRequest()
    streams: dict[str, list[pb.UploadFileRequest]] = {
        "nothing": [],
        "an empty message": [empty],
        "bytes first": [data(b"ab"), first],
        "no bytes, but twice": [first, first],
        "again between the bytes": [first, data(b"a"), first, data(b"b")],
        "again at the end": [first, data(b"ab"), first],
    }
    with nothing_kept(zoe):
        for name, messages in streams.items():
            with refused("INVALID_ARGUMENT", "invalid_field") as errors:
                send(zoe, messages)
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
    limit_quota(anna, 1000)

    def upload(number: int) -> bool:
        with suppress(grpc.RpcError):
            return anna.upload(f"film{number}", content(300)).success
        return False

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(upload, range(6))) == 3
    assert anna.cluster.used_bytes(anna.email) == (900, 0)
    assert len(anna.names()) == 3


# Uploads that can be gone on with


@pytest.fixture(scope="module")
def film(zoe: User) -> Iterator[Unfinished]:
    """An upload whose uses are all refused, so that many tests may share it."""
    upload = Unfinished(zoe, "film", content(2 * CHUNK + 5))
    yield upload
    upload.cancel()


@pytest.mark.parametrize(
    ("field", "first", "count"),
    [
        ("first", -1, 1),
        ("first", 3, 1),
        ("first", 2**31 - 1, 1),
        ("count", 0, 0),
        ("count", 0, -1),
        ("count", 0, 4),
        ("count", 2, 2**31 - 1),
    ],
)
def test_chunks_outside_of_the_file_are_refused(film: Unfinished, field: str, first: int, count: int) -> None:
    with refused("INVALID_ARGUMENT", "invalid_field") as errors:
        film.put(first, count, b"x")
    assert str(errors[0]).startswith(f"{field}:")


def test_a_header_comes_once_and_first(film: Unfinished) -> None:
    header, *data = film.messages(2, 1)
    for messages in ([], [pb.PutChunksRequest()], [*data, header], [header, header], [header, *data, header]):
        with refused("INVALID_ARGUMENT", "invalid_field") as errors:
            film.user.cluster.uploads.PutChunks(iter(messages), timeout=CALL_S)
            pytest.fail(f"accepted: {messages}")
        assert str(errors[0]).startswith("header:")


@pytest.mark.parametrize(
    ("field", "request_"),
    [
        ("fingerprint", {"fingerprint": "x" * 129}),
        ("fingerprint", {"fingerprint": "é" * 65}),
        ("fingerprint", {"fingerprint": "a\0b"}),
        ("fingerprint", {"fingerprint": "a\nb"}),
        ("filename", {"name": "a/b"}),
        ("request_id", {"request_id": "x" * 129}),
    ],
)
def test_an_upload_that_cannot_begin_reserves_nothing(film: Unfinished, field: str, request_: dict[str, Any]) -> None:
    with nothing_kept(film.user):
        with refused("INVALID_ARGUMENT", "invalid_field") as errors:
            Unfinished(film.user, **{"name": "film", "data": b"x", **request_})
        assert str(errors[0]).startswith(f"{field}:")


@pytest.mark.parametrize("checksum", ["x", "blake3:", "blake3:" + "0" * 63, "blake3:" + "F" * 64, "a\0b"])
def test_what_is_no_checksum_is_refused(film: Unfinished, checksum: str) -> None:
    with refused("INVALID_ARGUMENT", "invalid_field") as errors:
        film.finish(checksum)
    assert str(errors[0]).startswith("checksum:")


@pytest.mark.parametrize(
    ("field", "value"), [("page_size", -1), ("page_size", 101), ("page_token", "x"), ("page_token", "\0")]
)
def test_a_list_has_its_limits(film: Unfinished, field: str, value: Any) -> None:
    with refused("INVALID_ARGUMENT", "invalid_field") as errors:
        request = pb.ListUploadsRequest(session_token=film.user.token, **{field: value})
        film.user.cluster.uploads.ListUploads(request, timeout=CALL_S)
    assert str(errors[0]).startswith(f"{field}:")
