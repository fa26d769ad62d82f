"""A store that knows what a chunk must be: other bytes under the right id are damage, however well they verify."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudgrpc.errors import ChunkCorrupt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudgrpc.chunks.base import Chunk, ChunkStore


class ExpectingStore:
    """Wraps a store for reading chunks whose checksums are known from elsewhere."""

    def __init__(self, inner: ChunkStore, checksums: dict[str, str]) -> None:
        self._inner = inner
        self._checksums = checksums

    @property
    def name(self) -> str:
        return self._inner.name

    async def put(self, chunk: Chunk) -> tuple[str, ...]:
        return await self._inner.put(chunk)

    async def get(self, chunk_id: str) -> Chunk:
        chunk = await self._inner.get(chunk_id)
        if chunk.checksum != self._checksums[chunk_id]:
            raise ChunkCorrupt(chunk_id=chunk_id)
        return chunk

    async def delete(self, chunk_ids: Sequence[str]) -> list[str]:
        return await self._inner.delete(chunk_ids)

    async def page(self, after: str, limit: int) -> list[str]:
        return await self._inner.page(after, limit)
