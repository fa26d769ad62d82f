"""The rounds that keep the cluster whole, each by itself and as often as the settings say.

One gateway at a time leads them; two by mistake are harmless, since every step checks again in its own transaction.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from typing import TYPE_CHECKING

from cloudgrpc.errors import CloudError
from cloudgrpc.meta import nodes, uploads

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from cloudgrpc.actions.nodes import Nodes
    from cloudgrpc.actions.tending import Tending
    from cloudgrpc.config import Upkeep as Settings
    from cloudgrpc.meta.db import Database

    Chore = Callable[[], Awaitable[None]]

log = logging.getLogger(__name__)

EXPIRED_AT_ONCE = 100
LEASE = "upkeep"


class Turn:
    """Whether this gateway leads by a lease, as it was told, and until when it need not ask again (monotonic)."""

    def __init__(self) -> None:
        self.asking = asyncio.Lock()
        self.leads = False
        self.until_s = 0.0


class Upkeep:
    """`chores`: further rounds, that others know how to do; `harmless`: those that make and delete nothing; `apart`: by
    their lease, those that another gateway may lead. While `paused` says so, only the last two kinds are done, and the
    nodes are watched."""

    def __init__(
        self,
        database: Database,
        nodes: Nodes,
        tending: Tending,
        settings: Settings,
        *,
        chores: Sequence[Chore],
        harmless: Sequence[Chore],
        apart: Mapping[str, Chore],
        paused: Callable[[], Awaitable[bool]],
    ) -> None:
        self._db = database
        self._nodes = nodes
        self._tending = tending
        self._chores = chores
        self._harmless = harmless
        self._apart = apart
        self._paused = paused
        self._settings = settings
        self._holder = secrets.token_hex(8)
        self._turns = {lease: Turn() for lease in (LEASE, *apart)}
        # Heartbeats that came while this gateway was down or asleep are missing: nobody is late before one could come.
        self._awake_since = time.monotonic()
        self._last_round = time.monotonic()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as rounds:
            for chore in (self._watch_nodes, *self._harmless):
                rounds.create_task(self._every(chore))
            for chore in (self._end_uploads, self._tending.note_drained, *self._chores):
                rounds.create_task(self._every(self._unless_paused(chore)))
            for lease, chore in self._apart.items():
                rounds.create_task(self._every(chore, lease=lease))
            rounds.create_task(self._tend())

    async def _every(self, step: Chore, lease: str = LEASE) -> None:
        """Run a step each round."""
        while True:
            await self._lead(lease, step)
            await asyncio.sleep(self._settings.round_s)

    async def _tend(self) -> None:
        """The same, or at once when somebody has seen something to do, or while there is more of it."""
        wanted = self._nodes.repair_wanted
        while True:
            is_wanted = wanted.is_set()
            wanted.clear()
            is_more = False

            async def tend(is_wanted: bool = is_wanted) -> None:
                nonlocal is_more
                is_more = await self._tending.round(is_wanted)

            await self._lead(LEASE, self._unless_paused(tend))
            if not is_more:
                await _until(wanted, self._settings.round_s)

    def _unless_paused(self, step: Chore) -> Chore:
        async def run() -> None:
            if not await self._paused():
                await step()

        return run

    async def _lead(self, lease: str, step: Chore) -> None:
        """Do it if it is this gateway's turn; one that fails is logged and tried again."""
        try:
            if await self._leads(lease):
                await step()
        except CloudError as error:
            log.warning("upkeep: %s", error)
        except Exception:
            log.exception("upkeep: a round failed and is tried again")

    async def _leads(self, lease: str) -> bool:
        """One step asks for all of a round: a lease is for three of them."""
        turn, round_s = self._turns[lease], self._settings.round_s
        async with turn.asking:
            moment = time.monotonic()
            if moment >= turn.until_s:
                span = int(max(round_s * 3, 5) * 1_000_000)
                turn.leads = await self._db.run(nodes.take_lease, lease, self._holder, span)
                turn.until_s = moment + round_s
            return turn.leads

    async def _watch_nodes(self) -> None:
        silence = self._nodes.settings.offline_after_s
        moment = time.monotonic()
        if moment - self._last_round > max(2 * self._settings.round_s, silence):
            self._awake_since = moment
        self._last_round = moment
        if moment - self._awake_since < silence:
            return
        late = await self._db.run(nodes.call_late, int(silence * 1_000_000))
        for node_id in late:
            log.warning("%s went offline: nothing was heard of it for %g s", node_id, silence)
        if late:
            self._nodes.forget_view()

    async def _end_uploads(self) -> None:
        for upload_id in await self._db.read(uploads.expired, EXPIRED_AT_ONCE):
            if await self._db.run(uploads.abandon, upload_id):
                log.info("upload %s was abandoned: nothing was heard of it", upload_id)
        await self._db.run(uploads.forget, int(self._settings.upload_record_s * 1_000_000))


async def _until(wanted: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await wanted.wait()
