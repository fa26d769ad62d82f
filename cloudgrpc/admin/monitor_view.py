"""`admin --monitor`: what happens, as it happens, over restarts of the gateway, until Ctrl-C."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudgrpc.admin import event_words, events_view
from cloudgrpc.admin.feed import follow
from cloudgrpc.admin.lookout import Start
from cloudgrpc.clients import render

if TYPE_CHECKING:
    import argparse

    from cloudgrpc.admin.lookout import Kinds, Lookout
    from cloudgrpc.errors import CloudError


@dataclass(frozen=True)
class View:
    kinds: Kinds
    start: Start | None  # None: from now on
    is_json: bool


def wanted(args: argparse.Namespace) -> View:
    """Raises: UsageWrong."""
    return View(events_view.kinds_of(args), events_view.start_of(args.since), args.json)


def show(lookout: Lookout, view: View) -> None:
    """Without an end. With --json a document a line, as `event_words.facts`."""
    newest = lookout.status().last_event_id
    start = view.start or Start(after_id=newest)
    if not view.is_json and view.start is None:
        print(f"Waiting for what happens at {lookout.address}; Ctrl-C ends it.", file=sys.stderr)
    for event in follow(lookout, view.kinds, start, _notice):
        if view.is_json:
            print(json.dumps(event_words.facts(event)), flush=True)
        else:
            events_view.tell(event)


def _notice(error: CloudError | None) -> None:
    if error is None:
        print("Connected again; what happened meanwhile follows.", file=sys.stderr)
    else:
        print(render.shown(f"{error} It is tried again until it answers."), file=sys.stderr)
