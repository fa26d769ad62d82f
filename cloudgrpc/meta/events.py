"""The record of what changed state: one row an act, in the act's own transaction."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from cloudgrpc.meta.db import now
from cloudgrpc.meta.models import Event
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
    """`account_id`: whose account or drive it is about; `actor_id`: who did it, when that is another account.
    `visitor`: who did it, and from where. `details` must hold no secret and must be JSON; `by` among them is the e-mail
    of who did it, "" for the cluster itself; without it that was whose account it is."""
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
