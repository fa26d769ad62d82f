"""The bytes of one stream on their way to the nodes, a chunk at a time, a few in flight.

chunk    seal -> checksum -> choose nodes -> send to all at once -> receipts     (a transaction for those of a moment)
"""

from __future__ import annotations

import asyncio
import math
import secrets
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cloudgrpc.actions.storing import store
from cloudgrpc.chunks.base import Chunk
from cloudgrpc.chunks.sealed import INLINE_BYTES, closed
from cloudgrpc.core.chunking import CHUNK_BYTES
from cloudgrpc.core.sealing import TAG_BYTES
from cloudgrpc.errors import PeerSilent, TooManySlow
from cloudgrpc.meta import uploads
from cloudgrpc.meta.uploads import Planned, Stored

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from cloudgrpc.actions.budget import Budget, Slot
    from cloudgrpc.actions.nodes import Nodes
    from cloudgrpc.core.content import Content
    from cloudgrpc.core.sealing import Seal
    from cloudgrpc.errors import BadInput
    from cloudgrpc.meta.db import Database
    from cloudgrpc.meters import Meters

    Read = Callable[[], Awaitable[memoryview]]  # the next bytes; none at the end

# Of one upload, planned before its chunks are sent; the budget lets fewer be under way. More than come in while
# receipts wait to be written.
IDS_AHEAD = 32
# At the most. Written singly they cost a fiftieth of an upload's CPU time; what is not written yet when this process
# dies is sent again.
RECEIPTS_EVERY_S = 0.3
SLOW_S = 2.0  # for a chunk: from then on it makes way for others
NOTHING = memoryview(b"")


@dataclass(frozen=True)
class Parts:
    """What the streams of all uploads share."""

    db: Database
    nodes: Nodes
    budget: Budget
    silence_s: float
    meters: Meters
    slow_s: float = SLOW_S


@dataclass(frozen=True)
class Stretch:
    """The chunks of an upload that one stream brings."""

    upload_id: str
    account_id: str  # of the one who sends
    size_bytes: int  # of the whole file
    positions: range
    lease_us: int
    is_kept: bool  # whether chunks that arrived stay when the stream breaks off
    wrong_size: type[BadInput]

    @property
    def length(self) -> int:
        return min(self.positions.stop * CHUNK_BYTES, self.size_bytes) - self.positions.start * CHUNK_BYTES

    def plan(self) -> list[Planned]:
        """The first chunk ids."""
        return [plan(position) for position in self.positions[:IDS_AHEAD]]


class Incoming:
    """Cuts the arriving bytes to the lengths asked for; who sends nothing for `silence_s` is dropped. `count` hears
    of every byte."""

    def __init__(
        self,
        read: Read,
        announced: int,
        silence_s: float,
        wrong_size: type[BadInput],
        count: Callable[[int], object],
    ) -> None:
        self._read = read
        self._count = count
        self._announced = announced
        self._silence_s = silence_s
        self._wrong_size = wrong_size
        self._received = 0
        self._left = NOTHING

    async def take(self, length: int) -> list[memoryview]:
        """Exactly `length` bytes, in the parts they came in. Raises: `wrong_size`, PeerSilent."""
        parts = []
        while length:
            if not self._left:
                self._left = await self._next()
                if not self._left:
                    raise self._wrong_size(announced=self._announced, received=self._received)
            part = self._left[:length]
            # Even an empty view would hold the whole message that was read.
            self._left = self._left[length:] if len(self._left) > length else NOTHING
            length -= len(part)
            parts.append(part)
        return parts

    async def expect_end(self) -> None:
        """Raises: `wrong_size` when more comes than was announced."""
        if self._left or await self._next():
            raise self._wrong_size(announced=self._announced, received=f"more than {self._announced}")

    async def _next(self) -> memoryview:
        try:
            async with asyncio.timeout(self._silence_s):
                data = await self._read()
        except TimeoutError as error:
            raise PeerSilent(seconds=self._silence_s) from error
        self._received += len(data)
        self._count(len(data))
        return data


