"""Sealing what was stored before: what gets which key, when a chunk may take another's place, what a race leaves."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from cloudgrpc.chunks.sealed import closed
from cloudgrpc.core.rotation import MasterKeys
from cloudgrpc.core.sealing import SEALED, TAG_BYTES, Seal
from cloudgrpc.errors import MasterKeyMissing
from cloudgrpc.meta import (
    census,
    changes,
    checks,
    closing,
    copying,
    files,
    master_keys,
    orphans,
    sealing,
    sharing,
    sweeping,
    unsealed,
    uploads,
    versions,
)
from cloudgrpc.meta.copying import CopyTo
from cloudgrpc.meta.models import Account, Stray, Version, new_id
from cloudgrpc.meta.sharing import Terms
from cloudgrpc.meta.unsealed import Copies, Look, Plain, Sealed
from contract.meta_fixture import HOUR, KEEP, LIMITS, MASTER_KEYS, Meta, sealing_with, wish_for

if TYPE_CHECKING:
    from cloudgrpc.meta.accounts import Caller

PLAIN = "blake3:00"  # of whatever the tests put
NODES = ("node1", "node2")
TWO = Copies(2, 2)
NEW_KEYS = MasterKeys({"0b0b0b0b": b"\x0b" * 32, **MASTER_KEYS.keys}, "0b0b0b0b")


@pytest.fixture
def alice(database: Meta) -> Caller:
    for node_id in NODES:
        database.add_node(node_id)
    return database.enroll()


@pytest.fixture
def bob(database: Meta) -> Caller:
    return database.enroll()


def put_plain(database: Meta, person: Caller, name: str, *lengths: int) -> str:
    with sealing_with(None):
        return database.put(person, name, *lengths, on=NODES)


def copy_to(database: Meta, person: Caller, file_id: str, name: str) -> str:
    return database.run(copying.copy, person, file_id, CopyTo("", name), LIMITS, KEEP).entry_id


def copy_of(database: Meta, alice: Caller, bob: Caller, file_id: str) -> str:
    """Of a file of alice's, in the drive of bob."""
    database.run(sharing.share, alice, file_id, bob.email, Terms("read", None))
    return copy_to(database, bob, file_id, "of hers")


def give_keys(database: Meta) -> int:
    return sum(database.run(unsealed.give_key, one) for one in database.read(unsealed.versions, "", 100))


def look(database: Meta) -> Look:
    return database.read(unsealed.look)


def plain(database: Meta) -> list[Plain]:
    return database.read(unsealed.chunks, "", 100).chunks


def send(database: Meta, one: Plain, on: tuple[str, ...] = NODES) -> Sealed:
    sealed = Sealed(new_id(), "sum", on)
    database.run(unsealed.plan, sealed.chunk_id, one.sealed_length)
    return sealed


def seal(database: Meta, one: Plain, on: tuple[str, ...] = NODES) -> bool:
    return database.run(unsealed.swap, one, send(database, one, on), TWO, HOUR)


def seal_all(database: Meta) -> None:
    give_keys(database)
    seal_answers(database)
    for one in plain(database):
        assert seal(database, one)


def seal_answers(database: Meta) -> None:
    for upload_id in database.read(unsealed.answers, "", 100):
        assert database.run(unsealed.seal_answer, upload_id)


def file_of(database: Meta, person: Caller, file_id: str, version: int = 0) -> files.File:
    return database.read(files.find_file, person, file_id, version)


def mark(seal: Seal | None) -> bytes:
    """The same for seals of the same key only."""
    assert seal is not None
    return bytes(closed(seal, "00" * 16, 0, [b"mark"]).data)


def raw_digests(database: Meta) -> set[str]:
    return {digest for (digest,) in database.rows("SELECT digest FROM version")}


def check_whole(database: Meta) -> None:
    for page in (checks.versions, checks.chunks, checks.entries):
        assert database.read(page, "").faults == []


