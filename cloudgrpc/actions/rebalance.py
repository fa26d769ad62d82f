"""Evening out how full the nodes are: copies are made on the emptiest, then given up on the fullest, never before."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from cloudgrpc.actions.carrying import BATCH, Throttle
from cloudgrpc.actions.extras import bounded
from cloudgrpc.core.repair import CopyOrder
from cloudgrpc.core.spread import next_move
from cloudgrpc.meta import spread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudgrpc.actions.carrying import Carrier, Stop
    from cloudgrpc.actions.extras import Extras
    from cloudgrpc.config import Upkeep
    from cloudgrpc.core.spread import Member, Move, Survey
    from cloudgrpc.meta.db import Database
    from cloudgrpc.meta.spread import Held
    from cloudgrpc.meters import Meters

log = logging.getLogger(__name__)

STOP_PART = 0.5  # of the difference that begins it: else it would begin again with every upload


class Rebalance:
    def __init__(
        self,
        database: Database,
        carrier: Carrier,
        extras: Extras,
        meters: Meters,
        *,
        throttle: Throttle,
        settings: Upkeep,
    ) -> None:
        self._db = database
        self._carrier = carrier
        self._extras = extras
        self._throttle = throttle
        self._settings = settings
        self._meters = meters
        self._is_going = False

    async def even_out(self, survey: Survey, factor: int, delay_us: int, takers: Sequence[str], stop: Stop) -> int:
        """One batch; returns how many copies were moved. `survey`: without sizes, of a moment ago."""
        gap = self._settings.rebalance_percent / 100 * (STOP_PART if self._is_going else 1)
        # What the nodes say of themselves costs nothing, and tells when it is worth to add up what they hold.
        move = None
        if _difference(list(survey.members.values())) > gap:
            survey = await self._db.read(spread.look, factor, delay_us, takers, with_sizes=True)
            move = next_move(survey, gap)
        self._is_going = move is not None
        return await self._make(survey, move, stop) if move else 0

    async def _make(self, survey: Survey, move: Move, stop: Stop) -> int:
        found = await self._db.read(spread.find, survey, [(move.groups, move.most_bytes)], BATCH)
        held = bounded(found, min(move.most_bytes, self._throttle.batch_bytes))
        orders = [_order(one, move.target) for one in held]
        made = (await self._carrier.carry(orders, lambda _: self._throttle, stop)).made
        there = {order.chunk_id for order in made}
        moved = [_with(one, move.target) for one in held if one.chunk_id in there]
        self._meters.rebalanced_copies.inc(len(made))
        if moved:
            log.info("%d copies went from %s to %s, which is emptier", len(moved), move.source, move.target)
            await self._extras.give_up(survey, moved, {one.chunk_id: [move.source] for one in moved}, stop)
        return len(moved)


def _difference(members: Sequence[Member]) -> float:
    """Between the fullest node and the emptiest that takes copies."""
    here = [member for member in members if member.is_online and member.is_staying]
    emptiest = min((member.fullness for member in here if member.takes), default=1.0)
    return max((member.fullness for member in here), default=0.0) - emptiest


def _order(held: Held, target: str) -> CopyOrder:
    return CopyOrder(held.chunk_id, held.length, held.checksum, held.holders, target, is_urgent=False)


def _with(held: Held, target: str) -> Held:
    return spread.Held(held.chunk_id, held.length, held.checksum, (*held.holders, target))
