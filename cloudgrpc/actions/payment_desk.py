"""Everybody's payments, for operators: looking at them, and the acts that need a person."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from cloudgrpc.actions.page_tokens import read_token, write_token
from cloudgrpc.core.paging import check_page_size
from cloudgrpc.core.payment_states import State
from cloudgrpc.core.peers import VISITOR
from cloudgrpc.core.units import micros_of
from cloudgrpc.errors import CampayDown, InvalidField
from cloudgrpc.meta import payment_acts, payment_lists, payments
from cloudgrpc.meta.payment_lists import Filter

if TYPE_CHECKING:
    from cloudgrpc.actions.settling import Settling
    from cloudgrpc.core.operators import Operator
    from cloudgrpc.meta.db import Database
    from cloudgrpc.meta.payment_lists import Totals
    from cloudgrpc.meta.payment_models import Payment
    from cloudgrpc.outside.campay import Campay

PAGE_MOST = 1000
PAGE_USUAL = 100
WORDS = 200
USER_LETTERS = 320
BALANCE_S = 3.0  # the totals are wanted most when Campay hangs
ID_BEGINS = re.compile(r"[0-9a-f]{0,32}")
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
            async with asyncio.timeout(BALANCE_S):
                return await self._campay.balance() if self._campay else None
        except (CampayDown, TimeoutError):
            return None

    async def reconcile(self, operator: Operator, payment_id: str) -> Payment:
        """Ask Campay how a payment stands. Raises: PaymentUnknown, PaymentsOff, CampayDown."""
        words = "an operator asked Campay"
        await self._db.run(payment_acts.note_act, payment_id, "reconciled", words, VISITOR.get(), operator.name)
        await self._settling.reconcile(payment_id)
        return await self._db.read(payments.known, payment_id)

    async def set_reference(self, operator: Operator, payment_id: str, reference: str) -> Payment:
        """Raises: InvalidField, and what Settling.adopt raises."""
        told = reference.strip()
        if not REFERENCE.fullmatch(told):
            raise InvalidField(field="transaction_ref", reason="is no reference of Campay's")
        await self._settling.adopt(payment_id, told, VISITOR.get(), operator.name)
        return await self._db.read(payments.known, payment_id)

    async def refund(self, operator: Operator, payment_id: str, reason: str) -> tuple[Payment, int, int]:
        """The payment, and the account's quota and use now. Raises: InvalidField, PaymentUnknown, NotRefundable."""
        return await self._db.run(payment_acts.refund, payment_id, _reason(reason), VISITOR.get(), operator.name)

    async def close(self, operator: Operator, payment_id: str, reason: str) -> Payment:
        """Raises: InvalidField, PaymentUnknown, NotClosable."""
        return await self._db.run(payment_acts.close, payment_id, _reason(reason), VISITOR.get(), operator.name)


def filter_of(
    status: str, user: str, since: str, until: str, *, only_attention: bool = False, id_begins: str = ""
) -> Filter:
    """As the wire tells it. Raises: InvalidField."""
    if len(user) > USER_LETTERS or not user.isprintable():
        raise InvalidField(field="user", reason="is neither an id nor an e-mail address")
    if not ID_BEGINS.fullmatch(id_begins):
        raise InvalidField(field="payment_id", reason="is no beginning of an id")
    if status and status not in [*State]:
        raise InvalidField(field="status", reason=f"must be one of {', '.join(State)}")
    return Filter(
        user=user.strip(),
        state=status,
        since=micros_of(since, "since") if since else None,
        until=micros_of(until, "until") if until else None,
        only_attention=only_attention,
        id_begins=id_begins,
    )


def _reason(told: str) -> str:
    reason = told.strip()
    if not reason or len(reason) > WORDS or not reason.isprintable():
        raise InvalidField(field="reason", reason=f"must be 1 to {WORDS} printable characters")
    return reason
