"""Tending the copies of all chunks: one look at where they are, then what is missing is made, what is too much is given
up, and if there is neither, what lies unevenly is moved."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from cloudgrpc.actions.carrying import BATCH_S
from cloudgrpc.core.repair import rest_s
from cloudgrpc.meta import node_acts, spread

if TYPE_CHECKING:
    from cloudgrpc.actions.carrying import Stop
    from cloudgrpc.actions.extras import Extras
    from cloudgrpc.actions.nodes import Nodes
    from cloudgrpc.actions.rebalance import Rebalance
    from cloudgrpc.actions.repair import Repair
    from cloudgrpc.config import Upkeep
    from cloudgrpc.meta.db import Database

LOOKS_APART = 2  # times as long as a look takes lie between two of them at least


class Tending:
    def __init__(
        self,
        database: Database,
        nodes: Nodes,
        settings: Upkeep,
        *,
        repair: Repair,
        extras: Extras,
        rebalance: Rebalance,
    ) -> None:
        self._db = database
        self._nodes = nodes
        self._delay_us = int(settings.repair_delay_s * 1_000_000)
        self._repair = repair
        self._extras = extras
        self._rebalance = rebalance
        self._signs: tuple[object, ...] = ()
        self._rest_until = 0.0
        self._is_wanted = False
        self._not_before = 0.0  # however often it is wanted: a look at many copies takes seconds

    async def round(self, is_wanted: bool) -> bool:
        """One batch of each; whether there may be more to do at once. `is_wanted`: somebody has seen that there is
        something to do. Else, and while the nodes are as they were, it rests for some time after finding nothing."""
        self._is_wanted |= is_wanted
        if time.monotonic() < self._not_before:
            return False
        signs = await self._db.read(spread.signs, self._delay_us)
        if signs == self._signs and not self._is_wanted and time.monotonic() < self._rest_until:
            return False
        self._signs, self._is_wanted = signs, False
        await self._repair.look_at_doubts()
        return await self._tend(time.monotonic())

    async def note_drained(self) -> None:
        for node in (await self._nodes.view()).values():
            if node.draining_at is not None:
                await self._db.run(node_acts.note_drained, node.node_id)

    async def _tend(self, began: float) -> bool:
        factor, takers = self._nodes.settings.replication_factor, list(await self._nodes.takers())
        survey = await self._db.read(spread.look, factor, self._delay_us, takers)
        looked_s = time.monotonic() - began
        self._not_before = time.monotonic() + LOOKS_APART * looked_s
        is_more, is_short = await self._repair.make_missing(survey, self._until(began + BATCH_S))
        given_up = await self._extras.give_up_surplus(survey, self._until(time.monotonic() + BATCH_S))
        given_up += await self._extras.give_up_leaving(survey, self._until(time.monotonic() + BATCH_S))
        if is_short or given_up:
            # What could not be made for now, a node may be away for a moment, is soon tried again.
            return self._is_more(is_more or given_up > 0, looked_s)
        until = self._until(time.monotonic() + BATCH_S)
        moved = await self._rebalance.even_out(survey, factor, self._delay_us, takers, until)
        return self._is_more(moved > 0, time.monotonic() - began)

    def _is_more(self, is_more: bool, looked_s: float) -> bool:
        """Whether to look again at once; else it rests."""
        self._rest_until = 0.0 if is_more else time.monotonic() + rest_s(looked_s)
        return is_more

    def _until(self, moment: float) -> Stop:
        def stop() -> bool:
            now = time.monotonic()
            return now > moment or (self._nodes.repair_wanted.is_set() and now > self._not_before)

        return stop
