"""What operators do to payments by hand, each act an event."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peewee import Case

from cloudgrpc.core import payment_states as states
from cloudgrpc.core.payment_states import State
from cloudgrpc.errors import NotClosable, NotRefundable
from cloudgrpc.meta.db import locked, now
from cloudgrpc.meta.events import OPERATOR
from cloudgrpc.meta.models import Account
from cloudgrpc.meta.payment_changes import change, record, thing
from cloudgrpc.meta.payment_models import Payment, StorageGrant
from cloudgrpc.meta.payments import known, unless_cancelled

if TYPE_CHECKING:
    from cloudgrpc.core.peers import Visitor


def refund(payment_id: str, reason: str, visitor: Visitor, operator: str) -> tuple[Payment, int, int]:
    """The money was paid back: take the room back. Returns the payment, and the account's quota and use (0 and 0 when
    it is gone). Raises: PaymentUnknown, NotRefundable."""
    # The account first, as where a payment completes, so that the two cannot wait for each other.
    locked(Account.select().where(Account.account_id == known(payment_id).account_id)).execute()
    if not change(
        payment_id,
        Payment.state == State.COMPLETED,
        "refunded",
        "{thing} was paid back ({refund_reason})",
        visitor=visitor,
        by=OPERATOR,
        operator=operator,
        state=State.REFUNDED,
        refunded_at=now(),
        refund_reason=reason,
    ):
        raise NotRefundable(status=known(payment_id).state)
    payment = Payment.get_by_id(payment_id)
    StorageGrant.update(taken_back_at=payment.refunded_at).where(StorageGrant.payment == payment_id).execute()
    left = Account.quota_bytes - payment.storage_bytes
    Account.update(quota_bytes=Case(None, [(left > 0, left)], 0)).where(
        Account.account_id == payment.account_id
    ).execute()
    account = Account.get_or_none(Account.account_id == payment.account_id)
    return payment, account.quota_bytes if account else 0, account.used_bytes if account else 0


def close(payment_id: str, reason: str, visitor: Visitor, operator: str) -> Payment:
    """Nothing more is expected of it. Should its money come all the same, it still counts.

    Raises: PaymentUnknown, NotClosable.
    """
    is_waiting = (Payment.state == State.PROCESSING) | (Payment.attention != "")
    if not change(
        payment_id,
        Payment.state.in_(states.CREDITABLE) & is_waiting,
        "closed",
        "{thing} was ended: {reason}",
        visitor=visitor,
        by=OPERATOR,
        operator=operator,
        state=unless_cancelled(State.FAILED),
        is_unclear=False,
        reason=reason,
        attention="",
    ):
        raise NotClosable(status=known(payment_id).state)
    return known(payment_id)


def note_act(payment_id: str, kind: str, words: str, visitor: Visitor, operator: str) -> None:
    """What an operator did that need not change the payment. Raises: PaymentUnknown."""
    payment = known(payment_id)
    record(payment, kind, f"{thing(payment)}: {words}", visitor=visitor, by=OPERATOR, operator=operator)
