"""Taking a file in: the write flow.

begin    reserve quota, open the upload                                  (transaction)
chunk    checksum -> choose nodes -> send to all at once -> receipts     (a transaction for those of a moment)
commit   every chunk has its receipts, of which the last are written     (transaction), only then the reply
         here: the file's newest version
abandon  anything else: the reservation is free, chunks become orphans   (transaction)
"""

from __future__ import annotations

import asyncio
import math
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from blake3 import blake3

from cloudgrpc.actions.files import limits_of
from cloudgrpc.chunks.base import Chunk
from cloudgrpc.chunks.replicated import ReplicatedStore
from cloudgrpc.core.chunking import chunk_count, chunk_lengths
from cloudgrpc.errors import CloudError, DiskFull, PeerSilent, PoolFull, QuorumMissed, TooManySlow, UploadSizeWrong
from cloudgrpc.meta import uploads
from cloudgrpc.meta.uploads import Answer, Planned, Stored, Wish

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from cloudgrpc.actions.budget import Budget, Slot
    from cloudgrpc.actions.nodes import Nodes
    from cloudgrpc.config import Drive
    from cloudgrpc.meta.db import Database

IDS_AHEAD = 16  # of one upload, planned before its chunks are sent; the budget lets fewer be under way
RECEIPTS_EVERY_S = 0.1  # at the most; written singly they cost a fiftieth of an upload's CPU time
SLOW_S = 2.0  # for a chunk: from then on it makes way for others
NOTHING = memoryview(b"")
INLINE_BYTES = 64 << 10  # hashing less takes no longer than the hop to another thread


class Uploads:
    def __init__(self, database: Database, nodes: Nodes, budget: Budget, settings: Drive) -> None:
        self.db = database
        self.nodes = nodes
        self.budget = budget
        self._settings = settings
        self._limits = limits_of(settings)

    async def upload(self, wish: Wish, read: Callable[[], Awaitable[memoryview]]) -> Answer:
        """Take in what `read` gives, as the newest version of `wish`.

        Raises: Missing, ReadOnlyShare, NameTaken, TooDeep, PathTooLong, VersionMoved, QuotaExceeded, RequestIdReused,
        UploadSizeWrong, PeerSilent, TooManySlow,
        NodesTooFew, PoolFull, QuorumMissed, UploadEnded; after any of them nothing is kept.
        """
        upload_id = secrets.token_hex(16)
        planned = [_plan(position) for position in range(min(IDS_AHEAD, chunk_count(wish.size_bytes)))]
        try:
            earlier = await self.db.run(uploads.begin, upload_id, wish, planned, self.lease_us, self._limits)
            if earlier is not None:
                return earlier
            taking = _Taking(self, upload_id, wish, planned, Incoming(read, wish.size_bytes, self._settings.silence_s))
            digest = await taking.run()
            keep = self._settings.keep_versions
            return await self.db.run(uploads.commit, upload_id, taking.unwritten, digest, taking.quorum, keep)
        except BaseException:
            await self.db.run(uploads.abandon, upload_id)
            raise

    @property
    def lease_us(self) -> int:
        return int(self._settings.upload_lease_s * 1_000_000)


class Incoming:
    """Cuts the arriving bytes to the lengths asked for; who sends nothing for `silence_s` is dropped."""

    def __init__(self, read: Callable[[], Awaitable[memoryview]], announced: int, silence_s: float) -> None:
        self._read = read
        self._announced = announced
        self._silence_s = silence_s
        self._received = 0
        self._left = NOTHING

    async def take(self, length: int) -> list[memoryview]:
        """Exactly `length` bytes, in the parts they came in. Raises: UploadSizeWrong, PeerSilent."""
        parts = []
        while length:
            if not self._left:
                self._left = await self._next()
                if not self._left:
                    raise UploadSizeWrong(announced=self._announced, received=self._received)
            part = self._left[:length]
            # Even an empty view would hold the whole message that was read.
            self._left = self._left[length:] if len(self._left) > length else NOTHING
            length -= len(part)
            parts.append(part)
        return parts

    async def expect_end(self) -> None:
        """Raises: UploadSizeWrong when more comes than was announced."""
        if self._left or await self._next():
            raise UploadSizeWrong(announced=self._announced, received=f"more than {self._announced}")

    async def _next(self) -> memoryview:
        try:
            async with asyncio.timeout(self._silence_s):
                data = await self._read()
        except TimeoutError as error:
            raise PeerSilent(seconds=self._silence_s) from error
        self._received += len(data)
        return data


