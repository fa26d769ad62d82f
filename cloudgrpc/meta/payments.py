"""Payments and what they grant: every change of state is one conditional UPDATE with its event, in one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from peewee import Case

from cloudgrpc.core import payment_states as states
from cloudgrpc.core.pace import in_seconds
from cloudgrpc.core.payment_states import State
from cloudgrpc.core.units import size_words
from cloudgrpc.errors import PaymentEnded, PaymentUnknown, RequestIdReused, SoldOut, TooManyPayments
from cloudgrpc.meta import paces, promises
from cloudgrpc.meta.db import locked, now, rows
from cloudgrpc.meta.events import OPERATOR
from cloudgrpc.meta.models import Account, new_id
from cloudgrpc.meta.payment_changes import change, record, thing
from cloudgrpc.meta.payment_models import Payment, StorageGrant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudgrpc.core.pace import Rule
    from cloudgrpc.core.payments import Offer
    from cloudgrpc.core.peers import Visitor
    from cloudgrpc.meta.accounts import Caller
    from cloudgrpc.meta.promises import Promise

GONE = "the money came, but the account does not exist any more: pay it back"
OVERDUE = "Campay has not said for 72 hours how it ended"
UNKNOWN = "Campay knows no such transaction"
ELSEWHERE = "it was begun in {mode} mode, and Campay is not asked there any more"
MOST_QUOTA = 1 << 60  # far from what a column takes


@dataclass(frozen=True)
class Order:
    """What somebody wants to buy. `phone`: masked; `mode`: as in sales.Campay.mode."""

    offer: Offer
    mode: str
    provider: str
    phone: str
    request_id: str | None


def begin(
    caller: Caller, order: Order, promise: Promise, rules: Sequence[Rule], visitor: Visitor
) -> tuple[Payment, bool]:
    """The payment, and whether it is new: a buyer has one open payment per tier, and one per `request_id`. `rules`: of
    how often one may be begun.

    Raises: RequestIdReused, TooManyPayments, SoldOut.
    """
    promises.take_turn()
    known = _repeated(caller, order) or _open(caller, order)
    if known:
        return known, False
    if wait := paces.take(rules):
        raise TooManyPayments(seconds=in_seconds(wait))
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
    record(payment, "begun", f"{caller.email} buys {thing(payment)}", visitor=visitor)
    return payment, True


def claim(payment_id: str, wait_us: int) -> bool:
    """From here on Campay may be asked to collect, by the one caller that gets True. `wait_us`: until its answer is
    overdue."""
    return change(
        payment_id,
        Payment.state == State.PENDING,
        "processing",
        "{thing}: Campay is asked to collect {amount}",
        state=State.PROCESSING,
        is_unclear=True,
        look_at=now() + wait_us,
    )


def collected(
    payment_id: str,
    reference: str,
    ussd_code: str,
    wait_us: int,
    *,
    visitor: Visitor | None = None,
    operator: str = "",
) -> bool:
    """Campay took it on, and told its reference. False: it has one already, or another payment has this one.
    `wait_us`: until it is asked how it went. `visitor` and `operator`: who gave the reference by hand, and that
    one's name."""
    if _has(reference):
        return False
    return change(
        payment_id,
        Payment.reference.is_null(),
        "referenced",
        "{thing}: Campay knows it as {reference}",
        visitor=visitor,
        by=OPERATOR if visitor else "",
        operator=operator,
        reference=reference,
        ussd_code=ussd_code,
        is_unclear=False,
        reason=Case(None, [(Payment.state == State.FAILED, Payment.reason)], ""),
        attention="",
        look_at=now() + wait_us,
    )


def refused(payment_id: str, reason: str) -> bool:
    """Campay surely collects nothing. A payment that was cancelled meanwhile stays that."""
    return change(
        payment_id,
        Payment.reference.is_null() & Payment.state.in_([State.PROCESSING, State.CANCELLED]) & Payment.is_unclear,
        "failed",
        "{thing}: {reason}",
        state=unless_cancelled(State.FAILED),
        is_unclear=False,
        reason=reason,
        look_at=None,
    )


def unclear(payment_id: str, reason: str) -> bool:
    """Nobody knows whether Campay was asked; upkeep finds it out, from now on."""
    is_unclear = Payment.reference.is_null() & Payment.is_unclear
    return change(
        payment_id,
        is_unclear,
        "unclear",
        "{thing}: it is unclear whether money moves: {reason}",
        reason=reason,
        look_at=now(),
    )


