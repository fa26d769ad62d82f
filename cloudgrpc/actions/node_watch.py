"""How the calls of this gateway to each node go: the share that failed lately, and how long a small one takes."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Protocol

from cloudgrpc.errors import CloudError, DiskFailed, NodeUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

log = logging.getLogger(__name__)

MEMORY_S = 60.0  # after so long a call counts for 1/e of one that is made now
FEWEST = 2.5  # calls that mean something: the third of a row of quick ones


class Probed(Protocol):
    """What is asked something small."""

    async def page(self, after: str, limit: int) -> list[str]: ...


class Fading:
    """A sum whose parts fade with time, not with the number of those that come after."""

    def __init__(self) -> None:
        self._sum = 0.0
        self._at = 0.0

    def add(self, amount: float, moment: float) -> None:
        self._sum = self.at(moment) + amount
        self._at = moment

    def at(self, moment: float) -> float:
        return self._sum * math.exp(-max(0.0, moment - self._at) / MEMORY_S)


class _Record:
    """Of one node."""

    def __init__(self) -> None:
        self.calls, self.failures = Fading(), Fading()
        self.probes, self.probe_s = Fading(), Fading()


class NodeWatch:
    """`clock`: in seconds, never set back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._records: defaultdict[str, _Record] = defaultdict(_Record)
        self._awake_since = clock()

    def note(self, node_id: str, error: CloudError | None) -> None:
        """How a call to the node ended. That it lacks a chunk, is full or refuses one says nothing against it."""
        record, moment = self._records[node_id], self._clock()
        record.calls.add(1, moment)
        if isinstance(error, NodeUnavailable | DiskFailed):
            record.failures.add(1, moment)

    def error_rate(self, node_id: str) -> float:
        """From 0 to 1; 0 while there were too few calls to tell."""
        record, moment = self._records[node_id], self._clock()
        calls = record.calls.at(moment)
        return min(1.0, record.failures.at(moment) / calls) if calls >= FEWEST else 0.0

    def latency_s(self, node_id: str) -> float | None:
        """None before the first probe."""
        record, moment = self._records[node_id], self._clock()
        probes = record.probes.at(moment)
        return record.probe_s.at(moment) / probes if probes else None

    def forget(self, node_id: str) -> None:
        """It is a new process, or can be reached again: what was before says nothing."""
        self._records.pop(node_id, None)

    @property
    def awake_s(self) -> float:
        """How long this gateway has been there to hear heartbeats."""
        return self._clock() - self._awake_since

    async def probe(self, stores: Mapping[str, Probed]) -> None:
        """Ask each node something small, all at once. One that fails is no error here."""
        await asyncio.gather(*(self._probe_one(node_id, store) for node_id, store in stores.items()))

    async def keep_probing(self, probe: Callable[[], Awaitable[None]], round_s: float, asleep_s: float) -> None:
        """A round each `round_s`, until cancelled. `asleep_s`: when a round comes so late, this gateway had stopped,
        and with it heartbeats."""
        last = self._clock()
        while True:
            if self._clock() - last > asleep_s + round_s:
                self._awake_since = self._clock()
            last = self._clock()
            try:
                await probe()
            except CloudError as error:
                log.warning("probing the nodes: %s", error)
            except Exception:
                log.exception("probing the nodes failed and is tried again")
            await asyncio.sleep(round_s)

    async def _probe_one(self, node_id: str, store: Probed) -> None:
        began = self._clock()
        try:
            await store.page("", 1)
        except CloudError as error:
            log.debug("%s does not answer a probe: %s", node_id, error)
            return
        record, moment = self._records[node_id], self._clock()
        record.probes.add(1, moment)
        record.probe_s.add(moment - began, moment)
