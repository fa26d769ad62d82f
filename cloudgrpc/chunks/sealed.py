"""A store whose chunks are sealed: whoever holds it sees plain bytes, and what it is made of only ciphertext."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from cloudgrpc.chunks.base import Chunk, check_id
from cloudgrpc.core.sealing import TAG_BYTES
from cloudgrpc.wire import filled, lay_filled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cloudgrpc.chunks.base import ChunkStore, Fetching
    from cloudgrpc.core.sealing import Seal
    from cloudgrpc.wire import Laid

P = ParamSpec("P")
T = TypeVar("T")

INLINE_BYTES = 64 << 10  # sealing or hashing less takes no longer than the hop to another thread


def closed(seal: Seal, chunk_id: str, position: int, parts: Sequence[bytes | memoryview]) -> Chunk:
    """The sealed chunk, about to travel."""
    length = sum(map(len, parts)) + TAG_BYTES
    return Chunk.of_fill(chunk_id, length, lambda room: seal.close(chunk_id, position, parts, room))


def opened(seal: Seal, chunk_id: str, position: int, data: bytes | memoryview) -> bytes:
    """What was sealed. Raises: ChunkCorrupt."""
    length = max(len(data) - TAG_BYTES, 0)
    return filled(length, lambda room: seal.open(chunk_id, position, data, room))


def laid_open(seal: Seal, chunk_id: str, position: int, data: bytes | memoryview, piece_bytes: int) -> Sequence[Laid]:
    """What was sealed, laid in messages to clients, none of which is seen before all is verified: packing what was
    opened copied every byte once more, 0.05 CPU-seconds a GiB. Raises: ChunkCorrupt."""
    length = max(len(data) - TAG_BYTES, 0)
    return lay_filled(length, piece_bytes, lambda rooms: seal.open(chunk_id, position, data, *rooms))


class SealedStore:
    """Wraps a store for chunks of one content, whose positions in it are known. A chunk's checksum is that of the bytes
    as they are stored; what does not open is corrupt, however well it verifies."""

    def __init__(self, inner: ChunkStore, seal: Seal, positions: Mapping[str, int]) -> None:
        self._inner = inner
        self._seal = seal
        self._positions = positions

    @property
    def name(self) -> str:
        return self._inner.name

    async def put(self, chunk: Chunk) -> tuple[str, ...]:
        check_id(chunk.chunk_id)
        position = self._positions[chunk.chunk_id]
        sealed = await _done(len(chunk.data), closed, self._seal, chunk.chunk_id, position, [chunk.data])
        return await self._inner.put(sealed)

    async def get(self, chunk_id: str) -> Chunk:
        chunk = await self._inner.get(chunk_id)
        data = await _done(len(chunk.data), opened, self._seal, chunk_id, self._positions[chunk_id], chunk.data)
        return Chunk(chunk_id, data, chunk.checksum)

    async def get_laid(self, chunk_id: str, piece_bytes: int) -> Sequence[Laid]:
        """As `get`, but in messages to clients of up to `piece_bytes` each."""
        chunk = await self._inner.get(chunk_id)
        place = self._positions[chunk_id]
        return await _done(len(chunk.data), laid_open, self._seal, chunk_id, place, chunk.data, piece_bytes)

    async def delete(self, chunk_ids: Sequence[str]) -> list[str]:
        return await self._inner.delete(chunk_ids)

    async def page(self, after: str, limit: int) -> list[str]:
        return await self._inner.page(after, limit)


class Unverified:
    """A node's store for who opens what it gives: the seal's tag tells damage more surely than a checksum, and to take
    that, too, was a fiftieth of a download's CPU time."""

    def __init__(self, store: Fetching) -> None:
        self._store = store

    @property
    def name(self) -> str:
        return self._store.name

    async def put(self, chunk: Chunk) -> tuple[str, ...]:
        return await self._store.put(chunk)

    async def get(self, chunk_id: str) -> Chunk:
        return await self._store.fetch(chunk_id)

    async def delete(self, chunk_ids: Sequence[str]) -> list[str]:
        return await self._store.delete(chunk_ids)

    async def page(self, after: str, limit: int) -> list[str]:
        return await self._store.page(after, limit)


async def _done(length: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """`work` with so many bytes, in a thread that releases the lock of all while it seals, if they are many."""
    return work(*args, **kwargs) if length < INLINE_BYTES else await asyncio.to_thread(work, *args, **kwargs)
