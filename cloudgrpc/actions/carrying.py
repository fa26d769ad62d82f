"""Carrying chunks from node to node, and having nodes read what they hold, at a rate that leaves people their speed."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudgrpc.core import repair
from cloudgrpc.errors import ChunkCorrupt, ChunkMissing, ChunkRefused, CloudError, DiskFailed, DiskFull
from cloudgrpc.meta import copies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cloudgrpc.actions.nodes import Nodes
    from cloudgrpc.core.repair import CopyOrder
    from cloudgrpc.meta.db import Database

    Stop = Callable[[], bool]

log = logging.getLogger(__name__)

AT_ONCE = 4  # copies under way
BATCH = 2000  # chunks planned at once: reading all copies to find them takes seconds
BATCH_S = 30.0  # then it is looked again: what is more urgent may have come up


class Throttle:
    """Lets so many bytes through as a rate allows; less of them while `busy`, from 0 to 1, tells of people's work."""

    def __init__(self, mib_s: float, busy: Callable[[], float]) -> None:
        self.mib_s = mib_s
        self._busy = busy
        self._free_at = 0.0  # when the rate allows the next bytes, monotonic

    @property
    def batch_bytes(self) -> int:
        """What goes through between two looks."""
        return int(self.mib_s * (1 << 20) * BATCH_S)

    async def let(self, length: int) -> None:
        """Wait for one's turn with so many bytes."""
        moment = time.monotonic()
        start = max(moment, self._free_at)
        self._free_at = start + length / (repair.adapted(self.mib_s, self._busy()) * (1 << 20))
        await asyncio.sleep(start - moment)


@dataclass(frozen=True)
class Carried:
    """What became of copy orders; of those that are in neither was none begun."""

    made: list[CopyOrder]
    failed: list[CopyOrder]


class Carrier:
    def __init__(self, database: Database, nodes: Nodes) -> None:
        self._db = database
        self._nodes = nodes

    async def carry(
        self, orders: Iterable[CopyOrder], throttle: Callable[[CopyOrder], Throttle], stop: Stop
    ) -> Carried:
        """Make copies in this order, a few at once, until told to stop."""
        line = iter(orders)
        carried = Carried([], [])

        async def work() -> None:
            for order in line:
                if stop():
                    return
                await throttle(order).let(order.length)
                (carried.made if await self._copy(order) else carried.failed).append(order)

        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(AT_ONCE):
                    workers.create_task(work())
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures
        return carried

    async def _copy(self, order: CopyOrder) -> bool:
        view = await self._nodes.view()
        if order.target not in view:
            return False
        target = self._nodes.store(view[order.target])
        heard_at = self._nodes.heard_at(order.target)
        for source in sorted(order.sources, key=self._nodes.is_suspect):
            if source not in view:
                continue
            try:
                place = view[source]
                await target.copy_from(order.chunk_id, order.checksum, place.host, place.port, source)
            except (ChunkMissing, ChunkCorrupt, ChunkRefused):
                self._nodes.report(source, order.chunk_id, ChunkCorrupt(chunk_id=order.chunk_id))
            except DiskFull as error:
                self._nodes.report(order.target, order.chunk_id, error)
                return False
            except CloudError as error:
                if error.facts:  # not told by the target: it is out of reach itself
                    self._nodes.report(order.target, order.chunk_id, error)
                    return False
                if isinstance(error, DiskFailed):  # of which of the two is not told: neither copy may be called bad
                    log.warning("chunk %s does not go from %s to %s: %s", order.chunk_id, source, order.target, error)
                    continue
                self._nodes.report(source, order.chunk_id, error)
            else:
                self._nodes.note_placed(order.target, order.length, heard_at)
                return await self._db.run(copies.add_good, order.chunk_id, order.target)
        return False
