"""Laws of cutting a file into chunks."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from cloudgrpc.core.chunking import CHUNK_BYTES, chunk_count

CHUNKS = st.integers(1, 1 << 24)


@given(st.integers(0, 1 << 50), CHUNKS)
@example(0, CHUNK_BYTES)
@example(CHUNK_BYTES, CHUNK_BYTES)
@example(CHUNK_BYTES + 1, CHUNK_BYTES)
def test_there_are_as_few_chunks_as_hold_the_file(size: int, chunk_bytes: int) -> None:
    count = chunk_count(size, chunk_bytes)
    assert (count - 1) * chunk_bytes < size <= count * chunk_bytes or (size == 0 and count == 0)


def test_an_empty_file_has_no_chunks() -> None:
    assert chunk_count(0) == 0
