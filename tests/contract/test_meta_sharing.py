"""Shares: who may be given what, who sees it, and how they end."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from cloudgrpc.core import paging
from cloudgrpc.errors import InvalidField, Missing, OwnerOnly, ReadOnlyShare, UploadEnded
from cloudgrpc.meta import accounts, changes, closing, files, sharing, tree
from cloudgrpc.meta.db import now
from cloudgrpc.meta.models import Entry, Event, Share, new_id
from cloudgrpc.meta.promises import Promise
from cloudgrpc.meta.sharing import Mine, Terms, WithMe
from contract.meta_fixture import GB, HOUR, LIMITS, Meta, session, visitor

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudgrpc.meta.accounts import Caller

READ, WRITE = Terms("read", None), Terms("write", None)
STRANGER = "stranger@example.org"


@pytest.fixture
def alice(database: Meta) -> Caller:
    return database.enroll()


@pytest.fixture
def bob(database: Meta) -> Caller:
    return database.enroll()


def folder(database: Meta, person: Caller, name: str, parent_id: str = "") -> str:
    return database.run(changes.make_folder, person, parent_id, name, LIMITS).folder_id


def soon(database: Meta) -> Terms:
    return Terms("read", database.run(now) + HOUR)


def share(database: Meta, owner: Caller, entry_id: str, to: Caller | str, terms: Terms = READ) -> str:
    return database.run(sharing.share, owner, entry_id, to if isinstance(to, str) else to.email, terms)


def with_me(database: Meta, person: Caller) -> list[WithMe]:
    return database.read(sharing.with_me, person, None, 1000)[0]


def mine(database: Meta, person: Caller, entry_id: str = "") -> list[Mine]:
    return database.read(sharing.mine, person, entry_id, None, 1000)[0]


def expire(database: Meta, share_id: str) -> None:
    database.age("share", "until_at", 2 * HOUR, f"share_id = '{share_id}'")


def last_event(database: Meta) -> tuple[str, str, str]:
    event = database.run(Event.select().order_by(Event.event_id.desc()).first)
    return event.kind, event.account_id, event.actor_id


# Making


def test_what_is_shared_is_seen_by_both(database: Meta, alice: Caller, bob: Caller) -> None:
    inner = database.put(alice, "a.txt", 10, 5, parent_id=folder(database, alice, "letters"))
    terms = soon(database)
    share_id = share(database, alice, inner, bob, terms)
    (seen,), (own,) = with_me(database, bob), mine(database, alice)
    assert seen == WithMe(share_id, inner, "a.txt", False, 15, alice.email, terms, seen.created_at)
    assert own == Mine(share_id, inner, "/letters/a.txt", False, bob.email, terms, seen.created_at)
    assert database.read(sharing.find_with_me, bob, share_id) == seen
    assert (with_me(database, alice), mine(database, bob)) == ([], [])
    assert last_event(database) == ("share.made", alice.account_id, "")


def test_sharing_again_changes_the_one_share(database: Meta, alice: Caller, bob: Caller) -> None:
    file_id, terms = database.put(alice, "a", 1), soon(database)
    first = share(database, alice, file_id, bob)
    assert share(database, alice, file_id, bob, WRITE) == share(database, alice, file_id, bob, terms) == first
    assert [one.terms for one in with_me(database, bob)] == [terms]
    assert database.events("share.changed") == 2
    assert share(database, alice, file_id, bob, terms) == first
    assert (database.events("share.made"), database.events("share.changed")) == (1, 2)


def test_two_who_share_the_same_at_once_make_one_share(database: Meta, alice: Caller, bob: Caller) -> None:
    file_id = database.put(alice, "a", 1)
    made = database.race([partial(sharing.share, alice, file_id, bob.email, terms) for terms in [READ, WRITE] * 4])
    assert len(set(made)) == 1
    assert [one.share_id for one in with_me(database, bob)] == [made[0]]


def test_an_address_that_is_not_enrolled_sees_it_once_it_is(database: Meta, alice: Caller, bob: Caller) -> None:
    share_id = share(database, alice, database.put(alice, "a", 1), STRANGER)
    proof, promise = database.prove(STRANGER), Promise(GB, 1, 1.0)
    stranger = database.run(accounts.enroll, STRANGER, "A Stranger", proof, session(), promise)
    assert [one.share_id for one in with_me(database, stranger)] == [share_id]
    assert with_me(database, bob) == []


def test_only_the_owner_shares_and_only_what_is_live(database: Meta, alice: Caller, bob: Caller) -> None:
    outer = folder(database, alice, "outer")
    inner, gone, purged = (database.put(alice, name, 1, parent_id=outer) for name in ("a", "gone", "purged"))
    database.run(changes.trash, alice, gone)
    database.run(changes.purge, alice, purged)
    for entry_id in (outer, inner, gone, purged, alice.root_id, new_id()):
        with pytest.raises(Missing):
            share(database, bob, entry_id, STRANGER)
    for entry_id in (gone, purged):
        with pytest.raises(Missing):
            share(database, alice, entry_id, bob)
    share(database, alice, outer, bob, WRITE)
    for entry_id in (outer, inner):
        with pytest.raises(OwnerOnly):
            share(database, bob, entry_id, STRANGER)
    assert [one.email for one in mine(database, alice)] == [bob.email]


@pytest.mark.parametrize("entry_id", ["", "its id"])
def test_the_root_folder_is_not_shared(database: Meta, alice: Caller, bob: Caller, entry_id: str) -> None:
    with pytest.raises(InvalidField, match="file_id"):
        share(database, alice, entry_id and alice.root_id, bob)


def test_an_end_lies_ahead(database: Meta, alice: Caller, bob: Caller) -> None:
    file_id = database.put(alice, "a", 1)
    standing = share(database, alice, file_id, bob)
    with pytest.raises(InvalidField, match="until"):
        share(database, alice, file_id, bob, Terms("write", database.run(now)))
    assert [(one.share_id, one.terms) for one in with_me(database, bob)] == [(standing, READ)]


# Ending


def test_either_side_ends_a_share_and_nobody_else(database: Meta, alice: Caller, bob: Caller) -> None:
    carol, file_id = database.enroll(), database.put(alice, "a", 1)
    for ends, event in ((alice, ""), (bob, bob.account_id)):
        share_id = share(database, alice, file_id, bob)
        for other in (carol, database.enroll()):
            with pytest.raises(Missing):
                database.run(sharing.unshare, other, share_id)
        database.run(sharing.unshare, ends, share_id)
        assert last_event(database) == ("share.ended", alice.account_id, event)
        assert (with_me(database, bob), mine(database, alice)) == ([], [])
        for again in (alice, bob):
            with pytest.raises(Missing):
                database.run(sharing.unshare, again, share_id)


def test_a_share_ends_by_what_is_shared_and_with_whom(database: Meta, alice: Caller, bob: Caller) -> None:
    file_id = database.put(alice, "a", 1)
    share(database, alice, file_id, bob)
    kept = share(database, alice, file_id, STRANGER)
    for person, email in ((bob, bob.email), (bob, STRANGER), (alice, "other@example.org")):
        with pytest.raises(Missing):
            database.run(sharing.unshare_with, person, file_id, email)
    database.run(sharing.unshare_with, alice, file_id, bob.email)
    assert [one.share_id for one in mine(database, alice)] == [kept]


def test_a_share_in_the_trash_can_be_ended_and_comes_back_if_it_is_not(
    database: Meta, alice: Caller, bob: Caller
) -> None:
    outer = folder(database, alice, "outer")
    ids = [database.put(alice, name, 1, parent_id=outer) for name in ("kept", "ended")]
    kept, ended = (share(database, alice, file_id, bob) for file_id in ids)
    database.run(changes.trash, alice, outer)
    assert [(one.share_id, one.path) for one in mine(database, alice)] == [(ended, ""), (kept, "")]
    assert [one.share_id for one in mine(database, alice, ids[0])] == [kept]
    assert with_me(database, bob) == []
    for share_id in (kept, ended):
        for work in (sharing.find_with_me, sharing.unshare):
            with pytest.raises(Missing):
                database.run(work, bob, share_id)
    database.run(sharing.unshare_with, alice, ids[1], bob.email)
    database.sql(f"UPDATE entry SET parent_id = '{alice.root_id}', trashed_at = NULL WHERE entry_id = '{outer}'")
    assert [one.share_id for one in with_me(database, bob)] == [kept]


def test_what_is_deleted_for_good_is_shared_no_more(database: Meta, alice: Caller, bob: Caller) -> None:
    outer = folder(database, alice, "outer")
    share(database, alice, database.put(alice, "a", 1, parent_id=outer), bob)
    share(database, alice, outer, bob)
    database.run(changes.purge, alice, outer)
    assert (with_me(database, bob), mine(database, alice)) == ([], [])
    database.sweep()
    assert database.run(Share.select().count) == 0


def test_a_share_whose_time_is_over_is_none(database: Meta, alice: Caller, bob: Caller) -> None:
    file_id = database.put(alice, "a", 1)
    over = share(database, alice, file_id, bob, soon(database))
    expire(database, over)
    assert (with_me(database, bob), mine(database, alice)) == ([], [])
    works: list[Callable[[], object]] = [
        partial(sharing.find_with_me, bob, over),
        partial(sharing.unshare, alice, over),
        partial(sharing.unshare, bob, over),
        partial(sharing.unshare_with, alice, file_id, bob.email),
        partial(tree.reach, bob, file_id),
    ]
    for work in works:
        with pytest.raises(Missing):
            database.run(work)
    assert not database.read(files.resolve, alice, file_id, ()).entry.is_shared
    again = share(database, alice, file_id, bob)
    assert again != over
    assert (database.events("share.made"), database.events("share.ended")) == (2, 1)


def test_upkeep_ends_the_shares_whose_time_is_over(database: Meta, alice: Caller, bob: Caller) -> None:
    ids = [database.put(alice, f"a{n}", 1) for n in range(4)]
    for file_id in ids[:3]:
        expire(database, share(database, alice, file_id, bob, soon(database)))
    lasting = [share(database, alice, ids[3], bob, soon(database)), share(database, alice, ids[3], STRANGER)]
    assert [database.run(sharing.end_expired, 2) for _ in range(3)] == [2, 1, 0]
    assert {one.share_id for one in database.run(list, Share.select())} == set(lasting)
    assert database.events("share.ended") == 3
    assert last_event(database) == ("share.ended", alice.account_id, "")


# What it opens


def test_a_closed_account_shares_nothing_until_it_is_open_again(database: Meta, alice: Caller, bob: Caller) -> None:
    file_id = database.put(alice, "a", 1)
    share_id = share(database, alice, file_id, bob)
    database.run(closing.close, alice, database.prove(alice.email), HOUR, visitor())
    assert with_me(database, bob) == []
    for work in (sharing.find_with_me, sharing.unshare):
        with pytest.raises(Missing):
            database.run(work, bob, share_id)
    database.run(closing.reopen, alice, visitor())
    assert [one.share_id for one in with_me(database, bob)] == [share_id]


def test_only_the_owner_is_told_that_something_is_shared(database: Meta, alice: Caller, bob: Caller) -> None:
    outer = folder(database, alice, "outer")
    file_id, inner = database.put(alice, "a", 1, parent_id=outer), folder(database, alice, "inner", outer)
    for entry_id in (outer, file_id, inner):
        share(database, alice, entry_id, bob)
    for person, told in ((alice, True), (bob, False)):
        page = database.read(files.page, person, outer, with_trash=True, after=None, limit=10)
        assert [one.is_shared for one in page.folders] == [one.is_shared for one in page.files] == [told]
        for entry_id in (outer, file_id):
            assert database.read(files.resolve, person, entry_id, ()).entry.is_shared is told


def test_an_upload_under_way_does_not_outlive_its_share(database: Meta, alice: Caller, bob: Caller) -> None:
    outer = folder(database, alice, "outer")
    share_id = share(database, alice, outer, bob, WRITE)
    ended, lowered = (database.begin(bob, name, 0, parent_id=outer) for name in ("ended", "lowered"))
    share(database, alice, outer, bob, READ)
    with pytest.raises(ReadOnlyShare):
        database.commit(lowered)
    database.run(sharing.unshare, alice, share_id)
    with pytest.raises(UploadEnded):
        database.commit(ended)
    assert database.run(Entry.select().where(Entry.kind == "file").count) == 0


def test_a_share_does_not_end_between_the_look_and_the_change_of_another(
    database: Meta, alice: Caller, bob: Caller
) -> None:
    outer = folder(database, alice, "outer")
    share_id = share(database, alice, outer, bob, WRITE)
    looked, ended = threading.Event(), threading.Event()

    def change() -> bool:
        changes.reach_to_change(bob, outer).check_writable()
        looked.set()
        return ended.wait(0.3)

    def end() -> None:
        looked.wait(20)
        database.run(sharing.unshare, alice, share_id)
        ended.set()

    ending = threading.Thread(target=end)
    ending.start()
    assert not database.run(change)
    ending.join()
    assert ended.is_set()


# Lists


def test_the_pages_of_shares_put_together_are_all_of_them(database: Meta, alice: Caller, bob: Caller) -> None:
    made = [share(database, alice, database.put(alice, f"a{n}", 1), bob) for n in range(7)]
    database.sql("UPDATE share SET created_at = created_at / 1000000 * 1000000")  # several made in one moment
    for size in (1, 3, 7, 8):
        lists: list[Callable[..., Any]] = [partial(sharing.with_me, bob), partial(sharing.mine, alice, "")]
        for page in lists:
            listed, after, pages = [], None, 0
            while pages == 0 or after is not None:
                found, after = database.read(page, after, size)
                listed += [one.share_id for one in found]
                pages += 1
            assert (sorted(listed), len(listed), pages) == (sorted(made), 7, -(-7 // size))


def test_a_page_of_what_cannot_be_seen_goes_on(database: Meta, alice: Caller, bob: Caller) -> None:
    ids = [database.put(alice, f"a{n}", 1) for n in range(4)]
    shares = [share(database, alice, file_id, bob) for file_id in ids]
    for file_id in ids[1:]:
        database.run(changes.trash, alice, file_id)
    found, after = database.read(sharing.with_me, bob, None, 3)
    assert (found, after is not None) == ([], True)
    found, after = database.read(sharing.with_me, bob, after, 3)
    assert ([one.share_id for one in found], after) == ([shares[0]], None)


def test_paths_that_are_long_make_a_page_shorter(
    database: Meta, monkeypatch: pytest.MonkeyPatch, alice: Caller, bob: Caller
) -> None:
    monkeypatch.setattr(paging, "PAGE_BYTES", 2000)
    inner = folder(database, alice, "x" * 250, folder(database, alice, "y" * 250))
    shares = {share(database, alice, folder(database, alice, str(n), inner), bob) for n in range(6)}
    first, after = database.read(sharing.mine, alice, "", None, 1000)
    rest, last = database.read(sharing.mine, alice, "", after, 1000)
    assert (len(first), len(rest), last) == (3, 3, None)
    assert {one.share_id for one in (*first, *rest)} == shares


def test_the_shares_of_one_entry_are_its_owners_to_see(database: Meta, alice: Caller, bob: Caller) -> None:
    shared, other = (database.put(alice, name, 1) for name in ("a", "b"))
    share_id = share(database, alice, shared, bob)
    assert [one.share_id for one in mine(database, alice, shared)] == [share_id]
    assert mine(database, alice, other) == []
    with pytest.raises(OwnerOnly):
        mine(database, bob, shared)
    with pytest.raises(Missing):
        mine(database, bob, other)
