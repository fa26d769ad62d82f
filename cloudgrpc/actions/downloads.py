"""Giving a file back: every chunk is verified before a byte of it is sent, and read from another copy if need be."""

from __future__ import annotations

import asyncio
import collections
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudgrpc.chunks.expecting import ExpectingStore
from cloudgrpc.chunks.replicated import ReplicatedStore
from cloudgrpc.errors import ChunkCorrupt, ChunkMissing, CopiesUnreachable, DataLost, Missing, NodeUnavailable
from cloudgrpc.meta import copies, files

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from cloudgrpc.actions.budget import Budget, Slot
    from cloudgrpc.actions.nodes import Nodes
    from cloudgrpc.meta.copies import Holder
    from cloudgrpc.meta.db import Database
    from cloudgrpc.meta.files import File, Piece

PIECES_PER_QUERY = 256  # 1 GiB of a file
CHUNKS_AHEAD = 3  # of one download, where the budget has room for them


@dataclass(frozen=True)
class _Coming:
    """A chunk being fetched, and the room it takes."""

    task: asyncio.Task[bytes]
    slot: Slot


class Downloads:
    def __init__(self, database: Database, nodes: Nodes, budget: Budget) -> None:
        self._db = database
        self._nodes = nodes
        self._budget = budget

    async def open(self, account_id: str, file_id: str) -> File:
        """Raises: Missing."""
        return await self._db.read(files.find_file, account_id, file_id)

    async def chunks(self, file: File) -> AsyncGenerator[bytes]:
        """The file's chunks in order; each is let go when the next is asked for.

        Raises: DataLost (no good copy of a chunk exists), CopiesUnreachable, Missing (purged meanwhile).
        """
        pieces = self._pieces(file)
        upcoming = await anext(pieces, None)
        coming: collections.deque[_Coming] = collections.deque()
        try:
            while upcoming or coming:
                while upcoming and len(coming) < CHUNKS_AHEAD:
                    slot = await (self._budget.take_if_free() if coming else self._budget.take())
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

    async def _pieces(self, file: File) -> AsyncGenerator[Piece]:
        last, position = file.chunk_count - 1, -1
        while position < last:
            page = await self._db.read(files.pieces, file.version_id, position, PIECES_PER_QUERY)
            if not page:
                raise Missing(what=f"File {file.file_id}")
            for piece in page:
                yield piece
            position = page[-1].position

    async def _fetch(self, file: File, piece: Piece) -> bytes:
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
