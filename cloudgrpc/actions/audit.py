"""The trail of what was refused: who, from where, and what. What was done is recorded in the act's own transaction.

An attacker must not fill the database with it: repeats within a minute are counted and told with the next.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from cloudgrpc.core.event_kinds import REFUSAL, is_recorded
from cloudgrpc.core.peers import VISITOR
from cloudgrpc.errors import CloudError
from cloudgrpc.meta import events

if TYPE_CHECKING:
    from cloudgrpc.core.peers import Visitor
    from cloudgrpc.meta.db import Database

log = logging.getLogger(__name__)

QUIET_S = 60.0
MOST_NAMES = 10_000


class Audit:
    def __init__(self, database: Database) -> None:
        self._db = database
        self._told: dict[tuple[str, str], tuple[float, int]] = {}  # kind and host -> when, and how often since
        self._writing: set[asyncio.Task[None]] = set()

    def refused(self, method: str, error: CloudError) -> None:
        """Record a refusal, soon; the caller is not kept waiting for it."""
        if not is_recorded(error):
            return
        visitor = VISITOR.get()
        key, moment = (error.code, visitor.host), time.monotonic()
        told_at, unsaid = self._told.get(key, (-QUIET_S, 0))
        if moment - told_at < QUIET_S:
            self._told[key] = told_at, unsaid + 1
            return
        if len(self._told) >= MOST_NAMES:
            self._told.clear()
        self._told[key] = moment, 0
        task = asyncio.create_task(self._write(method, error, visitor, unsaid))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def close(self) -> None:
        await asyncio.gather(*self._writing)

    async def _write(self, method: str, error: CloudError, visitor: Visitor, unsaid: int) -> None:
        try:
            await self._db.run(_record, method, error, visitor, unsaid)
        except CloudError as failure:
            log.warning("a refusal of %s is not in the record: %s", method, failure)


def _record(method: str, error: CloudError, visitor: Visitor, unsaid: int) -> None:
    events.record(
        f"{REFUSAL}{error.code}",
        f"{method} was refused: {error}",
        visitor=visitor,
        method=method,
        repeated=unsaid,
    )
