"""Events for operators: all there are, in the order of their numbers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from peewee import JOIN, fn

from cloudgrpc.errors import UserUnknown
from cloudgrpc.meta import tree
from cloudgrpc.meta.db import rows
from cloudgrpc.meta.events import OPERATOR
from cloudgrpc.meta.models import Account, Cluster, Event

if TYPE_CHECKING:
    from collections.abc import Collection

WINDOW = 10_000  # events looked through at once; measured: 5 ms when a filter lets none of them pass
# Of two events the one that happened later may have the smaller number, but not by more than a transaction may take.
DISORDER_US = 600_000_000


@dataclass(frozen=True)
class Wanted:
    """`kinds`: None for all; `account_id`: whose account it is about, or who did it, "" for all; `since`: as `at`."""

    kinds: Collection[str] | None = None
    account_id: str = ""
    since: int = 0


@dataclass(frozen=True)
class Told:
    """An event as operators see it. `number`: 0 when it has none yet; `at`: microseconds since 1970; `details`: JSON;
    `by`: who did it, "" when that was the cluster itself or nobody knows."""

    number: int
    at: int
    kind: str
    message: str
    account_id: str
    node_id: str
    details: str
    by: str


def last_number() -> int:
    """Of all events that have one."""
    last: int = Cluster.select(Cluster.last_event_number).scalar()
    return last


def before(moment: int) -> int:
    """A number that every event of this moment and later is above, and not many others."""
    earlier = Event.select(Event.number).where((Event.at < moment - DISORDER_US) & Event.number.is_null(False))
    found: int | None = earlier.order_by(Event.at.desc()).limit(1).scalar()
    return found or 0


def page(wanted: Wanted, after: int, until: int, limit: int) -> tuple[list[Told], int]:
    """What is wanted of the events above `after`, up to `until`: the first of them, at most `limit`; and up to where
    was looked. Looks at a bounded number of events, so it may find none and still not be at the end."""
    first = Event.select(fn.MIN(Event.number)).where(Event.number > after).scalar()
    if first is None or first > until:
        return [], until
    end = min(until, first + WINDOW - 1)
    query = _events().where((Event.number >= first) & (Event.number <= end) & (Event.at >= wanted.since))
    if wanted.kinds is not None:
        query = query.where(Event.kind.in_(sorted(wanted.kinds)))
    if wanted.account_id:
        query = query.where((Event.account_id == wanted.account_id) | (Event.actor_id == wanted.account_id))
    found = [_told(row) for row in rows(query.order_by(Event.number).limit(limit))]
    return found, found[-1].number if len(found) == limit else end


def newest_about(account_id: str, limit: int) -> list[Told]:
    """What happened to an account, the newest first."""
    query = _events().where(Event.account_id == account_id).order_by(Event.event_id.desc())
    return [_told(row) for row in rows(query.limit(limit))]


def account_id_of(user: str) -> str:
    """By e-mail address or by id, also of an account that is gone, for its events are not. Raises: UserUnknown."""
    told = tree.sound(user.strip())
    account_id: str | None = Account.select(Account.account_id).where(Account.email == told.lower()).scalar()
    if account_id is not None:
        return account_id
    is_there = Account.get_or_none(Account.account_id == told) is not None
    if told and (is_there or Event.select().where(Event.account_id == told).exists()):
        return told
    raise UserUnknown(user=user)


def _events() -> Any:
    return Event.select(
        Event.number,
        Event.at,
        Event.kind,
        Event.message,
        Event.account_id,
        Event.node_id,
        Event.details,
        Account.email,
    ).join(Account, JOIN.LEFT_OUTER, on=(Account.account_id == Event.account_id))


def _told(row: tuple[Any, ...]) -> Told:
    number, at, kind, message, account_id, node_id, packed, email = row
    details = json.loads(packed)
    by = details.pop("by", email or "")
    details.pop("seen", None)  # the message once more, for somebody who may know less
    if by == OPERATOR and "operator" in details:
        by = f"{OPERATOR} {details['operator']}"
    return Told(number or 0, at, kind, message, account_id, node_id, json.dumps(details), by)
