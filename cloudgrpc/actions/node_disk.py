"""What a node does with its disk for others, beyond what every chunk store does: bounded lists, copies, counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from cloudgrpc.chunks.base import check_after, check_chunk, check_id
from cloudgrpc.core.introductions import NODE_ID
from cloudgrpc.core.scrub import Verified
from cloudgrpc.errors import ChunkCorrupt, CloudError, DiskFailed, InvalidField, ListTooLong

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cloudgrpc.chunks.base import Chunk
    from cloudgrpc.chunks.disk import DiskStore

MAX_PAGE = 50_000
MAX_DELETE = 10_000
MAX_VERIFY = 1000
MAX_PUT = 1000  # many times what gateways send at once; two million empty ones fit in a message
# Each id takes 34 bytes of a reply of 4 MiB, of which a little is left for the rest of it.
MAX_WHOLE_LIST = ((4 << 20) - 64) // 34


class Source(Protocol):
    """A node that a chunk is fetched from."""

    async def get(self, chunk_id: str) -> Chunk: ...

    async def close(self) -> None: ...


@dataclass(frozen=True)
class IdPage:
    chunk_ids: Sequence[str]
    total: int
    next_token: str  # "" on the last page


class NodeDisk:
    """`reach(node_id, host, port)` connects to another node; "" is whichever is there."""

    def __init__(self, store: DiskStore, reach: Callable[[str, str, int], Source]) -> None:
        self.store = store
        self._reach = reach

    async def put_each(self, chunks: Sequence[Chunk]) -> list[CloudError | None]:
        """Keep several chunks at once, each for itself; what became of each: None, or why it is not kept.

        Raises: InvalidField; then none is kept.
        """
        if len(chunks) > MAX_PUT:
            raise InvalidField(field="chunks", reason=f"at most {MAX_PUT} at once")
        firsts = {chunk.chunk_id: chunk for chunk in reversed(chunks)}
        outcomes = dict(zip(firsts, await self.store.put_each(list(firsts.values())), strict=True))
        for again in (chunk for chunk in chunks if chunk is not firsts[chunk.chunk_id]):
            (outcomes[again.chunk_id],) = await self.store.put_each([again])
        return [outcomes[chunk.chunk_id] for chunk in chunks]

    async def verify(self, claims: Sequence[tuple[str, str]]) -> Verified:
        """Read chunks by id, one after another, and compare each with its checksum and with the one that is claimed for
        it, "" for none. What is damaged goes to quarantine, as when it is fetched.

        A file that is whole by its own checksum but is not what was claimed stays: the claim may be the wrong one, of a
        database that is not this cluster's. Raises: InvalidField; then none is read.
        """
        if len(claims) > MAX_VERIFY:
            raise InvalidField(field="chunks", reason=f"at most {MAX_VERIFY} at once")
        for chunk_id, _ in claims:
            check_id(chunk_id)
        outcomes: list[CloudError | None] = []
        bytes_read = 0
        for chunk_id, claimed in claims:
            try:
                checksum, length = await self.store.get_as(chunk_id, lambda chunk: (chunk.checksum, len(chunk.data)))
            except CloudError as error:
                outcomes.append(error)
            else:
                bytes_read += length
                outcomes.append(None if claimed in {"", checksum} else ChunkCorrupt(chunk_id=chunk_id))
        return Verified(outcomes, bytes_read)

    async def list_ids(self, node_id: str, page_size: int, page_token: str) -> IdPage:
        """`page_size` 0: all of them. Raises: InvalidField, ListTooLong."""
        check_after(page_token)
        if node_id not in {"", self.store.name}:
            raise InvalidField(field="node_id", reason=f"this is node {self.store.name}")
        if not 0 <= page_size <= MAX_PAGE:
            raise InvalidField(field="page_size", reason=f"must be between 0 and {MAX_PAGE}")
        limit = page_size or MAX_WHOLE_LIST
        ids = await self.store.page(page_token, limit + 1)
        if len(ids) <= limit:
            return IdPage(ids, self.store.chunk_count, "")
        if not page_size:
            raise ListTooLong
        return IdPage(ids[:limit], self.store.chunk_count, ids[limit - 1])

    async def delete_one(self, chunk_id: str) -> None:
        """Raises: DiskFailed when it is still here."""
        if await self.store.delete([chunk_id]):
            raise DiskFailed(node_id=self.store.name, reason=f"chunk {chunk_id} cannot be deleted")

    async def delete_many(self, chunk_ids: Sequence[str]) -> list[str]:
        """Returns the ids that are still here. Raises: InvalidField."""
        if len(chunk_ids) > MAX_DELETE:
            raise InvalidField(field="chunk_ids", reason=f"at most {MAX_DELETE} at once")
        return await self.store.delete(chunk_ids)

    async def copy_here(self, wanted: Chunk, source_id: str, host: str, port: int) -> int:
        """Fetch a chunk, of which id and checksum are known, from a node at `host:port`, and keep it; its length.

        Raises: ChunkCorrupt when the source has other bytes under this id.
        """
        check_chunk(wanted)
        if not host or not 1 <= port <= 65535:
            raise InvalidField(field="source_host, source_port", reason="must be another node's address")
        if source_id and not NODE_ID.match(source_id):
            raise InvalidField(field="source_node_id", reason="is no node's id")
        source = self._reach(source_id, host, port)
        try:
            chunk = await source.get(wanted.chunk_id)
        finally:
            await source.close()
        if chunk.checksum != wanted.checksum:
            raise ChunkCorrupt(chunk_id=wanted.chunk_id)
        await self.store.put(chunk)
        return len(chunk.data)
