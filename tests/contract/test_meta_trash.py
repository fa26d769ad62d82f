"""The trash: what lies in it, how it comes back, and how it ends."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from cloudgrpc.core import paging
from cloudgrpc.errors import (
    CloudError,
    Missing,
    NameTaken,
    NotInTrash,
    OtherDrive,
    PathTooLong,
    PlaceGone,
    TooDeep,
)
from cloudgrpc.meta import changes, copying, files, sharing, trash, tree
from cloudgrpc.meta.changes import Move
from cloudgrpc.meta.copying import CopyTo
from cloudgrpc.meta.db import now
from cloudgrpc.meta.models import Event
from cloudgrpc.meta.sharing import Terms
from cloudgrpc.meta.trash import Place, Trashed
from cloudgrpc.meta.tree import Limits
from contract.meta_fixture import HOUR, KEEP, LIMITS, Meta

if TYPE_CHECKING:
    from cloudgrpc.meta.accounts import Caller

ROUNDS = 6  # of a race
BACK = Place(None)
ANYHOW = Place(None, make_room=True)


@pytest.fixture
def alice(database: Meta) -> Caller:
    return database.enroll()


@pytest.fixture
def bob(database: Meta) -> Caller:
    return database.enroll()


def trashed(database: Meta, person: Caller, name: str, *lengths: int, parent_id: str = "") -> str:
    file_id = database.put(person, name, *lengths, parent_id=parent_id)
    database.run(changes.trash, person, file_id)
    return file_id


def restore(database: Meta, person: Caller, entry_id: str, place: Place = BACK, limits: Limits = LIMITS) -> str:
    return database.run(trash.restore, person, entry_id, place, limits)


def pages(database: Meta, person: Caller, limit: int) -> list[list[Trashed]]:
    found, after = database.read(trash.page, person, None, limit)
    line = [found]
    while after is not None:
        found, after = database.read(trash.page, person, after, limit)
        line.append(found)
    return line


# Lists


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_the_pages_put_together_are_the_trash_the_newest_first(
    database: Meta, alice: Caller, bob: Caller, limit: int
) -> None:
    folder = database.mkdir(alice, "folder")
    ids = [trashed(database, alice, f"file{n}", n, parent_id=folder) for n in range(4)]
    database.run(changes.trash, alice, folder)
    same = database.rows(f"SELECT trashed_at FROM entry WHERE entry_id = '{ids[1]}'")[0][0]
    database.sql(f"UPDATE entry SET trashed_at = {same} WHERE entry_id = '{ids[2]}'")
    database.put(alice, "live", 1)
    trashed(database, bob, "bobs", 1)
    found = pages(database, alice, limit)
    assert all(len(page) <= limit for page in found)
    listed = [one for page in found for one in page]
    assert [one.entry_id for one in listed] == [folder, ids[3], *sorted(ids[1:3], reverse=True), ids[0]]
    assert {(one.name, one.path, one.is_folder, one.size_bytes) for one in listed} == {
        ("folder", "/folder", True, 0),
        *((f"file{n}", f"/folder/file{n}", False, n) for n in range(4)),
    }


def test_a_page_of_long_paths_ends_before_it_no_longer_fits_a_message(
    database: Meta, alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "PAGE_BYTES", 25)
    for _ in range(5):
        trashed(database, alice, "ten bytes", 1)
    assert [len(page) for page in pages(database, alice, 100)] == [2, 2, 1]


# Back


def test_what_is_restored_is_where_it_was_with_its_versions_and_its_shares(
    database: Meta, alice: Caller, bob: Caller
) -> None:
    folder = database.mkdir(alice, "folder")
    inner = database.mkdir(alice, "inner", folder)
    file_id = database.put(alice, "file", 5, parent_id=inner)
    database.put(alice, "file", 6, parent_id=inner)
    database.run(sharing.share, alice, inner, bob.email, Terms("read", None))
    before = [rows for name, rows in database.digest().items() if name in ("entry", "version", "extent", "share")]
    database.run(changes.trash, alice, inner)
    with pytest.raises(Missing):
        database.read(files.find_file, bob, file_id)
    assert database.read(sharing.with_me, bob, None, 10)[0] == []
    assert restore(database, alice, inner) == "/folder/inner"
    after = [rows for name, rows in database.digest().items() if name in ("entry", "version", "extent", "share")]
    assert after == before
    assert database.read(files.find_file, bob, file_id).size_bytes == 6
    assert database.events("entry.restored") == 1


def test_a_place_that_was_moved_or_renamed_is_still_the_place(database: Meta, alice: Caller) -> None:
    folder, target = database.mkdir(alice, "folder"), database.mkdir(alice, "target")
    file_id = trashed(database, alice, "file", 1, parent_id=folder)
    database.run(changes.move, alice, folder, Move(target, "renamed"), LIMITS)
    assert restore(database, alice, file_id) == "/target/renamed/file"


@pytest.mark.parametrize("way", [changes.trash, changes.purge])
def test_without_its_place_it_waits_until_it_is_told_where(database: Meta, alice: Caller, way: Any) -> None:
    folder, target = database.mkdir(alice, "folder"), database.mkdir(alice, "target")
    ids = [trashed(database, alice, f"file{n}", 1, parent_id=folder) for n in range(4)]
    database.run(way, alice, folder)
    database.mkdir(alice, "folder")  # of the same name, but not the place
    with pytest.raises(PlaceGone):
        restore(database, alice, ids[0])
    assert restore(database, alice, ids[0], Place("")) == "/file0"
    assert restore(database, alice, ids[1], Place(target, "named")) == "/target/named"
    assert restore(database, alice, ids[2], ANYHOW) == "/file2"
    if way is changes.trash:
        restore(database, alice, folder, Place(None, "again"))
        assert restore(database, alice, ids[3]) == "/again/file3"
    database.check_books(alice)


def test_a_part_of_a_deleted_folder_can_be_restored_alone(database: Meta, alice: Caller) -> None:
    folder = database.mkdir(alice, "folder")
    inner = database.mkdir(alice, "inner", folder)
    file_id, other = (database.put(alice, name, 1, parent_id=inner) for name in ("file", "other"))
    database.run(changes.trash, alice, folder)
    with pytest.raises(PlaceGone):
        restore(database, alice, file_id)
    assert restore(database, alice, file_id, ANYHOW) == "/file"
    assert restore(database, alice, inner, Place("")) == "/inner"
    assert database.read(tree.reach, alice, other).path == "/inner/other"
    assert [one.entry_id for one in database.read(trash.page, alice, None, 10)[0]] == [folder]
    database.run(changes.purge, alice, folder)
    assert database.used(alice.account_id) == (2, 0)
    database.check_books(alice)


def test_a_name_that_is_taken_is_told_or_made_free(database: Meta, alice: Caller) -> None:
    ids = [trashed(database, alice, "a.jpg", 1) for _ in range(4)]
    folder = database.mkdir(alice, "a")
    database.run(changes.trash, alice, folder)
    database.put(alice, "a.jpg", 1)
    database.mkdir(alice, "a")
    with pytest.raises(NameTaken):
        restore(database, alice, ids[0])
    with pytest.raises(NameTaken):
        restore(database, alice, ids[0], Place(None, "a"))
    assert [restore(database, alice, one, ANYHOW) for one in ids[:3]] == [f"/a ({n}).jpg" for n in (2, 3, 4)]
    assert restore(database, alice, ids[3], Place(None, "a", make_room=True)) == "/a (2)"
    assert restore(database, alice, folder, ANYHOW) == "/a (3)"


def test_a_free_name_of_a_longest_one_is_cut_and_no_longer(database: Meta, alice: Caller) -> None:
    name = "\u00e9" * 125 + ".jpeg"
    file_id = trashed(database, alice, name, 1)
    database.put(alice, name, 1)
    assert restore(database, alice, file_id, ANYHOW) == "/" + "\u00e9" * 123 + " (2).jpeg"


def test_what_cannot_be_restored_stays_in_the_trash_untouched(database: Meta, alice: Caller, bob: Caller) -> None:
    folder = database.mkdir(alice, "folder")
    inner = database.mkdir(alice, "inner", folder)
    trashed_folder = database.mkdir(alice, "gone")
    database.mkdir(alice, "deep", trashed_folder)
    database.run(changes.trash, alice, trashed_folder)
    file_id = trashed(database, alice, "file", 1)
    live = database.put(alice, "live", 1)
    theirs = database.mkdir(bob, "theirs")
    database.run(sharing.share, bob, theirs, alice.email, Terms("write", None))
    refusals: list[tuple[type[CloudError], str, Place]] = [
        (NotInTrash, live, BACK),
        (NotInTrash, alice.root_id, BACK),
        (NotInTrash, trashed(database, bob, "bobs", 1), ANYHOW),
        (OtherDrive, file_id, Place(theirs)),
        (Missing, file_id, Place(trashed_folder, make_room=True)),
        (Missing, file_id, Place(live)),
        (TooDeep, trashed_folder, Place(inner)),
        (PathTooLong, file_id, Place(None, "x" * 60)),
    ]
    found = database.digest()
    for error, entry_id, place in refusals:
        with pytest.raises(error):
            restore(database, alice, entry_id, place, Limits(max_depth=2, max_path_bytes=60))
        assert database.digest() == found


# Races


def test_of_a_restore_and_a_purge_at_once_one_happens(database: Meta, alice: Caller) -> None:
    for _ in range(ROUNDS):
        folder = database.mkdir(alice, "folder")
        database.put(alice, "file", 10, parent_id=folder)
        database.run(changes.trash, alice, folder)
        restored, purged = database.race(
            [partial(trash.restore, alice, folder, BACK, LIMITS), partial(changes.purge, alice, folder)]
        )
        assert purged == 10, "live or in the trash"
        assert restored == "/folder" or isinstance(restored, NotInTrash)
        assert database.used(alice.account_id) == (0, 0)
        database.check_books(alice)


def test_what_is_restored_while_the_trash_is_emptied_is_live_or_gone(database: Meta, alice: Caller) -> None:
    for _ in range(ROUNDS):
        file_id = trashed(database, alice, "file", 10)
        until = database.run(now)
        due = [(file_id, alice.account_id)]
        restored, emptied, ended = database.race(
            [
                partial(trash.restore, alice, file_id, BACK, LIMITS),
                partial(trash.empty, alice, until, 10),
                partial(trash.end, due, -HOUR),
            ]
        )
        is_live = restored == "/file"
        assert is_live is not isinstance(restored, NotInTrash)
        assert emptied.entries + ended == (0 if is_live else 1)
        assert database.used(alice.account_id) == (10 if is_live else 0, 0)
        if is_live:
            database.run(changes.purge, alice, file_id)
        database.check_books(alice)


def test_of_those_that_come_back_to_one_name_at_once_all_get_one(database: Meta, alice: Caller) -> None:
    ids = [trashed(database, alice, "file", 1) for _ in range(4)]
    answers = database.race([partial(trash.restore, alice, one, ANYHOW, LIMITS) for one in ids])
    assert sorted(answers) == ["/file", "/file (2)", "/file (3)", "/file (4)"]


# Ends


def test_emptying_ends_what_was_there_then_so_many_at_a_time(database: Meta, alice: Caller, bob: Caller) -> None:
    folder = database.mkdir(alice, "folder")
    database.put(alice, "file", 10, parent_id=folder)
    database.run(changes.trash, alice, folder)
    for number in range(4):
        trashed(database, alice, f"file{number}", 1)
    until = database.run(now)
    later = trashed(database, alice, "later", 1)
    trashed(database, bob, "bobs", 1)
    emptied = [database.run(trash.empty, alice, until, 2) for _ in range(4)]
    assert [one.entries for one in emptied] == [2, 2, 1, 0]
    assert sum(one.size_bytes for one in emptied) == 14
    assert [one.entry_id for one in database.read(trash.page, alice, None, 10)[0]] == [later]
    assert database.events("trash.emptied") == 3
    database.check_books(alice, bob)


def test_what_has_lain_in_the_trash_too_long_goes_and_each_is_an_event(
    database: Meta, alice: Caller, bob: Caller
) -> None:
    folder = database.mkdir(alice, "folder")
    file_id = trashed(database, alice, "file", 10, 5, parent_id=folder)
    database.run(changes.trash, alice, folder)
    theirs = trashed(database, bob, "bobs", 1)
    database.age("entry", "trashed_at", 2 * HOUR, "trashed_at IS NOT NULL")
    trashed(database, alice, "young", 3)
    due = database.run(trash.due, HOUR, 10)
    assert {one for one, _ in due} == {file_id, folder, theirs}
    restore(database, bob, theirs)  # meanwhile
    assert database.run(trash.end, due, HOUR) == 2
    assert database.run(trash.due, HOUR, 10) == []
    messages = database.run(lambda: {one.message for one in Event.select().where(Event.kind == "trash.ended")})
    assert messages == {
        f"{path} was deleted for good: its time in the trash was over" for path in ("/folder", "/folder/file")
    }
    assert database.used(alice.account_id) == (3, 0)
    database.check_books(alice, bob)


def test_what_a_copy_holds_outlives_the_end_of_what_was_copied(database: Meta, alice: Caller) -> None:
    file_id = database.put(alice, "file", 10)
    copied = database.run(copying.copy, alice, file_id, CopyTo("", "copy"), LIMITS, KEEP)
    (chunk_id,) = database.chunks_of(file_id)
    database.run(changes.purge, alice, file_id)
    database.check_books(alice)
    assert database.chunks_of(copied.entry_id) == [chunk_id]
    assert database.unreferenced_at(chunk_id) is None
    database.run(changes.purge, alice, copied.entry_id)
    database.check_books(alice)
    assert database.unreferenced_at(chunk_id) is not None