def remove(database: Meta, person: Caller) -> None:
    database.sql(f"UPDATE account SET closes_at = 1 WHERE account_id = '{person.account_id}'")
    assert database.run(closing.remove, person.account_id)


# Keys


def test_all_that_share_chunks_get_one_key_each_for_its_owner(database: Meta, alice: Caller, bob: Caller) -> None:
    file_id = put_plain(database, alice, "a", 10, 20)
    other_id = put_plain(database, alice, "other", 10)
    theirs = copy_of(database, alice, bob, file_id)
    again = copy_to(database, alice, file_id, "again")
    with sealing_with(None):
        database.put(alice, "a", 5, on=NODES)  # its second content
    database.sql("UPDATE version SET digest = 'blake3:01' WHERE number = 2")
    assert database.run(versions.restore, alice, file_id, 1, None, KEEP) == 3
    ids = database.read(unsealed.versions, "", 100)
    assert len(ids) == 6
    first = file_of(database, alice, file_id, 1).version_id
    assert database.run(unsealed.give_key, first) == 4, "the file, its two copies, and its third version"
    assert database.run(unsealed.give_key, first) == 0
    assert give_keys(database) == 2
    one = mark(file_of(database, alice, file_id, 1).seal)
    assert mark(file_of(database, alice, file_id, 3).seal) == one
    assert mark(file_of(database, alice, again).seal) == mark(file_of(database, bob, theirs).seal) == one
    assert one not in (
        mark(file_of(database, alice, other_id).seal),
        mark(file_of(database, alice, file_id, 2).seal),
    )
    keys = [key for (key,) in database.rows("SELECT wrapped_key FROM version")]
    assert len(set(keys)) == 4, "bob's is wrapped with a key of his own"


def test_digests_are_sealed_and_people_see_them_as_they_were(database: Meta, alice: Caller) -> None:
    file_id = put_plain(database, alice, "a", 10)
    assert raw_digests(database) == {PLAIN}
    give_keys(database)
    assert all(digest.startswith(SEALED) for digest in raw_digests(database))
    assert file_of(database, alice, file_id).digest == PLAIN
    assert database.read(versions.page, alice, file_id, None, 5)[0][0].digest == PLAIN


def test_what_a_removed_account_owned_gets_no_key_that_anybody_has(database: Meta, alice: Caller, bob: Caller) -> None:
    file_id = put_plain(database, alice, "a", 10)
    theirs = copy_of(database, alice, bob, file_id)
    put_plain(database, alice, "hers alone", 10)
    remove(database, alice)
    give_keys(database)
    assert database.run(Account.get_by_id, alice.account_id).wrapped_key == ""
    (one,) = plain(database)
    assert seal(database, one), "what is still there of hers does not stand in the way of his"
    assert mark(file_of(database, bob, theirs).seal)
    check_whole(database)
    seal_answers(database)
    database.sweep()
    database.check_books(bob)
    assert not look(database).is_left


def test_one_whose_master_key_is_missing_does_not_keep_others_waiting(
    database: Meta, alice: Caller, bob: Caller
) -> None:
    put_plain(database, alice, "a", 10)
    put_plain(database, bob, "b", 10)
    with sealing_with(NEW_KEYS):
        database.run(sealing.account_key, alice.account_id)  # wrapped with what is not here afterwards
    database.sql("UPDATE cluster SET master_key_id = ''")
    outcomes = []
    for version_id in database.read(unsealed.versions, "", 100):
        try:
            outcomes.append(database.run(unsealed.give_key, version_id))
        except MasterKeyMissing:
            outcomes.append(0)
    assert sorted(outcomes) == [0, 1]