class _Taking:
    """One upload's bytes on their way to the nodes."""

    def __init__(self, home: Uploads, upload_id: str, wish: Wish, planned: list[Planned], incoming: Incoming) -> None:
        self._home = home
        self._upload_id = upload_id
        self._account_id = wish.person.account_id
        self._size = wish.size_bytes
        self._incoming = incoming
        self._content = blake3()
        self._to_plan = range(len(planned), chunk_count(wish.size_bytes))
        self._planned: asyncio.Queue[Planned] = asyncio.Queue()
        for one in planned:
            self._planned.put_nowait(one)
        self.unwritten: list[Stored] = []  # whose receipts are to be written down yet
        self._write_after = 0.0 if chunk_count(wish.size_bytes) > 1 else math.inf  # by the loop's clock
        self._is_awaiting_more = False
        self._is_all_here = False  # then commit writes what is unwritten
        self._hurry = asyncio.Event()
        self.quorum = home.nodes.settings.write_quorum  # the least that any chunk needed when it was placed

    async def run(self) -> str:
        """Send everything; returns the digest of the content."""
        try:
            async with asyncio.TaskGroup() as sending:
                for length in chunk_lengths(self._size):
                    if self._planned.empty():
                        self._hurry.set()
                    planned = await self._planned.get()
                    slot = await self._home.budget.take_to_receive(self._account_id)
                    try:
                        parts, slot = await self._receive(length, slot)
                        chunk = await self._digested(planned.chunk_id, length, parts)
                    except BaseException:
                        slot.release()
                        raise
                    sending.create_task(self._send(chunk, slot)).add_done_callback(slot.release_after)
                await self._incoming.expect_end()
                self._is_all_here = True
                self._hurry.set()
        except BaseExceptionGroup as group:
            raise _first(group) from group
        return f"blake3:{self._content.hexdigest()}"

    async def _receive(self, length: int, slot: Slot) -> tuple[list[memoryview], Slot]:
        """The bytes of the next chunk, and the slot that they are in: who sends slowly makes way until all is here.

        Raises: UploadSizeWrong, PeerSilent, TooManySlow.
        """
        loop, budget, made_way = asyncio.get_running_loop(), self._home.budget, False
        limit = asyncio.timeout(None)

        def make_way() -> None:
            nonlocal made_way
            try:
                budget.make_way(slot, self._account_id)
                made_way = True
            except TooManySlow:
                limit.reschedule(loop.time())

        slow = loop.call_later(SLOW_S, make_way)
        try:
            async with limit:
                parts = await self._incoming.take(length)
            if made_way:  # and counts as slow until there is room for it
                slot = await budget.take_to_receive(self._account_id)
        except TimeoutError as error:
            raise TooManySlow from error
        finally:
            slow.cancel()
            if made_way:
                budget.end_slow(self._account_id)
        return parts, slot

    async def _digested(self, chunk_id: str, length: int, parts: list[memoryview]) -> Chunk:
        if length < INLINE_BYTES:
            return self._digest(chunk_id, parts)
        return await asyncio.to_thread(self._digest, chunk_id, parts)

    def _digest(self, chunk_id: str, parts: list[memoryview]) -> Chunk:
        for part in parts:
            self._content.update(part)
        return Chunk.of_parts(chunk_id, parts)

    async def _send(self, chunk: Chunk, slot: Slot) -> None:
        try:
            names = await self._store(chunk)
            stored = Stored(chunk.chunk_id, len(chunk.data), chunk.checksum, names)
        finally:
            del chunk  # its bytes must be gone when others take their room
            slot.release()
        self.unwritten.append(stored)
        if not self._is_awaiting_more and await self._is_time_to_write():
            await self._write_down()

    async def _is_time_to_write(self) -> bool:
        """Waits until receipts may be written again, for this chunk and those that are stored meanwhile."""
        if asyncio.get_running_loop().time() >= self._write_after:
            return True
        self._is_awaiting_more = True
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._write_after):
                await self._hurry.wait()
        self._is_awaiting_more = False
        return not self._is_all_here

    async def _write_down(self) -> None:
        self._write_after = asyncio.get_running_loop().time() + RECEIPTS_EVERY_S
        self._hurry.clear()
        stored, self.unwritten = self.unwritten, []
        upcoming = [_plan(position) for position in self._to_plan[: len(stored)]]
        self._to_plan = self._to_plan[len(stored) :]
        await self._home.db.run(uploads.receive, self._upload_id, stored, upcoming, self._home.lease_us)
        for one in upcoming:
            self._planned.put_nowait(one)

    async def _store(self, chunk: Chunk) -> tuple[str, ...]:
        nodes = self._home.nodes
        placing = await nodes.place(len(chunk.data))
        self.quorum = min(self.quorum, placing.quorum)
        troubles: list[CloudError] = []

        def report(name: str, chunk_id: str, error: CloudError) -> None:
            troubles.append(error)
            nodes.report(name, chunk_id, error)

        try:
            names = await ReplicatedStore(placing.stores, placing.wanted, placing.quorum, report).put(chunk)
        except QuorumMissed as error:
            if not all(isinstance(trouble, DiskFull) for trouble in troubles):
                raise
            # The nodes had less room than they last said.
            raise PoolFull(candidates=len(placing.stores) - len(troubles), quorum=placing.quorum) from error
        for name in names:
            nodes.note_placed(name, len(chunk.data))
        return names


def _plan(position: int) -> Planned:
    return Planned(position, secrets.token_hex(16))


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What went wrong first; the others were cancelled for it."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
