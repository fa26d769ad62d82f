"""The trail of what was refused: who, from where, and what. What was done is recorded in the act's own transaction.

An attacker must not fill the database with it: repeats within a minute are counted and told with the next.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from cloudgrpc.core.event_kinds import REFUSAL, is_recorded
from cloudgrpc.core.introductions import reason_line
from cloudgrpc.core.peers import VISITOR, Visitor
from cloudgrpc.errors import CATALOGUE, CloudError
from cloudgrpc.meta import events

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cloudgrpc.actions.refusals import Refused
    from cloudgrpc.meta.db import Database

log = logging.getLogger(__name__)

QUIET_S = 60.0
MOST_NAMES = 10_000
MOST_REPORTED = 20  # by one node, in as long


class Audit:
    def __init__(self, database: Database) -> None:
        self._db = database
        self._told: dict[tuple[str, str], tuple[float, int]] = {}  # kind and host -> when, and how often since
        self._reported: dict[str, tuple[float, int]] = {}  # node -> since when, and how many
        self._writing: set[asyncio.Task[None]] = set()

    def refused(self, method: str, error: CloudError, visitor: Visitor | None = None) -> None:
        """Record a refusal, soon; the caller is not kept waiting for it. `visitor`: when it was no call."""
        if is_recorded(error):
            told = visitor or VISITOR.get()
            # Of a connection the reason is the whole news.
            key = (error.code, f"{told.host}: {error}" if visitor else told.host)
            self._note(key, _Refusal(error.code, f"{method} was refused: {error}", method, told))

    def reported(self, node_id: str, refused: Iterable[Refused]) -> None:
        """What a node refused, as its sign of life tells; it can tell anything."""
        since, count = self._reported.get(node_id, (-QUIET_S, 0))
        if time.monotonic() - since >= QUIET_S:
            since, count = time.monotonic(), 0
        for one in islice(refused, MOST_REPORTED - count):
            if one.error_code in CATALOGUE and is_recorded(CATALOGUE[one.error_code]):
                words = f"{node_id} refused {reason_line(one.method)}: {reason_line(one.message)}"
                visitor = Visitor(host=reason_line(one.peer))
                refusal = _Refusal(one.error_code, words, reason_line(one.method), visitor, node_id)
                self._note((one.error_code, f"{visitor.host} at {node_id}: {refusal.words}"), refusal)
                count += 1
        self._reported[node_id] = since, count

    def _note(self, key: tuple[str, str], refusal: _Refusal) -> None:
        moment = time.monotonic()
        told_at, unsaid = self._told.get(key, (-QUIET_S, 0))
        if moment - told_at < QUIET_S:
            self._told[key] = told_at, unsaid + 1
            return
        if len(self._told) >= MOST_NAMES:
            self._told.clear()
        self._told[key] = moment, 0
        task = asyncio.create_task(self._write(refusal, unsaid))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def close(self) -> None:
        await asyncio.gather(*self._writing)

    async def _write(self, refusal: _Refusal, unsaid: int) -> None:
        try:
            await self._db.run(_record, refusal, unsaid)
        except CloudError as failure:
            log.warning("a refusal of %s is not in the record: %s", refusal.method, failure)


@dataclass(frozen=True)
class _Refusal:
    """`node_id`: of the node that refused; "" for the gateway."""

    code: str
    words: str
    method: str
    visitor: Visitor
    node_id: str = ""


def _record(refusal: _Refusal, unsaid: int) -> None:
    events.record(
        f"{REFUSAL}{refusal.code}",
        refusal.words,
        node_id=refusal.node_id,
        visitor=refusal.visitor,
        method=refusal.method,
        repeated=unsaid,
    )
