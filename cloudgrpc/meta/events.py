"""The record of what changed state: one row an act, in the act's own transaction."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from peewee import fn

from cloudgrpc.core.event_kinds import KINDS
from cloudgrpc.meta import bell
from cloudgrpc.meta.db import locked, now
from cloudgrpc.meta.models import Cluster, Event
from cloudgrpc.meta.prepared import Prepared, blank

if TYPE_CHECKING:
    from cloudgrpc.core.peers import Visitor

OPERATOR = "operator"  # as `by`: somebody with the admin key, whose address is not their business whom it is about

_RECORD = Prepared(
    lambda: Event.insert(
        at=blank("at"),
        kind=blank("kind"),
        message=blank("message"),
        account_id=blank("account_id"),
        actor_id=blank("actor_id"),
        node_id=blank("node_id"),
        details=blank("details"),
    )
)


def record(
    kind: str,
    message: str,
    *,
    account_id: str = "",
    actor_id: str = "",
    node_id: str = "",
    visitor: Visitor | None = None,
    **details: object,
) -> None:
    """`kind`: one of core.event_kinds. `account_id`: whose account or drive it is about; `actor_id`: who did it, when
    that is another account. `visitor`: who did it, and from where. `details` must hold no secret and must be JSON; `by`
    among them is the e-mail of who did it, "" for the cluster itself; without it that was whose account it is. Of an
    operator they hold by=OPERATOR and operator=the name of the key."""
    if kind not in KINDS:
        raise AssertionError(f"core.event_kinds does not know {kind}")
    if visitor is not None:
        details |= {"from": visitor.host, "client": visitor.client}
    _RECORD.run(
        at=now(),
        kind=kind,
        message=message,
        account_id=account_id,
        actor_id=actor_id,
        node_id=node_id,
        details=json.dumps(details),
    )
    bell.mark()


def number(limit: int) -> tuple[int, int]:
    """Give the oldest `limit` events that have no number the next ones; returns how many got one, and the last number
    there is. The cluster's row is locked, so numbers come to be seen in their order, whichever gateway gives them."""
    last: int = locked(Cluster.select(Cluster.cluster_id, Cluster.last_event_number)).get().last_event_number
    # That ids begin above 0 goes without saying, but lets SQLite seek in the index of those without a number.
    waiting = (
        Event.select(Event.event_id, fn.ROW_NUMBER().over(order_by=[Event.event_id]).alias("place"))
        .where(Event.number.is_null() & (Event.event_id > 0))
        .order_by(Event.event_id)
        .limit(limit)
        .cte("waiting", columns=("event_id", "place"))
    )
    numbered = Event.update(number=waiting.c.place + last).with_cte(waiting).from_(waiting)
    numbered.where(Event.event_id == waiting.c.event_id).execute()
    # Python's sqlite3 counts no rows of an UPDATE that begins with WITH. The last one's event may be gone.
    given = max(0, int(Event.select(fn.MAX(Event.number)).scalar() or last) - last)
    if given:
        Cluster.update(last_event_number=last + given).execute()
    return given, last + given


def sweep(age_us: int, limit: int) -> int:
    """Drop the oldest events that are older than `age_us`; returns how many. What has no number yet is left, since it
    may get one at this very moment, and each would wait for the other."""
    old = (
        Event.select(Event.event_id)
        .where((Event.at < now() - age_us) & Event.number.is_null(False))
        .order_by(Event.at)
        .limit(limit)
    )
    return int(Event.delete().where(Event.event_id.in_(old)).execute())
