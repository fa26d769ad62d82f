"""`admin --user WHO`: all about one account: its room, files, sessions, payments, and what happened."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cloudgrpc.admin import event_words, figures, payment_view, user_words
from cloudgrpc.clients import render
from cloudgrpc.clients.render import BOLD, styled
from cloudgrpc.core.units import size_words
from cloudgrpc.shell import receipt
from cloudgrpc.shell.stream_table import StreamTable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from cloudgrpc.admin.lookout import Lookout
    from cloudgrpc.pb import cloud_storage_pb2 as pb

LABEL_LETTERS = 14
FILES, EVENTS = 10, 20  # shown to a person


@dataclass(frozen=True)
class View:
    who: str
    is_json: bool


def wanted(args: argparse.Namespace) -> View:
    return View(args.user, args.json)


def show(lookout: Lookout, view: View) -> None:
    reply = lookout.user(view.who)
    if view.is_json:
        render.print_json(facts(reply))
        return
    now = datetime.now(UTC)
    for label, words in user_words.details(reply, now):
        print(f"{styled(label.ljust(LABEL_LETTERS), BOLD)}{words}")
    files = [
        (each.file_id[:12], size_words(each.file_size), render.when(each.modified_at), name(each))
        for each in reply.files
    ]
    _table("Newest files", ["ID", "Size", "Changed", "Name"], files[:FILES], ["Size"])
    _table("Open sessions", ["Last used", "From", "Client"], [session(each, now) for each in reply.sessions])
    _table("Newest payments", receipt.TITLES, [receipt.row(each) for each in reply.payments], receipt.FIGURES)
    events = user_words.events(reply)[-EVENTS:]
    if events:
        print(f"\n{styled('What happened', BOLD)}")
    for event in events:
        print(event_words.line(event))


def name(file: pb.FileEntry) -> str:
    return render.shown(file.filename) + (" (in the trash)" if file.is_deleted else "")


def session(info: pb.SessionInfo, now: datetime) -> list[str]:
    return [figures.ago(info.last_used_at, now), render.shown(info.peer), render.shown(info.client)]


def _table(title: str, titles: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> None:
    if rows:
        print(f"\n{styled(title, BOLD)}")
        StreamTable(titles, right).add(rows)


def facts(reply: pb.UserDetailsResponse) -> dict[str, object]:
    """Those of `user_words.facts`, and: what of used_bytes is in the trash and in older versions; files: the newest, at
    most 100; sessions: the open ones; payments: the newest, at most 20; events: the newest, at most 50, the oldest
    first."""
    return {
        **user_words.facts(reply.user),
        "trash_bytes": reply.trash_bytes,
        "version_bytes": reply.version_bytes,
        "folders": reply.folder_count,
        "newest_files": [
            {
                "file_id": file.file_id,
                "name": file.filename,
                "size": file.file_size,
                "version": file.version,
                "modified_at": file.modified_at,
                "is_deleted": file.is_deleted,
            }
            for file in reply.files
        ],
        "open_sessions": [
            {
                "session_id": each.session_id,
                "created_at": each.created_at,
                "last_used_at": each.last_used_at,
                "expires_at": each.expires_at,
                "peer": each.peer,
                "client": each.client,
            }
            for each in reply.sessions
        ],
        "payments": [payment_view.facts(payment) for payment in reply.payments],
        "events": [event_words.facts(event) for event in user_words.events(reply)],
    }
