"""Which master keys an operator is told of, and how many accounts need each; on both engines."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import pytest

from cloudgrpc.actions.rewrapping import Rewrapping
from cloudgrpc.core.rotation import MasterKeys
from cloudgrpc.errors import MasterKeyElsewhere, MasterKeyMissing
from cloudgrpc.meta import claims, master_keys, nodes, schema, sealing
from cloudgrpc.meta.master_keys import KeyUse
from contract.meta_fixture import HOUR, sealing_with

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
    both = MasterKeys({**OLD, **NEW}, "22222222")
    give_key(database, both)
    assert uses(database, both) == [KeyUse("22222222", 1, True, True), KeyUse("11111111", 3, False, True)]
    alone = MasterKeys(NEW, "22222222")
    assert uses(database, alone) == [KeyUse("22222222", 1, True, True), KeyUse("11111111", 3, False, False)]


# What the gateways of a cluster share


def begin(database: Meta, keys: MasterKeys) -> None:
    """As a gateway does that starts."""
    with sealing_with(keys):
        database.run(sealing.claim)


def claimed(database: Meta) -> str:
    ((key_id,),) = database.rows("SELECT master_key_id FROM cluster")
    return str(key_id)


ONE, OTHER = MasterKeys(OLD, "11111111"), MasterKeys(NEW, "22222222")
BOTH, SWAPPED = MasterKeys({**OLD, **NEW}, "11111111"), MasterKeys({**OLD, **NEW}, "22222222")


def test_of_two_gateways_that_begin_with_a_key_each_one_is_refused(database: Meta) -> None:
    database.run(schema.cluster_id)
    with sealing_with(ONE):
        database.run(sealing.claim)
        database.run(nodes.take_lease, "upkeep", "the first", HOUR)
    if database.is_postgres:
        with pytest.raises(MasterKeyElsewhere, match="11111111"):
            begin(database, OTHER)
        with sealing_with(None), pytest.raises(MasterKeyElsewhere):
            database.read(sealing.check_may_make)
        assert claimed(database) == "11111111"
    begin(database, BOTH)
    begin(database, SWAPPED)
    assert claimed(database) == "11111111"


def test_of_many_that_begin_at_once_one_key_is_the_clusters(database: Meta) -> None:
    database.run(schema.cluster_id)
    ids = [f"{number}" * 8 for number in range(1, 7)]
    answers = database.race(
        [partial(claims.claim_master_key, frozenset({key_id}), key_id, is_beginning=True) for key_id in ids]
    )
    if database.is_postgres:  # with SQLite there is one gateway, whatever key it comes with
        assert [type(each) for each in answers].count(type(None)) == 1
        assert [type(each) for each in answers].count(MasterKeyElsewhere) == 5
    assert claimed(database) in ids


def test_a_gateway_whose_key_was_never_used_and_that_is_gone_is_in_nobodys_way(database: Meta) -> None:
    database.run(schema.cluster_id)
    begin(database, ONE)
    database.age("lease", "until_at", HOUR)
    begin(database, OTHER)
    assert claimed(database) == "22222222"
    # Should it come back, or never have been gone, it seals nothing.
    if database.is_postgres:
        with pytest.raises(MasterKeyElsewhere):
            give_key(database, ONE)
    with sealing_with(ONE):
        asyncio.run(Rewrapping(database.database).round())  # which finds nothing to wrap
    assert claimed(database) == "22222222"
    give_key(database, OTHER)
    with pytest.raises(MasterKeyMissing):
        begin(database, ONE)
    with pytest.raises(MasterKeyMissing):
        give_key(database, ONE)


def test_after_a_change_of_the_master_key_the_one_before_is_needed_by_no_gateway(database: Meta) -> None:
    database.run(schema.cluster_id)
    begin(database, ONE)
    give_key(database, ONE)
    database.run(nodes.take_lease, "upkeep", "a gateway", HOUR)
    with pytest.raises(MasterKeyMissing):
        begin(database, OTHER)
    with sealing_with(SWAPPED):
        asyncio.run(Rewrapping(database.database).round())
    assert claimed(database) == "22222222"
    begin(database, OTHER)
    give_key(database, OTHER)
    with pytest.raises(MasterKeyMissing):
        begin(database, ONE)


def test_a_master_key_may_be_changed_and_forgotten_before_anybody_needed_it(database: Meta) -> None:
    database.run(schema.cluster_id)
    here = [ONE]
    with sealing_with(ONE):
        sealing.bind(lambda: here[0])
        database.run(sealing.claim)
        here[0] = OTHER
        asyncio.run(Rewrapping(database.database).round())
    assert claimed(database) == "22222222"
    give_key(database, OTHER)


def test_another_digest_key_is_told(database: Meta) -> None:
    database.run(schema.cluster_id)
    assert [database.run(claims.note_digest_key, key) for key in ("aa", "aa", "bb", "bb")] == [True, True, False, True]
