"""Accounts in words: a row for each, what is to be said about it, and what a program gets of it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudgrpc.admin import figures
from cloudgrpc.clients.render import count, shown, when
from cloudgrpc.core.units import size_words

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from cloudgrpc.pb import cloud_storage_pb2 as pb

TITLES = ["Who", "Full", "Used", "Files", "Signed in", "State and name"]
RIGHT = ["Used", "Files", "Signed in"]
BAR = 5  # cells


def titles(bar: int = BAR) -> list[str]:
    """Without bars of no cells."""
    return [title for title in TITLES if title != "Full" or bar]


def row(user: pb.UserInfo, now: datetime, bar: int = BAR) -> list[str]:
    bars = [figures.meter(user.storage_used, user.storage_allocated, bar)] if bar else []
    return [
        shown(user.email),
        *bars,
        figures.sizes(user.storage_used, user.storage_allocated),
        f"{user.file_count:,}",
        figures.ago(user.last_login, now),
        "; ".join([*notes(user), shown(user.name)]),
    ]


def notes(user: pb.UserInfo) -> Iterator[str]:
    if user.disabled_at:
        yield f"disabled {when(user.disabled_at)}" + (
            f": {shown(user.disabled_reason)}" if user.disabled_reason else ""
        )
    if user.closes_at:
        yield f"closed, its files go {when(user.closes_at)}"
    if user.storage_used > user.storage_allocated:
        yield "over its quota, read-only"


def details(reply: pb.UserDetailsResponse, now: datetime) -> Iterator[tuple[str, str]]:
    """What is known about the account itself, by label."""
    user = reply.user
    yield "Who", f"{shown(user.email)}, {shown(user.name)}"
    yield "ID", user.user_id
    yield "State", "; ".join(notes(user)) or "open"
    full = figures.percent(user.storage_used, user.storage_allocated)
    used = f"{figures.sizes(user.storage_used, user.storage_allocated)}, {full}"
    yield "Used", f"{figures.meter(user.storage_used, user.storage_allocated, 10)} {used}"
    kept = [(reply.trash_bytes, "in the trash"), (reply.version_bytes, "in older versions")]
    kept += [(user.reserved_bytes, "reserved by uploads under way")]
    if words := ", ".join(f"{size_words(size)} {where}" for size, where in kept if size):
        yield "Of that", words
    yield "Holds", f"{count(user.file_count, 'file')}, {count(reply.folder_count, 'folder')}"
    yield "Enrolled", when(user.created_at)
    sessions = count(user.sessions, "open session")
    yield "Signed in", f"{figures.ago(user.last_login, now)}, {sessions}"


def events(reply: pb.UserDetailsResponse) -> list[pb.SystemEvent]:
    """The oldest first; the very newest may have no place in the stream yet."""
    return sorted(reply.events, key=lambda event: (event.timestamp, event.event_id))


def facts(user: pb.UserInfo) -> dict[str, object]:
    """Sizes in bytes, times in UTC, null for never; reserved_bytes: of uploads under way."""
    return {
        "user_id": user.user_id,
        "email": user.email,
        "name": user.name,
        "quota_bytes": user.storage_allocated,
        "used_bytes": user.storage_used,
        "reserved_bytes": user.reserved_bytes,
        "files": user.file_count,
        "sessions": user.sessions,
        "created_at": user.created_at,
        "last_login": user.last_login or None,
        "disabled_at": user.disabled_at or None,
        "disabled_reason": user.disabled_reason or None,
        "closes_at": user.closes_at or None,
    }
