"""Parts of files and older versions: exactly the bytes that were asked for, over the borders of chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from cloudgrpc.pb import cloud_storage_pb2 as pb
from service.files_fixture import CHUNK, MIB, content, digest, someone
from user import CALL_S, User, refused

if TYPE_CHECKING:
    from cluster_harness import Cluster

FILM = content(9 * MIB + 7)  # three chunks
OLD = content(CHUNK + 3)
SIZE = len(FILM)


@pytest.fixture(scope="module")
def alice(calm: Cluster) -> User:
    return someone(calm)


@pytest.fixture(scope="module")
def film(alice: User) -> str:
    """A file of three versions; nobody changes it."""
    alice.upload("film", OLD)
    alice.upload("film", b"")
    return alice.upload("film", FILM).file_id


def download(user: User, file_id: str, **wanted: Any) -> tuple[pb.FileInfo, bytes]:
    request = pb.DownloadFileRequest(session_token=user.token, file_id=file_id, **wanted)
    first, *pieces = user.cluster.files.DownloadFile(request, timeout=CALL_S)
    assert max((piece.ByteSize() for piece in pieces), default=0) <= MIB + 16
    assert all(piece.chunk_data for piece in pieces)
    return first.file_info, b"".join(piece.chunk_data for piece in pieces)


EDGES = [0, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, SIZE - 1, SIZE]
RANGES: list[tuple[int, int | None]] = [(start, end - start) for start in EDGES for end in EDGES if start <= end]
RANGES += [(start, None) for start in EDGES]
RANGES += [(MIB - 1, 2), (CHUNK - 3, 6), (0, SIZE + 1), (CHUNK + 1, 2**62), (5, 2**63 - 1)]


def test_any_part_is_exactly_those_bytes(alice: User, film: str) -> None:
    for offset, length in RANGES:
        info, got = download(alice, film, offset=offset, **({} if length is None else {"length": length}))
        expected = FILM[offset : None if length is None else offset + length]
        assert got == expected, (offset, length)
        assert (info.offset, info.length) == (offset, len(expected))
        assert (info.file_size, info.checksum, info.version) == (SIZE, digest(FILM), 3), "those are of the whole"
        assert info.total_chunks == 3


def test_every_version_can_be_fetched_and_in_parts(alice: User, film: str) -> None:
    for version, sent in ((0, FILM), (1, OLD), (2, b""), (3, FILM)):
        info, got = download(alice, film, version=version)
        assert got == sent
        assert (info.version, info.file_size, info.checksum) == (version or 3, len(sent), digest(sent))
    info, got = download(alice, film, version=1, offset=CHUNK - 1, length=3)
    assert got == OLD[CHUNK - 1 : CHUNK + 2]
    assert (info.offset, info.length, info.file_size) == (CHUNK - 1, 3, len(OLD))


@pytest.mark.parametrize(
    ("field", "wanted"),
    [
        ("offset", {"offset": -1}),
        ("offset", {"offset": SIZE + 1}),
        ("offset", {"offset": 2**63 - 1}),
        ("offset", {"version": 2, "offset": 1}),
        ("length", {"length": -1}),
        ("length", {"offset": 5, "length": -(2**63)}),
        ("version", {"version": -1}),
        ("version", {"version": -(2**31)}),
    ],
)
def test_a_part_that_cannot_be_is_refused_by_the_name_of_its_field(
    alice: User, film: str, field: str, wanted: dict[str, int]
) -> None:
    with refused("INVALID_ARGUMENT", "invalid_field") as errors:
        download(alice, film, **wanted)
    assert str(errors[0]).startswith(f"{field}:")


@pytest.mark.parametrize("version", [4, 2**31 - 1])
def test_a_version_that_is_not_is_not_found(alice: User, film: str, version: int) -> None:
    with refused("NOT_FOUND", "version_unknown") as errors:
        download(alice, film, version=version)
    assert f"Version {version} of film" in str(errors[0])
