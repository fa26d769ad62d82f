"""Laws of cutting a file into chunks."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from cloudgrpc.core.chunking import CHUNK_BYTES, chunk_count, chunk_lengths

CHUNKS = st.integers(1, 1 << 24)
FEW = settings(max_examples=40)


@FEW
@given(st.integers(0, 300), CHUNKS, st.data())
def test_the_lengths_add_up_and_all_but_the_last_are_full(whole: int, chunk_bytes: int, data: st.DataObject) -> None:
    size = whole * chunk_bytes + data.draw(st.integers(0, chunk_bytes - 1))
    lengths = list(chunk_lengths(size, chunk_bytes))
    assert sum(lengths) == size
    assert all(length == chunk_bytes for length in lengths[:-1])
    assert all(0 < length <= chunk_bytes for length in lengths)


@given(st.integers(0, 1 << 50), CHUNKS)
@example(0, CHUNK_BYTES)
@example(CHUNK_BYTES, CHUNK_BYTES)
@example(CHUNK_BYTES + 1, CHUNK_BYTES)
def test_there_are_as_few_chunks_as_hold_the_file(size: int, chunk_bytes: int) -> None:
    count = chunk_count(size, chunk_bytes)
    assert (count - 1) * chunk_bytes < size <= count * chunk_bytes or (size == 0 and count == 0)


@FEW
@given(st.integers(0, 300), CHUNKS)
def test_the_count_is_how_many_lengths_there_are(size: int, chunk_bytes: int) -> None:
    assert chunk_count(size, chunk_bytes) == len(list(chunk_lengths(size, chunk_bytes)))


def test_an_empty_file_has_no_chunks() -> None:
    assert chunk_count(0) == 0
    assert list(chunk_lengths(0)) == []
