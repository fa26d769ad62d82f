"""The gateway's view of its storage nodes: taking them in, reaching them, choosing among them."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from cloudgrpc.chunks.base import ChunkStore
from cloudgrpc.core import placement
from cloudgrpc.core.introductions import could_be_a_node
from cloudgrpc.core.placement import Candidate
from cloudgrpc.core.units import size_words
from cloudgrpc.errors import (
    ChunkCorrupt,
    ChunkMissing,
    CloudError,
    DiskFull,
    NodeForeign,
    NodesTooFew,
    NodeUnavailable,
    NodeUnknown,
    PoolFull,
)
from cloudgrpc.meta import copies, nodes

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudgrpc.config import Cluster
    from cloudgrpc.core.introductions import Introduction
    from cloudgrpc.meta.db import Database
    from cloudgrpc.meta.nodes import NodeState

log = logging.getLogger(__name__)

VIEW_S = 1.0  # how old the view of the nodes may be; a wrong view costs a replaced put, never a lost one
SUSPECT_S = 30.0  # how long a node that just failed is asked last


class NodeStore(ChunkStore, Protocol):
    """A chunk store on a node, which can also fetch from its like."""

    async def copy_from(self, chunk_id: str, checksum: str, host: str, port: int) -> None: ...

    async def close(self) -> None: ...


@dataclass(frozen=True)
class Placing:
    """Where a chunk may go, in the order to try, and how many copies are wanted and needed."""

    stores: list[ChunkStore]
    wanted: int
    quorum: int


class Nodes:
    """`connect(node)` opens a store on a node; `cluster_id` is the one this gateway's database is about."""

    def __init__(
        self, database: Database, settings: Cluster, cluster_id: str, connect: Callable[[NodeState], NodeStore]
    ) -> None:
        self.settings = settings
        self.cluster_id = cluster_id
        self.repair_wanted = asyncio.Event()
        self._db = database
        self._connect = connect
        self._stores: dict[tuple[str, str, int], NodeStore] = {}
        self._view: dict[str, NodeState] = {}
        self._viewed_at = -VIEW_S
        self._suspects: dict[str, float] = {}
        self._placed: dict[str, int] = {}  # bytes sent to a node since it last said how full it is
        self._notes: set[asyncio.Task[None]] = set()

    async def register(self, intro: Introduction, cluster_id: str) -> int:
        """Take a node in; returns the pool's capacity. Raises: NodeForeign, NodeIdTaken."""
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

    async def heartbeat(
        self, node_id: str, instance_id: str, used_bytes: int, chunk_count: int, *, is_read_only: bool
    ) -> None:
        """Raises: NodeUnknown."""
        if not could_be_a_node(node_id, instance_id):
            raise NodeUnknown(node_id=node_id)
        is_back = await self._db.run(
            nodes.heartbeat, node_id, instance_id, used_bytes, chunk_count, is_read_only=is_read_only
        )
        self._placed.pop(node_id, None)
        if is_back:
            log.info("%s is back", node_id)
            self._heard_of(node_id)

    async def view(self) -> dict[str, NodeState]:
        """All registered nodes by id."""
        if time.monotonic() - self._viewed_at >= VIEW_S:
            self._view = {node.node_id: node for node in await self._db.read(nodes.all_nodes)}
            self._viewed_at = time.monotonic()
        return self._view

    def forget_view(self) -> None:
        self._viewed_at = -VIEW_S

    def store(self, node: NodeState) -> NodeStore:
        key = (node.node_id, node.host, node.port)
        if key not in self._stores:
            self._stores[key] = self._connect(node)
        return self._stores[key]

    def candidate(self, node: NodeState) -> Candidate:
        free = node.free_bytes - self._placed.get(node.node_id, 0)
        return Candidate(node.node_id, free, self.is_suspect(node.node_id))

    async def place(self, length: int) -> Placing:
        """Where a new chunk of `length` bytes may go. Raises: NodesTooFew, PoolFull; then nothing may be kept."""
        view = await self.view()
        wanted, quorum = await self.copies()
        online = [node for node in view.values() if node.is_online]
        if len(online) < quorum:
            self.forget_view()
            raise NodesTooFew(online=len(online), quorum=quorum)
        takers = [self.candidate(node) for node in online if node.takes_chunks]
        ordered = placement.order(takers, length, [random.uniform(1e-9, 1) for _ in takers])  # noqa: S311 - spread only
        if len(ordered) < quorum:
            raise PoolFull(candidates=len(ordered), quorum=quorum)
        return Placing([self.store(view[one.node_id]) for one in ordered], wanted, quorum)

    async def copies(self) -> tuple[int, int]:
        """How many copies of a new chunk are wanted, and how many it must have."""
        staying = sum(node.draining_at is None for node in (await self.view()).values())
        wanted = placement.wanted_copies(self.settings.replication_factor, staying)
        return wanted, placement.write_quorum(self.settings.write_quorum, wanted)

    def note_placed(self, node_id: str, length: int) -> None:
        self._placed[node_id] = self._placed.get(node_id, 0) + length

    def is_suspect(self, node_id: str) -> bool:
        return time.monotonic() - self._suspects.get(node_id, -SUSPECT_S) < SUSPECT_S

    def report(self, node_id: str, chunk_id: str, error: CloudError) -> None:
        """A node failed at a chunk: a bad copy is noted for repair, an unwell node is asked last for a while."""
        log.warning("%s failed at chunk %s: %s", node_id, chunk_id, error)
        if isinstance(error, ChunkMissing | ChunkCorrupt):
            self._note(self._mark_bad(chunk_id, node_id, error.code))
        elif isinstance(error, DiskFull):
            self.forget_view()
        elif isinstance(error, NodeUnavailable):
            self._suspects[node_id] = time.monotonic()

    async def close(self) -> None:
        await asyncio.gather(*self._notes, return_exceptions=True)
        for store in self._stores.values():
            await store.close()

    async def _connect_anew(self, node_id: str) -> None:
        """A node registers when it starts. The connection to the process before it would pause up to two seconds
        before it tries again, so that the node failed at its first chunks and was then taken for unwell."""
        for key in [key for key in self._stores if key[0] == node_id]:
            await self._stores.pop(key).close()

    def _heard_of(self, node_id: str) -> None:
        self._suspects.pop(node_id, None)
        self.forget_view()
        self.repair_wanted.set()

    async def _mark_bad(self, chunk_id: str, node_id: str, reason: str) -> None:
        if await self._db.run(copies.mark_bad, chunk_id, node_id, reason):
            self.repair_wanted.set()

    def _note(self, work: object) -> None:
        task = asyncio.ensure_future(work)  # type: ignore[call-overload]
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)
