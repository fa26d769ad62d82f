"""Asking what may hang, without piling up: who asks meanwhile waits for the same answer, and nobody waits long."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")


class Patience(Generic[T]):
    """`work`: the question; `seconds`: how long anybody waits for its answer."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, T]], seconds: float) -> None:
        self._work = work
        self._seconds = seconds
        self._asking: asyncio.Task[T] | None = None

    async def ask(self) -> T:
        """Raises: TimeoutError, and what the work raises."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._work())
            self._asking.add_done_callback(_seen)
        asking = self._asking
        await asyncio.wait({asking}, timeout=self._seconds)
        if not asking.done():
            raise TimeoutError
        return asking.result()

    async def close(self) -> None:
        """Wait for the answer to the last question."""
        if self._asking is not None:
            await asyncio.wait({self._asking})


def _seen(asking: asyncio.Task[Any]) -> None:
    """Else the loop would report a failure that nobody waited for."""
    if not asking.cancelled():
        asking.exception()
