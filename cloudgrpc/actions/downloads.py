"""Giving a file back: every chunk is verified before a byte of it is sent, and read from another copy if need be."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudgrpc.chunks.expecting import ExpectingStore
from cloudgrpc.chunks.replicated import ReplicatedStore
from cloudgrpc.errors import (
    ChunkCorrupt,
    ChunkMissing,
    CopiesUnreachable,
    DataLost,
    Missing,
    NodeUnavailable,
    PeerSilent,
)
from cloudgrpc.meta import copies, files
from cloudgrpc.rpc import PIECE_BYTES

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from cloudgrpc.actions.budget import Budget, Slot
    from cloudgrpc.actions.nodes import Nodes
    from cloudgrpc.meta.copies import Holder
    from cloudgrpc.meta.db import Database
    from cloudgrpc.meta.files import File, Piece

PIECES_PER_QUERY = 256  # 1 GiB of a file
CHUNKS_AT_ONCE = 5  # of one download, where the budget has room for them
PATIENCE_S = 1.0  # with a reader that takes nothing, before others may have its room


@dataclass(frozen=True)
class _Coming:
    """A chunk being fetched, and the room it takes."""

    task: asyncio.Task[bytes | memoryview]
    slot: Slot


@dataclass
class _Place:
    """How far a reader is: the chunk, and the bytes of it that were given to the reader."""

    position: int = 0
    offset: int = 0

    def next_piece(self, chunk: bytes | memoryview) -> memoryview:
        piece = memoryview(chunk)[self.offset : self.offset + PIECE_BYTES]
        self.offset += len(piece)
        if self.offset == len(chunk):
            self.position, self.offset = self.position + 1, 0
        return piece


class Downloads:
    def __init__(self, database: Database, nodes: Nodes, budget: Budget, silence_s: float) -> None:
        self._db = database
        self._nodes = nodes
        self._budget = budget
        self._silence_s = silence_s

    async def open(self, account_id: str, file_id: str) -> File:
        """Raises: Missing."""
        return await self._db.read(files.find_file, account_id, file_id)

    async def send(self, file: File, write: Callable[[memoryview], Awaitable[None]]) -> None:
        """Give the file's bytes to `write`, in pieces, which returns when the reader has room for more.

        A reader that takes nothing for a moment gives its share of the budget to others, and what it was to get next
        is fetched again when it takes again; so stalled readers stop nobody, and cost no memory.
        Raises: DataLost (no good copy of a chunk exists), CopiesUnreachable, Missing (purged meanwhile), PeerSilent.
        """
        place = _Place()
        while place.position < file.chunk_count:
            stalled = await self._send_until_stalled(file, place, write)
            if stalled is not None:
                await self._outwait(stalled)

    async def _send_until_stalled(
        self, file: File, place: _Place, write: Callable[[memoryview], Awaitable[None]]
    ) -> asyncio.Future[None] | None:
        """The write that the reader does not take; None when everything was sent."""
        async with contextlib.aclosing(self._chunks(file, place.position)) as chunks:
            async for chunk in chunks:
                position = place.position
                while place.position == position:
                    writing = asyncio.ensure_future(write(place.next_piece(chunk)))
                    if not await _done_within(writing, PATIENCE_S):
                        return writing
        return None

    async def _outwait(self, writing: asyncio.Future[None]) -> None:
        if not await _done_within(writing, self._silence_s):
            writing.cancel()
            raise PeerSilent(seconds=self._silence_s)

    async def _chunks(self, file: File, position: int) -> AsyncGenerator[bytes | memoryview]:
        """The file's chunks from `position` on, in order; each is let go when the next is asked for."""
        pieces = self._pieces(file, position)
        upcoming = await anext(pieces, None)
        coming: collections.deque[_Coming] = collections.deque()
        try:
            while upcoming or coming:
                while upcoming and len(coming) < CHUNKS_AT_ONCE:
                    slot = await (self._budget.take_ahead() if coming else self._budget.take_to_send())
                    if slot is None:
                        break
                    coming.append(_Coming(asyncio.create_task(self._fetch(file, upcoming)), slot))
                    upcoming = await anext(pieces, None)
                yield await coming[0].task
                coming.popleft().slot.release()
        finally:
            for one in coming:
                one.task.cancel()
                one.slot.release()
            await asyncio.gather(*(one.task for one in coming), return_exceptions=True)
            await pieces.aclose()

    async def _pieces(self, file: File, position: int) -> AsyncGenerator[Piece]:
        while position < file.chunk_count:
            page = await self._db.read(files.pieces, file.version_id, position - 1, PIECES_PER_QUERY)
            if not page:
                raise Missing(what=f"File {file.file_id}")
            for piece in page:
                yield piece
            position = page[-1].position + 1

    async def _fetch(self, file: File, piece: Piece) -> bytes | memoryview:
        held = await self._db.read(copies.holders_of, piece.chunk_id)
        view = await self._nodes.view()
        expected = {piece.chunk_id: piece.checksum}
        stores = [
            ExpectingStore(self._nodes.store(view[holder.node_id]), expected)
            for holder in sorted(held, key=self._rank)
            if holder.node_id in view
        ]
        try:
            chunk = await ReplicatedStore(stores, 1, 1, self._nodes.report).get(piece.chunk_id)
        except NodeUnavailable as error:
            raise CopiesUnreachable(name=file.name) from error
        except (ChunkMissing, ChunkCorrupt) as error:
            raise DataLost(name=file.name) from error
        return chunk.data

    def _rank(self, holder: Holder) -> tuple[bool, bool, bool, float]:
        """Good copies on nodes that are well come first; a node called offline may answer yet, and a copy called bad
        may be readable again, so they come last rather than never."""
        suspect = self._nodes.is_suspect(holder.node_id)
        return not holder.is_good, not holder.is_online, suspect, random.random()  # noqa: S311 - spread only


async def _done_within(writing: asyncio.Future[None], seconds: float) -> bool:
    """Whether it is done by then; raises what it raised. A cancelled caller takes it along."""
    try:
        done, _ = await asyncio.wait({writing}, timeout=seconds)
    except BaseException:
        writing.cancel()
        raise
    for one in done:
        one.result()
    return bool(done)
