"""Everybody's payments, for operators: looking at them, and the acts that need a person."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cloudgrpc.actions.page_tokens import read_token, write_token
from cloudgrpc.core.paging import check_page_size
from cloudgrpc.core.payment_states import State
from cloudgrpc.core.peers import VISITOR
from cloudgrpc.core.units import micros_of
from cloudgrpc.errors import CampayDown, InvalidField
from cloudgrpc.meta import payment_lists, payments
from cloudgrpc.meta.payment_lists import Filter

if TYPE_CHECKING:
    from cloudgrpc.actions.settling import Settling
    from cloudgrpc.meta.db import Database
    from cloudgrpc.meta.models import Payment
    from cloudgrpc.meta.payment_lists import Totals
    from cloudgrpc.outside.campay import Campay

PAGE_MOST = 1000
PAGE_USUAL = 100
WORDS = 200
REFERENCE = re.compile(r"[A-Za-z0-9_.:-]{1,100}")


class PaymentDesk:
    def __init__(self, database: Database, campay: Campay | None, settling: Settling) -> None:
        self._db = database
        self._campay = campay
        self._settling = settling

    async def list(self, wanted: Filter, page_size: int, page_token: str) -> tuple[list[Payment], str]:
        """A page, the newest first, and the token of the next ("" after the last). Raises: InvalidField."""
        limit = check_page_size(page_size, PAGE_MOST, PAGE_USUAL)
        after = read_token(page_token, int, str)
        found, last = await self._db.read(payment_lists.page, wanted, after, limit)
        return found, write_token(*last) if last else ""

    async def totals(self, wanted: Filter) -> Totals:
        return await self._db.read(payment_lists.totals, wanted)

    async def balance(self) -> int | None:
        """XAF at Campay; None when it could not be asked."""
        try:
            return await self._campay.balance() if self._campay else None
        except CampayDown:
            return None

    async def reconcile(self, payment_id: str) -> Payment:
        """Ask Campay how a payment stands. Raises: PaymentUnknown, PaymentsOff, CampayDown."""
        await self._db.run(payments.note_act, payment_id, "reconciled", "an operator asked Campay", VISITOR.get())
        await self._settling.look(payment_id)
        return await self._db.read(payments.known, payment_id)

    async def set_reference(self, payment_id: str, reference: str) -> Payment:
        """Raises: InvalidField, and what Settling.adopt raises."""
        told = reference.strip()
        if not REFERENCE.fullmatch(told):
            raise InvalidField(field="transaction_ref", reason="is no reference of Campay's")
        await self._settling.adopt(payment_id, told)
        words = f"an operator gave the reference {told}"
        await self._db.run(payments.note_act, payment_id, "reference_given", words, VISITOR.get())
        return await self._db.read(payments.known, payment_id)

    async def refund(self, payment_id: str, reason: str) -> tuple[Payment, int, int]:
        """The payment, and the account's quota and use now. Raises: InvalidField, PaymentUnknown, NotRefundable."""
        told = reason.strip()
        if not told or len(told) > WORDS or not told.isprintable():
            raise InvalidField(field="reason", reason=f"must be 1 to {WORDS} printable characters")
        return await self._db.run(payments.refund, payment_id, told, VISITOR.get())


def filter_of(status: str, user: str, since: str, until: str, *, only_attention: bool = False) -> Filter:
    """As the wire tells it. Raises: InvalidField."""
    if status and status not in [*State]:
        raise InvalidField(field="status", reason=f"must be one of {', '.join(State)}")
    return Filter(
        user=user.strip(),
        state=status,
        since=micros_of(since, "since") if since else None,
        until=micros_of(until, "until") if until else None,
        only_attention=only_attention,
    )
