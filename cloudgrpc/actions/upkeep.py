"""The rounds that keep the cluster whole, each by itself and as often as the settings say.

One gateway at a time leads them; two by mistake are harmless, since every step checks again in its own transaction.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from typing import TYPE_CHECKING

from cloudgrpc.errors import CloudError
from cloudgrpc.meta import nodes, uploads

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from cloudgrpc.actions.nodes import Nodes
    from cloudgrpc.actions.repair import Repair
    from cloudgrpc.config import Upkeep as Settings
    from cloudgrpc.meta.db import Database

    Chore = Callable[[], Awaitable[None]]

log = logging.getLogger(__name__)

EXPIRED_AT_ONCE = 100


class Upkeep:
    """`chores`: further rounds, that others know how to do; `apart`: by their lease, those that another gateway may
    lead."""

    def __init__(
        self,
        database: Database,
        nodes: Nodes,
        repair: Repair,
        chores: Sequence[Chore],
        settings: Settings,
        *,
        apart: Mapping[str, Chore],
    ) -> None:
        self._db = database
        self._nodes = nodes
        self._repair = repair
        self._chores = chores
        self._apart = apart
        self._settings = settings
        self._holder = secrets.token_hex(8)
        # Heartbeats that came while this gateway was down or asleep are missing: nobody is late before one could come.
        self._awake_since = time.monotonic()
        self._last_round = time.monotonic()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as rounds:
            rounds.create_task(self._every(self._watch_nodes))
            rounds.create_task(self._every(self._end_uploads))
            rounds.create_task(self._every(self._repair_all, self._nodes.repair_wanted))
            for chore in self._chores:
                rounds.create_task(self._every(chore))
            for lease, chore in self._apart.items():
                rounds.create_task(self._every(chore, lease=lease))

    async def _every(self, step: Chore, wanted: asyncio.Event | None = None, lease: str = "upkeep") -> None:
        """Run a step each round, or at once when `wanted` is set; one that fails is logged and tried again."""
        while True:
            try:
                if await self._leads(lease):
                    await step()
            except CloudError as error:
                log.warning("upkeep: %s", error)
            except Exception:
                log.exception("upkeep: a round failed and is tried again")
            await _sleep(self._settings.round_s, wanted)

    async def _leads(self, lease: str) -> bool:
        span = int(max(self._settings.round_s * 3, 5) * 1_000_000)
        return await self._db.run(nodes.take_lease, lease, self._holder, span)

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

    async def _repair_all(self) -> None:
        total = 0
        while made := await self._repair.round():
            total += made
        if total:
            log.info("%d lost copies were made again", total)


async def _sleep(seconds: float, wanted: asyncio.Event | None) -> None:
    if wanted is None:
        await asyncio.sleep(seconds)
        return
    try:
        async with asyncio.timeout(seconds):
            await wanted.wait()
    except TimeoutError:
        pass
    wanted.clear()
