"""How a file of a given size is cut into chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# One unary call each to a node: a node spent half the CPU per GiB of what it spent on chunks of 1 MiB.
CHUNK_BYTES = 4 << 20


def chunk_count(size: int, chunk_bytes: int = CHUNK_BYTES) -> int:
    """An empty file has no chunks."""
    return -(-size // chunk_bytes)


def chunk_lengths(size: int, chunk_bytes: int = CHUNK_BYTES) -> Iterator[int]:
    """The lengths in bytes of a file's chunks, in order; all but the last are full."""
    for start in range(0, size, chunk_bytes):
        yield min(chunk_bytes, size - start)
