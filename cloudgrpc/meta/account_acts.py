"""What operators do to accounts, each act an event of its own transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudgrpc.core.units import size_words
from cloudgrpc.errors import QuotaMoved
from cloudgrpc.meta import events, users
from cloudgrpc.meta.db import locked, now
from cloudgrpc.meta.events import OPERATOR
from cloudgrpc.meta.models import Account, Session

if TYPE_CHECKING:
    from cloudgrpc.core.peers import Visitor


def set_quota(user: str, quota_bytes: int, expected_bytes: int | None, operator: str, visitor: Visitor) -> str:
    """The account's id. Less than is used is allowed: then nothing more can be stored there. The quota it has already
    changes nothing. `expected_bytes`: what it must be now; None: any.

    Raises: UserUnknown, QuotaMoved.
    """
    account = _locked(user)
    before = account.quota_bytes
    if expected_bytes is not None and before != expected_bytes:
        raise QuotaMoved(user=account.email, now=size_words(before), expected=size_words(expected_bytes))
    if before != quota_bytes:
        Account.update(quota_bytes=quota_bytes).where(Account.account_id == account.account_id).execute()
        events.record(
            "quota.changed",
            f"the quota of {account.email} is {size_words(quota_bytes)} now, and was {size_words(before)}",
            account_id=account.account_id,
            visitor=visitor,
            by=OPERATOR,
            operator=operator,
            before_bytes=before,
            after_bytes=quota_bytes,
        )
    return str(account.account_id)


def disable(user: str, reason: str, operator: str, visitor: Visitor) -> str:
    """End all sessions of the account, and let nobody sign in to it; its id. Files stay, and so does what is shared.
    The same once more changes nothing; another reason takes the place of the first. Raises: UserUnknown."""
    account = _locked(user)
    if account.disabled_at is not None and account.disabled_reason == reason:
        return str(account.account_id)
    Account.update(disabled_at=account.disabled_at or now(), disabled_reason=reason).where(
        Account.account_id == account.account_id
    ).execute()
    ended = Session.delete().where(Session.account == account.account_id).execute()
    events.record(
        "user.disabled",
        f"the account of {account.email} was disabled{f': {reason}' if reason else ''}",
        account_id=account.account_id,
        visitor=visitor,
        by=OPERATOR,
        operator=operator,
        reason=reason,
        sessions_ended=ended,
    )
    return str(account.account_id)


def enable(user: str, operator: str, visitor: Visitor) -> str:
    """Let an account in again; its id. Raises: UserUnknown."""
    account = _locked(user)
    if account.disabled_at is not None:
        Account.update(disabled_at=None, disabled_reason="").where(Account.account_id == account.account_id).execute()
        events.record(
            "user.enabled",
            f"the account of {account.email} was enabled again",
            account_id=account.account_id,
            visitor=visitor,
            by=OPERATOR,
            operator=operator,
        )
    return str(account.account_id)


def _locked(user: str) -> Account:
    """As it is once nobody else changes it. Raises: UserUnknown."""
    account_id = users.find(user).account_id
    account: Account = locked(Account.select().where(Account.account_id == account_id)).get()
    return account
