"""Accounts that their owners closed, until their files go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peewee import fn

from cloudgrpc.meta import events, sessions, uploads
from cloudgrpc.meta.accounts import use_proof
from cloudgrpc.meta.db import locked, now, rows
from cloudgrpc.meta.models import Account, Entry, Session, Upload

if TYPE_CHECKING:
    from cloudgrpc.core.peers import Visitor
    from cloudgrpc.meta.accounts import Caller


def close(caller: Caller, proof: str, grace_us: int, visitor: Visitor) -> int:
    """Close the account and end its other sessions; returns when its files go. Closing again changes nothing.

    Raises: ProofMissing.
    """
    use_proof(caller.email, proof, visitor)
    closes_at = now() + grace_us
    is_open = (Account.account_id == caller.account_id) & Account.closes_at.is_null()
    if not Account.update(closes_at=closes_at).where(is_open).execute():
        return Account.get_by_id(caller.account_id).closes_at or closes_at
    sessions.end_others(caller, visitor)
    events.record(
        "account.closed",
        f"{caller.email} closed the account",
        account_id=caller.account_id,
        visitor=visitor,
        closes_at=closes_at,
    )
    return closes_at


def reopen(caller: Caller, visitor: Visitor) -> bool:
    """Take the closing back; False: it was open."""
    is_closed = (Account.account_id == caller.account_id) & Account.closes_at.is_null(False) & _IS_STANDING
    if not Account.update(closes_at=None).where(is_closed).execute():
        return False
    events.record(
        "account.reopened", f"{caller.email} took the closing back", account_id=caller.account_id, visitor=visitor
    )
    return True


def due(limit: int) -> list[str]:
    """Accounts whose time is over."""
    query = Account.select(Account.account_id).where((Account.closes_at <= now()) & _IS_STANDING)
    return [account_id for (account_id,) in rows(query.order_by(Account.closes_at).limit(limit))]


def remove(account_id: str) -> bool:
    """The account and all it holds are gone for everybody, and its address can enroll anew; the rows go little by
    little. False: it was reopened meanwhile."""
    is_due = (Account.account_id == account_id) & (Account.closes_at <= now()) & _IS_STANDING
    account = locked(Account.select().where(is_due)).first()
    if account is None:
        return False
    for (upload_id,) in rows(
        Upload.select(Upload.upload_id).where((Upload.account == account_id) & (Upload.state == "open"))
    ):
        uploads.abandon(upload_id)
    tops = (Entry.entry_id == account.root_id) | ((Entry.account == account_id) & Entry.trashed_at.is_null(False))
    Entry.update(trashed_at=None, trashed_from_id=None, purged_at=now()).where(tops).execute()
    Session.delete().where(Session.account == account_id).execute()
    # Without its key nothing that it owned can be read any more, wherever a copy of it lies.
    gone = {"full_name": "", "root_id": "", "quota_bytes": 0, "used_bytes": 0, "wrapped_key": ""}
    Account.update(email=f"removed {account_id}", **gone).where(Account.account_id == account_id).execute()
    events.record(
        "account.removed",
        f"the account of {account.email} was removed",
        account_id=account_id,
        bytes=account.used_bytes,
    )
    return True


def forget(limit: int) -> None:
    """Drop the rows of removed accounts of which nothing is left."""
    holds = fn.EXISTS(Entry.select(Entry.entry_id).where(Entry.account == Account.account_id))
    empty = Account.select(Account.account_id).where(Account.closes_at.is_null(False) & ~_IS_STANDING & ~holds)
    for (account_id,) in rows(empty.limit(limit)):
        Account.delete().where(Account.account_id == account_id).execute()


_IS_STANDING = Account.root_id != ""  # a removed one has none, and so nothing of it is live
