"""Which master keys an operator is told of, and how many accounts need each; on both engines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudgrpc.core.rotation import MasterKeys
from cloudgrpc.meta import master_keys, sealing
from cloudgrpc.meta.master_keys import KeyUse
from contract.meta_fixture import sealing_with

if TYPE_CHECKING:
    from contract.meta_fixture import Meta

OLD, NEW = {"11111111": b"\x01" * 32}, {"22222222": b"\x02" * 32}


def give_key(database: Meta, keys: MasterKeys) -> None:
    """To somebody new; it is wrapped with the current of these."""
    with sealing_with(keys):
        database.run(sealing.account_key, database.enroll().account_id)


def uses(database: Meta, keys: MasterKeys | None) -> list[KeyUse]:
    with sealing_with(keys):
        return database.read(master_keys.uses)


def test_a_key_that_nobody_needs_yet_is_told_too(database: Meta) -> None:
    database.enroll()  # has no key before there is something to seal
    assert uses(database, MasterKeys(OLD, "11111111")) == [KeyUse("11111111", 0, True, True)]
    assert uses(database, None) == []


def test_accounts_are_counted_by_the_key_that_wraps_theirs_the_current_first(database: Meta) -> None:
    for _ in range(3):
        give_key(database, MasterKeys(OLD, "11111111"))
    give_key(database, MasterKeys(NEW, "22222222"))
    both = MasterKeys({**OLD, **NEW}, "22222222")
    assert uses(database, both) == [KeyUse("22222222", 1, True, True), KeyUse("11111111", 3, False, True)]
    alone = MasterKeys(NEW, "22222222")
    assert uses(database, alone) == [KeyUse("22222222", 1, True, True), KeyUse("11111111", 3, False, False)]