def unsent(payment_id: str) -> bool:
    """It was written down by a gateway that died before it asked anybody."""
    return change(
        payment_id,
        (Payment.state == State.PENDING) & (Payment.created_at <= now() - states.NEVER_SENT_US),
        "failed",
        "{thing}: {reason}",
        state=State.FAILED,
        reason="it was never sent to Campay",
        look_at=None,
    )


def complete(payment_id: str) -> bool:
    """Campay's record says that the money came: grant the room, once. False: it was granted before, or the account is
    gone."""
    # Held first, so that the account cannot be removed between what is told of the payment and its quota.
    standing = (Account.account_id == known(payment_id).account_id) & (Account.root_id != "")
    if not list(locked(Account.select().where(standing))) or not change(
        payment_id,
        Payment.state.in_(states.CREDITABLE),
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
    return change(
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


def flag(payment_id: str, attention: str, *, is_least: bool = False) -> bool:
    """A person must look at it. False: that was known. `is_least`: any other reason says more."""
    is_news = Payment.attention == "" if is_least else Payment.attention != attention
    return change(
        payment_id,
        Payment.state.in_(states.CREDITABLE) & is_news,
        "attention",
        "{thing} waits for an operator",
        for_operators=attention,
        attention=attention,
    )


def waits(payment_id: str) -> None:
    """Campay's record fits, and says PENDING: what seemed wrong has mended itself, but for the time it takes."""
    is_young = (Payment.attention != "") & (Payment.created_at > now() - states.GIVE_UP_US)
    Payment.update(attention="").where((Payment.payment_id == payment_id) & is_young).execute()


def unknown_there(payment_id: str) -> bool:
    """Campay knows no such transaction, which it may only not know yet."""
    if known(payment_id).created_at > now() - states.UNKNOWN_AFTER_US:
        return False
    return flag(payment_id, UNKNOWN)


def cancel(caller: Caller, payment_id: str, visitor: Visitor) -> Payment:
    """The buyer no longer wants it. Should the money come all the same, it still counts.

    Raises: PaymentUnknown, PaymentEnded.
    """
    payment = owned(caller, payment_id)
    cancelled = change(
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
        has_failed = payment.state == State.FAILED
        wait = states.wait_us(moment - payment.created_at, payment.looks, often_us, has_failed=has_failed)
        look_at = None if wait is None else moment + wait
        Payment.update(looks=Payment.looks + 1, look_at=look_at).where(
            Payment.payment_id == payment.payment_id
        ).execute()
        if wait is None:
            _give_up(payment, OVERDUE)
    return [payment.payment_id for payment in due]


def give_up_elsewhere(mode: str, limit: int) -> None:
    """Payments of another mode are asked about by no gateway like this one: in the end they wait for an operator."""
    old = Payment.created_at <= now() - states.GIVE_UP_US
    query = Payment.select().where((Payment.look_at <= now()) & (Payment.mode != mode) & old)
    for payment in list(locked(query.limit(limit))):
        Payment.update(look_at=None).where(Payment.payment_id == payment.payment_id).execute()
        if payment.state == State.PENDING:
            unsent(payment.payment_id)
        _give_up(payment, ELSEWHERE.format(mode=payment.mode))


def _give_up(payment: Payment, attention: str) -> None:
    if payment.state == State.PROCESSING or payment.is_unclear:
        flag(payment.payment_id, attention, is_least=True)


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


def _open(caller: Caller, order: Order) -> Payment | None:
    """One of another account at Campay, as of its demo, is no way to pay here."""
    mine = (Payment.account_id == caller.account_id) & (Payment.tier_id == order.offer.tier_id)
    is_open = (Payment.mode == order.mode) & Payment.state.in_(states.OPEN)
    payment: Payment | None = Payment.get_or_none(mine & is_open)
    return None if payment and unsent(payment.payment_id) else payment


def _has(reference: str) -> bool:
    return bool(rows(Payment.select(Payment.payment_id).where(Payment.reference == reference)))


def unless_cancelled(state: State) -> Any:
    return Case(None, [(Payment.state == State.CANCELLED, State.CANCELLED)], state)