def test_what_uploads_were_answered_with_is_sealed_and_answered_again(database: Meta, alice: Caller) -> None:
    wish = wish_for(alice, "a", 10, request_id="r")
    with sealing_with(None):
        upload_id = database.begin(alice, "a", 10, request_id="r")
        database.send(upload_id, 0, 10)
        answer = database.commit(upload_id)
    assert database.read(unsealed.answers, "", 10) == [upload_id]
    assert database.run(unsealed.seal_answer, upload_id) == 1
    assert database.run(unsealed.seal_answer, upload_id) == 0
    assert PLAIN not in {digest for (digest,) in database.rows("SELECT digest FROM upload")}
    assert database.run(uploads.begin, new_id(), wish, [], HOUR, LIMITS) == answer


def test_an_upload_begun_plain_ends_plain_and_is_sealed_then(database: Meta, alice: Caller) -> None:
    with sealing_with(None):
        upload_id = database.begin(alice, "a", 10)
        database.send(upload_id, 0, 10, NODES)
    assert not look(database).is_left
    file_id = database.commit(upload_id).file_id
    assert look(database).is_left
    seal_all(database)
    file = file_of(database, alice, file_id)
    (piece,) = database.read(files.pieces, file.version_id, -1, 10, file.seal)
    assert mark(piece.seal) == mark(file.seal)
    check_whole(database)


# Chunks


def test_a_chunk_whose_key_cannot_be_opened_does_not_keep_others_waiting(
    database: Meta, alice: Caller, bob: Caller
) -> None:
    file_id = put_plain(database, alice, "a", 10)
    theirs = put_plain(database, bob, "b", 20)
    give_keys(database)
    database.sql(f"UPDATE account SET wrapped_key = 'ffffffff:AAAA' WHERE account_id = '{alice.account_id}'")
    assert [one.chunk_id for one in plain(database)] == database.chunks_of(theirs)
    database.sql(f"UPDATE version SET wrapped_key = 'AAAA' WHERE entry_id = '{theirs}'")
    page = database.read(unsealed.chunks, "", 1)
    assert (page.chunks, page.last) == ([], min(*database.chunks_of(theirs), *database.chunks_of(file_id)))


def test_a_chunk_that_one_of_its_owners_cannot_open_is_not_sent_in_vain(
    database: Meta, alice: Caller, bob: Caller
) -> None:
    theirs = copy_of(database, alice, bob, put_plain(database, alice, "a", 10))
    give_keys(database)
    assert len(plain(database)) == 1
    for damaged in ("AAAA", ""):
        database.sql(f"UPDATE version SET wrapped_key = '{damaged}' WHERE entry_id = '{theirs}'")
        assert plain(database) == []


def test_a_sealed_chunk_takes_the_place_of_a_plain_one_in_all_files_at_once(
    database: Meta, alice: Caller, bob: Caller
) -> None:
    file_id = put_plain(database, alice, "a", 10, 20)
    theirs = copy_of(database, alice, bob, file_id)
    old = database.chunks_of(file_id)
    give_keys(database)
    seal_answers(database)
    before = file_of(database, alice, file_id)
    held = database.read(files.pieces, before.version_id, -1, 10, before.seal)
    assert [piece.seal for piece in held] == [None, None]
    for one in plain(database):
        assert mark(Seal(one.data_key)) == mark(before.seal)
        assert seal(database, one)
        check_whole(database)  # also while some chunks are sealed and some are not
    new = database.chunks_of(file_id)
    assert database.chunks_of(theirs) == new
    assert not set(new) & set(old)
    assert [database.unreferenced_at(chunk_id) is None for chunk_id in (*new, *old)] == [True, True, False, False]
    assert {database.state(chunk_id, node_id) for chunk_id in (*new, *old) for node_id in NODES} == {"good"}
    pieces = database.read(files.pieces, before.version_id, -1, 10, before.seal)
    assert [(piece.length, mark(piece.seal)) for piece in pieces] == [(10, mark(before.seal)), (20, mark(before.seal))]
    lengths = database.rows("SELECT length FROM chunk WHERE is_sealed ORDER BY length")
    assert lengths == [(10 + TAG_BYTES,), (20 + TAG_BYTES,)]
    assert (plain(database), look(database).is_left) == ([], False)
    database.check_books(alice, bob)


