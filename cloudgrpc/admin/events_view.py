"""`admin --events`: what happened, the newest last."""

from __future__ import annotations

import sys
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cloudgrpc.admin import event_words
from cloudgrpc.admin.event_words import Weight
from cloudgrpc.admin.lookout import Kinds, Start
from cloudgrpc.clients import render
from cloudgrpc.errors import UsageWrong
from cloudgrpc.shell import dates

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from cloudgrpc.admin.lookout import Lookout
    from cloudgrpc.pb import cloud_storage_pb2 as pb

LINES = 50
LARGEST_ID = 1 << 63
STYLES = {Weight.GRAVE: "31", Weight.GOOD: "32", Weight.ACT: "35", Weight.PLAIN: ""}  # ANSI


@dataclass(frozen=True)
class View:
    kinds: Kinds
    start: Start | None  # None: the newest ones
    lines: int  # 0: all
    is_json: bool


def wanted(args: argparse.Namespace) -> View:
    """Raises: UsageWrong."""
    if args.lines is not None and args.lines < 0:
        raise UsageWrong(reason="-n is a whole number; 0 means all")
    start = start_of(args.since)
    # Who names a beginning wants all from there.
    usual = LINES if start is None else 0
    return View(kinds_of(args), start, usual if args.lines is None else args.lines, args.json)


def kinds_of(args: argparse.Namespace) -> Kinds:
    return Kinds(tuple(args.type or ()), args.user or "")


def start_of(word: str | None) -> Start | None:
    """An event's ID, or a time. Raises: UsageWrong."""
    if not word:
        return None
    if word.isascii() and word.isdigit():
        if int(word) >= LARGEST_ID:
            raise UsageWrong(reason=f"{word} is no event's ID")
        return Start(after_id=int(word))
    return Start(since=dates.start(word, datetime.now(UTC)))


def show(lookout: Lookout, view: View) -> None:
    events = _events(lookout, view)
    if view.is_json:
        render.print_json_list(map(event_words.facts, events))
        return
    seen = 0
    for event in events:
        seen += 1
        tell(event)
    if not seen:
        print("Nothing of that kind happened.")
    elif view.start is None and view.lines == seen:
        print(f"... the newest {view.lines}; -n 0 shows all", file=sys.stderr)


def tell(event: pb.SystemEvent) -> None:
    """A line; its ID is what --since takes."""
    line = f"{event.event_id:>7} {event_words.line(event)}"
    print(render.styled(line, STYLES[event_words.weight(event)]), flush=True)


def _events(lookout: Lookout, view: View) -> Iterable[pb.SystemEvent]:
    if view.start is None and view.lines:
        return lookout.last_events(view.kinds, view.lines)
    found = lookout.events(view.kinds, view.start or Start(after_id=0), stop_at_end=True)
    return deque(found, view.lines) if view.lines else found
