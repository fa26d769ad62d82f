"""Backups as the tests of meta take them, and gateways that were just made to bring them back into."""

from __future__ import annotations

import io
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cloudgrpc import config
from cloudgrpc.core.backup_format import Seal
from cloudgrpc.core.payment_states import State
from cloudgrpc.meta import backup, checks, restoring, schema
from cloudgrpc.meta.db import now
from cloudgrpc.meta.models import DATABASE, new_id
from cloudgrpc.meta.payment_models import Payment, StorageGrant
from contract.meta_fixture import Meta, opened, settings_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest

    from cloudgrpc.meta.accounts import Caller

LOOKS = (checks.accounts, checks.entries, checks.versions, checks.chunks)


def pay(meta: Meta, person: Caller, state: State, **more: Any) -> str:
    payment_id = new_id()
    values: dict[str, Any] = {
        "tier_id": payment_id,
        "tier_name": "Starter",
        "storage_bytes": 5,
        "price_xaf": 500,
        "amount_xaf": 10,
        "mode": "demo",
        "provider": "mtn_momo",
        "phone": "23767*****12",
        "state": state,
        "created_at": meta.run(now),
        **more,
    }
    account = {"account_id": person.account_id, "email": person.email}
    meta.run(lambda: Payment.create(payment_id=payment_id, **account, **values))
    if state == State.COMPLETED:
        grant = {"storage_bytes": 5, "granted_at": 1}
        meta.run(lambda: StorageGrant.create(payment=payment_id, account_id=person.account_id, **grant))
    return payment_id


def back_up(meta: Meta) -> bytes:
    file = io.BytesIO()
    made = meta.read(backup.write, file, "test")
    assert made.size_bytes == len(file.getvalue())
    return file.getvalue()


def restore(meta: Meta, data: bytes) -> restoring.Restored:
    """As the gateway does: the seal first."""
    seal = Seal()
    seal.update(data)
    seal.check()
    return meta.run(restoring.restore, io.BytesIO(data), "boss")


@contextmanager
def another(request: pytest.FixtureRequest, engine: str, folder: Path) -> Iterator[Meta]:
    """A gateway's database that was just made, open in place of the one before."""
    before = DATABASE.obj
    settings = config.Database() if engine == "sqlite" else settings_of(request.getfixturevalue("postgres_database"))
    try:
        with opened(settings, folder / "another") as meta:
            meta.run(schema.migrate)
            meta.run(schema.cluster_id)
            yield meta
    finally:
        DATABASE.initialize(before)


def faults_of(meta: Meta, limit: int = checks.PAGE) -> list[str]:
    """All that a check finds in the metadata itself, in pages of this size."""
    found = []
    for look in LOOKS:
        after = ""
        while True:
            page = meta.read(look, after, limit)
            found += [f"{fault.subject}: {fault.message}" for fault in page.faults]
            if not page.last:
                break
            after = page.last
    return found
