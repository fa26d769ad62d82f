"""The gateway's view of its storage nodes: taking them in, reaching them, choosing among them."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from cloudgrpc.chunks.base import ChunkStore, Fetching
from cloudgrpc.core import health, placement
from cloudgrpc.core.health import Vitals
from cloudgrpc.core.introductions import could_be_a_node
from cloudgrpc.core.placement import Candidate
from cloudgrpc.core.units import size_words
from cloudgrpc.errors import (
    ChunkCorrupt,
    ChunkMissing,
    CloudError,
    DiskFailed,
    DiskFull,
    NodeForeign,
    NodesTooFew,
    NodeUnavailable,
    NodeUnknown,
    PoolFull,
)
from cloudgrpc.meta import copies, nodes, standing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from cloudgrpc.actions.node_watch import NodeWatch
    from cloudgrpc.config import Cluster
    from cloudgrpc.core.health import Health
    from cloudgrpc.core.introductions import Introduction
    from cloudgrpc.core.scrub import Claim, Verified
    from cloudgrpc.meta.db import Database
    from cloudgrpc.meta.nodes import NodeState

log = logging.getLogger(__name__)

VIEW_S = 1.0  # how old the view of the nodes may be; a wrong view costs a replaced put, never a lost one
SUSPECT_S = 30.0  # how long a node that just failed is asked last


class NodeStore(Fetching, Protocol):
    """A chunk store on a node, which can also fetch from its like, and read what it has without sending it."""

    async def copy_from(self, chunk_id: str, checksum: str, host: str, port: int, source_id: str = "") -> None: ...

    async def verify(self, claims: Sequence[Claim]) -> Verified: ...

    async def close(self) -> None: ...


@dataclass(frozen=True)
class Placing:
    """Where a chunk may go, in the order to try, and how many copies are wanted and needed."""

    stores: list[ChunkStore]
    wanted: int
    quorum: int


class Nodes:
    """`connect(node)` opens a store on a node, whose calls `watch` hears of; `cluster_id` is the one this gateway's
    database is about."""

    def __init__(
        self,
        database: Database,
        settings: Cluster,
        cluster_id: str,
        watch: NodeWatch,
        connect: Callable[[NodeState], NodeStore],
    ) -> None:
        self.settings = settings
        self.cluster_id = cluster_id
        self.repair_wanted = asyncio.Event()
        self._db = database
        self._watch = watch
        self._connect = connect
        self._stores: dict[tuple[str, str, int], NodeStore] = {}
        self._view: dict[str, NodeState] = {}
        self._viewed_at = self._read_at = -VIEW_S
        self._forgotten = 0  # how often the view was
        self._suspects: dict[str, float] = {}
        self._unwell: set[str] = set()  # of which the log has heard
        self._placed: dict[str, tuple[int, int]] = {}  # bytes sent to a node since a heartbeat, and that one's time
        self._notes: set[asyncio.Task[None]] = set()

    async def register(self, intro: Introduction, cluster_id: str) -> int:
        """Take a node in; returns the pool's capacity. Raises: NodeForeign, NodeIdTaken, NodeRemoved."""
        await self.take_cluster_id()
        if cluster_id and cluster_id != self.cluster_id:
            log.warning("refused %s: its folder belongs to cluster %s", intro.node_id, cluster_id)
            raise NodeForeign(node_id=intro.node_id, theirs=cluster_id, ours=self.cluster_id)
        pool = await self._db.run(nodes.register, intro)
        await self._connect_anew(intro.node_id)
        self._heard_of(intro.node_id)
        log.info(
            "%s is here at %s:%d with %s; the pool has %s now",
            intro.node_id,
            intro.host,
            intro.port,
            size_words(intro.capacity_bytes),
            size_words(pool),
        )
        return pool

    async def take_cluster_id(self) -> None:
        """As the database has it now: a backup may have been restored, perhaps by another gateway."""
        self.cluster_id = (await self._db.read(standing.look)).cluster_id
        self.forget_view()

    async def heartbeat(
        self,
        node_id: str,
        instance_id: str,
        used_bytes: int,
        chunk_count: int,
        *,
        is_read_only: bool,
        read_only_reason: str,
    ) -> None:
        """Raises: NodeUnknown."""
        if not could_be_a_node(node_id, instance_id):
            raise NodeUnknown(node_id=node_id)
        is_back = await self._db.run(
            nodes.heartbeat,
            node_id,
            instance_id,
            used_bytes,
            chunk_count,
            is_read_only=is_read_only,
            read_only_reason=read_only_reason,
        )
        if is_back:
            log.info("%s is back", node_id)
            self._heard_of(node_id)

    async def view(self) -> dict[str, NodeState]:
        """All registered nodes by id."""
        if time.monotonic() - self._viewed_at >= VIEW_S:
            asked = self._forgotten
            self._view = {node.node_id: node for node in await self._db.read(nodes.all_nodes)}
            self._read_at = time.monotonic()
            # What changed meanwhile may not be in what was read: the next to ask reads again.
            self._viewed_at = self._read_at if asked == self._forgotten else -VIEW_S
        return self._view

    def forget_view(self) -> None:
        self._forgotten += 1
        self._viewed_at = -VIEW_S

    def store(self, node: NodeState) -> NodeStore:
        key = (node.node_id, node.host, node.port)
        if key not in self._stores:
            self._stores[key] = self._connect(node)
        return self._stores[key]

    def candidate(self, node: NodeState) -> Candidate:
        return Candidate(node.node_id, self._free_bytes(node), self.is_suspect(node.node_id), node.zone)

    async def takers(self) -> dict[str, Candidate]:
        """The nodes that take new chunks now, by id: whoever places a chunk chooses among these.

        Unwell ones are among them, to be tried last, while the others do not make a quorum: what a node has
        acknowledged is kept, however late it answers, and to refuse everything would be worse.
        """
        view = await self.view()
        return self._takers_of(view, self._copies_of(view)[1])

    def health(self, node: NodeState) -> Health:
        """How well the node is, as this gateway sees it, and why it takes no new chunks if it takes none."""
        # A node of the view was read a moment ago, which counts too: it may have fallen silent since.
        age_s = node.heartbeat_age_s + (time.monotonic() - self._read_at if self._view.get(node.node_id) is node else 0)
        vitals = Vitals(
            heartbeat_age_s=age_s,
            silence_s=min(age_s, self._watch.awake_s),
            free_bytes=self._free_bytes(node),
            capacity_bytes=node.capacity_bytes,
            error_rate=self._watch.error_rate(node.node_id),
            latency_s=self._watch.latency_s(node.node_id),
        )
        if not node.is_online:
            return health.absent(vitals)
        return health.examine(vitals, self.settings, node.barred)

    async def probe(self) -> None:
        """Measure how long each online node takes to answer."""
        online = [node for node in (await self.view()).values() if node.is_online]
        await self._watch.probe({node.node_id: self.store(node) for node in online})
        self._tell_unwell(online)

    async def keep_probing(self, round_s: float) -> None:
        """Until cancelled; by every gateway, since each has its own way to the nodes."""
        await self._watch.keep_probing(self.probe, round_s, self.settings.offline_after_s)

    async def place(self, length: int) -> Placing:
        """Where a new chunk of `length` bytes may go. Raises: NodesTooFew, PoolFull; then nothing may be kept."""
        view = await self.view()
        wanted, quorum = self._copies_of(view)
        online = sum(node.is_online for node in view.values())
        if online < quorum:
            self.forget_view()
            raise NodesTooFew(online=online, quorum=quorum)
        takers = list(self._takers_of(view, quorum).values())
        ordered = placement.order(takers, length, [random.uniform(1e-9, 1) for _ in takers])  # noqa: S311 - spread only
        if len(ordered) < quorum:
            raise PoolFull(candidates=len(ordered), quorum=quorum)
        return Placing([self.store(view[one.node_id]) for one in ordered], wanted, quorum)

    async def copies(self) -> tuple[int, int]:
        """How many copies of a new chunk are wanted, and how many it must have."""
        return self._copies_of(await self.view())

    def heard_at(self, node_id: str) -> int:
        """When the heartbeat was that tells how full the node is, as far as is known here."""
        return self._view[node_id].last_heartbeat_at if node_id in self._view else 0

    def note_placed(self, node_id: str, length: int, heard_at: int) -> None:
        """A chunk is on the node; when it was sent, `heard_at` was its last heartbeat.

        With the next one, to whichever gateway, it counts no more: the node may have counted it then. Better not at all
        than twice: a full node says so itself, but nobody mends an upload that was refused though there is room.
        """
        at, placed = self._placed.get(node_id, (0, 0))
        if heard_at >= at:
            self._placed[node_id] = heard_at, length + (placed if at == heard_at else 0)

    def is_suspect(self, node_id: str) -> bool:
        return time.monotonic() - self._suspects.get(node_id, -SUSPECT_S) < SUSPECT_S

    def report(self, node_id: str, chunk_id: str, error: CloudError) -> None:
        """A node failed at a chunk: a bad copy is noted for repair, an unwell node is asked last for a while."""
        log.warning("%s failed at chunk %s: %s", node_id, chunk_id, error)
        if isinstance(error, ChunkMissing | ChunkCorrupt | DiskFailed):
            self._note(self._mark_bad(chunk_id, node_id, error.code))
        elif isinstance(error, DiskFull):
            self.forget_view()
        elif isinstance(error, NodeUnavailable):
            self._suspects[node_id] = time.monotonic()

    async def close(self) -> None:
        await asyncio.gather(*self._notes, return_exceptions=True)
        for store in self._stores.values():
            await store.close()

    def _takers_of(self, view: dict[str, NodeState], quorum: int) -> dict[str, Candidate]:
        found = {node_id: self.health(node) for node_id, node in view.items() if node.is_online}
        takers = {node_id: self.candidate(view[node_id]) for node_id, one in found.items() if not one.reason}
        if len(takers) < quorum:
            unwell = {node_id: self.candidate(view[node_id]) for node_id, one in found.items() if one.is_unwell}
            takers |= {node_id: replace(one, is_suspect=True) for node_id, one in unwell.items()}
        return takers

    def _copies_of(self, view: dict[str, NodeState]) -> tuple[int, int]:
        staying = sum(node.draining_at is None for node in view.values())
        wanted = placement.wanted_copies(self.settings.replication_factor, staying)
        return wanted, placement.write_quorum(self.settings.write_quorum, wanted)

    async def _connect_anew(self, node_id: str) -> None:
        """A node registers when it starts. The connection to the process before it would pause up to two seconds
        before it tries again, so that the node failed at its first chunks and was then taken for unwell."""
        for key in [key for key in self._stores if key[0] == node_id]:
            await self._stores.pop(key).close()

    def _tell_unwell(self, online: Iterable[NodeState]) -> None:
        """To the log, once: health is this gateway's own view, and no event of the cluster's."""
        reasons = {node.node_id: one.reason for node in online if (one := self.health(node)).is_unwell}
        for node_id in reasons.keys() - self._unwell:
            log.warning("%s gets no new chunks from here: %s", node_id, reasons[node_id])
        for node_id in self._unwell - reasons.keys():
            log.info("%s is not unwell any more", node_id)
        self._unwell = set(reasons)

    def _free_bytes(self, node: NodeState) -> int:
        at, placed = self._placed.get(node.node_id, (0, 0))
        return node.free_bytes - (placed if at == node.last_heartbeat_at else 0)

    def _heard_of(self, node_id: str) -> None:
        self._suspects.pop(node_id, None)
        self._watch.forget(node_id)
        self.forget_view()
        self.repair_wanted.set()

    async def _mark_bad(self, chunk_id: str, node_id: str, reason: str) -> None:
        if await self._db.run(copies.mark_bad, chunk_id, node_id, reason):
            self.repair_wanted.set()

    def _note(self, work: object) -> None:
        task = asyncio.ensure_future(work)  # type: ignore[call-overload]
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)
