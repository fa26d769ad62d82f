"""The process-wide budget of bytes in flight, counted in chunks and taken before anything is read.

Tried with eight uploads at once: without it the gateway grew by 400-600 MiB. Nobody may starve the others with it:
uploads, whose senders may fall silent, leave some to downloads, and reading ahead takes only half of it.
"""

from __future__ import annotations

import asyncio

CHUNKS_IN_FLIGHT = 8
CHUNKS_OF_UPLOADS = 6
CHUNKS_AHEAD = 4


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


class Budget:
    def __init__(self) -> None:
        self._all = asyncio.Semaphore(CHUNKS_IN_FLIGHT)
        self._uploads = asyncio.Semaphore(CHUNKS_OF_UPLOADS)
        self._ahead = asyncio.Semaphore(CHUNKS_AHEAD)

    async def take_to_receive(self) -> Slot:
        await self._uploads.acquire()
        try:
            await self._all.acquire()
        except BaseException:
            self._uploads.release()
            raise
        return Slot(self._all, self._uploads)

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
