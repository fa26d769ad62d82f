"""The counts of whole tables, kept: whoever asks gets the last one at once, and the next is made meanwhile."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from cloudgrpc.core import trends
from cloudgrpc.core.trends import Sample
from cloudgrpc.meta import census

if TYPE_CHECKING:
    from cloudgrpc.meta.census import Count
    from cloudgrpc.meta.db import Database

LEAST_S = 1.0  # between two counts
SHARE = 20  # a count may take so small a part of the time, whatever it takes
PATIENCE_S = 0.5  # for the next count; then the last one does
OLD_S = 60.0  # nobody asked for so long: the last one says little


class Census:
    """`factor`: copies that each chunk is to have."""

    def __init__(self, database: Database, factor: int) -> None:
        self._db = database
        self._factor = factor
        self._last: Count | None = None
        self._counted_at = self._took_s = 0.0
        self._counting: asyncio.Task[Count] | None = None
        self._trend: list[Sample] = []

    async def latest(self) -> Count:
        """Raises: DatabaseUnavailable."""
        last, age_s = self._last, time.monotonic() - self._counted_at
        if last is not None and self._counting is None and age_s < max(LEAST_S, SHARE * self._took_s):
            return last
        if self._counting is None:
            self._counting = asyncio.create_task(self._count())
            self._counting.add_done_callback(self._done)
        counting = self._counting
        is_old = last is None or age_s > max(OLD_S, 2 * SHARE * self._took_s)
        await asyncio.wait({counting}, timeout=None if is_old else PATIENCE_S)
        return last if last is not None and not counting.done() else counting.result()

    @property
    def repair_bytes_s(self) -> float:
        return trends.rate(self._trend)

    @property
    def repair_seconds_left(self) -> float:
        """0 when nothing is missing; below 0 when it cannot be told."""
        return trends.seconds_left(self._trend)

    async def close(self) -> None:
        if self._counting is not None:
            await asyncio.wait({self._counting})

    async def _count(self) -> Count:
        began = time.monotonic()
        counted = await self._db.read(census.count, self._factor)
        self._counted_at = time.monotonic()
        self._took_s = self._counted_at - began
        self._trend = trends.recent(self._trend, Sample(self._counted_at, counted.bytes_missing))
        self._last = counted
        return counted

    def _done(self, counting: asyncio.Task[Count]) -> None:
        self._counting = None
        if not counting.cancelled():
            counting.exception()  # seen; whoever waits gets it
