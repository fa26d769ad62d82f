"""`admin --users`: everybody with an account, as they come."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING

from cloudgrpc.admin import user_words
from cloudgrpc.clients import render
from cloudgrpc.shell.stream_table import StreamTable

if TYPE_CHECKING:
    import argparse

    from cloudgrpc.admin.lookout import Lookout

PAGE = 200


@dataclass(frozen=True)
class View:
    search: str
    is_json: bool


def wanted(args: argparse.Namespace) -> View:
    return View(args.search or "", args.json)


def show(lookout: Lookout, view: View) -> None:
    users = lookout.users(view.search)
    if view.is_json:
        render.print_json_list(map(user_words.facts, users))
        return
    now = datetime.now(UTC)
    table = StreamTable(user_words.titles(), user_words.RIGHT)
    seen = 0
    while page := list(islice(users, PAGE)):
        seen += len(page)
        table.add([user_words.row(user, now) for user in page])
    if not seen:
        print(f"Nobody is called {render.shown(view.search)}." if view.search else "Nobody has enrolled yet.")
