"""Giving up the copies that are more than wanted: never before those that stay were read and found whole."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from typing import TYPE_CHECKING

from cloudgrpc.actions.carrying import BATCH, Throttle
from cloudgrpc.core import scrub
from cloudgrpc.core.scrub import Claim
from cloudgrpc.core.spread import surplus
from cloudgrpc.errors import ChunkCorrupt, ChunkMissing, CloudError, DiskFailed
from cloudgrpc.meta import copies, spread
from cloudgrpc.meta.spread import Spare

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cloudgrpc.actions.carrying import Stop
    from cloudgrpc.actions.nodes import Nodes
    from cloudgrpc.core.spread import Survey
    from cloudgrpc.meta.db import Database
    from cloudgrpc.meta.spread import Held
    from cloudgrpc.meters import Meters

    Going = Mapping[str, Sequence[str]]  # chunk id -> nodes

log = logging.getLogger(__name__)

LONGEST = 1 << 62  # no chunk is longer


class Extras:
    """`mib_s`: what each node is made to read at most."""

    def __init__(
        self, database: Database, nodes: Nodes, mib_s: float, busy: Callable[[], float], meters: Meters
    ) -> None:
        self._db = database
        self._nodes = nodes
        self._throttles: defaultdict[str, Throttle] = defaultdict(lambda: Throttle(mib_s, busy))
        self._batch_bytes = Throttle(mib_s, busy).batch_bytes
        self._meters = meters

    async def give_up_surplus(self, survey: Survey, stop: Stop) -> int:
        """One batch; returns how many copies were given up."""
        groups = [group for group in survey.groups if surplus(group.holders, survey.members, survey.wanted)]
        if not groups:
            return 0
        held = bounded(await self._db.read(spread.find, survey, [(groups, LONGEST)], BATCH), self._batch_bytes)
        going = {one.chunk_id: surplus(one.holders, survey.members, survey.wanted) for one in held}
        return await self.give_up(survey, [one for one in held if going[one.chunk_id]], going, stop)

    async def give_up_leaving(self, survey: Survey, stop: Stop) -> int:
        """What no file needs any more leaves a drained node too, before its grace is over: one copy elsewhere stays."""
        given_up = 0
        for member in survey.members.values():
            if member.is_online and not member.is_staying:
                held = await self._db.read(spread.unneeded_on, member.node_id, BATCH)
                held = bounded([one for one in held if self._keepers(survey, one, [])], self._batch_bytes)
                given_up += await self.give_up(survey, held, {one.chunk_id: [member.node_id] for one in held}, stop)
        return given_up

    async def give_up(self, survey: Survey, held: Sequence[Held], going: Going, stop: Stop) -> int:
        """Give up the copies of these chunks on these nodes, as far as the others turn out whole."""
        if not held:
            return 0
        keepers = {one.chunk_id: self._keepers(survey, one, going[one.chunk_id]) for one in held}
        by_node: defaultdict[str, list[Claim]] = defaultdict(list)
        for one in held:
            for node_id in keepers[one.chunk_id]:
                by_node[node_id].append(Claim(one.chunk_id, one.checksum, one.length))
        read = await asyncio.gather(*(self._whole_on(node_id, claims, stop) for node_id, claims in by_node.items()))
        whole = dict(zip(by_node, read, strict=True))
        spares = [
            Spare(chunk_id, node_id, [keeper for keeper in keepers[chunk_id] if chunk_id in whole[keeper]])
            for chunk_id in keepers
            for node_id in going[chunk_id]
        ]
        given_up = await self._db.run(spread.give_up, spares, self._nodes.settings.replication_factor)
        self._meters.dropped_copies.inc(len(given_up))
        if given_up:
            log.info("%d copies were more than wanted, and are given up", len(given_up))
        return len(given_up)

    def _keepers(self, survey: Survey, held: Held, going: Sequence[str]) -> list[str]:
        members = survey.members
        return [
            node_id
            for node_id in held.holders
            if node_id not in going
            and node_id in members
            and members[node_id].is_online
            and members[node_id].is_staying
        ]

    async def _whole_on(self, node_id: str, claims: Sequence[Claim], stop: Stop) -> set[str]:
        """Which of these chunks the node has, whole. A bad one is noted, and repair takes over."""
        whole: set[str] = set()
        view = await self._nodes.view()
        while claims and node_id in view and not stop():
            batch = scrub.batch(claims[: scrub.BATCH])
            claims = claims[len(batch) :]
            await self._throttles[node_id].let(sum(claim.length for claim in batch))
            try:
                verified = await self._nodes.store(view[node_id]).verify(batch)
            except CloudError as error:
                log.warning("%s does not show %d of its copies: %s", node_id, len(batch), error)
                break
            for claim, outcome in zip(batch, verified.outcomes, strict=True):
                if outcome is None:
                    whole.add(claim.chunk_id)
                elif isinstance(outcome, ChunkMissing | ChunkCorrupt | DiskFailed):
                    await self._db.run(copies.mark_bad, claim.chunk_id, node_id, outcome.code)
                    self._nodes.repair_wanted.set()
        return whole


def bounded(held: Sequence[Held], most_bytes: int) -> list[Held]:
    """The first of them, up to so many bytes."""
    found: list[Held] = []
    for one in held:
        most_bytes -= one.length
        if most_bytes < 0 and found:
            break
        found.append(one)
    return found