def check_refused(database: Meta, one: Plain, sealed: Sealed, grace_us: int = HOUR) -> None:
    """The old chunk stays, and what was sent is collected, wherever a copy of it is."""
    assert not database.run(unsealed.swap, one, sealed, TWO, grace_us)
    assert database.unreferenced_at(sealed.chunk_id) is not None
    assert database.rows(f"SELECT * FROM extent WHERE chunk_id = '{sealed.chunk_id}'") == []
    database.age("chunk", "unreferenced_at", 2 * HOUR)
    database.run(orphans.doom_orphans, HOUR, 100)
    assert {database.state(sealed.chunk_id, node_id) for node_id in NODES} <= {"doomed", None}
    check_whole(database)


@pytest.fixture
def one(database: Meta, alice: Caller) -> Plain:
    """Of a file with its key."""
    put_plain(database, alice, "a", 10)
    give_keys(database)
    (found,) = plain(database)
    return found


def test_a_chunk_that_nobody_needs_any_more_is_not_replaced(database: Meta, alice: Caller, one: Plain) -> None:
    sealed = send(database, one)
    (file_id,) = (
        file.file_id for file in database.read(files.page, alice, "", with_trash=False, after=None, limit=9).files
    )
    database.run(changes.purge, alice, file_id)
    database.sweep()
    check_refused(database, one, sealed)


def test_a_chunk_is_replaced_once(database: Meta, one: Plain) -> None:
    sealed = send(database, one)
    assert seal(database, one)
    check_refused(database, one, sealed)


def test_a_chunk_is_not_replaced_while_a_version_has_no_key(database: Meta, one: Plain) -> None:
    database.sql("UPDATE version SET wrapped_key = ''")
    check_refused(database, one, send(database, one))


def test_a_chunk_is_not_replaced_when_a_version_has_another_key(database: Meta, alice: Caller, one: Plain) -> None:
    other = database.put(alice, "b", 10)
    database.sql(
        "UPDATE version SET (wrapped_key, digest) = (SELECT v.wrapped_key, v.digest FROM version v"
        f" WHERE v.entry_id = '{other}')"
    )
    check_refused(database, one, send(database, one))


def test_a_chunk_is_not_replaced_by_fewer_copies_than_are_needed_or_can_be_read(database: Meta, one: Plain) -> None:
    check_refused(database, one, send(database, one, on=("node1",)))
    fewer = send(database, one, on=("node1",))
    assert not database.run(unsealed.swap, one, fewer, Copies(2, 1), HOUR), "two can be read of the old one"
    database.set_offline("node2")
    assert database.run(unsealed.swap, one, send(database, one, on=("node1",)), Copies(2, 1), HOUR)


def test_a_copy_on_a_node_that_was_removed_does_not_count(database: Meta, one: Plain) -> None:
    check_refused(database, one, send(database, one, on=("node1", "gone")))


def test_a_copy_that_a_node_is_told_to_delete_does_not_count(database: Meta, one: Plain) -> None:
    sealed = send(database, one)
    database.run(lambda: Stray.create(node="node2", chunk_id=sealed.chunk_id, first_seen_at=1, doomed_at=2))
    check_refused(database, one, sealed)


def test_a_chunk_that_was_sent_so_long_ago_that_its_files_may_be_strays_is_not_used(database: Meta, one: Plain) -> None:
    sealed = send(database, one)
    database.age("chunk", "unreferenced_at", HOUR, f"chunk_id = '{sealed.chunk_id}'")
    check_refused(database, one, sealed)


