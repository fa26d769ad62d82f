"""Payments and what they grant: every change of state is one conditional UPDATE with its event, in one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from peewee import Case, fn

from cloudgrpc.core import payment_states as states
from cloudgrpc.core.payment_states import State
from cloudgrpc.core.units import size_words
from cloudgrpc.errors import NotRefundable, PaymentEnded, PaymentUnknown, RequestIdReused, SoldOut
from cloudgrpc.meta import events, promises
from cloudgrpc.meta.db import locked, now, rows
from cloudgrpc.meta.models import Account, Payment, StorageGrant, new_id

if TYPE_CHECKING:
    from cloudgrpc.core.payments import Offer
    from cloudgrpc.core.peers import Visitor
    from cloudgrpc.meta.accounts import Caller
    from cloudgrpc.meta.promises import Promise

GONE = "the money came, but the account does not exist any more: pay it back"
OVERDUE = "Campay has not said for 72 hours how it ended"
OPERATOR = "operator"  # who did it, in events
MOST_QUOTA = 1 << 60  # far from what a column takes


@dataclass(frozen=True)
class Order:
    """What somebody wants to buy. `phone`: masked; `mode`: as in sales.Campay.mode."""

    offer: Offer
    mode: str
    provider: str
    phone: str
    request_id: str | None


def begin(caller: Caller, order: Order, promise: Promise, visitor: Visitor) -> tuple[Payment, bool]:
    """The payment, and whether it is new: a buyer has one open payment per tier, and one per `request_id`.

    Raises: RequestIdReused, SoldOut.
    """
    promises.take_turn()
    known = _repeated(caller, order) or _open(caller, order.offer.tier_id)
    if known:
        return known, False
    offer = order.offer
    promises.check(offer.storage_bytes, promise, SoldOut)
    quota = Account.get_by_id(caller.account_id).quota_bytes
    if quota + offer.storage_bytes > MOST_QUOTA:
        words = (size_words(offer.storage_bytes), size_words(quota), size_words(MOST_QUOTA))
        raise SoldOut(needed=words[0], promised=words[1], limit=words[2])
    payment = Payment.create(
        payment_id=new_id(),
        account_id=caller.account_id,
        email=caller.email,
        tier_id=offer.tier_id,
        tier_name=offer.name,
        storage_bytes=offer.storage_bytes,
        price_xaf=offer.price_xaf,
        amount_xaf=offer.amount_xaf,
        mode=order.mode,
        provider=order.provider,
        phone=order.phone,
        request_id=order.request_id,
        state=State.PENDING,
        look_at=now() + states.NEVER_SENT_US,
        created_at=now(),
    )
    _record(payment, "begun", f"{caller.email} buys {_thing(payment)}", visitor=visitor)
    return payment, True


def claim(payment_id: str, wait_us: int) -> bool:
    """From here on Campay may be asked to collect, by the one caller that gets True. `wait_us`: until its answer is
    overdue."""
    return _change(
        payment_id,
        Payment.state == State.PENDING,
        "processing",
        "{thing}: Campay is asked to collect {amount}",
        state=State.PROCESSING,
        is_unclear=True,
        look_at=now() + wait_us,
    )


def collected(payment_id: str, reference: str, ussd_code: str, wait_us: int) -> bool:
    """Campay took it on, and told its reference. False: it has one already, or another payment has this one.
    `wait_us`: until it is asked how it went."""
    if _has(reference):
        return False
    return _change(
        payment_id,
        Payment.reference.is_null(),
        "referenced",
        "{thing}: Campay knows it as {reference}",
        reference=reference,
        ussd_code=ussd_code,
        is_unclear=False,
        reason="",
        look_at=now() + wait_us,
    )


def refused(payment_id: str, reason: str) -> bool:
    """Campay surely collects nothing. A payment that was cancelled meanwhile stays that."""
    return _change(
        payment_id,
        Payment.reference.is_null() & Payment.state.in_([State.PROCESSING, State.CANCELLED]) & Payment.is_unclear,
        "failed",
        "{thing}: {reason}",
        state=_unless_cancelled(State.FAILED),
        is_unclear=False,
        reason=reason,
        look_at=None,
    )


def unclear(payment_id: str, reason: str) -> bool:
    """Nobody knows whether Campay was asked; upkeep finds it out, from now on."""
    is_unclear = Payment.reference.is_null() & Payment.is_unclear
    return _change(
        payment_id, is_unclear, "unclear", "{thing}: it is unclear whether money moves: {reason}", reason=reason,
        look_at=now(),
    )  # fmt: skip


def unsent(payment_id: str) -> bool:
    """It was written down by a gateway that died before it asked anybody."""
    return _change(
        payment_id,
        (Payment.state == State.PENDING) & (Payment.created_at <= now() - states.NEVER_SENT_US),
        "failed",
        "{thing}: {reason}",
        state=State.FAILED,
        reason="it was never sent to Campay",
        look_at=None,
    )


def complete(payment_id: str) -> bool:
    """Campay's record says that the money came: grant the room, once. False: it was granted before, was paid back, or
    the account is gone."""
    if not _change(
        payment_id,
        Payment.state.in_(states.CREDITABLE) & _ACCOUNT_STANDS,
        "completed",
        "{thing} was paid for with {amount}",
        state=State.COMPLETED,
        is_unclear=False,
        reason="",
        attention="",
        look_at=None,
        completed_at=now(),
    ):
        return False
    payment = Payment.get_by_id(payment_id)
    StorageGrant.create(
        payment=payment_id,
        account_id=payment.account_id,
        storage_bytes=payment.storage_bytes,
        granted_at=payment.completed_at,
    )
    Account.update(quota_bytes=Account.quota_bytes + payment.storage_bytes).where(
        Account.account_id == payment.account_id
    ).execute()
    return True


def fail(payment_id: str, reason: str) -> bool:
    """Campay's record says that no money came; should it say otherwise later, that still counts."""
    return _change(
        payment_id,
        Payment.state == State.PROCESSING,
        "failed",
        "{thing}: {reason}",
        state=State.FAILED,
        is_unclear=False,
        reason=reason,
        attention="",
        look_at=now() + states.SELDOM_US,
    )


