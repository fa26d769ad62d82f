"""Scrubbing: every node reads what it holds, little by little, so that what went bad is found while a copy is whole."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from typing import TYPE_CHECKING

from cloudgrpc.actions.carrying import Throttle
from cloudgrpc.core import scrub
from cloudgrpc.errors import ChunkCorrupt, ChunkMissing, CloudError, DiskFailed
from cloudgrpc.meta import scrubs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cloudgrpc.actions.nodes import Nodes
    from cloudgrpc.config import Upkeep
    from cloudgrpc.core.scrub import Claim
    from cloudgrpc.meta.db import Database
    from cloudgrpc.meta.scrubs import Pass
    from cloudgrpc.meters import Meters

log = logging.getLogger(__name__)

ROUND_S = 20.0  # that a pass in a hurry goes on before others are asked for again
DAY_US = 86_400 * 1_000_000


class Scrub:
    def __init__(
        self, database: Database, nodes: Nodes, settings: Upkeep, busy: Callable[[], float], meters: Meters
    ) -> None:
        self._db = database
        self._nodes = nodes
        self._span_us = settings.scrub_days * DAY_US
        self._throttles: defaultdict[str, Throttle] = defaultdict(lambda: Throttle(settings.scrub_mib_s, busy))
        self._meters = meters

    async def round(self) -> None:
        """What is due on each node: a batch, or as much as goes in a while when an operator asked. Nodes read at the
        same time, so that a slow one holds up the others no longer than one batch takes."""
        passes = await self._db.read(scrubs.due, self._span_us)
        await asyncio.gather(*(self._go_on(one) for one in passes))

    async def _go_on(self, one: Pass) -> None:
        began_at = await self._db.run(scrubs.begin, one.node_id)
        if began_at is None:
            return
        after, until = one.after if one.began_at == began_at else "", time.monotonic() + ROUND_S
        while True:
            claims = await self._db.read(scrubs.next_claims, one.node_id, after, scrub.BATCH)
            if not claims:
                await self._end(one.node_id, began_at)
                return
            batch = scrub.batch(claims)
            after = batch[-1].chunk_id
            is_read = await self._read(one.node_id, began_at, batch)
            if not is_read or not one.is_asked or time.monotonic() > until:
                return

    async def _read(self, node_id: str, began_at: int, batch: Sequence[Claim]) -> bool:
        """False: the pass goes on later, from where it was, or not at all."""
        node = (await self._nodes.view()).get(node_id)
        if node is None:
            return False
        await self._throttles[node_id].let(sum(claim.length for claim in batch))
        try:
            verified = await self._nodes.store(node).verify(batch)
        except CloudError as error:
            log.warning("%s does not read its chunks, which is tried again: %s", node_id, error)
            return False
        outcomes = list(zip(batch, verified.outcomes, strict=True))
        bad = [
            (claim.chunk_id, f"found by scrubbing: {outcome.code}")
            for claim, outcome in outcomes
            # A sector that cannot be read is the most usual way for a disk to lose a chunk.
            if isinstance(outcome, ChunkMissing | ChunkCorrupt | DiskFailed)
        ]
        found = await self._db.run(scrubs.note, node_id, began_at, batch[-1].chunk_id, bad)
        self._meters.scrubbed_bytes.inc(verified.bytes_read)
        if bad:
            log.warning("%d of %d chunks read on %s are bad", len(bad), len(batch), node_id)
            self._meters.scrub_bad_copies.inc(found.bad)
            self._nodes.repair_wanted.set()
        return found.is_going_on

    async def _end(self, node_id: str, began_at: int) -> None:
        if await self._db.run(scrubs.end, node_id, began_at):
            log.info("every chunk on %s was read", node_id)
