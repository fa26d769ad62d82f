"""Finding out at Campay how payments stand, and acting on it: the one way to completed.

Doorbells, buyers who look, operators and upkeep all lead here; two at once are harmless, since what is done is
conditional, and the second finds it done.
"""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cloudgrpc.core.payment_states import (
    CREDITABLE,
    GIVE_UP_US,
    OFTEN_US,
    Expected,
    State,
    Verdict,
    difference,
    judge,
)
from cloudgrpc.errors import CampayDown, CloudError, PaymentsOff, ReferenceKnown, ReferenceTaken, ReferenceWrong
from cloudgrpc.meta import payments

if TYPE_CHECKING:
    from cloudgrpc.core.payment_states import Record
    from cloudgrpc.core.peers import Visitor
    from cloudgrpc.meta.db import Database
    from cloudgrpc.meta.payment_models import Payment
    from cloudgrpc.outside.campay import Campay

log = logging.getLogger(__name__)

AT_ONCE = 4
DUE_AT_ONCE = 100
FRESH_S = 1.5  # who looks again so soon is told what is known
FRESH_ENDED_S = 30.0  # the same for what has ended, and hardly changes any more
MOST_FRESH = 10_000
DAY = timedelta(days=1)


class Settling:
    """`campay`: None when there is no account there. `often_s`: see core.payment_states.wait_us."""

    def __init__(self, database: Database, campay: Campay | None, often_s: float = OFTEN_US / 1_000_000) -> None:
        self._db = database
        self._campay = campay
        self._often_us = int(often_s * 1_000_000)
        self._looking: dict[str, asyncio.Task[None]] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self._looked_at: dict[str, float] = {}

    @property
    def lease(self) -> str:
        """Whoever has it leads the rounds: gateways with different accounts at Campay have rounds of their own."""
        return f"payments {self._mode}"

    @property
    def _mode(self) -> str:
        return self._campay.mode if self._campay else ""

    async def refresh(self, payment: Payment) -> None:
        """Ask Campay for a buyer who looks, unless that was done a moment ago or can change nothing.

        Raises: PaymentsOff, CampayDown.
        """
        is_open = payment.state == State.PROCESSING
        if payment.state not in CREDITABLE or (not is_open and payment.look_at is None):
            return
        age = time.monotonic() - self._looked_at.get(payment.payment_id, -FRESH_ENDED_S)
        if age >= (FRESH_S if is_open else FRESH_ENDED_S):
            await self.look(payment.payment_id)

    async def look(self, payment_id: str) -> None:
        """Ask Campay about a payment, unless that is being done. Raises: PaymentsOff, CampayDown."""
        task = self._looking.get(payment_id)
        if task is None:
            task = asyncio.create_task(self._look(payment_id))
            self._looking[payment_id] = task
            task.add_done_callback(lambda done: self._looked(payment_id, done))
        await asyncio.shield(task)

    async def look_due(self) -> None:
        """A round of upkeep."""
        await self._db.run(payments.give_up_elsewhere, self._mode, DUE_AT_ONCE)
        if self._campay is None:
            return
        due = await self._db.run(payments.take_due, self._campay.mode, self._often_us, DUE_AT_ONCE)
        turns = asyncio.Semaphore(AT_ONCE)

        async def look(payment_id: str) -> None:
            async with turns:
                try:
                    await self.look(payment_id)
                except CloudError as error:
                    log.warning("payment %s: %s", payment_id, error)
                except Exception:
                    log.exception("payment %s could not be looked at, and is looked at later", payment_id)

        await asyncio.gather(*map(look, due))

    async def ring(self, payment_id: str, reference: str) -> None:
        """Somebody says that a payment has changed; nothing else that they say is believed. It is looked at soon, and
        surely at the next round. Raises: DatabaseUnavailable."""
        payment = await self._db.read(payments.named, payment_id, reference)
        if payment is None or payment.state not in CREDITABLE:
            return
        await self._db.run(payments.wake, payment.payment_id)
        task = asyncio.create_task(self._answer(payment, reference))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def reconcile(self, payment_id: str) -> None:
        """Look, also where nothing is to be expected. Raises: PaymentUnknown, PaymentsOff, CampayDown."""
        payment = await self._db.read(payments.known, payment_id)
        if payment.state in CREDITABLE and not payment.reference:
            await self._search(payment)
        await self.look(payment_id)

    async def adopt(self, payment_id: str, reference: str, visitor: Visitor, operator: str) -> None:
        """Take a reference on for a payment that has none, if Campay's record of it is about this payment. `visitor`
        and `operator`: who gives it, and that one's name.

        Raises: PaymentsOff, CampayDown, PaymentUnknown, ReferenceKnown, ReferenceTaken, ReferenceWrong.
        """
        payment = await self._db.read(payments.known, payment_id)
        if payment.reference:
            raise ReferenceKnown(reference=payment.reference)
        record = await self._api(payment).transaction(reference)
        differs = difference(_expected(payment, reference), record) if record else payments.UNKNOWN
        if record is None or differs:
            raise ReferenceWrong(reference=reference, reason=differs)
        await self._take_on(payment, record, visitor, operator)

    async def close(self) -> None:
        """What is under way is asked again at the next start."""
        for task in [*self._looking.values(), *self._answering]:
            task.cancel()
        await asyncio.gather(*self._looking.values(), *self._answering, return_exceptions=True)

    def _looked(self, payment_id: str, task: asyncio.Task[None]) -> None:
        del self._looking[payment_id]
        if len(self._looked_at) >= MOST_FRESH:
            self._looked_at.clear()
        self._looked_at[payment_id] = time.monotonic()
        if not task.cancelled():
            task.exception()  # whoever waits gets it; nobody may be left to

    async def _look(self, payment_id: str) -> None:
        payment = await self._db.read(payments.known, payment_id)
        if payment.state == State.PENDING:
            await self._db.run(payments.unsent, payment_id)
            return
        if payment.state not in CREDITABLE:
            return
        if not payment.reference:
            # Also one that an operator ended while it was unclear: its money may come all the same.
            await self._search(payment)
            return
        record = await self._api(payment).transaction(payment.reference)
        if record is None:
            self._warn(payment, await self._db.run(payments.unknown_there, payment_id), payments.UNKNOWN)
            return
        await self._settle(payment, record)

    async def _search(self, payment: Payment) -> None:
        """A day more on both sides: Campay's days may be of another time zone."""
        begun = datetime.fromtimestamp(payment.created_at / 1_000_000, UTC)
        until = begun + timedelta(microseconds=GIVE_UP_US) + DAY
        reference = await self._api(payment).find(payment.payment_id, begun - DAY, until)
        if reference:
            await self._adopt_named(payment, reference)

    async def _adopt_named(self, payment: Payment, reference: str) -> None:
        """A history or a doorbell names this reference; believed is only Campay's record of it. What is about this
        payment, but not about its money, is for a person to look at."""
        record = await self._api(payment).transaction(reference)
        if record and record.reference == reference and record.external_reference == payment.payment_id:
            await self._take_on(payment, record)

    async def _take_on(
        self, payment: Payment, record: Record, visitor: Visitor | None = None, operator: str = ""
    ) -> None:
        taken = await self._db.run(
            payments.collected,
            payment.payment_id,
            record.reference,
            "",
            self._often_us,
            visitor=visitor,
            operator=operator,
        )
        if taken:
            await self._settle(payment, record)
            return
        now_known = await self._db.read(payments.known, payment.payment_id)
        if now_known.reference != record.reference:
            raise ReferenceTaken(reference=record.reference)

    async def _settle(self, payment: Payment, record: Record) -> None:
        verdict, words = judge(_expected(payment, record.reference), record)
        match verdict:
            case Verdict.COMPLETE:
                if not await self._db.run(payments.complete, payment.payment_id):
                    await self._flag(payment, payments.GONE)
            case Verdict.WAIT:
                await self._db.run(payments.waits, payment.payment_id)
            case Verdict.FAIL:
                reason = record.reason or "Campay says that it was not confirmed"
                await self._db.run(payments.fail, payment.payment_id, reason)
            case Verdict.FOREIGN:
                await self._flag(payment, f"Campay's record does not fit: {words}")

    async def _flag(self, payment: Payment, words: str) -> None:
        self._warn(payment, await self._db.run(payments.flag, payment.payment_id, words), words)

    def _warn(self, payment: Payment, is_news: bool, words: str) -> None:
        if is_news:
            log.warning("payment %s waits for an operator: %s", payment.payment_id, words)

    async def _answer(self, payment: Payment, reference: str) -> None:
        try:
            if reference and not payment.reference:
                await self._adopt_named(payment, reference)
            await self.look(payment.payment_id)
        except CloudError as error:
            log.warning("payment %s rang, and is looked at later: %s", payment.payment_id, error)

    def _api(self, payment: Payment) -> Campay:
        """Raises: PaymentsOff; CampayDown for a payment of another account at Campay, as of the demo's."""
        if self._campay is None:
            raise PaymentsOff
        if self._campay.mode != payment.mode:
            raise CampayDown(reason=f"it was made in {payment.mode} mode, and this is {self._campay.mode}")
        return self._campay


def _expected(payment: Payment, reference: str) -> Expected:
    return Expected(payment.reference or reference, payment.payment_id, payment.amount_xaf)
