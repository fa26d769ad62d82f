"""Events in words: a line for each, how grave it is, and what a program gets of it. Pure."""

from __future__ import annotations

import json
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING

from cloudgrpc.clients.render import shown
from cloudgrpc.core.event_kinds import REFUSAL

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cloudgrpc.pb import cloud_storage_pb2 as pb

    Run = tuple[pb.SystemEvent, int]

GRAVE = {
    "code.undelivered",
    "collecting.stopped",
    "copy.bad",
    "node.offline",
    "node.read_only",
    "node.replaced",
    "payment.attention",
    "payment.unclear",
}
GOOD = {"collecting.resumed", "copy.made", "node.joined", "node.returned", "node.writable", "payment.completed"}
MANY = {"chunks.collected", "copy.bad", "copy.made"}
TYPE_LETTERS = 18
OPERATOR = "operator"  # how `by` begins for whoever showed an admin key; the key's name follows


class Weight(Enum):
    """How an event is marked, beside its colour."""

    GRAVE = "!"
    GOOD = "+"
    ACT = "*"
    PLAIN = " "


def weight(event: pb.SystemEvent) -> Weight:
    if event.event_type in GRAVE or event.event_type.startswith(REFUSAL):
        return Weight.GRAVE
    if event.by.partition(" ")[0] == OPERATOR:
        return Weight.ACT
    return Weight.GOOD if event.event_type in GOOD else Weight.PLAIN


def moment(event: pb.SystemEvent, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """In this computer's zone."""
    return datetime.fromisoformat(event.timestamp).astimezone().strftime(form)


def message(event: pb.SystemEvent) -> str:
    who = event.by.removeprefix(f"{OPERATOR} ")
    by = "" if not who or who in event.message else f" (by {who})"
    return shown(f"{event.message}{by}")


def kind(event: pb.SystemEvent) -> str:
    return shown(event.event_type).ljust(TYPE_LETTERS)


def line(event: pb.SystemEvent) -> str:
    return f"{moment(event)} {weight(event).value} {kind(event)} {message(event)}"


def runs(events: Iterable[pb.SystemEvent], before: Sequence[Run] = ()) -> list[Run]:
    """Of those that come by the hundred, all in a row stand as one of each node: the last, with how many they were.
    `before`: those that this goes on from."""
    told = list(before)
    for event in events:
        count = 1
        same = _same(told, event) if event.event_type in MANY else None
        if same is not None:
            count += told.pop(same)[1]
        told.append((event, count))
    return told


def _same(told: Sequence[Run], event: pb.SystemEvent) -> int | None:
    """Where, in the row of its type that ends them, the one of its node is."""
    for at in range(len(told) - 1, -1, -1):
        other, _ = told[at]
        if other.event_type != event.event_type:
            return None
        if other.node_id == event.node_id:
            return at
    return None


def facts(event: pb.SystemEvent) -> dict[str, object]:
    """event_id: in the order of the stream; at: in UTC; by: an e-mail address, "operator" and the name of the
    admin key, or null for the cluster itself; details: what else is known, by name; user_id and node_id: whom it is
    about, or null."""
    return {
        "event_id": event.event_id,
        "type": event.event_type,
        "at": event.timestamp,
        "message": event.message,
        "user_id": event.user_id or None,
        "node_id": event.node_id or None,
        "by": event.by or None,
        "details": json.loads(event.details or "{}"),
    }
