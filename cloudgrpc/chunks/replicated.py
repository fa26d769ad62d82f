"""A store made of stores: a chunk is written to several and read from the first that has it whole."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from cloudgrpc.chunks.base import Chunk, check_after, check_chunk, check_id
from cloudgrpc.errors import (
    ChunkCorrupt,
    ChunkMissing,
    ChunkRefused,
    CloudError,
    InvalidField,
    NodeUnavailable,
    QuorumMissed,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
    from typing import Any, TypeVar

    from cloudgrpc.chunks.base import ChunkStore

    Answer = TypeVar("Answer")
    Store = TypeVar("Store", bound=ChunkStore)
    Hear = Callable[[str, str, CloudError], None]  # store name, chunk id, error


class ReplicatedStore:
    """`stores` are candidates, best first; each chunk goes to `wanted` of them and is kept once `quorum` hold it.

    `on_trouble` hears of every store that failed, also when another took its place; the
    chunk id is "" when the failure was not about one chunk.
    """

    def __init__(
        self,
        stores: Sequence[ChunkStore],
        wanted: int,
        quorum: int,
        on_trouble: Hear,
    ) -> None:
        self._stores = stores
        self._wanted = wanted
        self._quorum = quorum
        self._on_trouble = on_trouble

    @property
    def name(self) -> str:
        return "+".join(store.name for store in self._stores)

    async def put(self, chunk: Chunk) -> tuple[str, ...]:
        """Raises, besides: QuorumMissed."""
        check_chunk(chunk)
        candidates = iter(self._stores)
        receipts = await _together(self._put_one_copy(chunk, candidates) for _ in range(self._wanted))
        holders = tuple(name for names in receipts for name in names)
        if len(holders) < self._quorum:
            raise QuorumMissed(stored=len(holders), quorum=self._quorum)
        return holders

    async def _put_one_copy(self, chunk: Chunk, candidates: Iterator[ChunkStore]) -> tuple[str, ...]:
        """All copies draw from the same candidates; one that fails is replaced by the next. () when none is left."""
        for store in candidates:
            try:
                return await store.put(chunk)
            except (ChunkRefused, InvalidField):
                raise  # our own bytes are wrong, no other store can help
            except CloudError as error:
                self._on_trouble(store.name, chunk.chunk_id, error)
        return ()

    async def get(self, chunk_id: str) -> Chunk:
        """The first whole copy. Only when every store said that it has none is the chunk missing or corrupt."""
        return await first_whole(self._stores, chunk_id, lambda store: store.get(chunk_id), self._on_trouble)

    async def delete(self, chunk_ids: Sequence[str]) -> list[str]:
        """What a store that cannot be reached may still hold counts as still here."""
        for chunk_id in chunk_ids:
            check_id(chunk_id)
        left = await _together(self._delete_in(store, chunk_ids) for store in self._stores)
        still_here = {chunk_id for ids in left for chunk_id in ids}
        return [chunk_id for chunk_id in chunk_ids if chunk_id in still_here]

    async def _delete_in(self, store: ChunkStore, chunk_ids: Sequence[str]) -> Sequence[str]:
        try:
            return await store.delete(chunk_ids)
        except CloudError as error:
            self._on_trouble(store.name, "", error)
            return chunk_ids

    async def page(self, after: str, limit: int) -> list[str]:
        """Fails when one store fails: a list without its chunks would look like a loss."""
        check_after(after)
        pages = await _together(store.page(after, limit) for store in self._stores)
        return sorted({chunk_id for ids in pages for chunk_id in ids})[:limit]


async def first_whole(
    stores: Iterable[Store], chunk_id: str, get: Callable[[Store], Awaitable[Answer]], on_trouble: Hear
) -> Answer:
    """What `get` makes of a chunk from the first store that it does not fail at. Raises: as `ReplicatedStore.get`."""
    check_id(chunk_id)
    failures: list[CloudError] = []
    for store in stores:
        try:
            return await get(store)
        except CloudError as error:
            on_trouble(store.name, chunk_id, error)
            failures.append(_as_seen_from_here(store.name, error))
    raise min(failures, key=_hope, default=ChunkMissing(chunk_id=chunk_id))


def _as_seen_from_here(store_name: str, error: CloudError) -> CloudError:
    """Whatever is no proof that the copy is gone means that the store cannot say now."""
    if isinstance(error, ChunkCorrupt | ChunkMissing | NodeUnavailable):
        return error
    unavailable = NodeUnavailable(node_id=store_name, reason=str(error).rstrip("."))
    unavailable.__cause__ = error
    return unavailable


def _hope(error: CloudError) -> int:
    """A store out of reach may have the chunk whole; a damaged copy is at least there to be looked at."""
    return [NodeUnavailable, ChunkCorrupt, ChunkMissing].index(type(error))


async def _together(work: Iterable[Coroutine[Any, Any, Answer]]) -> list[Answer]:
    """All at once; when one fails or the caller is cancelled, the others are cancelled and waited for."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        if left := [task for task in tasks if not task.done()]:
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
