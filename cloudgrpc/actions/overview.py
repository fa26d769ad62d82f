"""The whole as operators see it: what the database holds, what is counted, and what this gateway makes of its nodes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudgrpc.core import concerns, quota, trends
from cloudgrpc.core.concerns import Facts, NodeFacts
from cloudgrpc.core.trends import Sample
from cloudgrpc.meta import overview, sealing

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudgrpc.actions.census import Census
    from cloudgrpc.actions.endings import Endings
    from cloudgrpc.actions.nodes import Nodes
    from cloudgrpc.core.health import Health
    from cloudgrpc.meta.census import Count
    from cloudgrpc.meta.db import Database
    from cloudgrpc.meta.overview import NodeRecord, Overview
    from cloudgrpc.meta.promises import Promise

SCRUB_IDS = 1 << 32  # chunk ids are spread evenly, and a pass goes by their first 8 digits


@dataclass(frozen=True)
class NodeView:
    """A node as operators see it. `drain_seconds_left`: below 0 when it cannot be told."""

    record: NodeRecord
    health: Health
    copies_left: int
    drain_seconds_left: float

    @property
    def status(self) -> str:
        state = self.record.state
        if not state.is_online:
            return "offline"
        if state.draining_at is not None:
            return "draining" if self.copies_left else "drained"
        return "read-only" if state.is_read_only else "online"

    @property
    def scrub_progress(self) -> float:
        """Of the pass under way; 0 when there is none."""
        row = self.record.row
        return int(row.scrub_after[:8] or "0", 16) / SCRUB_IDS if row.scrub_began_at is not None else 0.0


@dataclass(frozen=True)
class Status:
    """The whole. `health`: see concerns.health."""

    figures: Overview
    count: Count
    nodes: list[NodeView]
    quorum: int
    promisable_bytes: int
    repair_bytes_s: float
    repair_seconds_left: float  # below 0 when it cannot be told
    can_write: bool
    encrypts: bool
    health: float
    warnings: list[str]

    @property
    def mode(self) -> str:
        return "open" if self.figures.restored_at is None else "restored"


class Overviews:
    """`started_at`: this gateway, in microseconds since 1970. `is_key_unsaved`: see trust.secrets_backup."""

    def __init__(
        self,
        database: Database,
        nodes: Nodes,
        census: Census,
        promise: Promise,
        *,
        endings: Endings,
        is_key_unsaved: Callable[[], bool],
    ) -> None:
        self._db = database
        self._nodes = nodes
        self._census = census
        self._promise = promise
        self._endings = endings
        self.is_key_unsaved = is_key_unsaved
        self.started_at = time.time_ns() // 1000
        self._drains: dict[str, list[Sample]] = {}  # of each node, how its copies left

    async def status(self) -> Status:
        """Raises: DatabaseUnavailable."""
        figures, count = await self._db.read(overview.overview), await self._census.latest()
        nodes = await self.nodes()
        _, quorum = await self._nodes.copies()
        promisable = self.promisable(figures.capacity_bytes)
        facts = Facts(
            whole=count.whole,
            missing=count.missing,
            lost=count.lost,
            copies_missing=count.copies_missing,
            bytes_missing=count.bytes_missing,
            quorum=quorum,
            promised_bytes=figures.promised_bytes,
            promisable_bytes=promisable,
            payments_attention=figures.payments_attention,
            restored_at=figures.restored_at,
            is_key_unsaved=self.is_key_unsaved(),
            endings=await self._endings.look(),
            nodes=[_facts(node) for node in nodes],
        )
        return Status(
            figures=figures,
            count=count,
            nodes=nodes,
            quorum=quorum,
            promisable_bytes=promisable,
            repair_bytes_s=self._census.repair_bytes_s,
            repair_seconds_left=self._census.repair_seconds_left,
            can_write=facts.can_write,
            encrypts=sealing.seals_new(),
            health=concerns.health(facts),
            warnings=concerns.warnings(facts),
        )

    async def nodes(self) -> list[NodeView]:
        """By id. Raises: DatabaseUnavailable."""
        return [self._view(record) for record in await self._db.read(overview.node_records)]

    async def node(self, node_id: str) -> NodeView | None:
        """None when there is none of that id."""
        return next((node for node in await self.nodes() if node.record.state.node_id == node_id), None)

    def promisable(self, capacity_bytes: int) -> int:
        return quota.promise_limit(capacity_bytes, self._promise.copies, self._promise.overcommit)

    def _view(self, record: NodeRecord) -> NodeView:
        left = record.copies_left
        if record.state.draining_at is None:
            self._drains.pop(record.state.node_id, None)
            return NodeView(record, self._nodes.health(record.state), 0, 0.0)
        samples = trends.recent(self._drains.get(record.state.node_id, []), Sample(time.monotonic(), left))
        self._drains[record.state.node_id] = samples
        return NodeView(record, self._nodes.health(record.state), left, trends.seconds_left(samples))


def _facts(node: NodeView) -> NodeFacts:
    state = node.record.state
    return NodeFacts(
        node_id=state.node_id,
        is_online=state.is_online,
        is_draining=state.draining_at is not None,
        takes_chunks=state.is_online and (node.health.is_unwell or not node.health.reason),  # at need, an unwell one
        is_collecting=state.is_collecting,
        score=node.health.score,
        reason=node.health.reason,
        used_bytes=state.used_bytes,
        capacity_bytes=state.capacity_bytes,
    )
