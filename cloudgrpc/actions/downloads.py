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
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable

    from cloudgrpc.actions.budget import Budget, Slot
    from cloudgrpc.actions.nodes import Nodes
    from cloudgrpc.errors import CloudError
    from cloudgrpc.meta.db import Database
    from cloudgrpc.meta.files import File, Holder, Piece
    from cloudgrpc.meta.tree import Person

    Write = Callable[[memoryview], Awaitable[None]]  # returns when the reader has room for more

PIECES_PER_QUERY = 256  # 1 GiB of a file
CHUNKS_AT_ONCE = 5  # of one download, where the budget has room for them
SLOW_PIECE_BYTES = 64 << 10
PATIENCE_S = 0.5  # with a reader, looked at twice: one that took nothing in between leaves its room to others


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
    chunk: bytes | memoryview | None = None  # what is being written; none once the reader is given up as stalled
    _seen: tuple[int, int] = (-1, -1)
    _piece_bytes: int = PIECE_BYTES

    def is_stalled(self) -> bool:
        """Whether the reader took nothing since this was asked before."""
        before, self._seen = self._seen, (self.position, self.offset)
        if before != self._seen:
            return False
        # So little that even the slowest line takes it before its reader is called silent.
        self._piece_bytes = SLOW_PIECE_BYTES
        return True

    async def write_chunk(self, write: Write) -> None:
        """The rest of the chunk; a stalled reader gets no more than the piece that it is at."""
        position = self.position
        while self.chunk is not None and self.position == position:
            await write(self._next_piece(self.chunk))

    def _next_piece(self, chunk: bytes | memoryview) -> memoryview:
        piece = memoryview(chunk)[self.offset : self.offset + self._piece_bytes]
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

    async def open(self, person: Person, file_id: str, version: int = 0) -> File:
        """The file with the content of a version, 0 for the newest. Raises: Missing."""
        return await self._db.read(files.find_file, person, file_id, version)

    async def send(self, file: File, write: Write) -> None:
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

    async def _send_until_stalled(self, file: File, place: _Place, write: Write) -> asyncio.Task[None] | None:
        """The write that the reader does not take; None when everything was sent."""
        async with contextlib.aclosing(self._chunks(file, place.position)) as chunks:
            async for chunk in chunks:
                place.chunk = chunk
                writing = asyncio.create_task(place.write_chunk(write))
                while not await _done_within(writing, PATIENCE_S):
                    if place.is_stalled():
                        place.chunk = None
                        return writing
        return None

    async def _outwait(self, writing: asyncio.Task[None]) -> None:
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
        try:
            try:
                return await self._fetch_from(piece.holders, piece)
            except (NodeUnavailable, ChunkMissing, ChunkCorrupt) as error:
                return await self._fetch_elsewhere(piece, error)
        except NodeUnavailable as error:
            raise CopiesUnreachable(name=file.name) from error
        except (ChunkMissing, ChunkCorrupt) as error:
            raise DataLost(name=file.name) from error

    async def _fetch_elsewhere(self, piece: Piece, error: CloudError) -> bytes | memoryview:
        """From copies made since the page with this piece was read."""
        tried = {holder.node_id for holder in piece.holders}
        held = (await self._db.read(copies.holders, [piece.chunk_id]))[piece.chunk_id]
        if tried >= {holder.node_id for holder in held}:
            raise error
        try:
            return await self._fetch_from([holder for holder in held if holder.node_id not in tried], piece)
        except (ChunkMissing, ChunkCorrupt):
            raise error from None

    async def _fetch_from(self, holders: Iterable[Holder], piece: Piece) -> bytes | memoryview:
        """Good copies on nodes that are well come first; a node called offline may answer yet, and a copy called bad
        may be readable again, so they come last rather than never."""
        view = await self._nodes.view()

        def rank(holder: Holder) -> tuple[bool, bool, bool, float]:
            suspect = self._nodes.is_suspect(holder.node_id)
            return not holder.is_good, not view[holder.node_id].is_online, suspect, random.random()  # noqa: S311 - spread only

        known = sorted((holder for holder in holders if holder.node_id in view), key=rank)
        expected = {piece.chunk_id: piece.checksum}
        stores = [ExpectingStore(self._nodes.store(view[holder.node_id]), expected) for holder in known]
        return (await ReplicatedStore(stores, 1, 1, self._nodes.report).get(piece.chunk_id)).data


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