def test_a_file_that_an_inventory_saw_before_is_no_stray_any_more(database: Meta, one: Plain) -> None:
    sealed = send(database, one)
    database.compare("node1", one.chunk_id, sealed.chunk_id)
    assert database.run(Stray.select().count) == 1
    assert database.run(unsealed.swap, one, sealed, TWO, HOUR)
    assert database.run(Stray.select().count) == 0


def test_what_a_crash_left_is_known_and_collected(database: Meta, one: Plain) -> None:
    """Written down, sent to a node, and then the gateway was killed."""
    sealed = send(database, one)
    assert database.compare("node1", one.chunk_id, sealed.chunk_id).unknown == 0
    database.age("stray", "first_seen_at", 2 * HOUR)
    assert database.run(orphans.doom_stray, "node1", sealed.chunk_id, HOUR, [], 2)
    assert sealed.chunk_id in database.read(orphans.doomed_on, "node1", 10)
    assert seal(database, one), "and the next try is another one"


# Races


def test_copies_made_meanwhile_share_the_key_and_the_chunks(database: Meta, alice: Caller, bob: Caller) -> None:
    for turn in range(4):
        file_id = put_plain(database, alice, f"a{turn}", 10)
        database.run(sharing.share, alice, file_id, bob.email, Terms("read", None))
        version_id = file_of(database, alice, file_id).version_id

        def copies(turn: int = turn, file_id: str = file_id) -> list[Any]:
            return [
                partial(copying.copy, person, file_id, CopyTo("", f"{turn} {name}"), LIMITS, KEEP)
                for person, name in ((alice, "one"), (bob, "two"), (bob, "three"))
            ]

        first = database.race([partial(unsealed.give_key, version_id), *copies()[:2]])
        assert not [one for one in first if isinstance(one, Exception)], first
        give_keys(database)
        (one,) = plain(database)
        second = database.race([partial(unsealed.swap, one, send(database, one), TWO, HOUR), *copies()[2:]])
        assert not [one for one in second if isinstance(one, Exception)], second
        for _ in range(3):  # for what came meanwhile from whose drive was not locked
            seal_all(database)
        assert not look(database).is_left
        check_whole(database)
        seals = {
            tuple(mark(database.read(files.find_file, person, file.file_id).seal))
            for person in (alice, bob)
            for file in database.read(files.page, person, "", with_trash=False, after=None, limit=99).files
            if file.name.startswith((f"a{turn}", f"{turn} "))
        }
        assert len(seals) == 1
    database.check_books(alice, bob)


def test_a_swap_waits_for_a_copy_that_is_being_made(database: Meta, alice: Caller, bob: Caller) -> None:
    file_id = put_plain(database, alice, "a", 10)
    database.run(sharing.share, alice, file_id, bob.email, Terms("read", None))
    give_keys(database)
    seal_answers(database)
    (one,) = plain(database)
    sealed, copied, swapped = send(database, one), threading.Event(), threading.Event()

    def slow_copy() -> None:
        copying.copy(bob, file_id, CopyTo("", "his"), LIMITS, KEEP)
        copied.set()
        swapped.wait(0.3)

    def swap() -> None:
        copied.wait(10)
        unsealed.swap(one, sealed, TWO, HOUR)
        swapped.set()

    outcomes = database.race([slow_copy, swap])
    assert outcomes == [None, None]
    seal_all(database)
    assert not look(database).is_left
    check_whole(database)
    database.check_books(alice, bob)


def test_what_is_deleted_meanwhile_leaves_no_chunk_behind(database: Meta, alice: Caller) -> None:
    for turn in range(4):
        file_id = put_plain(database, alice, f"a{turn}", 10)
        give_keys(database)
        (one,) = plain(database)
        database.run(changes.purge, alice, file_id)
        swap = partial(unsealed.swap, one, send(database, one), TWO, HOUR)
        outcomes = database.race([swap, partial(sweeping.sweep, 100), partial(sweeping.sweep, 1)])
        assert not [one for one in outcomes if isinstance(one, Exception)], outcomes
        database.check_books(alice)


