"""What happened in a person's drive and account, and what the person did in the drives of others."""

from __future__ import annotations

import heapq
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from peewee import SQL

from cloudgrpc.core.paging import how_many_fit
from cloudgrpc.meta.events import OPERATOR
from cloudgrpc.meta.models import Event
from cloudgrpc.meta.prepared import Prepared, blank

if TYPE_CHECKING:
    from cloudgrpc.meta.tree import Person

NEWEST = (1 << 63) - 1  # above any event's id
OF_THE_CALLER = ("from", "client", "operator")  # whoever made the call that did it


@dataclass(frozen=True)
class Happening:
    """An event as the one who asks may see it; `at` in microseconds since 1970."""

    event_id: int
    at: int
    kind: str
    message: str
    details: dict[str, Any]
    by_email: str  # who did it; "" for the cluster itself


def happenings(person: Person, before: int, limit: int) -> tuple[list[Happening], int | None]:
    """The newest of those with a smaller id than `before`, and where the next page goes on (None: that was all)."""
    of_person = {"account_id": person.account_id, "before": before, "limit": limit + 1}
    found = heapq.merge(_IN_MINE.all(**of_person), _ELSEWHERE.all(**of_person), reverse=True)
    seen = [_view(person, row) for row in found]
    count = min(limit, how_many_fit(len(one.message) + len(json.dumps(one.details)) for one in seen))
    return seen[:count], seen[count - 1].event_id if count < len(seen) else None


def _newest(of_person: Any) -> Any:
    return (
        Event.select(
            Event.event_id, Event.at, Event.kind, Event.message, Event.details, Event.account_id, Event.actor_id
        )
        .where(of_person & (Event.event_id < blank("before")))
        .order_by(Event.event_id.desc())
        .limit(blank("limit"))
    )


_IN_MINE = Prepared(lambda: _newest(Event.account_id == blank("account_id")))
# Written out, for SQLite to see that its index is meant, which has no other rows.
_ELSEWHERE = Prepared(lambda: _newest((Event.actor_id == blank("account_id")) & SQL("actor_id <> ''")))


def _view(person: Person, row: tuple[Any, ...]) -> Happening:
    event_id, at, kind, message, told, account_id, actor_id = row
    details = json.loads(told)
    by_email, seen = details.pop("by", person.email), details.pop("seen", message)
    details.pop("for_operators", None)
    if (actor_id and actor_id != person.account_id) or by_email == OPERATOR:
        details = {name: value for name, value in details.items() if name not in OF_THE_CALLER}
    return Happening(event_id, at, kind, message if account_id == person.account_id else seen, details, by_email)
