"""The record of what changed state: one row an act, in the act's own transaction."""

from __future__ import annotations

import json

from cloudgrpc.meta.db import now
from cloudgrpc.meta.models import Event


def record(kind: str, message: str, *, account_id: str = "", node_id: str = "", **details: object) -> None:
    """`details` must hold no secret and must be JSON."""
    Event.insert(
        at=now(), kind=kind, message=message, account_id=account_id, node_id=node_id, details=json.dumps(details)
    ).execute()
