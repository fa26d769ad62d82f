"""Sealing what was stored plain before, little by little, at a rate that leaves people their speed.

First keys for what has none, then chunk by chunk: read it, seal it, send it under a new id, and let all that named the
old one name that. What cannot be done now (its nodes are away, its key is missing) is passed over and tried again.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from typing import TYPE_CHECKING

from cloudgrpc.actions.carrying import AT_ONCE, Throttle
from cloudgrpc.actions.nodes import Placing
from cloudgrpc.chunks.expecting import ExpectingStore
from cloudgrpc.chunks.replicated import ReplicatedStore
from cloudgrpc.chunks.sealed import closed
from cloudgrpc.core import placement
from cloudgrpc.core.health import AMPLE_SHARE
from cloudgrpc.core.sealing import Seal
from cloudgrpc.errors import CloudError, CopiesUnreachable, DatabaseUnavailable, QuorumMissed
from cloudgrpc.meta import sealing, unsealed
from cloudgrpc.meta.unsealed import Copies, Sealed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cloudgrpc.actions.nodes import Nodes
    from cloudgrpc.chunks.base import Chunk
    from cloudgrpc.config import Config
    from cloudgrpc.meta.db import Database
    from cloudgrpc.meta.unsealed import Plain

log = logging.getLogger(__name__)

ROUND_S = 30.0
REST_S = 60.0  # when nothing of what is left could be done, and the nodes are as they were
KEYS_AT_ONCE = 8  # versions that get one
PAGE = 64  # chunks found at once
LEAST_COST = 256 << 10  # bytes that even the smallest chunk, and each key, counts: transactions take time, too


class Sealer:
    """`busy`: how busy people keep the gateway, 0 to 1."""

    def __init__(self, database: Database, nodes: Nodes, config: Config, busy: Callable[[], float]) -> None:
        self._db = database
        self._nodes = nodes
        self._grace_us = int(config.upkeep.grace_s * 1_000_000)
        self._throttle = Throttle(config.encryption.background_mib_s, busy)
        # How far each pass is, over many rounds: what fails again and again must not keep the rest waiting.
        self._version, self._answer, self._chunk = "", "", ""
        self._rest_until = 0.0
        self._online: frozenset[str] = frozenset()
        self._has_room = True
        self._failures: list[CloudError] = []  # of this round

    async def round(self) -> None:
        """As much as goes in a while, if anything is left."""
        if not sealing.seals_new():
            return
        todo = await self._db.read(unsealed.look)
        if not todo.is_left:
            if todo.is_begun and await self._db.run(unsealed.end):
                log.info("all that is stored is sealed now")
            return
        online = frozenset(node.node_id for node in (await self._nodes.view()).values() if node.is_online)
        if time.monotonic() < self._rest_until and online == self._online:
            return
        self._online = online
        if not todo.is_begun:
            await self._db.run(unsealed.begin)
            log.info("what was stored plain before is sealed in the background")
        done = await self._work(time.monotonic() + ROUND_S)
        self._rest_until = 0.0 if done else time.monotonic() + REST_S

    async def _work(self, until: float) -> int:
        """Returns how much was done."""
        self._failures.clear()
        self._version, given = await self._keys(unsealed.versions, unsealed.give_key, self._version, until)
        self._answer, remembered = await self._keys(unsealed.answers, unsealed.seal_answer, self._answer, until)
        sealed = await self._seal_chunks(until)
        if self._failures:
            log.warning("%d could not be sealed yet; the last: %s", len(self._failures), self._failures[-1])
        return given + remembered + sealed

    async def _seal_chunks(self, until: float) -> int:
        """One pass, or what of it goes in the time; returns how many were sealed."""
        sealed, self._has_room = 0, True
        while self._goes_on(until):
            page = await self._db.read(unsealed.chunks, self._chunk, PAGE)
            sealed += await self._seal_all(page.chunks, until)
            if not self._has_room:  # those that were tried are tried again
                self._chunk = ""
            if not self._goes_on(until):
                break
            self._chunk = page.last
            if not page.last:
                break
        return sealed

    async def _keys(
        self,
        find: Callable[[str, int], list[str]],
        give: Callable[[str], int],
        after: str,
        until: float,
    ) -> tuple[str, int]:
        """One pass, from behind an id; returns where the next one begins, and how many got a key."""
        given = 0
        while time.monotonic() < until:
            found = await self._db.read(find, after, KEYS_AT_ONCE)
            given += sum(await asyncio.gather(*(self._give(give, one) for one in found)))
            if len(found) < KEYS_AT_ONCE:
                return "", given
            after = found[-1]
        return after, given

    async def _give(self, give: Callable[[str], int], row_id: str) -> int:
        await self._throttle.let(LEAST_COST)
        try:
            return await self._db.run(give, row_id)
        except DatabaseUnavailable:
            raise
        except CloudError as error:
            self._failures.append(error)
            return 0

    async def _seal_all(self, chunks: Sequence[Plain], until: float) -> int:
        """A few at once; returns how many were sealed."""
        line, sealed = iter(chunks), 0

        async def work() -> None:
            nonlocal sealed
            while self._goes_on(until) and (plain := next(line, None)):
                self._chunk = plain.chunk_id
                is_sealed = await self._try(plain)
                sealed += is_sealed

        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(AT_ONCE):
                    workers.create_task(work())
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures
        return sealed

    def _goes_on(self, until: float) -> bool:
        return self._has_room and time.monotonic() < until

    async def _try(self, plain: Plain) -> bool:
        try:
            return await self._seal(plain)
        except DatabaseUnavailable:
            raise
        except CloudError as error:
            self._failures.append(error)
            return False

    async def _seal(self, plain: Plain) -> bool:
        """Raises: CopiesUnreachable, NodeUnavailable, ChunkMissing, ChunkCorrupt, QuorumMissed, MasterKeyMissing,
        KeyDamaged."""
        placing = await self._place(plain.sealed_length)
        if placing is None:
            return False
        await self._check_as_many(plain, placing)
        await self._throttle.let(max(plain.length, LEAST_COST))
        chunk = await self._sealed(plain)
        await self._db.run(unsealed.plan, chunk.chunk_id, len(chunk.data))
        heard_at = {store.name: self._nodes.heard_at(store.name) for store in placing.stores}
        replicated = ReplicatedStore(placing.stores, placing.wanted, placing.quorum, self._nodes.report)
        names = await replicated.put(chunk)
        for name in names:
            self._nodes.note_placed(name, len(chunk.data), heard_at[name])
        sealed = Sealed(chunk.chunk_id, chunk.checksum, names)
        return await self._db.run(unsealed.swap, plain, sealed, Copies(placing.wanted, placing.quorum), self._grace_us)

    async def _check_as_many(self, plain: Plain, placing: Placing) -> None:
        """Whether as many nodes take the new chunk as the old one can be read from: with fewer copies it would not take
        its place, and what was sent would fill the nodes again and again. Raises: QuorumMissed."""
        view = await self._nodes.view()
        readable = sum(node_id in view and view[node_id].is_online for node_id in plain.holders)
        least = min(placing.wanted, readable)
        if len(placing.stores) < least:
            raise QuorumMissed(stored=len(placing.stores), quorum=least)

    async def _sealed(self, plain: Plain) -> Chunk:
        view = await self._nodes.view()
        known = [view[node_id] for node_id in plain.holders if node_id in view]
        online = sorted((node for node in known if node.is_online), key=lambda one: self._nodes.is_suspect(one.node_id))
        if not online:
            raise CopiesUnreachable(name=f"Chunk {plain.chunk_id}")
        stores = [ExpectingStore(self._nodes.store(node), {plain.chunk_id: plain.checksum}) for node in online]
        data = (await ReplicatedStore(stores, 1, 1, self._nodes.report).get(plain.chunk_id)).data
        return await asyncio.to_thread(closed, Seal(plain.data_key), secrets.token_hex(16), plain.position, [data])

    async def _place(self, length: int) -> Placing | None:
        """None when there is no room now, or too few nodes are there: then no chunk can be sealed.

        What is replaced stays for the grace time, so people's uploads must not want for the room: nodes that are nearly
        full get none of this, and it goes on as old chunks are collected.
        """
        view = await self._nodes.view()
        wanted, quorum = await self._nodes.copies()
        ample = [
            one
            for one in (await self._nodes.takers()).values()
            if one.free_bytes - length >= AMPLE_SHARE * view[one.node_id].capacity_bytes
        ]
        ordered = placement.order(ample, length, [random.uniform(1e-9, 1) for _ in ample])  # noqa: S311 - spread only
        if len(ordered) < quorum:
            if self._has_room:
                log.warning("sealing waits: %d nodes have ample room, %d are needed", len(ordered), quorum)
            self._has_room = False
            return None
        return Placing([self._nodes.store(view[one.node_id]) for one in ordered], wanted, quorum)
