"""Payments by the page, and what they add up to."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from peewee import SQL, fn

from cloudgrpc.core.payment_states import OPEN, State
from cloudgrpc.meta.db import rows
from cloudgrpc.meta.models import Account
from cloudgrpc.meta.payment_models import Payment

DAY_US = 86_400_000_000
Place = tuple[int, str]  # where a list goes on: when the last payment was begun, and its id


@dataclass(frozen=True)
class Filter:
    """Which payments are meant; what is None or empty does not matter. Times are microseconds since 1970."""

    account_id: str = ""
    user: str = ""  # an account's id, or an e-mail address as it was when the payment was begun
    state: str = ""
    since: int | None = None
    until: int | None = None
    only_attention: bool = False
    id_begins: str = ""

    def condition(self) -> Any:
        wanted = Payment.payment_id != ""
        if self.account_id:
            wanted &= Payment.account_id == self.account_id
        if self.user:
            wanted &= (Payment.account_id == self.user) | (Payment.email == self.user.lower())
        if self.state:
            wanted &= Payment.state == self.state
        if self.since is not None:
            wanted &= Payment.created_at >= self.since
        if self.until is not None:
            wanted &= Payment.created_at < self.until
        if self.only_attention:
            wanted &= SQL("attention <> ''")  # written out, for SQLite to see that its partial index is meant
        if self.id_begins:
            wanted &= (Payment.payment_id >= self.id_begins) & (Payment.payment_id < self.id_begins + "g")
        return wanted


@dataclass(frozen=True)
class Totals:
    """Of the payments that a filter means. `days`: a day's first microsecond -> XAF and number of completed ones."""

    by_state: dict[str, int]
    unclear: int
    attention: int
    revenue_xaf: int
    refunded_xaf: int
    sold_bytes: int
    days: dict[int, tuple[int, int]]


def page(wanted: Filter, after: Place | None, limit: int) -> tuple[list[Payment], Place | None]:
    """The newest first, of those behind `after`; and where the next page goes on (None: that was all)."""
    condition = wanted.condition()
    if after:
        earlier = (Payment.created_at == after[0]) & (Payment.payment_id < after[1])
        condition &= (Payment.created_at < after[0]) | earlier
    query = Payment.select().where(condition).order_by(Payment.created_at.desc(), Payment.payment_id.desc())
    found = list(query.limit(limit + 1))
    last = found[limit - 1] if len(found) > limit else None
    return found[:limit], (last.created_at, last.payment_id) if last else None


def totals(wanted: Filter) -> Totals:
    condition = wanted.condition()
    by_state = rows(
        Payment.select(
            Payment.state, fn.COUNT(Payment.payment_id), fn.SUM(Payment.amount_xaf), fn.SUM(Payment.storage_bytes)
        )
        .where(condition)
        .group_by(Payment.state)
    )
    counts = {state: count for state, count, _, _ in by_state}
    money = {state: int(amount) for state, _, amount, _ in by_state}
    room = {state: int(size) for state, _, _, size in by_state}
    return Totals(
        by_state=counts,
        unclear=Payment.select().where(condition & Payment.is_unclear).count(),
        attention=Payment.select().where(condition & (Payment.attention != "")).count(),
        revenue_xaf=money.get(State.COMPLETED, 0),
        refunded_xaf=money.get(State.REFUNDED, 0),
        sold_bytes=room.get(State.COMPLETED, 0),
        days=_days(condition),
    )


def _days(condition: Any) -> dict[int, tuple[int, int]]:
    """What was refunded is no revenue."""
    completed = condition & (Payment.state == State.COMPLETED)
    day = Payment.completed_at / DAY_US * DAY_US  # of whole numbers; peewee's % means LIKE
    query = Payment.select(day, fn.SUM(Payment.amount_xaf), fn.COUNT(Payment.payment_id)).where(completed)
    return {int(first): (int(amount), count) for first, amount, count in rows(query.group_by(day).order_by(day))}


def bought(account_id: str) -> tuple[dict[str, int], dict[str, str]]:
    """Of an account: tier -> how often it was bought; tier -> the payment under way."""
    times: dict[str, int] = defaultdict(int)
    under_way: dict[str, str] = {}
    query = Payment.select(Payment.tier_id, Payment.state, Payment.payment_id).where(Payment.account_id == account_id)
    for tier_id, state, payment_id in rows(query):
        if state == State.COMPLETED:
            times[tier_id] += 1
        elif state in OPEN:
            under_way[tier_id] = payment_id
    return times, under_way


def quota_and_use(account_id: str) -> tuple[int, int]:
    quota, used = rows(Account.select(Account.quota_bytes, Account.used_bytes).where(Account.account_id == account_id))[
        0
    ]
    return quota, used
