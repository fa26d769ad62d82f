"""The contents that a file had: kept up to a number, listed, made the newest again, deleted."""

from __future__ import annotations

from cloudgrpc.meta.db import rows
from cloudgrpc.meta.models import Account, Entry, Version
from cloudgrpc.meta.prepared import Prepared, blank
from cloudgrpc.meta.sweeping import delete_versions

_NEWEST_NUMBER = Prepared(
    lambda: (
        Version.select(Version.number)
        .join(Entry, on=(Entry.version_id == Version.version_id))
        .where(Entry.entry_id == blank("entry_id"))
    )
)


def newest_number(file_id: str) -> int:
    (number,) = _NEWEST_NUMBER.one(entry_id=file_id)
    return int(number)


def prune(owner_id: str, file_id: str, newest: int, keep: int) -> int:
    """Delete all but the `keep` newest versions of a file whose drive is locked; returns how many."""
    if newest <= keep:  # so there cannot be more
        return 0
    kept = Version.select(Version.version_id).where(Version.entry == file_id).order_by(Version.number.desc())
    old = [version_id for (version_id,) in rows(kept.offset(keep))]
    size = delete_versions(old)
    Account.update(used_bytes=Account.used_bytes - size).where(Account.account_id == owner_id).execute()
    return len(old)
