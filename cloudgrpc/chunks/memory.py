"""Chunks in a dictionary: the simplest store there is, for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudgrpc.chunks.base import Chunk, check_after, check_chunk, check_id, checksum_of
from cloudgrpc.errors import ChunkCorrupt, ChunkMissing, ChunkRefused

if TYPE_CHECKING:
    from collections.abc import Sequence


class MemoryStore:
    """Keeps every promise of `ChunkStore` but that of outliving the process."""

    def __init__(self, name: str = "memory") -> None:
        self.name = name
        self.chunks: dict[str, Chunk] = {}

    async def put(self, chunk: Chunk) -> tuple[str, ...]:
        check_chunk(chunk)
        if checksum_of(chunk.data) != chunk.checksum:
            raise ChunkRefused(chunk_id=chunk.chunk_id)
        self.chunks[chunk.chunk_id] = Chunk(chunk.chunk_id, bytes(chunk.data), chunk.checksum)
        return (self.name,)

    async def get(self, chunk_id: str) -> Chunk:
        chunk = self.chunks.get(check_id(chunk_id))
        if chunk is None:
            raise ChunkMissing(chunk_id=chunk_id)
        if checksum_of(chunk.data) != chunk.checksum:
            raise ChunkCorrupt(chunk_id=chunk_id)
        return chunk

    async def delete(self, chunk_ids: Sequence[str]) -> list[str]:
        for chunk_id in [check_id(chunk_id) for chunk_id in chunk_ids]:
            self.chunks.pop(chunk_id, None)
        return []

    async def page(self, after: str, limit: int) -> list[str]:
        check_after(after)
        return sorted(chunk_id for chunk_id in self.chunks if chunk_id > after)[:limit]
