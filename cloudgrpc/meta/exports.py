"""What is kept about a person, as rows for an export."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cloudgrpc.core.units import rfc3339
from cloudgrpc.meta import history, payment_lists, sealing, sharing
from cloudgrpc.meta.ancestry import Ancestry
from cloudgrpc.meta.models import Account, Entry, Session, Version
from cloudgrpc.meta.tree import Person

Row = dict[str, Any]
After = Any  # where a section goes on, as its page before said; None for its beginning
Page = tuple[list[Row], After]  # and where the next one begins, None at the end
Section = Callable[[Person, After, int], Page]


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


def entries(person: Person, after: After, limit: int) -> Page:
    """Live folders and files, and those in the trash, by id; of those without a parent, the root folder is the one that
    lies in no trash."""
    query = Entry.select().where((Entry.account == person.account_id) & (Entry.entry_id > (after or "")))
    found = list(query.order_by(Entry.entry_id).limit(limit))
    ancestry = Ancestry()
    ancestry.learn(entry.entry_id for entry in found)
    told = [
        {
            "id": entry.entry_id,
            "parent_id": entry.parent_id,
            "kind": entry.kind,
            "name": entry.name,
            "version_id": entry.version_id,
            "created_at": rfc3339(entry.created_at),
            "modified_at": rfc3339(entry.modified_at),
            "trashed_at": rfc3339(entry.trashed_at),
            "trashed_from_id": entry.trashed_from_id,
            "trashed_from": entry.trashed_path,
        }
        for entry in found
        if not ancestry.is_purged(entry.entry_id)
    ]
    return told, found[-1].entry_id if found else None


def versions(person: Person, after: After, limit: int) -> Page:
    """By their files' ids."""
    query = Version.select(Version, Entry).join(Entry).where(Entry.account == person.account_id)
    if after:
        file_id, number = after
        # What comes first says no more than what follows it, but an index can seek to it.
        query = query.where((Entry.entry_id >= file_id) & ((Entry.entry_id > file_id) | (Version.number > number)))
    found = list(query.order_by(Entry.entry_id, Version.number).limit(limit))
    ancestry = Ancestry()
    ancestry.learn({version.entry_id for version in found})
    owners_key = sealing.wrapped_of(person.account_id)
    told = [
        {
            "id": version.version_id,
            "file_id": version.entry_id,
            "number": version.number,
            "size_bytes": version.size_bytes,
            "mime_type": version.mime_type,
            "checksum": sealing.listed_digest(owners_key, version.wrapped_key, version.digest),
            "created_at": rfc3339(version.created_at),
            "made_by": version.made_by,
        }
        for version in found
        if not ancestry.is_purged(version.entry_id)
    ]
    return told, (found[-1].entry_id, found[-1].number) if found else None


def shares(person: Person, after: After, limit: int) -> Page:
    """What the person shares, the newest first."""
    found, last = sharing.mine(person, "", after, limit)
    return [
        {
            "id": share.share_id,
            "entry_id": share.entry_id,
            "path": share.path,
            "email": share.email,
            "permission": share.terms.permission,
            "created_at": rfc3339(share.created_at),
            "until": rfc3339(share.terms.until_at),
        }
        for share in found
    ], last


def shared_with_me(person: Person, after: After, limit: int) -> Page:
    """What others share with the person, the newest first."""
    found, last = sharing.with_me(person, after, limit)
    return [
        {
            "id": share.share_id,
            "entry_id": share.entry_id,
            "name": share.name,
            "owner": share.owner_email,
            "permission": share.terms.permission,
            "created_at": rfc3339(share.created_at),
            "until": rfc3339(share.terms.until_at),
        }
        for share in found
    ], last


def payments(person: Person, after: After, limit: int) -> Page:
    """What the person bought, the newest first."""
    found, last = payment_lists.page(payment_lists.Filter(account_id=person.account_id), after, limit)
    return [
        {
            "id": payment.payment_id,
            "tier": payment.tier_name,
            "storage_bytes": payment.storage_bytes,
            "price_xaf": payment.price_xaf,
            "amount_xaf": payment.amount_xaf,
            "mode": payment.mode,
            "provider": payment.provider,
            "phone": payment.phone,
            "status": payment.state,
            "reference": payment.reference,
            "created_at": rfc3339(payment.created_at),
            "completed_at": rfc3339(payment.completed_at),
            "refunded_at": rfc3339(payment.refunded_at),
        }
        for payment in found
    ], last


def events(person: Person, after: After, limit: int) -> Page:
    """As the person may see them, the newest first."""
    found, last = history.happenings(person, after or history.NEWEST, limit)
    return [
        {
            "id": event.event_id,
            "at": rfc3339(event.at),
            "kind": event.kind,
            "message": event.message,
            "details": event.details,
            "by": event.by_email,
        }
        for event in found
    ], last


SECTIONS: dict[str, Section] = {
    "entries": entries,
    "versions": versions,
    "shares": shares,
    "shared_with_me": shared_with_me,
    "payments": payments,
    "events": events,
}
