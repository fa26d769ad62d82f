"""The master keys of this process and of the database, and how many accounts need each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from peewee import fn

from cloudgrpc.core.sealing import master_id
from cloudgrpc.errors import KeyDamaged, MasterKeyMissing
from cloudgrpc.meta import events, sealing
from cloudgrpc.meta.db import rows
from cloudgrpc.meta.models import Account
from cloudgrpc.meta.prepared import Prepared, blank

if TYPE_CHECKING:
    from collections.abc import Sequence

ID_DIGITS = 8


@dataclass(frozen=True)
class KeyUse:
    """`accounts`: whose keys it wraps. `is_current`: it wraps what is new. `is_here`: this process has it."""

    key_id: str
    accounts: int
    is_current: bool
    is_here: bool


def uses() -> list[KeyUse]:
    """The current one first. Reads the whole table of accounts: for an operator who asks."""
    key_id: Any = fn.SUBSTR(Account.wrapped_key, 1, ID_DIGITS)
    query = Account.select(key_id, fn.COUNT(Account.account_id)).where(Account.wrapped_key != "").group_by(key_id)
    needed: dict[str, int] = dict(rows(query))
    ring = sealing.keyring()
    ids = sorted(ring.ids | needed.keys(), key=lambda each: (each != ring.current, each))
    return [KeyUse(each, needed.get(each, 0), each == ring.current, each in ring.ids) for each in ids]


def behind(after: str, limit: int) -> list[str]:
    """Accounts whose keys another master key than the current one wraps, by their ids from behind `after`. Reads the
    whole table of accounts."""
    key_id: Any = fn.SUBSTR(Account.wrapped_key, 1, ID_DIGITS)
    is_behind = (Account.wrapped_key != "") & (key_id != sealing.keyring().current)
    query = Account.select(Account.account_id).where((Account.account_id > after) & is_behind)
    return [account_id for (account_id,) in rows(query.order_by(Account.account_id).limit(limit))]


def rewrap(account_ids: Sequence[str]) -> tuple[int, int]:
    """Wrap the keys of accounts with the current master key; they themselves stay what they are. Returns how many were,
    and how many could not be, since what wraps them is not here or they are damaged."""
    ring = sealing.keyring()
    done = stuck = 0
    for account_id in account_ids:
        row = _WRAPPED.one(account_id=account_id)
        if row is None or not row[0] or master_id(row[0]) == ring.current:
            continue
        try:
            fresh = ring.rewrap(row[0])
        except (MasterKeyMissing, KeyDamaged):
            stuck += 1
        else:
            # Not if it was removed meanwhile: then its key is gone for good.
            done += _REWRAP.run(account_id=account_id, old=row[0], wrapped_key=fresh)
    if done:
        whose = "the key of 1 account was" if done == 1 else f"the keys of {done} accounts were"
        message = f"{whose} wrapped anew with master key {ring.current}"
        events.record("master_key.rewrapped", message, by="", key_id=ring.current, accounts=done)
    return done, stuck


_WRAPPED = Prepared(lambda: Account.select(Account.wrapped_key).where(Account.account_id == blank("account_id")))
_REWRAP = Prepared(
    lambda: Account.update(wrapped_key=blank("wrapped_key")).where(
        (Account.account_id == blank("account_id")) & (Account.wrapped_key == blank("old"))
    )
)
