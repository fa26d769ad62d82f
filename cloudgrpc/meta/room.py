"""What a drive may still take in: its quota, checked and charged in one statement, so that it is exact."""

from __future__ import annotations

from cloudgrpc.core.units import size_words
from cloudgrpc.errors import QuotaExceeded
from cloudgrpc.meta.models import Account


def charge(owner_id: str, name: str, size: int) -> None:
    """Count `size` more bytes as used. Raises: QuotaExceeded, and nothing is counted."""
    left = Account.quota_bytes - Account.used_bytes - Account.reserved_bytes
    fits = (Account.account_id == owner_id) & (left >= size)
    # Nothing at all always fits: a quota that was lowered below what is used refuses bytes, not folders.
    if size and not Account.update(used_bytes=Account.used_bytes + size).where(fits).execute():
        raise refusal(owner_id, name, size)


def give_back(owner_id: str, size: int) -> None:
    Account.update(used_bytes=Account.used_bytes - size).where(Account.account_id == owner_id).execute()


def refusal(owner_id: str, name: str, size: int) -> QuotaExceeded:
    """Why something does not fit."""
    account = Account.get_by_id(owner_id)
    left = max(0, account.quota_bytes - account.used_bytes - account.reserved_bytes)
    return QuotaExceeded(
        name=name, needed=size_words(size), left=size_words(left), quota=size_words(account.quota_bytes)
    )
