"""What is kept about a person, as rows for an export."""

from __future__ import annotations

import json
from typing import Any

from cloudgrpc.core.units import rfc3339
from cloudgrpc.meta.models import Account, Entry, Event, Session, Version

Row = dict[str, Any]


def person(account_id: str) -> Row:
    account = Account.get_by_id(account_id)
    standing = Session.select().where(Session.account == account_id).order_by(Session.created_at)
    return {
        "account": {
            "id": account_id,
            "email": account.email,
            "full_name": account.full_name,
            "quota_bytes": account.quota_bytes,
            "used_bytes": account.used_bytes,
            "created_at": rfc3339(account.created_at),
            "last_login_at": rfc3339(account.last_login_at),
            "closes_at": rfc3339(account.closes_at),
        },
        "sessions": [
            {
                "id": session.session_id,
                "created_at": rfc3339(session.created_at),
                "last_used_at": rfc3339(session.last_used_at),
                "expires_at": rfc3339(session.expires_at),
                "from": session.peer,
                "client": session.client,
            }
            for session in standing
        ],
    }


def entries(account_id: str, after: str, limit: int) -> list[Row]:
    """Folders and files by id, from behind `after`; the one without a parent is the root."""
    query = Entry.select().where((Entry.account == account_id) & (Entry.entry_id > after))
    return [
        {
            "id": entry.entry_id,
            "parent_id": entry.parent_id,
            "kind": entry.kind,
            "name": entry.name,
            "version_id": entry.version_id,
            "created_at": rfc3339(entry.created_at),
            "modified_at": rfc3339(entry.modified_at),
            "trashed_at": rfc3339(entry.trashed_at),
        }
        for entry in query.order_by(Entry.entry_id).limit(limit)
    ]


def versions(account_id: str, after: str, limit: int) -> list[Row]:
    query = (
        Version.select(Version, Entry).join(Entry).where((Entry.account == account_id) & (Version.version_id > after))
    )
    return [
        {
            "id": version.version_id,
            "file_id": version.entry.entry_id,
            "number": version.number,
            "size_bytes": version.size_bytes,
            "mime_type": version.mime_type,
            "checksum": version.digest,
            "created_at": rfc3339(version.created_at),
        }
        for version in query.order_by(Version.version_id).limit(limit)
    ]


def events(account_id: str, after: str, limit: int) -> list[Row]:
    query = Event.select().where((Event.account_id == account_id) & (Event.event_id > int(after or 0)))
    return [
        {
            "id": event.event_id,
            "at": rfc3339(event.at),
            "kind": event.kind,
            "message": event.message,
            "details": json.loads(event.details),
        }
        for event in query.order_by(Event.event_id).limit(limit)
    ]
