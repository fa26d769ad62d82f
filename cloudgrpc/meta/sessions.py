"""Where a person is signed in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudgrpc.errors import SessionUnknown
from cloudgrpc.meta import events
from cloudgrpc.meta.accounts import find_caller
from cloudgrpc.meta.db import now, rows
from cloudgrpc.meta.models import Session
from cloudgrpc.meta.prepared import Prepared, blank

if TYPE_CHECKING:
    from cloudgrpc.core.peers import Visitor
    from cloudgrpc.meta.accounts import Caller


@dataclass(frozen=True)
class Standing:
    """A session that is in force. Times are microseconds since 1970."""

    session_id: str
    created_at: int
    last_used_at: int
    expires_at: int
    host: str
    client: str


def standing(account_id: str) -> list[Standing]:
    """Newest first."""
    query = (
        Session.select(
            Session.session_id,
            Session.created_at,
            Session.last_used_at,
            Session.expires_at,
            Session.peer,
            Session.client,
        )
        .where((Session.account == account_id) & (Session.expires_at > now()))
        .order_by(Session.created_at.desc(), Session.session_id)
    )
    return [Standing(*row) for row in rows(query)]


def log_out(digest: str, visitor: Visitor) -> None:
    """Raises: SessionEnded."""
    caller = find_caller(digest)
    Session.delete().where(Session.digest == digest).execute()
    events.record("session.ended", f"{caller.email} signed out", account_id=caller.account_id, visitor=visitor)


def end(caller: Caller, session_id: str, visitor: Visitor) -> None:
    """Raises: SessionUnknown."""
    if (
        not Session.delete()
        .where((Session.account == caller.account_id) & (Session.session_id == session_id))
        .execute()
    ):
        raise SessionUnknown(session_id=session_id)
    events.record(
        "session.ended",
        f"{caller.email} ended a session",
        account_id=caller.account_id,
        visitor=visitor,
        session_id=session_id,
    )


def end_others(caller: Caller, visitor: Visitor) -> int:
    """How many there were."""
    others = (Session.account == caller.account_id) & (Session.session_id != caller.session_id)
    ended = int(Session.delete().where(others).execute())
    if ended:
        events.record(
            "session.ended",
            f"{caller.email} ended all other sessions",
            account_id=caller.account_id,
            visitor=visitor,
            ended=ended,
        )
    return ended


def touch(digest: str) -> None:
    """The session was used just now."""
    _TOUCH.run(digest=digest, now=now())


_TOUCH = Prepared(lambda: Session.update(last_used_at=blank("now")).where(Session.digest == blank("digest")))
