"""The keys of accounts and of contents as rows hold them, and the process's keyring that opens them.

All functions but `bind` are called inside transactions. A content's data key never changes once it is given, so whoever
has a Seal may use it as long as he likes; only how it is wrapped changes, with its owner or with the master key. Who
gives a first key to a version, or another one to its copies, holds the drives of all their owners: copying does, too.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from cloudgrpc.core.sealing import KEY_BYTES, Keyring, Seal
from cloudgrpc.errors import KeyDamaged, Missing
from cloudgrpc.meta import claims
from cloudgrpc.meta.models import Account
from cloudgrpc.meta.prepared import Prepared, blank

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudgrpc.core.rotation import MasterKeys
    from cloudgrpc.core.sealing import AccountKey


class _Binding:
    """The master keys of now, and the keyring made of them."""

    def __init__(self, source: Callable[[], MasterKeys], *, seals_new: bool) -> None:
        self._source = source
        self._made: tuple[MasterKeys, Keyring] | None = None
        self.seals_new = seals_new
        self.known: frozenset[str] = frozenset()  # the ids of all that it ever had

    @property
    def keyring(self) -> Keyring:
        keys, made = self._source(), self._made
        if made is None or made[0] is not keys:
            made = self._made = (keys, Keyring(keys.keys, keys.current))
            self.known |= made[1].ids
        return made[1]


_NOTHING = Keyring({}, "")
_bound: _Binding | None = None


def bind(source: Callable[[], MasterKeys] | None, *, seals_new: bool = True) -> None:
    """Which master keys this process has, as the database is bound in `models`; asked for at every use, since they are
    rotated while it runs. None: it has none. `seals_new`: False leaves new contents plain; sealed ones still open."""
    global _bound  # noqa: PLW0603 - a process has one keyring, as it has one metadata database
    _bound = _Binding(source, seals_new=seals_new) if source else None


def keyring() -> Keyring:
    return _bound.keyring if _bound else _NOTHING


def follow(current: str) -> None:
    """No account needs another master key than this one. See `claims.follow_master_key`."""
    claims.follow_master_key(_bound.known if _bound else frozenset(), current)


def seals_new() -> bool:
    """Whether new contents are sealed."""
    return _bound is not None and _bound.seals_new


def check_master_keys() -> None:
    """Raises: MasterKeyMissing when an account's key is wrapped by one that this process does not have."""
    claims.check_master_keys(keyring().ids)


def claim() -> None:
    """Begin to seal in this database. Raises: MasterKeyElsewhere, MasterKeyMissing."""
    ring = keyring()
    claims.claim_master_key(ring.ids, ring.current, is_beginning=True)


def check_may_make() -> None:
    """Before a master key is made for want of one. Raises: MasterKeyElsewhere, MasterKeyMissing when there is one."""
    check_master_keys()
    claims.check_master_claim(keyring().ids, is_beginning=True)


def new_data_key(owner_id: str, account_wrapped: str) -> tuple[str, Seal | None]:
    """A fresh key for a content that this account is to own, wrapped, and its seal; "" and None when new contents are
    not sealed. `account_wrapped`: the account's key as its row has it, whose lock is held. Raises: MasterKeyMissing,
    KeyDamaged."""
    if not seals_new():
        return "", None
    data_key = secrets.token_bytes(KEY_BYTES)
    return account_key(owner_id, account_wrapped).wrap(data_key), Seal(data_key)


def account_key(account_id: str, wrapped: str | None = None) -> AccountKey:
    """The account's key, made now if it has none yet. `wrapped`: as its row has it, None when that was not read.

    Raises: MasterKeyMissing, KeyDamaged, MasterKeyElsewhere when the cluster's gateways seal with another one.
    """
    if wrapped is None:
        wrapped = wrapped_of(account_id)
    if not wrapped:
        ring = keyring()
        claims.claim_master_key(ring.ids, ring.current, is_beginning=False)  # it may have been changed meanwhile
        fresh = ring.make_account_key(secrets.token_bytes(KEY_BYTES))
        made = _FIRST_KEY.run(account_id=account_id, wrapped_key=fresh)
        wrapped = fresh if made else wrapped_of(account_id)
    return keyring().account_key(wrapped)


def wrapped_of(account_id: str) -> str:
    """The account's key as its row has it; "" when it has none. Raises: Missing."""
    row = _WRAPPED.one(account_id=account_id)
    if row is None:
        raise Missing(what=f"Account {account_id}")
    return str(row[0])


def data_key(account_wrapped: str, wrapped: str) -> bytes:
    """Of a sealed content, wrapped by the account's key. Raises: MasterKeyMissing, KeyDamaged, Missing when the account
    was removed, and its key with it."""
    if not account_wrapped:
        raise Missing(what="The key of what was stored here")
    return keyring().account_key(account_wrapped).unwrap(wrapped)


def seal_of(account_wrapped: str, wrapped: str) -> Seal | None:
    """None for a content that is not sealed. Raises: as `data_key`."""
    return Seal(data_key(account_wrapped, wrapped)) if wrapped else None


def plain_digest(account_wrapped: str, wrapped: str, digest: str) -> str:
    """The digest of a version or an upload as people see it. Raises: as `data_key`."""
    seal = seal_of(account_wrapped, wrapped)
    return seal.open_digest(digest) if seal and digest else digest


def listed_digest(account_wrapped: str, wrapped: str, digest: str) -> str:
    """The same for lists, "" where the key does not open: one damaged file must not hide all others. Whoever reads it
    is told, and `admin check` tells operators. Raises: MasterKeyMissing."""
    try:
        return plain_digest(account_wrapped, wrapped, digest)
    except (KeyDamaged, Missing):
        return ""


def rewrapped(wrapped: str, account_wrapped: str, to: AccountKey) -> str:
    """A data key that the account's key wraps, for another account; "" stays "". Raises: as `data_key`."""
    return to.wrap(data_key(account_wrapped, wrapped)) if wrapped else ""


def owners_key(account_id: Any) -> Any:
    """To be selected beside what an account owns: its wrapped key. `account_id`: the column that names the owner."""
    owner = Account.alias("owner")  # whoever selects may have joined another account
    return owner.select(owner.wrapped_key).where(owner.account_id == account_id)


_WRAPPED = Prepared(lambda: Account.select(Account.wrapped_key).where(Account.account_id == blank("account_id")))
_FIRST_KEY = Prepared(
    lambda: Account.update(wrapped_key=blank("wrapped_key")).where(
        (Account.account_id == blank("account_id")) & (Account.wrapped_key == "")
    )
)
