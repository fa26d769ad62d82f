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
    from collections.abc import Collection

    from cloudgrpc.actions.carrying import Carried, Carrier, Stop
    from cloudgrpc.actions.nodes import Nodes
    from cloudgrpc.core.repair import CopyOrder
    from cloudgrpc.core.spread import Survey
    from cloudgrpc.meta.copies import Doubt
    from cloudgrpc.meta.db import Database
    from cloudgrpc.meters import Meters

log = logging.getLogger(__name__)

DOUBTS = 64  # looked at in one round
LOOK_AGAIN_S = 60.0  # between two looks at the same bad copy


class Setbacks:
    """Chunks of which a copy could not be made, each waiting the longer the more often that was."""

    def __init__(self) -> None:
        self._failures: dict[str, int] = {}
        self._until: dict[str, float] = {}

    def waiting(self) -> frozenset[str]:
        moment = time.monotonic()
        return frozenset(chunk_id for chunk_id, until in self._until.items() if until > moment)

    def note(self, carried: Carried) -> None:
        moment = time.monotonic()
        for chunk_id in {order.chunk_id for order in carried.failed}:
            self._failures[chunk_id] = self._failures.get(chunk_id, 0) + 1
            self._until[chunk_id] = moment + repair.setback_s(self._failures[chunk_id])
        # Nobody tells when one was made by others, or is needed no more.
        over = {chunk_id for chunk_id, until in self._until.items() if until + repair.LONGEST_SETBACK_S < moment}
        for chunk_id in over | {order.chunk_id for order in carried.made}:
            self._failures.pop(chunk_id, None)
            self._until.pop(chunk_id, None)


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
        self._setbacks = Setbacks()

    async def make_missing(self, survey: Survey, stop: Stop) -> tuple[bool, bool]:
        """One batch. Returns whether there may be more to do at once, and whether any copy was missing that could be
        made.

        What could not be made a moment ago, or only from nodes that failed a moment ago, comes last, when there is
        nothing else: else it would be tried again and again, and starve the others.
        """
        suspects = self._suspects(survey)
        orders = await self._plan(survey.without(suspects), self._setbacks.waiting())
        is_last = not orders
        if is_last and (suspects or self._setbacks.waiting()):
            orders = await self._plan(survey)

        def stop_or_plan_anew() -> bool:
            return stop() or (not is_last and not self._suspects(survey) <= suspects)

        carried = await self._carrier.carry(
            orders, lambda one: self._fast if one.is_urgent else self._slow, stop_or_plan_anew
        )
        self._setbacks.note(carried)
        made = carried.made
        self._meters.repaired_copies.inc(len(made))
        self._meters.repaired_bytes.inc(sum(order.length for order in made))
        if made:
            log.info("%d missing copies were made", len(made))
        factor = self._nodes.settings.replication_factor
        while needless := await self._db.read(copies.needless_bad, factor, BATCH):
            await self._db.run(copies.drop_bad, needless, factor)
            if len(needless) < BATCH:
                break
        return bool(made or (carried.failed and not is_last)), bool(orders)

    async def look_at_doubts(self) -> None:
        """A bad copy may be readable after all (a folder that came back, a disk that was away): then it is good."""
        moment = time.monotonic()
        self._looked = {pair: at for pair, at in self._looked.items() if moment - at < LOOK_AGAIN_S}
        for doubt in await self._db.read(copies.doubts, DOUBTS):
            if (doubt.chunk_id, doubt.node_id) not in self._looked:
                self._looked[doubt.chunk_id, doubt.node_id] = moment
                await self._look_at(doubt)

    def _suspects(self, survey: Survey) -> set[str]:
        return {node_id for node_id in survey.members if self._nodes.is_suspect(node_id)}

    async def _plan(self, survey: Survey, waiting: Collection[str] = frozenset()) -> list[CopyOrder]:
        view = await self._nodes.view()
        online = frozenset(node.node_id for node in view.values() if node.is_online)
        zones = {node.node_id: node.zone for node in view.values()}
        short = await self._db.read(copies.short, survey, BATCH, waiting)
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