def flag(payment_id: str, attention: str) -> bool:
    """A person must look at it. False: that was known."""
    return _change(
        payment_id,
        Payment.state.in_(states.CREDITABLE) & (Payment.attention != attention),
        "attention",
        "{thing} waits for an operator: {attention}",
        attention=attention,
    )


def cancel(caller: Caller, payment_id: str, visitor: Visitor) -> Payment:
    """The buyer no longer wants it. Should the money come all the same, it still counts.

    Raises: PaymentUnknown, PaymentEnded.
    """
    payment = owned(caller, payment_id)
    cancelled = _change(
        payment_id,
        Payment.state.in_(states.CANCELLABLE),
        "cancelled",
        "{thing} was cancelled",
        visitor=visitor,
        state=State.CANCELLED,
        # A pending one was never sent, so nothing is to be looked for.
        look_at=Case(None, [(Payment.state == State.PENDING, None)], Payment.look_at),
    )
    payment = Payment.get_by_id(payment.payment_id)
    if not cancelled and payment.state != State.CANCELLED:
        raise PaymentEnded(status=payment.state)
    return payment


def refund(payment_id: str, reason: str, visitor: Visitor) -> tuple[Payment, int, int]:
    """The money was paid back: take the room back. Returns the payment, and the account's quota and use (0 and 0 when
    it is gone). Raises: PaymentUnknown, NotRefundable."""
    if not _change(
        payment_id,
        (Payment.state == State.COMPLETED) | (Payment.state.in_(states.CREDITABLE) & (Payment.attention != "")),
        "refunded",
        "{thing} was paid back ({refund_reason})",
        visitor=visitor,
        by=OPERATOR,
        state=State.REFUNDED,
        is_unclear=False,
        attention="",
        look_at=None,
        refunded_at=now(),
        refund_reason=reason,
    ):
        raise NotRefundable(status=known(payment_id).state)
    payment = Payment.get_by_id(payment_id)
    taken_back = (
        StorageGrant.update(taken_back_at=payment.refunded_at)
        .where((StorageGrant.payment == payment_id) & StorageGrant.taken_back_at.is_null())
        .execute()
    )
    if taken_back:
        left = Account.quota_bytes - payment.storage_bytes
        Account.update(quota_bytes=Case(None, [(left > 0, left)], 0)).where(
            Account.account_id == payment.account_id
        ).execute()
    account = Account.get_or_none(Account.account_id == payment.account_id)
    return payment, account.quota_bytes if account else 0, account.used_bytes if account else 0


def note_act(payment_id: str, kind: str, words: str, visitor: Visitor) -> None:
    """What an operator did that need not change the payment. Raises: PaymentUnknown."""
    payment = known(payment_id)
    _record(payment, kind, f"{_thing(payment)}: {words}", visitor=visitor, by=OPERATOR)


