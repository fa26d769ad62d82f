"""What operators ask to be done with nodes and copies; the rounds of upkeep do it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from cloudgrpc.errors import NodeNotOffline
from cloudgrpc.meta import census, node_acts, scrubs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudgrpc.actions.nodes import Nodes
    from cloudgrpc.core.operators import Operator
    from cloudgrpc.meta.db import Database
    from cloudgrpc.meta.node_acts import Draining, Loss

log = logging.getLogger(__name__)


class NodeCare:
    def __init__(self, database: Database, nodes: Nodes) -> None:
        self._db = database
        self._nodes = nodes

    async def drain(self, operator: Operator, node_id: str, *, is_back: bool = False) -> Draining:
        """`is_back`: the node stays after all. Raises: NodeUnknown, LastNode."""
        act = node_acts.undrain if is_back else node_acts.drain
        draining = await self._db.run(act, node_id, self._nodes.settings.replication_factor, operator.name)
        self._look_again()
        return draining

    async def loss(self, node_id: str, *, is_lost: bool) -> Loss:
        """What would go with the node. Raises: NodeUnknown, NodeNotOffline."""
        self._nodes.forget_view()
        node = (await self._nodes.view()).get(node_id)
        if is_lost and node is not None and node.is_online:
            raise NodeNotOffline(node_id=node_id)
        return await self._db.read(node_acts.loss, node_id)

    async def remove(self, operator: Operator, node_id: str, *, is_lost: bool) -> Loss:
        """Raises: NodeUnknown, NodeNotEmpty, NodeNotOffline."""
        lost = await self._db.run(node_acts.remove, node_id, operator.name, is_lost=is_lost)
        log.warning("%s was removed by %s, with %d copies", node_id, operator.name, lost.copies)
        self._look_again()
        return lost

    async def repair(self, operator: Operator, *, is_now: bool) -> tuple[int, int]:
        """How many chunks have fewer copies than wanted, and how many have none."""
        await self._db.run(node_acts.ask_for_repair, operator.name, is_now=is_now)
        self._look_again()
        count = await self._db.read(census.count, self._nodes.settings.replication_factor)
        return count.missing, count.lost

    async def scrub(self, operator: Operator, node_id: str) -> Sequence[str]:
        """The nodes whose passes begin anew. Raises: NodeUnknown."""
        return await self._db.run(scrubs.ask, node_id, operator.name)

    def _look_again(self) -> None:
        self._nodes.forget_view()
        self._nodes.repair_wanted.set()
