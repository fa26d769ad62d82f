"""Small puts that wait for the same node go in one message: a call costs more than the chunk it carries.

As with a group commit nobody waits for company: the first goes at once, and what comes while it is under way goes
together when it is back.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

from cloudgrpc.errors import CloudError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

AT_ONCE, MOST_BYTES = 64, 2 << 20  # chunks in one message, and what they have together: half of what it may
UNDER_WAY = 1


class Together:
    """`send(messages)` sends several at once and tells what became of each: None, or the error."""

    def __init__(self, send: Callable[[Sequence[bytes]], Awaitable[list[CloudError | None]]]) -> None:
        self._send = send
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._under_way = 0
        self._senders: set[asyncio.Task[None]] = set()  # held, as the loop holds tasks only weakly

    async def put(self, message: bytes) -> None:
        """Raises: what became of this one."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((message, done))
        if self._under_way < UNDER_WAY:
            self._under_way += 1
            sender = asyncio.create_task(self._send_waiting())
            self._senders.add(sender)
            sender.add_done_callback(self._senders.discard)
        await done

    async def _send_waiting(self) -> None:
        while self._waiting:
            count = _fitting(message for message, _ in self._waiting)
            batch, self._waiting = self._waiting[:count], self._waiting[count:]
            for (_, done), outcome in zip(batch, await self._outcomes(batch), strict=True):
                if done.cancelled():
                    continue
                if outcome is None:
                    done.set_result(None)
                else:
                    done.set_exception(outcome)
        # In one step with having found nothing left: a put that comes now starts a sender of its own.
        self._under_way -= 1

    async def _outcomes(self, batch: Sequence[tuple[bytes, object]]) -> Sequence[BaseException | None]:
        """One for each, whatever happens: somebody waits for it."""
        try:
            outcomes = await self._send([message for message, _ in batch])
        except CloudError as error:
            return [error] * len(batch)
        except Exception as error:  # noqa: BLE001 - a put must not wait for ever
            return [RuntimeError(f"a message to a node failed: {error!r}")] * len(batch)
        if len(outcomes) != len(batch):
            return [RuntimeError("a node did not tell what became of each chunk")] * len(batch)
        return outcomes


def _fitting(messages: Iterable[bytes]) -> int:
    """How many of them go in one, at least the first."""
    sums = itertools.accumulate(map(len, messages))
    return max(
        1, sum(1 for _ in itertools.takewhile(lambda length: length <= MOST_BYTES, itertools.islice(sums, AT_ONCE)))
    )
