"""A person's history: what happened in their drive and account, and what they did in others'."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from cloudgrpc.core import paging
from cloudgrpc.core.units import rfc3339
from cloudgrpc.meta import changes, copying, events, history, sharing, versions
from cloudgrpc.meta.changes import Move
from cloudgrpc.meta.copying import CopyTo
from cloudgrpc.meta.db import now
from cloudgrpc.meta.history import NEWEST
from cloudgrpc.meta.sharing import Terms
from contract.meta_fixture import HOUR, KEEP, LIMITS, Meta, visitor

if TYPE_CHECKING:
    from cloudgrpc.meta.accounts import Caller
    from cloudgrpc.meta.history import Happening


@pytest.fixture
def alice(database: Meta) -> Caller:
    return database.enroll()


@pytest.fixture
def bob(database: Meta) -> Caller:
    return database.enroll()


def folder(database: Meta, person: Caller, name: str, parent_id: str = "") -> str:
    return database.run(changes.make_folder, person, parent_id, name, LIMITS).folder_id


def happenings(database: Meta, person: Caller, limit: int = 1000) -> list[Happening]:
    """All pages."""
    everything, before = [], NEWEST
    while True:
        page, last = database.read(history.happenings, person, before, limit)
        assert len(page) <= limit
        everything += page
        if last is None:
            return everything
        before = last


def test_what_happened_comes_newest_first_and_says_who_did_it(database: Meta, alice: Caller, bob: Caller) -> None:
    outer = folder(database, alice, "outer")
    database.run(sharing.share, alice, outer, bob.email, Terms("write", None))
    inner = folder(database, bob, "inner", outer)
    told = [(one.kind, one.by_email) for one in happenings(database, alice)]
    assert told == [
        ("folder.made", bob.email),
        ("share.made", alice.email),
        ("folder.made", alice.email),
        ("session.started", alice.email),
        ("account.enrolled", alice.email),
    ]
    (made, *_) = happenings(database, bob)
    assert (made.kind, made.by_email, made.details) == ("folder.made", bob.email, {"folder_id": inner})


def test_nobody_else_sees_it(database: Meta, alice: Caller, bob: Caller) -> None:
    file_id = database.put(alice, "a", 1)
    database.run(sharing.share, alice, file_id, bob.email, Terms("read", None))
    assert {one.kind for one in happenings(database, bob)} == {"session.started", "account.enrolled"}


def test_what_one_did_elsewhere_is_told_without_what_lies_above_the_share(
    database: Meta, alice: Caller, bob: Caller
) -> None:
    outer = folder(database, alice, "outer", folder(database, alice, "private"))
    file_id = database.put(alice, "a", 1, parent_id=outer)
    share_id = database.run(sharing.share, alice, outer, bob.email, Terms("write", None))
    database.run(changes.move, bob, file_id, Move(None, "b"), LIMITS)
    database.run(changes.trash, bob, file_id)
    database.run(sharing.unshare, bob, share_id)
    outer_path = f"shared:{alice.email}/outer"
    assert [one.message for one in happenings(database, bob)[:3]] == [
        f"{outer_path} is no longer shared with {bob.email}",
        f"{outer_path}/b was moved to the trash",
        f"{outer_path}/a was moved to {outer_path}/b",
    ]
    assert "private" not in str(happenings(database, bob))
    assert [one.message for one in happenings(database, alice)[:3]] == [
        f"/private/outer is no longer shared with {bob.email}",
        "/private/outer/b was moved to the trash",
        "/private/outer/a was moved to /private/outer/b",
    ]


def test_what_happened_to_something_tells_its_whole_path(database: Meta, alice: Caller) -> None:
    outer = folder(database, alice, "outer")
    inner = folder(database, alice, "inner", outer)
    file_id, other_id, third_id = (database.put(alice, name, 1, parent_id=inner) for name in ("a", "b", "c"))
    database.run(changes.purge, alice, file_id)
    database.run(changes.trash, alice, other_id)
    database.run(changes.purge, alice, other_id)
    database.run(changes.trash, alice, inner)
    database.run(changes.purge, alice, third_id)
    database.run(changes.purge, alice, inner)
    assert [one.message for one in happenings(database, alice)[:-2]] == [
        "/outer/inner was deleted for good",
        "/outer/inner/c was deleted for good",
        "/outer/inner was moved to the trash",
        "/outer/inner/b was deleted for good",
        "/outer/inner/b was moved to the trash",
        "/outer/inner/a was deleted for good",
        "/outer/inner/c was uploaded",
        "/outer/inner/b was uploaded",
        "/outer/inner/a was uploaded",
        "folder /outer/inner was made",
        "folder /outer was made",
    ]


def test_what_one_did_in_anothers_drive_says_so(database: Meta, alice: Caller, bob: Caller) -> None:
    outer = folder(database, alice, "outer", folder(database, alice, "private"))
    database.run(sharing.share, alice, outer, bob.email, Terms("write", None))
    mine = database.put(bob, "plan", 1)
    copied = database.run(copying.copy, bob, mine, CopyTo(outer), LIMITS, KEEP)
    database.run(copying.copy, bob, copied.entry_id, CopyTo("", "back"), LIMITS, KEEP)
    database.put(bob, "whatever", 1, parent_id=copied.entry_id)
    folder(database, bob, "inner", outer)
    database.sql("UPDATE version SET digest = 'blake3:11', wrapped_key = '' WHERE number = 1")
    database.run(versions.restore, bob, copied.entry_id, 1, None, KEEP)
    there = f"shared:{alice.email}/outer"
    assert [one.message for one in happenings(database, bob)[:6]] == [
        f"version 1 of {there}/plan was made the newest",
        f"folder {there}/inner was made",
        f"{there}/plan was uploaded",
        f"{there}/plan was copied to /back",
        f"/plan was copied to {there}/plan",
        "/plan was uploaded",
    ]
    assert [one.message for one in happenings(database, alice)[:4]] == [
        "version 1 of /private/outer/plan was made the newest",
        "folder /private/outer/inner was made",
        "/private/outer/plan was uploaded",
        "plan was copied to /private/outer/plan",
    ]


def test_the_end_of_a_share_is_told_in_words_and_in_the_details_as_it_is(
    database: Meta, alice: Caller, bob: Caller
) -> None:
    outer = folder(database, alice, "outer", folder(database, alice, "private"))
    until = database.run(now) // HOUR * HOUR + HOUR
    database.run(sharing.share, alice, outer, bob.email, Terms("read", until))
    (made, *_) = happenings(database, alice)
    assert made.details["until"] == rfc3339(until)
    told = made.details["until"][:16].replace("T", " ")
    assert made.message == f"/private/outer is shared with {bob.email} to read until {told} UTC"
    database.run(changes.trash, alice, outer)
    database.sql("UPDATE share SET until_at = 1")
    database.run(sharing.end_expired, 10)
    (ended, *_) = happenings(database, alice)
    assert ended.message == f"/private/outer is no longer shared with {bob.email}: its time was over"


def test_what_the_cluster_did_is_by_nobody(database: Meta, alice: Caller, bob: Caller) -> None:
    file_id = database.put(alice, "a", 1)
    database.run(sharing.share, alice, file_id, bob.email, Terms("read", database.run(now) + HOUR))
    database.sql("UPDATE share SET until_at = 1")
    database.run(sharing.end_expired, 10)
    (ended, *_) = happenings(database, alice)
    assert (ended.kind, ended.by_email) == ("share.ended", "")
    assert ended.details == {"entry_id": file_id, "email": bob.email}


def test_from_where_it_was_done_is_told_to_whoever_did_it_alone(database: Meta, alice: Caller, bob: Caller) -> None:
    def work() -> None:
        for actor_id in ("", bob.account_id):
            events.record(
                "file.uploaded",
                "was done",
                account_id=alice.account_id,
                actor_id=actor_id,
                visitor=visitor(),
                by=bob.email,
            )

    database.run(work)
    by_bob, own = happenings(database, alice)[:2]
    assert (by_bob.details, own.details) == ({}, {"from": "192.0.2.7", "client": "a test"})
    assert happenings(database, bob)[0].details == own.details


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
def test_the_pages_of_any_size_put_together_are_everything_once(
    database: Meta, alice: Caller, bob: Caller, limit: int
) -> None:
    def work() -> None:
        for n in range(4):
            events.record("folder.made", f"own {n}", account_id=bob.account_id)
            events.record("folder.made", f"elsewhere {n}", account_id=alice.account_id, actor_id=bob.account_id)
            events.record("folder.made", f"not {n}", account_id=alice.account_id)

    database.run(work)
    wanted = [f"{where} {n}" for n in (3, 2, 1, 0) for where in ("elsewhere", "own")]
    found = happenings(database, bob, limit)
    assert [one.message for one in found[:-2]] == wanted
    assert [one.kind for one in found[-2:]] == ["session.started", "account.enrolled"]


def test_words_that_are_long_make_a_page_shorter(
    database: Meta, monkeypatch: pytest.MonkeyPatch, alice: Caller
) -> None:
    monkeypatch.setattr(paging, "PAGE_BYTES", 2000)
    for n in range(5):
        database.run(partial(events.record, "folder.made", f"{n}" * 900, account_id=alice.account_id))
    page, last = database.read(history.happenings, alice, NEWEST, 100)
    assert ([one.message[0] for one in page], last) == (["4", "3"], page[1].event_id)
    assert len(happenings(database, alice)) == 7
