"""Accounts that their owners closed, until their files go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudgrpc.meta import changes, events, sessions, sweeping, uploads
from cloudgrpc.meta.accounts import use_proof
from cloudgrpc.meta.db import locked, now, rows
from cloudgrpc.meta.models import Account, Entry, Upload

if TYPE_CHECKING:
    from cloudgrpc.core.peers import Visitor
    from cloudgrpc.meta.accounts import Caller


SWEPT_AT_ONCE = 1000


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
    is_closed = (Account.account_id == caller.account_id) & Account.closes_at.is_null(False)
    if not Account.update(closes_at=None).where(is_closed).execute():
        return False
    events.record(
        "account.reopened", f"{caller.email} took the closing back", account_id=caller.account_id, visitor=visitor
    )
    return True


def due(limit: int) -> list[str]:
    """Accounts whose time is over."""
    query = Account.select(Account.account_id).where(Account.closes_at <= now()).order_by(Account.closes_at)
    return [account_id for (account_id,) in rows(query.limit(limit))]


def remove(account_id: str) -> bool:
    """Everything of the account goes; its chunks age towards collection. False: it was reopened meanwhile."""
    is_due = (Account.account_id == account_id) & (Account.closes_at <= now())
    account = locked(Account.select().where(is_due)).first()
    if account is None:
        return False
    for (upload_id,) in rows(
        Upload.select(Upload.upload_id).where((Upload.account == account_id) & (Upload.state == "open"))
    ):
        uploads.abandon(upload_id)
    tops = (Entry.account == account_id) & Entry.parent.is_null() & Entry.purged_at.is_null()
    size = changes.take_out(account_id, tops)
    while sweeping.sweep(SWEPT_AT_ONCE, account_id):
        pass
    Account.delete().where(Account.account_id == account_id).execute()
    events.record("account.removed", f"the account of {account.email} was removed", account_id=account_id, bytes=size)
    return True
