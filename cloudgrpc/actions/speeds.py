"""How fast people's bytes came and went in the last minutes, by this process's own counters."""

from __future__ import annotations

import asyncio
import collections
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from cloudgrpc.meters import Meters

SPAN_S = 5.0
SPANS = 60  # five minutes
EVERY_S = 1.0


@dataclass(frozen=True)
class Speed:
    """Bytes a second over a span."""

    up: float
    down: float
    span_s: float


@dataclass(frozen=True)
class _Reading:
    at_s: float
    up: float
    down: float

    def since(self, earlier: _Reading) -> Speed:
        span_s = max(self.at_s - earlier.at_s, 1e-3)
        return Speed((self.up - earlier.up) / span_s, (self.down - earlier.down) / span_s, span_s)


class Speeds:
    def __init__(self, meters: Meters) -> None:
        self._meters = meters
        first = self._read()
        self._newest = collections.deque([first], maxlen=int(SPAN_S / EVERY_S) + 1)
        self._span_began = first
        self._spans: collections.deque[Speed] = collections.deque(maxlen=SPANS)

    @property
    def now(self) -> Speed:
        """Over the last seconds."""
        return self._read().since(self._newest[0])

    @property
    def spans(self) -> list[Speed]:
        """Of the last minutes, the oldest first."""
        return list(self._spans)

    async def run(self) -> NoReturn:
        """Look at the counters, for ever."""
        while True:
            await asyncio.sleep(EVERY_S)
            self.look()

    def look(self) -> None:
        reading = self._read()
        self._newest.append(reading)
        if reading.at_s - self._span_began.at_s >= SPAN_S:
            self._spans.append(reading.since(self._span_began))
            self._span_began = reading

    def _read(self) -> _Reading:
        up, down = self._meters.transferred()
        return _Reading(time.monotonic(), up, down)
