"""Limits, sessions, exports and closing, in the database."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import pytest

from cloudgrpc.core.otp import Verdict
from cloudgrpc.core.pace import Rule
from cloudgrpc.errors import (
    AccountUnknown,
    Missing,
    ProofMissing,
    SessionEnded,
    TooManyCodes,
    TooManyTries,
    UploadEnded,
)
from cloudgrpc.meta import accounts, changes, closing, exports, files, paces, sessions, sharing
from cloudgrpc.meta.models import Account, Entry, OtpChallenge, Pace, Session, Upload, new_id
from cloudgrpc.meta.promises import Promise
from cloudgrpc.meta.sharing import Terms
from contract.meta_fixture import HOUR, LIMITS, Meta, session, visitor

if TYPE_CHECKING:
    from cloudgrpc.meta.accounts import Caller

EMAIL = "alice@example.org"
SECOND = 1_000_000
ONCE = Rule("once", HOUR, 1)


@pytest.fixture
def alice(database: Meta) -> Caller:
    return database.enroll()


# Limits


def test_of_many_at_once_as_many_come_through_as_may(database: Meta) -> None:
    waits = database.race([functools.partial(paces.take, [Rule("some", HOUR, 3)])] * 8)
    assert sorted(wait > 0 for wait in waits) == [False] * 3 + [True] * 5
    assert all(wait <= HOUR + SECOND for wait in waits)


def test_a_turn_is_taken_by_all_rules_or_by_none(database: Meta) -> None:
    plenty = Rule("plenty", HOUR, 2)
    assert database.run(paces.take, [ONCE, plenty]) == 0
    assert database.run(paces.take, [ONCE, plenty]) > 0
    assert database.run(paces.take, [plenty]) == 0, "the try before took nothing of it"
    assert database.run(paces.take, [plenty]) > 0


def test_what_no_longer_slows_anybody_is_forgotten(database: Meta) -> None:
    database.run(paces.take, [ONCE, Rule("more", HOUR, 1)])
    database.age("pace", "due_at", 2 * HOUR, "name = 'once'")
    database.run(paces.sweep)
    assert [row.name for row in database.run(lambda: list(Pace.select()))] == ["more"]


def test_a_turn_is_taken_also_while_the_last_one_is_forgotten(database: Meta) -> None:
    brief = Rule("brief", 1, HOUR)  # forgotten by every sweep, and slows nobody
    for _ in range(25):
        answers = database.race([functools.partial(paces.take, [brief]), paces.sweep] * 4)
        assert answers[::2] == [0] * 4


def test_a_code_too_many_changes_nothing(database: Meta) -> None:
    database.run(accounts.remember_code, EMAIL, "first", [ONCE], visitor())
    with pytest.raises(TooManyCodes, match=r"3[56]\d\d s"):
        database.run(accounts.remember_code, EMAIL, "second", [ONCE], visitor())
    assert database.run(accounts.judge_code, EMAIL, "first", new_id(), [], visitor()) == (Verdict.OK, 0)


def test_a_code_that_could_not_be_delivered_is_void_and_the_next_may_come_at_once(database: Meta) -> None:
    database.run(accounts.remember_code, EMAIL, "lost", [ONCE], visitor())
    database.run(accounts.forget_code, EMAIL, ONCE.name, visitor())
    assert database.run(OtpChallenge.select().count) == 0
    database.run(accounts.remember_code, EMAIL, "next", [ONCE], visitor())
    assert database.events("code.undelivered") == 1


def test_a_try_too_many_is_not_judged(database: Meta) -> None:
    database.run(accounts.remember_code, EMAIL, "code", [], visitor())
    assert database.run(accounts.judge_code, EMAIL, "wrong", new_id(), [ONCE], visitor())[0] is Verdict.WRONG
    with pytest.raises(TooManyTries):
        database.run(accounts.judge_code, EMAIL, "code", new_id(), [ONCE], visitor())
    assert database.run(OtpChallenge.get_by_id, EMAIL).attempts == 1


# Sessions


def test_sessions_are_listed_newest_first_and_only_those_in_force(database: Meta, alice: Caller) -> None:
    database.enroll()
    older, newer, over = session(), session(), session()
    for one, age in ((older, 2 * SECOND), (newer, 0), (over, 0)):
        database.run(accounts.log_in, alice.email, database.prove(alice.email), one)
        database.age("session", "created_at", age, f"digest = '{one.digest}'")
    database.age("session", "created_at", HOUR, f"session_id = '{alice.session_id}'")
    database.age("session", "expires_at", 2 * HOUR, f"digest = '{over.digest}'")
    found = database.read(sessions.standing, alice.account_id)
    ids = [database.read(accounts.find_caller, one.digest).session_id for one in (newer, older)]
    assert [one.session_id for one in found] == [*ids, alice.session_id]
    assert {(one.host, one.client) for one in found} == {("192.0.2.7", "a test")}


def test_a_session_of_somebody_else_cannot_be_ended(database: Meta, alice: Caller) -> None:
    bob = database.enroll()
    with pytest.raises(Missing):
        database.run(sessions.end, alice, bob.session_id, visitor())
    database.run(sessions.end, bob, bob.session_id, visitor())
    assert [one.session_id for one in database.read(sessions.standing, alice.account_id)] == [alice.session_id]
    assert database.read(sessions.standing, bob.account_id) == []


def test_all_other_sessions_end_and_nobody_elses(database: Meta, alice: Caller) -> None:
    bob = database.enroll()
    for _ in range(2):
        database.run(accounts.log_in, alice.email, database.prove(alice.email), session())
    assert database.run(sessions.end_others, alice, visitor()) == 2
    assert database.run(sessions.end_others, alice, visitor()) == 0
    for who in (alice, bob):
        assert [one.session_id for one in database.read(sessions.standing, who.account_id)] == [who.session_id]
    assert database.events("session.ended") == 1


def test_a_session_that_runs_out_is_an_event(database: Meta, alice: Caller) -> None:
    database.age("session", "expires_at", 100 * HOUR)
    database.run(accounts.sweep)
    assert (database.run(Session.select().count), database.events("session.expired")) == (0, 1)


# Closing


def proven(database: Meta, who: Caller) -> str:
    return database.prove(who.email)


def test_closing_takes_a_proof_of_the_accounts_own_address(database: Meta, alice: Caller) -> None:
    bob = database.enroll()
    with pytest.raises(ProofMissing):
        database.run(closing.close, alice, proven(database, bob), HOUR, visitor("elsewhere"))
    assert database.read(accounts.find_caller, _digest(database, alice)).closes_at is None


def test_closing_ends_the_other_sessions_and_can_be_taken_back(database: Meta, alice: Caller) -> None:
    database.run(accounts.log_in, alice.email, database.prove(alice.email), session())
    closes_at = database.run(closing.close, alice, proven(database, alice), HOUR, visitor())
    assert database.read(accounts.find_caller, _digest(database, alice)).closes_at == closes_at
    again = database.run(closing.close, alice, proven(database, alice), 9 * HOUR, visitor())
    assert again == closes_at, "closing again does not move it"
    assert len(database.read(sessions.standing, alice.account_id)) == 1
    assert database.run(closing.reopen, alice, visitor())
    assert not database.run(closing.reopen, alice, visitor())
    assert database.read(accounts.find_caller, _digest(database, alice)).closes_at is None
    assert [database.events(kind) for kind in ("account.closed", "account.reopened")] == [1, 1]


def test_an_account_goes_when_its_time_is_over_and_takes_nothing_of_others(database: Meta, alice: Caller) -> None:
    bob = database.enroll()
    its = database.chunks_of(database.put(alice, "film", 10, 10))
    folder = database.run(changes.make_folder, alice, "", "folder", LIMITS).folder_id
    its += database.chunks_of(database.put(alice, "deep", 10, parent_id=folder))
    trashed = database.put(alice, "trashed", 10)
    its += database.chunks_of(trashed)
    database.run(changes.trash, alice, trashed)
    bobs = database.chunks_of(database.put(bob, "film", 10))
    digest = _digest(database, alice)
    open_upload = database.begin(alice, "coming", 10)
    database.run(closing.close, alice, proven(database, alice), HOUR, visitor())
    assert database.read(closing.due, 10) == []
    assert not database.run(closing.remove, alice.account_id), "not before its time"
    database.age("account", "closes_at", 2 * HOUR, f"account_id = '{alice.account_id}'")
    assert database.read(closing.due, 10) == [alice.account_id]
    assert database.run(closing.remove, alice.account_id)
    with pytest.raises(SessionEnded):
        database.read(accounts.find_caller, digest)
    with pytest.raises(AccountUnknown):
        database.run(accounts.log_in, alice.email, database.prove(alice.email), session())
    assert not database.run(closing.reopen, alice, visitor()), "too late"
    assert not database.run(closing.remove, alice.account_id)
    assert database.read(closing.due, 10) == []
    database.run(closing.forget, 10)
    assert database.run(Account.get_or_none, Account.account_id == alice.account_id), "something of it is left"
    database.sweep()
    database.run(closing.forget, 10)
    assert all(database.unreferenced_at(chunk_id) for chunk_id in its)
    assert not any(database.unreferenced_at(chunk_id) for chunk_id in bobs)
    for table in (Account, Entry, Session, Upload):
        where = getattr(table, "account", None) or table.account_id
        assert database.run(table.select().where(where == alice.account_id).count) == 0, table
    with pytest.raises(UploadEnded):
        database.commit(open_upload)
    assert [database.events(kind) for kind in ("account.removed", "upload.abandoned")] == [1, 1]


def test_a_removed_accounts_address_can_enroll_anew_at_once_and_finds_nothing(database: Meta, alice: Caller) -> None:
    file_id = database.put(alice, "film", 10)
    database.run(closing.close, alice, proven(database, alice), -HOUR, visitor())
    assert database.run(closing.remove, alice.account_id)
    proof, promise = proven(database, alice), Promise(100, 1, 1.0)
    again = database.run(accounts.enroll, alice.email, "Alice", proof, session(), promise)
    with pytest.raises(Missing):
        database.read(files.find_file, again, file_id)
    database.sweep()
    database.run(closing.forget, 10)
    assert database.read(accounts.find_caller, _digest(database, again)) == again


def test_reopened_in_the_last_moment_nothing_goes(database: Meta, alice: Caller) -> None:
    database.put(alice, "film", 10)
    database.run(closing.close, alice, proven(database, alice), HOUR, visitor())
    database.age("account", "closes_at", 2 * HOUR)
    due = database.read(closing.due, 10)
    database.run(closing.reopen, alice, visitor())
    assert [database.run(closing.remove, account_id) for account_id in due] == [False]
    assert len(database.read(exports.entries, alice, None, 10)[0]) == 2


# Export


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_an_export_holds_all_of_mine_and_nothing_of_others(database: Meta, alice: Caller, limit: int) -> None:
    bob = database.enroll()
    for name in ("one", "one", "two", "trashed", "gone"):
        database.put(alice, name, 10)
    folder, outside = (database.run(changes.make_folder, alice, "", one, LIMITS) for one in ("folder", "outside"))
    inner = database.put(alice, "inner", 10, parent_id=outside.folder_id)
    database.run(changes.trash, alice, id_of(database, alice, "trashed"))
    for gone in (outside.folder_id, id_of(database, alice, "gone")):
        database.run(changes.purge, alice, gone)
    theirs = database.put(bob, "bobs", 10)
    database.run(sharing.share, alice, folder.folder_id, bob.email, Terms("write", None))
    database.run(sharing.share, bob, theirs, alice.email, Terms("read", None))

    def everything(section: str) -> list[dict[str, Any]]:
        rows, after = database.read(exports.SECTIONS[section], alice, None, limit)
        while after is not None:
            more, after = database.read(exports.SECTIONS[section], alice, after, limit)
            assert len(more) <= limit
            rows += more
        return rows

    entries = {row["name"]: row for row in everything("entries")}
    assert set(entries) == {"", "one", "two", "trashed", "folder"}
    assert [bool(row["trashed_at"]) for row in entries.values()].count(True) == 1
    assert (entries["trashed"]["trashed_from_id"], entries["trashed"]["trashed_from"]) == (alice.root_id, "/")
    versions = everything("versions")
    assert sorted(row["number"] for row in versions) == [1, 1, 1, 2]
    assert {row["made_by"] for row in versions} == {alice.email}
    assert inner not in {row["file_id"] for row in versions}
    assert [(row["path"], row["email"], row["permission"]) for row in everything("shares")] == [
        ("/folder", bob.email, "write")
    ]
    assert [(row["name"], row["owner"], row["permission"]) for row in everything("shared_with_me")] == [
        ("bobs", bob.email, "read")
    ]
    assert [row["kind"] for row in everything("events")].count("file.uploaded") == 6
    person = database.read(exports.person, alice.account_id)
    assert person["account"]["email"] == alice.email
    assert [one["id"] for one in person["sessions"]] == [alice.session_id]


def id_of(database: Meta, person: Caller, name: str) -> str:
    return database.read(files.resolve, person, "", [name]).reached.entry_id


def _digest(database: Meta, who: Caller) -> str:
    return database.run(lambda: Session.get(Session.session_id == who.session_id).digest)
