"""The shell's commands about a drive as a whole: storage, history."""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING

from cloudgrpc.clients import render
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.shell.parser import Command, Parser, whole_number

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from cloudgrpc.clients.session import Session

LINES = 20
MOST = 1000  # on one page


def _storage_parser() -> Parser:
    parser = Parser("storage", "Show how much room you have and what uses it.", "storage\nstorage --json")
    parser.add_argument("--json", action="store_true", help="print as JSON, for programs")
    return parser


def _history_parser() -> Parser:
    parser = Parser(
        "history",
        "Show what happened in your drive and account, the newest first.",
        """
        history
        history -n 100
        history -n 0 --json     all of it, for a program
        """,
    )
    parser.add_argument(
        "-n", "--lines", metavar="N", type=whole_number, default=LINES, help=f"so many (default: {LINES}; 0: all)"
    )
    parser.add_argument("--json", action="store_true", help="print as JSON, for programs")
    return parser


class OverviewCommands:
    def __init__(self, session: Callable[[], Session]) -> None:
        """`session`: who is signed in at the moment a command runs; raises SessionEnded."""
        self._session = session

    def commands(self) -> list[Command]:
        return [
            Command("Show used and free room.", _storage_parser(), self._storage),
            Command("Show what happened.", _history_parser(), self._history),
        ]

    def _storage(self, args: argparse.Namespace) -> None:
        from cloudgrpc.shell import quota

        session = self._session()
        token, storage = session.token, session.gateway.storage
        info = session.call(storage.GetStorageInfo, pb.StorageInfoRequest(session_token=token))
        usage = session.call(storage.GetStorageUsage, pb.StorageUsageRequest(session_token=token))
        if args.json:
            render.print_json(quota.facts(info, usage))
        else:
            quota.show(info, usage)

    def _history(self, args: argparse.Namespace) -> None:
        session = self._session()
        pages = _pages(session, args.lines)
        if args.json:
            render.print_json_list(_facts(entry) for page in pages for entry in page)
        else:
            _show(session, pages)


def _pages(session: Session, wanted: int) -> Iterator[list[pb.HistoryEntry]]:
    """At most `wanted` entries in all; 0: all there are."""
    request = pb.ListHistoryRequest(session_token=session.token, page_size=min(wanted or MOST, MOST))
    left = wanted or None
    while True:
        page = session.call(session.gateway.history.ListHistory, request)
        entries = list(islice(page.entries, left))
        yield entries
        left = left and left - len(entries)
        if not page.next_page_token or left == 0:
            return
        request.page_token = page.next_page_token


def _show(session: Session, pages: Iterator[list[pb.HistoryEntry]]) -> None:
    from cloudgrpc.shell.stream_table import StreamTable

    me = session.call(session.gateway.auth.WhoAmI, pb.WhoAmIRequest(session_token=session.token)).email
    table = StreamTable(["When", "What"])
    for page in pages:
        table.add([(render.when(entry.timestamp), _words(entry, me)) for entry in page])


def _words(entry: pb.HistoryEntry, me: str) -> str:
    by = "" if entry.by_email in {"", me} else f" (by {entry.by_email})"
    return render.shown(entry.message + by)


def _facts(entry: pb.HistoryEntry) -> dict[str, object]:
    """time; type, such as "file.stored"; message, for people; by, an e-mail address or null for the cluster itself;
    details, an object that depends on the type."""
    return {
        "time": entry.timestamp,
        "type": entry.event_type,
        "message": entry.message,
        "by": entry.by_email or None,
        "details": json.loads(entry.details or "{}"),
    }
