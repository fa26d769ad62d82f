"""Making lost copies again: node to node, rarest chunk first, at a bounded rate."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import TYPE_CHECKING

from cloudgrpc.chunks.expecting import ExpectingStore
from cloudgrpc.core import repair
from cloudgrpc.errors import ChunkCorrupt, ChunkMissing, ChunkRefused, CloudError, DiskFull
from cloudgrpc.meta import copies

if TYPE_CHECKING:
    from cloudgrpc.actions.nodes import Nodes
    from cloudgrpc.config import Upkeep
    from cloudgrpc.core.repair import CopyOrder
    from cloudgrpc.meta.copies import Doubt
    from cloudgrpc.meta.db import Database

log = logging.getLogger(__name__)

BATCH = 64  # chunks planned at once
AT_ONCE = 2  # copies under way
LOOK_AGAIN_S = 60.0  # between two looks at the same bad copy


class Repair:
    def __init__(self, database: Database, nodes: Nodes, settings: Upkeep) -> None:
        self._db = database
        self._nodes = nodes
        self._settings = settings
        self._looked: dict[tuple[str, str], float] = {}
        self._free_at = 0.0  # when the rate allows the next copy, monotonic

    async def round(self) -> int:
        """One batch; returns how many copies were made. None left to make, or none that can be: 0."""
        await self._look_at_doubts()
        orders = await self._plan()
        made = 0
        for start in range(0, len(orders), AT_ONCE):
            made += sum(await asyncio.gather(*(self._copy(one) for one in orders[start : start + AT_ONCE])))
        await self._db.run(copies.drop_needless_bad, self._nodes.settings.replication_factor, BATCH)
        return made

    async def _plan(self) -> list[CopyOrder]:
        view = await self._nodes.view()
        takers = {node.node_id: self._nodes.candidate(node) for node in view.values() if node.takes_chunks}
        online = frozenset(node.node_id for node in view.values() if node.is_online)
        short = await self._db.read(
            copies.shortages,
            self._nodes.settings.replication_factor,
            int(self._settings.repair_delay_s * 1_000_000),
            BATCH,
        )
        return repair.plan(short, takers, online, lambda: random.uniform(1e-9, 1))  # noqa: S311 - spread only

    async def _copy(self, order: CopyOrder) -> bool:
        await self._pace(order.length)
        view = await self._nodes.view()
        if order.target not in view:
            return False
        target = self._nodes.store(view[order.target])
        for source in sorted(order.sources, key=self._nodes.is_suspect):
            if source not in view:
                continue
            try:
                await target.copy_from(order.chunk_id, order.checksum, view[source].host, view[source].port)
            except (ChunkMissing, ChunkCorrupt, ChunkRefused):
                self._nodes.report(source, order.chunk_id, ChunkCorrupt(chunk_id=order.chunk_id))
            except DiskFull as error:
                self._nodes.report(order.target, order.chunk_id, error)
                return False
            except CloudError as error:
                if error.facts:  # not told by the target: it is out of reach itself
                    self._nodes.report(order.target, order.chunk_id, error)
                    return False
                self._nodes.report(source, order.chunk_id, error)
            else:
                self._nodes.note_placed(order.target, order.length)
                return await self._db.run(copies.add_good, order.chunk_id, order.target)
        return False

    async def _look_at_doubts(self) -> None:
        """A bad copy may be readable after all (a folder that came back, a disk that was away): then it is good."""
        moment = time.monotonic()
        self._looked = {pair: at for pair, at in self._looked.items() if moment - at < LOOK_AGAIN_S}
        for doubt in await self._db.read(copies.doubts, BATCH):
            if (doubt.chunk_id, doubt.node_id) not in self._looked:
                self._looked[doubt.chunk_id, doubt.node_id] = moment
                await self._look_at(doubt)

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

    async def _pace(self, length: int) -> None:
        moment = time.monotonic()
        start = max(moment, self._free_at)
        self._free_at = start + length / (self._settings.repair_mib_s * (1 << 20))
        await asyncio.sleep(start - moment)
