"""Which key seals what: given at the begin, shared by copies, wrapped for each owner, and gone with the account."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from cloudgrpc.chunks.sealed import closed
from cloudgrpc.core.rotation import MasterKeys
from cloudgrpc.core.sealing import TAG_BYTES, Seal, master_id
from cloudgrpc.errors import KeyDamaged, MasterKeyMissing, Missing
from cloudgrpc.meta import (
    accounts,
    changes,
    checks,
    claims,
    closing,
    copying,
    exports,
    files,
    restoring,
    sealing,
    searching,
    sharing,
    upload_sessions,
    uploads,
    versions,
)
from cloudgrpc.meta.copying import CopyTo
from cloudgrpc.meta.models import Account, Chunk, Version, new_id
from cloudgrpc.meta.promises import Promise
from cloudgrpc.meta.searching import Wanted
from cloudgrpc.meta.sharing import Terms
from cloudgrpc.meta.uploads import Answer, Opened, Planned
from contract.backup_fixture import another, back_up, restore
from contract.meta_fixture import HOUR, KEEP, LIMITS, MASTER_KEYS, Meta, plan, sealing_with, session, wish_for

if TYPE_CHECKING:
    from pathlib import Path

    from cloudgrpc.meta.accounts import Caller

PLAIN = "blake3:00"  # of whatever the tests put
OTHER_KEYS = MasterKeys({"0b0b0b0b": b"\x0b" * 32}, "0b0b0b0b")
BOTH_KEYS = MasterKeys({**OTHER_KEYS.keys, **MASTER_KEYS.keys}, "0b0b0b0b")


@pytest.fixture
def alice(database: Meta) -> Caller:
    return database.enroll()


@pytest.fixture
def bob(database: Meta) -> Caller:
    return database.enroll()


def account_key(database: Meta, person: Caller) -> str:
    return str(database.run(Account.get_by_id, person.account_id).wrapped_key)


def rows_of(database: Meta, file_id: str) -> list[Version]:
    return database.run(lambda: list(Version.select().where(Version.entry == file_id).order_by(Version.number)))


def chunk(database: Meta, chunk_id: str) -> Chunk:
    found: Chunk = database.run(Chunk.get_by_id, chunk_id)
    return found


def file_of(database: Meta, person: Caller, file_id: str) -> files.File:
    return database.read(files.find_file, person, file_id)


def mark(seal: Seal | None) -> bytes:
    """The same for seals of the same key only."""
    assert seal is not None
    return bytes(closed(seal, "00" * 16, 0, [b"mark"]).data)


def remove(database: Meta, person: Caller) -> None:
    database.sql(f"UPDATE account SET closes_at = 1 WHERE account_id = '{person.account_id}'")
    assert database.run(closing.remove, person.account_id)


# What is begun


def test_each_content_has_a_key_of_its_own_and_an_account_one_for_them_all(database: Meta, alice: Caller) -> None:
    assert account_key(database, alice) == ""
    one, other = database.put(alice, "one", 10), database.put(alice, "other", 10)
    assert master_id(account_key(database, alice)) == MASTER_KEYS.current
    assert mark(file_of(database, alice, one).seal) != mark(file_of(database, alice, other).seal)
    (row,), (another_row,) = rows_of(database, one), rows_of(database, other)
    assert row.wrapped_key != another_row.wrapped_key


def test_first_uploads_at_once_make_one_account_key(database: Meta, alice: Caller) -> None:
    works = [
        partial(uploads.begin, new_id(), wish_for(alice, f"file{n}", 1, request_id=f"r{n}"), [], HOUR, LIMITS)
        for n in range(6)
    ]
    begun = database.race(works)
    assert all(isinstance(one, Opened) and one.seal for one in begun), begun
    keys = database.rows("SELECT wrapped_key FROM upload")
    owner = account_key(database, alice)
    opened = database.run(lambda: [mark(sealing.seal_of(owner, key)) for (key,) in keys])
    assert sorted(opened) == sorted(mark(one.seal) for one in begun)


def test_what_is_begun_opens_as_what_is_committed(database: Meta, alice: Caller) -> None:
    upload_id = new_id()
    begun = database.run(uploads.begin, upload_id, wish_for(alice, "a", 10), [], HOUR, LIMITS)
    assert isinstance(begun, Opened)
    chunk_id = database.send(upload_id, 0, 10)
    file_id = database.commit(upload_id).file_id
    file = file_of(database, alice, file_id)
    (piece,) = database.read(files.pieces, file.version_id, -1, 10, file.seal)
    assert mark(begun.seal) == mark(file.seal) == mark(piece.seal)
    assert (piece.chunk_id, piece.length) == (chunk_id, 10)


def test_every_stream_of_a_session_has_the_same_key(database: Meta, alice: Caller) -> None:
    upload_id, wish = new_id(), wish_for(alice, "a", 20, request_id="r")
    begun = database.run(upload_sessions.begin, upload_id, wish, "", HOUR, LIMITS, quorum=1)
    again = database.run(upload_sessions.begin, new_id(), wish, "", HOUR, LIMITS, quorum=1)
    found = database.read(upload_sessions.find, alice, upload_id, 1)
    assert mark(begun.seal) == mark(again.seal) == mark(found.seal)


def test_a_grantees_upload_is_sealed_for_the_owner(database: Meta, alice: Caller, bob: Caller) -> None:
    folder = database.mkdir(alice, "shared")
    database.run(sharing.share, alice, folder, bob.email, Terms("write", None))
    file_id = database.put(bob, "from bob", 10, parent_id=folder)
    assert account_key(database, bob) == ""
    assert mark(file_of(database, alice, file_id).seal) == mark(file_of(database, bob, file_id).seal)
    remove(database, bob)
    assert file_of(database, alice, file_id).digest == PLAIN


# Rows


def test_a_chunks_row_tells_of_the_sealed_bytes_and_the_version_of_the_plain_ones(
    database: Meta, alice: Caller
) -> None:
    file_id = database.put(alice, "a", 10, 20)
    first, second = (chunk(database, chunk_id) for chunk_id in database.chunks_of(file_id))
    assert (first.length, second.length) == (10 + TAG_BYTES, 20 + TAG_BYTES)
    assert first.is_sealed
    assert second.is_sealed
    assert file_of(database, alice, file_id).size_bytes == 30
    assert database.used(alice.account_id) == (30, 0)


def test_what_is_left_of_an_abandoned_upload_is_as_long_as_it_is_on_disk(database: Meta, alice: Caller) -> None:
    upload_id, planned = database.begin(alice, "a", 20), Planned(1, new_id())
    sent = database.send(upload_id, 0, 10)
    database.run(plan, upload_id, planned)
    database.run(uploads.abandon, upload_id)
    assert chunk(database, sent).length == 10 + TAG_BYTES
    assert chunk(database, planned.chunk_id).length == 0, "nothing was sent"


def test_a_chunk_that_is_sent_again_leaves_the_first_as_long_as_it_is_on_disk(database: Meta, alice: Caller) -> None:
    upload_id = database.begin(alice, "a", 20)
    sent = database.send(upload_id, 0, 10)
    database.run(uploads.receive, upload_id, [], [Planned(0, new_id())], HOUR)
    assert (chunk(database, sent).length, bool(chunk(database, sent).is_sealed)) == (10 + TAG_BYTES, True)


def test_a_digest_is_plain_for_everybody_who_asks_and_sealed_in_the_tables(database: Meta, alice: Caller) -> None:
    wish = wish_for(alice, "a", 10, request_id="r")
    upload_id = new_id()
    database.run(uploads.begin, upload_id, wish, [], HOUR, LIMITS)
    database.send(upload_id, 0, 10)
    answer = database.commit(upload_id)
    again = database.run(uploads.begin, new_id(), wish, [], HOUR, LIMITS)
    assert isinstance(again, Answer)
    file_id = answer.file_id
    everything = Wanted(None, "file", "", None, None)
    (found,), _ = database.read(searching.search, alice, "", everything, "", 10)
    (content,), _ = database.read(versions.page, alice, file_id, None, 10)
    (exported,), _ = database.read(exports.versions, alice, None, 10)
    page = database.read(files.page, alice, "", with_trash=False, after=None, limit=10)
    resolved = database.read(files.resolve, alice, "", ["a"])
    trashed = database.read(files.find_with_trash, alice, file_id)
    told = [answer.digest, again.digest, page.files[0].digest, content.digest, exported["checksum"], trashed.digest]
    assert {*told, found.entry.digest, resolved.entry.digest} == {PLAIN}  # type: ignore[union-attr]
    kept = {digest for table in ("version", "upload") for (digest,) in database.rows(f"SELECT digest FROM {table}")}
    assert all(one.startswith("sealed:") and PLAIN not in one for one in kept), kept


def test_a_finished_session_answers_with_the_plain_digest(database: Meta, alice: Caller) -> None:
    upload_id = new_id()
    wish = wish_for(alice, "a", 10)
    database.run(upload_sessions.begin, upload_id, wish, "", HOUR, LIMITS, quorum=1)
    database.send(upload_id, 0, 10)
    database.commit(upload_id)
    session_then = database.read(upload_sessions.find, alice, upload_id, 1)
    assert session_then.answer is not None
    assert session_then.answer.digest == PLAIN


# Copies


def test_a_copy_in_the_same_account_has_the_same_wrapped_key(database: Meta, alice: Caller) -> None:
    file_id, folder = database.put(alice, "a", 10), database.mkdir(alice, "folder")
    copied = database.run(copying.copy, alice, file_id, CopyTo(folder), LIMITS, KEEP)
    (row,), (its,) = rows_of(database, file_id), rows_of(database, copied.entry_id)
    assert (its.wrapped_key, its.digest) == (row.wrapped_key, row.digest)


@pytest.mark.parametrize("way", ["file", "folder", "replacing"])
def test_what_was_copied_out_of_a_share_outlives_the_owners_account(
    database: Meta, alice: Caller, bob: Caller, way: str
) -> None:
    folder = database.mkdir(alice, "shared")
    file_id = database.put(alice, "a", 10, 20, parent_id=folder)
    before = mark(file_of(database, alice, file_id).seal)
    database.run(sharing.share, alice, folder, bob.email, Terms("read", None))
    to = CopyTo("", "mine", replace=way == "replacing")
    if way == "replacing":
        database.put(bob, "mine", 1)
    copied = database.run(copying.copy, bob, folder if way == "folder" else file_id, to, LIMITS, KEEP)
    remove(database, alice)
    names = ["mine", "a"] if way == "folder" else ["mine"]
    mine = database.read(files.resolve, bob, "", names).entry
    assert isinstance(mine, files.File)
    assert mine.digest == PLAIN
    pieces = database.read(files.pieces, mine.version_id, -1, 10)
    assert [mark(piece.seal) for piece in pieces] == [before, before], "also where the page finds the key itself"
    assert copied.files == 1
    assert rows_of(database, mine.file_id)[-1].wrapped_key != rows_of(database, file_id)[0].wrapped_key


def test_a_copy_of_what_is_not_sealed_has_no_key(database: Meta, alice: Caller, bob: Caller) -> None:
    folder = database.mkdir(alice, "shared")
    with sealing_with(None):
        file_id = database.put(alice, "a", 10, parent_id=folder)
    database.run(sharing.share, alice, folder, bob.email, Terms("read", None))
    for what in (file_id, folder):
        database.run(copying.copy, bob, what, CopyTo(""), LIMITS, KEEP)
    assert database.rows("SELECT DISTINCT wrapped_key, digest FROM version") == [("", PLAIN)]


def test_a_version_made_the_newest_again_has_the_key_it_had(database: Meta, alice: Caller) -> None:
    file_id = database.put(alice, "a", 10)
    upload_id = database.begin(alice, "a", 5)
    database.send(upload_id, 0, 5)
    database.run(uploads.commit, upload_id, [], "blake3:11", 1, KEEP)
    assert database.run(versions.restore, alice, file_id, 1, None, KEEP) == 3
    first, _, third = rows_of(database, file_id)
    assert (third.wrapped_key, third.digest) == (first.wrapped_key, first.digest)
    assert file_of(database, alice, file_id).digest == PLAIN


def test_contents_are_compared_by_what_they_are_not_by_how_they_are_sealed(database: Meta, alice: Caller) -> None:
    file_id = database.put(alice, "a", 10)
    database.put(alice, "a", 10)
    first, second = rows_of(database, file_id)
    assert first.digest != second.digest
    assert database.run(versions.restore, alice, file_id, 1, None, KEEP) == 2, "it is the newest already"


# What was before, and what is turned off


def test_what_was_stored_plain_is_read_plain(database: Meta, alice: Caller) -> None:
    with sealing_with(None):
        file_id = database.put(alice, "a", 10)
    file = file_of(database, alice, file_id)
    (piece,) = database.read(files.pieces, file.version_id, -1, 10)
    assert (file.seal, piece.seal, file.digest) == (None, None, PLAIN)
    (chunk_id,) = database.chunks_of(file_id)
    assert (chunk(database, chunk_id).length, bool(chunk(database, chunk_id).is_sealed)) == (10, False)


def test_a_reader_who_came_before_the_key_gets_it_with_the_page_that_needs_it(database: Meta, alice: Caller) -> None:
    """Contents of before are sealed chunk by chunk, also while somebody reads them."""
    file_id = database.put(alice, "a", 10, 20)
    first, _ = database.chunks_of(file_id)
    database.sql(f"UPDATE chunk SET is_sealed = FALSE WHERE chunk_id = '{first}'")
    file = file_of(database, alice, file_id)
    plain, sealed = database.read(files.pieces, file.version_id, -1, 10, None)
    assert plain.seal is None
    assert mark(sealed.seal) == mark(file.seal)


def test_with_sealing_turned_off_new_contents_are_plain_and_sealed_ones_open(database: Meta, alice: Caller) -> None:
    sealed = database.put(alice, "sealed", 10)
    sealing.bind(lambda: MASTER_KEYS, seals_new=False)
    plain = database.put(alice, "plain", 10)
    assert (file_of(database, alice, sealed).digest, file_of(database, alice, plain).digest) == (PLAIN, PLAIN)
    assert file_of(database, alice, sealed).seal is not None
    assert rows_of(database, plain)[0].wrapped_key == ""


# Master keys


def test_a_master_key_that_is_missing_is_named_wherever_it_is_needed(
    database: Meta, alice: Caller, bob: Caller
) -> None:
    file_id = database.put(alice, "a", 10)
    assert database.read(claims.needed_master_keys) == {MASTER_KEYS.current}
    with sealing_with(OTHER_KEYS):
        for work in (
            sealing.check_master_keys,
            partial(files.find_file, alice, file_id),
            partial(uploads.begin, new_id(), wish_for(alice, "b", 1), [], HOUR, LIMITS),
            # Nor may it seal what the gateways that have the other could not read.
            partial(uploads.begin, new_id(), wish_for(bob, "b", 1), [], HOUR, LIMITS),
        ):
            with pytest.raises(MasterKeyMissing, match=MASTER_KEYS.current):
                database.run(work)
    with sealing_with(BOTH_KEYS):
        database.put(bob, "b", 1)
        database.run(sealing.check_master_keys)
        assert database.read(claims.needed_master_keys) == set(BOTH_KEYS.keys)
        assert file_of(database, alice, file_id).digest == PLAIN


def test_master_keys_are_looked_up_at_every_use(database: Meta, alice: Caller, bob: Caller) -> None:
    now = [MASTER_KEYS]
    sealing.bind(lambda: now[0])
    first = database.put(alice, "a", 10)
    now[0] = BOTH_KEYS
    database.put(bob, "b", 10)
    assert file_of(database, alice, first).digest == PLAIN
    masters = [master_id(account_key(database, person)) for person in (alice, bob)]
    assert masters == [MASTER_KEYS.current, BOTH_KEYS.current]


def test_wrapped_keys_are_in_a_backup_and_without_their_master_key_it_is_refused(
    database: Meta, alice: Caller, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    file_id = database.put(alice, "a", 10)
    key, data = mark(file_of(database, alice, file_id).seal), back_up(database)
    assert MASTER_KEYS.keys[MASTER_KEYS.current] not in data
    with another(request, "postgres" if database.is_postgres else "sqlite", tmp_path) as meta:
        with sealing_with(OTHER_KEYS), pytest.raises(MasterKeyMissing, match=MASTER_KEYS.current):
            restore(meta, data)
        meta.run(restoring.check_empty)
        restore(meta, data)
        assert mark(meta.read(files.find_file, alice, file_id).seal) == key


# The end of an account


def test_with_an_account_its_key_goes_and_its_rows_are_swept_without_it(database: Meta, alice: Caller) -> None:
    file_id = database.put(alice, "a", 10, 20)
    trashed = database.put(alice, "trashed", 10)
    database.run(changes.trash, alice, trashed)
    (row,) = rows_of(database, file_id)
    owner = account_key(database, alice)
    remove(database, alice)
    assert account_key(database, alice) == ""
    with pytest.raises(Missing):
        database.run(sealing.seal_of, "", row.wrapped_key)
    assert owner not in str(database.digest())
    database.sweep()
    assert database.rows("SELECT COUNT(*) FROM version") == [(0,)]


def test_a_grantee_asks_in_vain_what_became_of_an_upload_to_an_account_that_is_gone(
    database: Meta, alice: Caller, bob: Caller
) -> None:
    folder = database.mkdir(alice, "shared")
    database.run(sharing.share, alice, folder, bob.email, Terms("write", None))
    upload_id = new_id()
    wish = wish_for(bob, "a", 10, parent_id=folder)
    database.run(upload_sessions.begin, upload_id, wish, "", HOUR, LIMITS, quorum=1)
    database.send(upload_id, 0, 10)
    database.commit(upload_id)
    remove(database, alice)
    with pytest.raises(Missing):
        database.read(upload_sessions.find, bob, upload_id, 1)


def test_an_address_enrolled_anew_begins_with_a_fresh_key(database: Meta, alice: Caller) -> None:
    database.put(alice, "a", 10)
    key = account_key(database, alice)
    remove(database, alice)
    proof = database.prove(alice.email)
    again = database.run(accounts.enroll, alice.email, "Again", proof, session(), Promise(1 << 30, 1, 1.0))
    database.put(again, "a", 10)
    assert account_key(database, again) not in {"", key}


def test_a_key_of_another_accounts_content_does_not_open(database: Meta, alice: Caller, bob: Caller) -> None:
    file_id, other = database.put(alice, "a", 10), database.put(bob, "b", 10)
    (row,) = rows_of(database, other)
    database.sql(f"UPDATE version SET wrapped_key = '{row.wrapped_key}' WHERE entry_id = '{file_id}'")
    with pytest.raises(KeyDamaged):
        file_of(database, alice, file_id)


def test_a_file_whose_key_is_damaged_is_listed_without_its_checksum_and_hides_no_other(
    database: Meta, alice: Caller
) -> None:
    file_id, other = database.put(alice, "a", 10), database.put(alice, "b", 10)
    database.sql(f"UPDATE version SET wrapped_key = 'AAAA' WHERE entry_id = '{file_id}'")
    page = database.read(files.page, alice, "", with_trash=False, after=None, limit=10)
    assert [(file.file_id, file.digest) for file in page.files] == [(file_id, ""), (other, PLAIN)]
    contents, _ = database.read(versions.page, alice, file_id, None, 10)
    assert [content.digest for content in contents] == [""]
    told, _ = database.read(exports.versions, alice, None, 10)
    assert {one["file_id"]: one["checksum"] for one in told} == {file_id: "", other: PLAIN}
    found = database.read(files.resolve, alice, "", ["a"])
    assert found.entry.digest == ""
    with pytest.raises(KeyDamaged):
        database.read(files.find_file, alice, file_id)
    page_of_check = database.read(checks.versions, "")
    assert ["does not open" in fault.message for fault in page_of_check.faults] == [True]
    # And another content takes its place.
    database.put(alice, "a", 20)
    assert file_of(database, alice, file_id).digest == PLAIN


def test_an_unfinished_upload_whose_key_is_damaged_hides_no_other_and_can_be_ended(
    database: Meta, alice: Caller
) -> None:
    def begin(name: str) -> str:
        wish = wish_for(alice, name, 10)
        return database.run(upload_sessions.begin, new_id(), wish, "", HOUR, LIMITS, quorum=1).upload_id

    damaged, other = begin("a"), begin("b")
    database.sql(f"UPDATE upload SET wrapped_key = 'AAAA' WHERE upload_id = '{damaged}'")
    listed = database.read(upload_sessions.page, alice, "", 10, 1)
    assert {one.upload_id for one in listed} == {damaged, other}
    with pytest.raises(KeyDamaged):
        database.read(upload_sessions.find, alice, damaged, 1)
    database.run(upload_sessions.cancel, alice, damaged)
    assert [one.upload_id for one in database.read(upload_sessions.page, alice, "", 10, 1)] == [other]


# What it costs


def test_a_sealed_file_takes_not_one_statement_more_than_a_plain_one(
    database: Meta, alice: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    """But for the first of an account, which asks whether the master key is the cluster's."""
    database.run(sealing.claim)

    def statements(name: str, *, is_sealed: bool) -> int:
        sealing.bind(lambda: MASTER_KEYS, seals_new=is_sealed)
        caplog.clear()
        with caplog.at_level("DEBUG", logger="peewee"):
            file_id = database.put(alice, name, 10)
            file = file_of(database, alice, file_id)
            database.read(files.pieces, file.version_id, -1, 10, file.seal)
            database.read(files.page, alice, "", with_trash=False, after=None, limit=10)
        return len([record for record in caplog.records if record.name == "peewee"])

    first, plain, sealed = (statements(name, is_sealed=name != "plain") for name in ("first", "plain", "sealed"))
    assert (first, sealed) == (plain + 2, plain)
