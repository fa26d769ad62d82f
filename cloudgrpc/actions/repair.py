"""Making missing copies: node to node, the rarest chunk first, at a bounded rate."""

from __future__ import annotations

import logging
import random
import time
from typing import TYPE_CHECKING

from cloudgrpc.actions.carrying import BATCH, Throttle
from cloudgrpc.chunks.expecting import ExpectingStore
from cloudgrpc.core import repair
from cloudgrpc.errors import CloudError
from cloudgrpc.meta import copies

if TYPE_CHECKING:
    from cloudgrpc.actions.carrying import Carrier, Stop
    from cloudgrpc.actions.nodes import Nodes
    from cloudgrpc.core.repair import CopyOrder
    from cloudgrpc.core.spread import Survey
    from cloudgrpc.meta.copies import Doubt
    from cloudgrpc.meta.db import Database
    from cloudgrpc.meters import Meters

log = logging.getLogger(__name__)

DOUBTS = 64  # looked at in one round
LOOK_AGAIN_S = 60.0  # between two looks at the same bad copy


class Repair:
    """`fast`: for chunks that would be lost sooner than others; `slow`: for what can be read as often as it should, but
    is to leave a node, or to lie in more zones."""

    def __init__(
        self, database: Database, nodes: Nodes, carrier: Carrier, meters: Meters, *, fast: Throttle, slow: Throttle
    ) -> None:
        self._db = database
        self._nodes = nodes
        self._carrier = carrier
        self._fast, self._slow = fast, slow
        self._meters = meters
        self._looked: dict[tuple[str, str], float] = {}

    async def make_missing(self, survey: Survey, stop: Stop) -> tuple[int, bool]:
        """One batch; returns how many copies were made, and whether any was missing that could be made."""
        orders = await self._plan(survey)
        made = await self._carrier.carry(orders, lambda one: self._fast if one.is_urgent else self._slow, stop)
        self._meters.repaired_copies.inc(len(made))
        self._meters.repaired_bytes.inc(sum(order.length for order in made))
        if made:
            log.info("%d missing copies were made", len(made))
        factor = self._nodes.settings.replication_factor
        while needless := await self._db.read(copies.needless_bad, factor, BATCH):
            await self._db.run(copies.drop_bad, needless, factor)
            if len(needless) < BATCH:
                break
        return len(made), bool(orders)

    async def look_at_doubts(self) -> None:
        """A bad copy may be readable after all (a folder that came back, a disk that was away): then it is good."""
        moment = time.monotonic()
        self._looked = {pair: at for pair, at in self._looked.items() if moment - at < LOOK_AGAIN_S}
        for doubt in await self._db.read(copies.doubts, DOUBTS):
            if (doubt.chunk_id, doubt.node_id) not in self._looked:
                self._looked[doubt.chunk_id, doubt.node_id] = moment
                await self._look_at(doubt)

    async def _plan(self, survey: Survey) -> list[CopyOrder]:
        view = await self._nodes.view()
        online = frozenset(node.node_id for node in view.values() if node.is_online)
        zones = {node.node_id: node.zone for node in view.values()}
        short = await self._db.read(copies.short, survey, BATCH)
        takers = await self._nodes.takers()
        return repair.plan(short, takers, online, lambda: random.uniform(1e-9, 1), zones)  # noqa: S311 - spread only

    async def _look_at(self, doubt: Doubt) -> None:
        view = await self._nodes.view()
        if doubt.node_id not in view:
            return
        store = ExpectingStore(self._nodes.store(view[doubt.node_id]), {doubt.chunk_id: doubt.checksum})
        try:
            await store.get(doubt.chunk_id)
        except CloudError as error:
            log.warning("chunk %s has no good copy, and %s has none either: %s", doubt.chunk_id, doubt.node_id, error)
        else:
            await self._db.run(copies.add_good, doubt.chunk_id, doubt.node_id)