def test_a_chunk_that_took_the_place_under_a_sweep_is_let_go_by_it(
    database: Meta, alice: Caller, one: Plain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweep has read the extents, and waits for the chunk that a swap holds."""
    version_id = database.read(unsealed.versions, "", 1) or [
        row.version_id for row in database.run(lambda: list(Version.select()))
    ]
    assert version_id
    sealed = send(database, one)
    (file_id,) = (
        file.file_id for file in database.read(files.page, alice, "", with_trash=False, after=None, limit=9).files
    )
    database.run(changes.purge, alice, file_id)
    let_go = sweeping._let_go

    def after_a_swap(extents: Any, delete: Any) -> None:
        if extents:
            unsealed.swap(one, sealed, TWO, HOUR)
        let_go(extents, delete)

    monkeypatch.setattr(sweeping, "_let_go", after_a_swap)
    database.sweep()
    assert database.unreferenced_at(sealed.chunk_id) is not None
    database.check_books(alice)


# What is told


def test_the_begin_and_the_end_are_told_once(database: Meta, alice: Caller) -> None:
    put_plain(database, alice, "a", 10)
    assert look(database) == Look(is_left=True, is_begun=False)
    database.run(unsealed.begin)
    database.run(unsealed.begin)
    assert not database.run(unsealed.end)
    assert look(database) == Look(is_left=True, is_begun=True)
    seal_all(database)
    assert database.run(unsealed.end)
    assert database.run(unsealed.end)
    assert look(database) == Look(is_left=False, is_begun=False)
    assert (database.events("sealing.begun"), database.events("sealing.done")) == (1, 1)


def test_what_files_need_and_is_plain_is_counted(database: Meta, alice: Caller) -> None:
    put_plain(database, alice, "a", 10, 20)
    database.put(alice, "sealed", 40)
    with sealing_with(None):
        database.orphan(alice)
    assert database.read(unsealed.count) == (2, 30)
    counted = database.read(census.count, 2)
    assert (counted.unsealed, counted.bytes_unsealed) == (2, 30)
    seal_all(database)
    assert database.read(unsealed.count) == (0, 0)


# The master key


def test_account_keys_are_wrapped_anew_and_stay_what_they_are(database: Meta, alice: Caller, bob: Caller) -> None:
    file_id = database.put(alice, "a", 10)
    database.put(bob, "b", 10)
    database.enroll()  # who has none yet
    before = mark(file_of(database, alice, file_id).seal)
    with sealing_with(NEW_KEYS):
        ids = database.read(master_keys.behind, "", 10)
        assert set(ids) == {alice.account_id, bob.account_id}
        assert database.run(master_keys.rewrap, ids) == (2, 0)
        assert database.run(master_keys.rewrap, ids) == (0, 0)
        assert database.read(master_keys.behind, "", 10) == []
    assert database.events("master_key.rewrapped") == 1
    with sealing_with(MasterKeys({"0b0b0b0b": b"\x0b" * 32}, "0b0b0b0b")):  # the old one is gone
        assert mark(file_of(database, alice, file_id).seal) == before
        database.run(sealing.check_master_keys)


def test_a_key_that_cannot_be_opened_is_passed_over_and_that_of_a_removed_account_stays_gone(
    database: Meta, alice: Caller, bob: Caller
) -> None:
    for person in (alice, bob, carol := database.enroll()):
        database.put(person, "a", 10)
    database.sql(f"UPDATE account SET wrapped_key = 'ffffffff:AAAA' WHERE account_id = '{alice.account_id}'")
    with sealing_with(NEW_KEYS):
        ids = database.read(master_keys.behind, "", 10)
        remove(database, carol)
        assert database.run(master_keys.rewrap, ids) == (1, 1)
        assert database.read(master_keys.behind, "", 10) == [alice.account_id]
    assert database.run(Account.get_by_id, carol.account_id).wrapped_key == ""