def wake(payment_id: str) -> None:
    """Ask Campay at the next round."""
    Payment.update(look_at=now()).where(
        (Payment.payment_id == payment_id) & Payment.state.in_(states.CREDITABLE)
    ).execute()


def take_due(mode: str, often_us: int, limit: int) -> list[str]:
    """Payments about which Campay is to be asked now, each given to one caller: when it is asked next is written down
    before it is asked. What is asked about for the last time waits for an operator from here on."""
    moment = now()
    query = Payment.select().where((Payment.look_at <= moment) & (Payment.mode == mode)).order_by(Payment.look_at)
    due = list(locked(query.limit(limit)))
    for payment in due:
        wait = states.wait_us(moment - payment.created_at, payment.looks, often_us)
        look_at = None if wait is None else moment + wait
        Payment.update(looks=Payment.looks + 1, look_at=look_at).where(
            Payment.payment_id == payment.payment_id
        ).execute()
        if wait is None and (payment.state == State.PROCESSING or payment.is_unclear):
            flag(payment.payment_id, OVERDUE)
    return [payment.payment_id for payment in due]


def known(payment_id: str) -> Payment:
    """Raises: PaymentUnknown."""
    payment: Payment | None = Payment.get_or_none(Payment.payment_id == payment_id)
    if payment is None:
        raise PaymentUnknown
    return payment


def owned(caller: Caller, payment_id: str) -> Payment:
    """Another person's payment does not exist. Raises: PaymentUnknown."""
    payment = known(payment_id)
    if payment.account_id != caller.account_id:
        raise PaymentUnknown
    return payment


def named(payment_id: str, reference: str) -> Payment | None:
    """The payment that a doorbell is about: by our id, else by Campay's reference."""
    of_id = Payment.get_or_none(Payment.payment_id == payment_id)
    return of_id or (Payment.get_or_none(Payment.reference == reference) if reference else None)


def quota_of(account_id: str) -> int:
    return int(Account.get_by_id(account_id).quota_bytes)


def _repeated(caller: Caller, order: Order) -> Payment | None:
    if order.request_id is None:
        return None
    mine = (Payment.account_id == caller.account_id) & (Payment.request_id == order.request_id)
    payment: Payment | None = Payment.get_or_none(mine)
    if payment and payment.tier_id != order.offer.tier_id:
        raise RequestIdReused
    return payment


def _open(caller: Caller, tier_id: str) -> Payment | None:
    mine = (Payment.account_id == caller.account_id) & (Payment.tier_id == tier_id)
    payment: Payment | None = Payment.get_or_none(mine & Payment.state.in_(states.OPEN))
    return None if payment and unsent(payment.payment_id) else payment


def _has(reference: str) -> bool:
    return bool(rows(Payment.select(Payment.payment_id).where(Payment.reference == reference)))


def _change(
    payment_id: str,
    condition: Any,
    kind: str,
    message: str,
    *,
    visitor: Visitor | None = None,
    by: str = "",
    **columns: object,
) -> bool:
    """One conditional UPDATE and its event; `message` may name a payment's columns, its thing and its amount."""
    values = {getattr(Payment, name): value for name, value in columns.items()}
    if not Payment.update(values).where((Payment.payment_id == payment_id) & condition).execute():
        return False
    payment = Payment.get_by_id(payment_id)
    words = message.format(thing=_thing(payment), amount=f"{payment.amount_xaf:,} XAF", **payment.__data__)
    _record(payment, kind, words, visitor=visitor, by=by)
    return True


def _record(payment: Payment, kind: str, message: str, *, visitor: Visitor | None = None, by: str = "") -> None:
    """By the buyer when there is a visitor and nobody is named; by the cluster itself when there is neither."""
    done_by = {} if visitor and not by else {"by": by}
    events.record(
        f"payment.{kind}",
        message,
        account_id=payment.account_id,
        visitor=visitor,
        **done_by,
        payment_id=payment.payment_id,
        status=payment.state,
        amount_xaf=payment.amount_xaf,
        mode=payment.mode,
    )


def _thing(payment: Payment) -> str:
    return f"{payment.tier_name} ({size_words(payment.storage_bytes)})"


def _unless_cancelled(state: State) -> Any:
    return Case(None, [(Payment.state == State.CANCELLED, State.CANCELLED)], state)


_ACCOUNT_STANDS = fn.EXISTS(
    Account.select(Account.account_id).where((Account.account_id == Payment.account_id) & (Account.root_id != ""))
)
