"""The keys of single operators. Only digests are kept; a name stays taken for good, since events tell it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudgrpc.core.operators import Operator, Role
from cloudgrpc.errors import AdminKeyTaken, AdminKeyUnknown
from cloudgrpc.meta import events, paces
from cloudgrpc.meta.db import locked, now
from cloudgrpc.meta.models import AdminKey
from cloudgrpc.meta.prepared import Prepared, blank

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudgrpc.core.pace import Rule

MINUTE_US = 60_000_000


@dataclass(frozen=True)
class Standing:
    """`wait_us`: until the next try is judged, 0 for now; `operator`: None when there is no such key; `is_stale`: its
    use is to be noted."""

    wait_us: int
    operator: Operator | None
    is_stale: bool


def look(digest: str, rules: Sequence[Rule]) -> Standing:
    """Whose key it is that has this digest, and whether whoever shows it may try at all."""
    wait_us = paces.wait(rules)
    row = _LIVE.one(digest=digest)
    if row is None:
        return Standing(wait_us, None, is_stale=False)
    name, role, last_used_at = row
    is_stale = last_used_at is None or now() - last_used_at >= MINUTE_US
    return Standing(wait_us, Operator(name, Role(role)), is_stale)


def is_live(name: str) -> bool:
    return bool(AdminKey.select().where((AdminKey.name == name) & AdminKey.revoked_at.is_null()).exists())


def note_use(name: str) -> None:
    moment = now()
    AdminKey.update(last_used_at=moment - moment % MINUTE_US).where(AdminKey.name == name).execute()


def add(name: str, role: Role, digest: str, operator: str) -> None:
    """`operator`: who gives it. Raises: AdminKeyTaken."""
    if AdminKey.get_or_none(AdminKey.name == name) is not None:
        raise AdminKeyTaken(name=name)
    AdminKey.insert(name=name, role=role, digest=digest, created_at=now(), created_by=operator).execute()
    _record("admin_key.added", f"the admin key {name} was made, which may {role}", name, operator)


def revoke(name: str, operator: str) -> bool:
    """It opens nothing any more. False: it was revoked before. Raises: AdminKeyUnknown."""
    key = locked(AdminKey.select().where(AdminKey.name == name)).first()
    if key is None:
        raise AdminKeyUnknown(name=name)
    if key.revoked_at is not None:
        return False
    AdminKey.update(revoked_at=now()).where(AdminKey.name == name).execute()
    _record("admin_key.revoked", f"the admin key {name} was revoked", name, operator)
    return True


def everything() -> list[AdminKey]:
    """Also those that are revoked, by name."""
    return list(AdminKey.select().order_by(AdminKey.name))


def _record(kind: str, message: str, name: str, operator: str) -> None:
    events.record(kind, message, by=events.OPERATOR, operator=operator, name=name)


_LIVE = Prepared(
    lambda: AdminKey.select(AdminKey.name, AdminKey.role, AdminKey.last_used_at).where(
        (AdminKey.digest == blank("digest")) & AdminKey.revoked_at.is_null()
    )
)
