"""After a restore: Campay is asked about payments that may stand otherwise there, and all that it tells is compared."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cloudgrpc.errors import CloudError
from cloudgrpc.meta import standing
from cloudgrpc.meta.standing import Transaction

if TYPE_CHECKING:
    from cloudgrpc.actions.settling import Settling
    from cloudgrpc.meta.db import Database
    from cloudgrpc.outside.campay import Campay
    from cloudgrpc.outside.campay_answers import Told

log = logging.getLogger(__name__)

AT_ONCE = 4
DAY = timedelta(days=1)
NO_MONEY = "FAILED"


class Rereading:
    """`campay`: None when there is no account there."""

    def __init__(self, database: Database, campay: Campay | None, settling: Settling) -> None:
        self._db = database
        self._campay = campay
        self._settling = settling
        self._read: set[str] = set()

    @property
    def lease(self) -> str:
        return f"{self._settling.lease}, after a restore"

    async def catch_up(self) -> None:
        """A round of upkeep: once after each restore it comes to its end. What fails is tried again in the next."""
        if self._campay is None:
            return
        due = await self._db.read(standing.payments_to_read, self._campay.mode)
        if due is None:
            self._read.clear()
            return
        turns = asyncio.Semaphore(AT_ONCE)
        left = [payment_id for payment_id in due if payment_id not in self._read]
        failures = list(filter(None, await asyncio.gather(*(self._look(one, turns) for one in left))))
        if failures:
            log.warning("%d payments from before the restore are asked about again: %s", len(failures), failures[0])
            return
        await self._compare(self._campay)

    async def _look(self, payment_id: str, turns: asyncio.Semaphore) -> CloudError | None:
        async with turns:
            try:
                await self._settling.look(payment_id)
            except CloudError as error:
                return error
        self._read.add(payment_id)
        return None

    async def _compare(self, campay: Campay) -> None:
        """A day more on both sides: Campay's days may be of another time zone."""
        stands = await self._db.read(standing.look)
        since = datetime.fromtimestamp((stands.backup_made_at or 0) / 1_000_000, UTC)
        told = await campay.told(since - DAY, datetime.now(UTC) + DAY)
        ours = [_transaction(one) for one in told if one.payment_id and one.status != NO_MONEY]
        unknown = await self._db.run(standing.note_compared, ours)
        if unknown:
            log.warning("Campay tells of %d payments since the backup that this database does not know", unknown)


def _transaction(told: Told) -> Transaction:
    amount = "of an amount that cannot be read" if told.amount_xaf is None else f"of {told.amount_xaf} XAF"
    words = f"Campay has a payment {amount}, {told.status or 'without a status'}, {told.at or 'without a time'}"
    names = f"its reference is {told.reference}, ours was {told.payment_id}"
    return Transaction(told.reference, told.payment_id, f"{words}; {names}; it is unknown here")