class Intake:
    """Takes one stretch in. `planned`: ids written down for its first chunks; `seal`: of the upload; `content`: of the
    chunks before it, to be gone on with, None when nobody wants to know; `note` is called with it after each chunk."""

    def __init__(
        self,
        parts: Parts,
        stretch: Stretch,
        planned: list[Planned],
        read: Read,
        *,
        seal: Seal | None,
        content: Content | None,
        note: Callable[[Content], None] = lambda _: None,
    ) -> None:
        self._db, self._nodes, self._budget = parts.db, parts.nodes, parts.budget
        self._stretch = stretch
        self._slow_s = parts.slow_s
        self._incoming = Incoming(
            read, stretch.length, parts.silence_s, stretch.wrong_size, parts.meters.transferred_bytes.labels("in").inc
        )
        self._seal = seal
        self._content = content
        self._note = note
        self._to_plan = stretch.positions[len(planned) :]
        self._planned: asyncio.Queue[Planned] = asyncio.Queue()
        for one in planned:
            self._planned.put_nowait(one)
        self.unwritten: list[Stored] = []  # whose receipts are to be written down yet
        self._write_after = 0.0 if len(stretch.positions) > 1 else math.inf  # by the loop's clock
        self._is_awaiting_more = False
        self._is_all_here = False  # then whoever asked for this writes what is unwritten
        self._hurry = asyncio.Event()
        self.quorum = parts.nodes.settings.write_quorum  # the least that any chunk needed when it was placed

    async def run(self) -> None:
        """Send everything.

        Raises: `wrong_size` of the stretch, PeerSilent, TooManySlow, NodesTooFew, PoolFull, QuorumMissed, UploadEnded.
        """
        try:
            async with asyncio.TaskGroup() as sending:
                try:
                    await self._receive_all(sending)
                except BaseException:
                    if self._stretch.is_kept:
                        await asyncio.sleep(
                            0
                        )  # what is sent from now on takes its first step, and then is not given up
                    raise
        except BaseExceptionGroup as group:
            raise _first(group) from group

    async def write_rest(self) -> None:
        """The receipts that are not written down yet. Raises: UploadEnded."""
        await self._write_down([])

    async def _receive_all(self, sending: asyncio.TaskGroup) -> None:
        for position in self._stretch.positions:
            if self._planned.empty():
                self._hurry.set()
            planned = await self._planned.get()
            slot = await self._budget.take_to_receive(self._stretch.account_id)
            try:
                length = min(CHUNK_BYTES, self._stretch.size_bytes - position * CHUNK_BYTES)
                parts, slot = await self._receive(length, slot)
                chunk = await self._digested(planned, length, parts)
            except BaseException:
                slot.release()
                raise
            sending.create_task(self._send(chunk, slot)).add_done_callback(slot.release_after)
            del parts, chunk  # or they would be held beyond their slot, while this waits for the next one
        await self._incoming.expect_end()
        self._is_all_here = True
        self._hurry.set()

    async def _receive(self, length: int, slot: Slot) -> tuple[list[memoryview], Slot]:
        """The bytes of the next chunk, and the slot that they are in: who sends slowly makes way until all is here.

        Raises: `wrong_size`, PeerSilent, TooManySlow.
        """
        loop, account_id, made_way = asyncio.get_running_loop(), self._stretch.account_id, False
        limit = asyncio.timeout(None)

        def make_way() -> None:
            nonlocal made_way
            try:
                self._budget.make_way(slot, account_id)
                made_way = True
            except TooManySlow:
                limit.reschedule(loop.time())

        slow = loop.call_later(self._slow_s, make_way)
        try:
            async with limit:
                parts = await self._incoming.take(length)
            if made_way:  # and counts as slow until there is room for it
                slot = await self._budget.take_to_receive(account_id)
        except TimeoutError as error:
            raise TooManySlow from error
        finally:
            slow.cancel()
            if made_way:
                self._budget.end_slow(account_id)
        return parts, slot

    async def _digested(self, planned: Planned, length: int, parts: list[memoryview]) -> Chunk:
        if length < INLINE_BYTES:
            chunk = self._digest(planned, parts)
        else:
            chunk = await asyncio.to_thread(self._digest, planned, parts)
        if self._content is not None:
            self._note(self._content)
        return chunk

    def _digest(self, planned: Planned, parts: list[memoryview]) -> Chunk:
        if self._content is not None:
            self._content.add(planned.chunk_id, parts)
        if self._seal is not None:
            return closed(self._seal, planned.chunk_id, planned.position, parts)
        return Chunk.of_parts(planned.chunk_id, parts)

    async def _send(self, chunk: Chunk, slot: Slot) -> None:
        storing = self._store(chunk)
        try:
            await (_to_its_end(storing) if self._stretch.is_kept else storing)
        finally:
            del chunk, storing  # its bytes must be gone when others take their room
            slot.release()
        if not self._is_awaiting_more and await self._is_time_to_write():
            self._write_after = asyncio.get_running_loop().time() + RECEIPTS_EVERY_S
            self._hurry.clear()
            upcoming = [plan(position) for position in self._to_plan[: len(self.unwritten)]]
            self._to_plan = self._to_plan[len(upcoming) :]
            await self._write_down(upcoming)

    async def _write_down(self, upcoming: list[Planned]) -> None:
        stored, self.unwritten = self.unwritten, []
        await self._db.run(uploads.receive, self._stretch.upload_id, stored, upcoming, self._stretch.lease_us)
        for one in upcoming:
            self._planned.put_nowait(one)

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

    async def _store(self, chunk: Chunk) -> None:
        kept = await store(self._nodes, chunk)
        self.quorum = min(self.quorum, kept.quorum)
        length = len(chunk.data) - (TAG_BYTES if self._seal else 0)
        self.unwritten.append(Stored(chunk.chunk_id, length, chunk.checksum, kept.node_ids))


def plan(position: int) -> Planned:
    return Planned(position, secrets.token_hex(16))


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """The same, but a cancellation is raised only after it."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What went wrong first; the others were cancelled for it."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
