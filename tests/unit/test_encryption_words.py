"""How operators are told how far encryption is."""

from __future__ import annotations

import pytest

from cloudgrpc.admin import status_view, status_words
from cloudgrpc.pb import cloud_storage_pb2 as pb

GB = 1 << 30


def status(unsealed: int, size: int, *, encrypts: bool) -> pb.SystemStatusResponse:
    chunks = pb.ChunkCounts(unsealed=unsealed, bytes_unsealed=size)
    return pb.SystemStatusResponse(total_chunks=1000, chunks=chunks, encrypts=encrypts)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (status(0, 0, encrypts=True), "all that is stored"),
        (status(600, 3 * GB, encrypts=True), "encrypting what was stored before: 40%, 3.0 GB left"),
        (status(1, 10, encrypts=True), "encrypting what was stored before: 99%, 10 B left"),
        (status(600, 3 * GB, encrypts=False), "off: 3.0 GB are stored plain"),
        (status(0, 0, encrypts=False), "off for what is stored from now on"),
    ],
)
def test_how_far_encryption_is_stands_in_the_status(told: pb.SystemStatusResponse, words: str) -> None:
    assert status_words.encryption(told) == words


def test_programs_are_told_it_too() -> None:
    told = status_view.facts(status(600, 3 * GB, encrypts=True))["encryption"]
    assert told == {"at_rest": True, "chunks_left": 600, "bytes_left": 3 * GB}
