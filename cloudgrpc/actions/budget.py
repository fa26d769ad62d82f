"""The process-wide budget of bytes in flight, counted in chunks and taken before anything is read.

Tried with eight uploads at once: without it the gateway grew by 400-600 MiB. Nobody may starve the others with it:
uploads, whose senders may fall silent, leave some to downloads, and reading ahead takes only half of it. Who sends a
chunk slowly makes way: it goes on beside the budget, where there is room for many, but for few of one account.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Literal
from weakref import WeakValueDictionary

from cloudgrpc.errors import TooManySlow

CHUNKS_IN_FLIGHT = 8
CHUNKS_OF_UPLOADS = 6
CHUNKS_OF_ONE = 5  # of one account's uploads: however many it begins, others come next
CHUNKS_AHEAD = 4
SLOW_CHUNKS = 48  # half of each is there on average
SLOW_OF_ONE = 12  # of one account


class Slot:
    """Room for one chunk; given back once, however often asked."""

    def __init__(self, *semaphores: asyncio.Semaphore) -> None:
        self._semaphores = semaphores

    def release(self) -> None:
        semaphores, self._semaphores = self._semaphores, ()
        for semaphore in semaphores:
            semaphore.release()

    def release_after(self, _task: object) -> None:
        """For a task that may be cancelled before its first step, and then runs none of its own clean-up."""
        self.release()


class _Counted(asyncio.Semaphore):
    """Tells how much of it is taken."""

    def __init__(self, value: int) -> None:
        super().__init__(value)
        self.taken = 0

    async def acquire(self) -> Literal[True]:
        await super().acquire()
        self.taken += 1
        return True

    def release(self) -> None:
        self.taken -= 1
        super().release()


class Budget:
    def __init__(self) -> None:
        self._all = _Counted(CHUNKS_IN_FLIGHT)
        self._uploads = asyncio.Semaphore(CHUNKS_OF_UPLOADS)
        self._ahead = asyncio.Semaphore(CHUNKS_AHEAD)
        self._of_one: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._slow: Counter[str] = Counter()

    @property
    def busy(self) -> float:
        """The share of it that is taken, 0 to 1."""
        return self._all.taken / CHUNKS_IN_FLIGHT

    async def take_to_receive(self, account_id: str) -> Slot:
        own = self._of_one.setdefault(account_id, asyncio.Semaphore(CHUNKS_OF_ONE))
        taken: list[asyncio.Semaphore] = []
        try:
            for semaphore in (own, self._uploads, self._all):
                await semaphore.acquire()
                taken.append(semaphore)
        except BaseException:
            Slot(*taken).release()
            raise
        return Slot(*taken)

    async def take_to_send(self) -> Slot:
        await self._all.acquire()
        return Slot(self._all)

    async def take_ahead(self) -> Slot | None:
        """A slot for reading ahead; None when somebody may need it more."""
        if self._all.locked() or self._ahead.locked():
            return None
        await self._ahead.acquire()
        await self._all.acquire()
        return Slot(self._all, self._ahead)

    def make_way(self, slot: Slot, account_id: str) -> None:
        """The chunk in this slot comes slowly: others may have the slot, and `end_slow` is to be called. Raises:
        TooManySlow."""
        if self._slow.total() >= SLOW_CHUNKS or self._slow[account_id] >= SLOW_OF_ONE:
            raise TooManySlow
        self._slow[account_id] += 1
        slot.release()

    def end_slow(self, account_id: str) -> None:
        self._slow[account_id] -= 1
        if not self._slow[account_id]:
            del self._slow[account_id]
