"""Giving a file back: every chunk is verified before a byte of it is sent, and read from another copy if need be."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import functools
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudgrpc.chunks.expecting import ExpectingStore
from cloudgrpc.chunks.replicated import first_whole
from cloudgrpc.chunks.sealed import SealedStore, Unverified
from cloudgrpc.core.chunking import CHUNK_BYTES, chunk_count
from cloudgrpc.errors import (
    ChunkCorrupt,
    ChunkMissing,
    CopiesUnreachable,
    DataLost,
    InvalidField,
    Missing,
    NodeUnavailable,
    PeerSilent,
)
from cloudgrpc.meta import accounts, copies, files
from cloudgrpc.rpc import PIECE_BYTES
from cloudgrpc.wire import lay

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence

    from cloudgrpc.actions.budget import Slot
    from cloudgrpc.actions.intake import Parts
    from cloudgrpc.chunks.base import Fetching
    from cloudgrpc.errors import CloudError
    from cloudgrpc.meta.files import File, Holder, Piece
    from cloudgrpc.meta.tree import Person
    from cloudgrpc.wire import Laid

    Write = Callable[[Laid], Awaitable[None]]  # returns when the reader has room for more
    Bytes = Sequence[Laid]  # of a chunk, in pieces of PIECE_BYTES

PIECES_PER_QUERY = 256  # 1 GiB of a file
CHUNKS_AT_ONCE = 5  # of one download, where the budget has room for them
CHUNKS_PER_LOOK = 8  # at the reader's account: as a call it was looked at when it began
SLOW_PIECE_BYTES = 64 << 10
PATIENCE_S = 0.5  # with a reader, looked at twice: one that took nothing in between leaves its room to others


@dataclass(frozen=True)
class Opened:
    """A part of a file that is about to be sent."""

    reader_id: str  # the account of who asked
    file: File
    offset: int
    length: int

    @property
    def end(self) -> int:
        return self.offset + self.length


@dataclass(frozen=True)
class Chunks:
    """Chunks that can be read, in order. `page(after, limit)`, a transaction: those behind a position."""

    name: str  # of the file they are of
    count: int
    page: Callable[[int, int], list[Piece]]


@dataclass(frozen=True)
class _Coming:
    """A chunk being fetched, and the room it takes."""

    piece: Piece
    task: asyncio.Task[Bytes]
    slot: Slot


@dataclass
class _Place:
    """How far a reader is: the chunk, and the bytes of it that were given to the reader."""

    position: int
    offset: int
    end: int  # of what is wanted, from the start of the file
    chunk: Bytes | None = None  # what is being written; none once the reader is given up as stalled
    _wanted: int = 0  # bytes of the chunk, from its start
    _seen: tuple[int, int] = (-1, -1)
    _piece_bytes: int = PIECE_BYTES

    @property
    def is_at_end(self) -> bool:
        return self.position * CHUNK_BYTES + self.offset >= self.end

    def hold(self, chunk: Bytes) -> None:
        """The chunk at this position, as far as it is wanted."""
        self.chunk = chunk
        self._wanted = min(sum(len(laid.data) for laid in chunk), self.end - self.position * CHUNK_BYTES)

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

    def _next_piece(self, chunk: Bytes) -> Laid:
        number, start = divmod(self.offset, PIECE_BYTES)
        left = self._wanted - self.offset
        piece = chunk[number].part(start, start + min(self._piece_bytes, left))
        self.offset += len(piece.data)
        if self.offset == self._wanted:
            self.position, self.offset = self.position + 1, 0
        return piece


class Downloads:
    def __init__(self, parts: Parts) -> None:
        self._db, self._nodes, self._budget = parts.db, parts.nodes, parts.budget
        self._silence_s = parts.silence_s
        self._count: Callable[[int], object] = parts.meters.transferred_bytes.labels("out").inc

    async def open(
        self, person: Person, file_id: str, version: int = 0, offset: int = 0, length: int | None = None
    ) -> Opened:
        """A part of a version, 0 for the newest; it ends with the file when `length` is None or goes past that.

        Raises: Missing, InvalidField.
        """
        for field, value in (("version", version), ("offset", offset), ("length", length)):
            if value is not None and value < 0:
                raise InvalidField(field=field, reason="must not be negative")
        file = await self._db.read(files.find_file, person, file_id, version)
        left = file.size_bytes - offset
        if left < 0:
            raise InvalidField(field="offset", reason=f"is past the end of the file, which has {file.size_bytes} bytes")
        return Opened(person.account_id, file, offset, left if length is None else min(length, left))

    async def send(self, opened: Opened, write: Write) -> None:
        """Give the bytes to `write`, in pieces, which returns when the reader has room for more.

        A reader that takes nothing for a moment gives its share of the budget to others, and what it was to get next
        is fetched again when it takes again; so stalled readers stop nobody, and cost no memory.
        Raises: DataLost (no good copy of a chunk exists), CopiesUnreachable, Missing (purged meanwhile), PeerSilent,
            AccountDisabled (meanwhile).
        """
        file = opened.file
        page = functools.partial(files.pieces, file.version_id, seal=file.seal)
        chunks = Chunks(file.name, chunk_count(opened.end), page)
        place = _Place(*divmod(opened.offset, CHUNK_BYTES), end=opened.end)

        async def counted(piece: Laid) -> None:
            await write(piece)
            self._count(len(piece.data))

        while not place.is_at_end:
            stalled = await self._send_until_stalled(opened.reader_id, chunks, place, counted)
            if stalled is not None:
                await self._outwait(stalled)

    async def _send_until_stalled(
        self, reader_id: str, chunks: Chunks, place: _Place, write: Write
    ) -> asyncio.Task[None] | None:
        """The write that the reader does not take; None when everything was sent."""
        async with contextlib.aclosing(self.read(chunks, place.position)) as coming:
            async for piece, chunk in coming:
                if piece.position % CHUNKS_PER_LOOK == CHUNKS_PER_LOOK - 1:
                    await self._db.read(accounts.check_still_enabled, reader_id)
                place.hold(chunk)
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

    async def read(self, chunks: Chunks, position: int) -> AsyncGenerator[tuple[Piece, Bytes]]:
        """The chunks from `position` on, in order; each is let go when the next is asked for. To be closed.

        Raises: DataLost, CopiesUnreachable, Missing, and what `chunks.page` does.
        """
        pieces = self._pieces(chunks, position)
        upcoming = await anext(pieces, None)
        coming: collections.deque[_Coming] = collections.deque()
        try:
            while upcoming or coming:
                while upcoming and len(coming) < CHUNKS_AT_ONCE:
                    slot = await (self._budget.take_ahead() if coming else self._budget.take_to_send())
                    if slot is None:
                        break
                    coming.append(_Coming(upcoming, asyncio.create_task(self._fetch(chunks.name, upcoming)), slot))
                    upcoming = await anext(pieces, None)
                yield coming[0].piece, await coming[0].task
                coming.popleft().slot.release()
        finally:
            for one in coming:
                one.task.cancel()
                one.slot.release()
            await asyncio.gather(*(one.task for one in coming), return_exceptions=True)
            await pieces.aclose()

    async def _pieces(self, chunks: Chunks, position: int) -> AsyncGenerator[Piece]:
        while position < chunks.count:
            page = await self._db.read(chunks.page, position - 1, min(PIECES_PER_QUERY, chunks.count - position))
            if not page:
                raise Missing(what=chunks.name)
            for piece in page:
                if piece.position != position:  # purged meanwhile, and its rows are going
                    raise Missing(what=chunks.name)
                yield piece
                position += 1

    async def _fetch(self, name: str, piece: Piece) -> Bytes:
        try:
            try:
                return await self._fetch_from(piece.holders, piece)
            except (NodeUnavailable, ChunkMissing, ChunkCorrupt) as error:
                return await self._fetch_elsewhere(piece, error)
        except NodeUnavailable as error:
            raise CopiesUnreachable(name=name) from error
        except (ChunkMissing, ChunkCorrupt) as error:
            raise DataLost(name=name) from error

    async def _fetch_elsewhere(self, piece: Piece, error: CloudError) -> Bytes:
        """From copies made since the page with this piece was read."""
        tried = {holder.node_id for holder in piece.holders}
        held = (await self._db.read(copies.holders, [piece.chunk_id]))[piece.chunk_id]
        if tried >= {holder.node_id for holder in held}:
            raise error
        try:
            return await self._fetch_from([holder for holder in held if holder.node_id not in tried], piece)
        except (ChunkMissing, ChunkCorrupt):
            raise error from None

    async def _fetch_from(self, holders: Iterable[Holder], piece: Piece) -> Bytes:
        """Good copies on nodes that are well come first; a node called offline may answer yet, and a copy called bad
        may be readable again, so they come last rather than never."""
        view = await self._nodes.view()

        def rank(holder: Holder) -> tuple[bool, bool, bool, float]:
            suspect = self._nodes.is_suspect(holder.node_id)
            return not holder.is_good, not view[holder.node_id].is_online, suspect, random.random()  # noqa: S311 - spread only

        known = sorted((holder for holder in holders if holder.node_id in view), key=rank)
        stores = [self._nodes.store(view[holder.node_id]) for holder in known]
        return await first_whole(stores, piece.chunk_id, functools.partial(_opened, piece), self._nodes.report)


async def _opened(piece: Piece, store: Fetching) -> Bytes:
    """The store's copy as plain and expected bytes; one that is not, or does not open, is one that is damaged."""
    expected = {piece.chunk_id: piece.checksum}
    if piece.seal is None:
        chunk = await ExpectingStore(store, expected).get(piece.chunk_id)
        return lay(chunk.data, PIECE_BYTES)
    sealed = ExpectingStore(Unverified(store), expected)
    return await SealedStore(sealed, piece.seal, {piece.chunk_id: piece.position}).get_laid(piece.chunk_id, PIECE_BYTES)


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
