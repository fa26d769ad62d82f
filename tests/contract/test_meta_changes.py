"""Moving, renaming and deleting: what goes along, what is refused, and what races come to."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from cloudgrpc.errors import (
    CloudError,
    FolderCycle,
    FolderNotEmpty,
    Missing,
    NameTaken,
    OtherDrive,
    PathTooLong,
    TooDeep,
    VersionMoved,
)
from cloudgrpc.meta import changes, files, sharing, trash, tree
from cloudgrpc.meta.changes import Move, Removal
from cloudgrpc.meta.models import Entry, Event
from cloudgrpc.meta.sharing import Terms
from cloudgrpc.meta.tree import Limits
from contract.meta_fixture import LIMITS, Meta

if TYPE_CHECKING:
    from cloudgrpc.meta.accounts import Caller

ROUNDS = 6  # of a race


@pytest.fixture
def alice(database: Meta) -> Caller:
    return database.enroll()


@pytest.fixture
def bob(database: Meta) -> Caller:
    return database.enroll()


def move(database: Meta, person: Caller, entry_id: str, *to: Any, limits: Limits = LIMITS) -> str:
    return database.run(changes.move, person, entry_id, Move(*to), limits)


def path_of(database: Meta, person: Caller, entry_id: str) -> str:
    return database.read(tree.reach, person, entry_id).path


# Moving


def test_a_folder_moves_with_all_it_holds_its_versions_and_its_shares(
    database: Meta, alice: Caller, bob: Caller
) -> None:
    outer, target = database.mkdir(alice, "outer"), database.mkdir(alice, "target")
    inner = database.mkdir(alice, "inner", outer)
    file_id = database.put(alice, "file", 5, parent_id=inner)
    database.put(alice, "file", 6, parent_id=inner)
    database.run(sharing.share, alice, inner, bob.email, Terms("read", None))
    assert move(database, alice, outer, target, "new") == "/target/new"
    assert path_of(database, alice, file_id) == "/target/new/inner/file"
    assert path_of(database, bob, file_id) == "/inner/file"
    assert database.read(files.find_file, alice, file_id, 1).size_bytes == 5
    assert database.used(alice.account_id) == (11, 0)
    assert [folder.name for folder in database.read(files.page, alice, "", **WHOLE).folders] == ["target"]


def test_a_rename_may_change_no_more_than_the_form_of_a_name(database: Meta, alice: Caller) -> None:
    composed, decomposed = "\u00e9", "e\u0301"
    file_id = database.put(alice, composed, 1)
    assert move(database, alice, file_id, None, decomposed) == f"/{decomposed}"
    assert move(database, alice, file_id, "", decomposed) == f"/{decomposed}"
    with pytest.raises(NameTaken):
        move(database, alice, database.put(alice, "other", 1), None, composed)


def test_moving_stamps_folders_and_leaves_files_their_time(database: Meta, alice: Caller) -> None:
    folder, target = database.mkdir(alice, "folder"), database.mkdir(alice, "target")
    file_id = database.put(alice, "file", 1)
    before = {one: database.run(Entry.get_by_id, one).modified_at for one in (folder, file_id)}
    for one in before:
        move(database, alice, one, target)
    assert database.run(Entry.get_by_id, folder).modified_at > before[folder]
    assert database.run(Entry.get_by_id, file_id).modified_at == before[file_id]


def test_a_move_that_is_refused_changes_nothing(database: Meta, alice: Caller, bob: Caller) -> None:
    outer = database.mkdir(alice, "outer")
    inner = database.mkdir(alice, "inner", outer)
    file_id = database.put(alice, "file", 1)
    taken = database.put(alice, "file", 1, parent_id=inner)
    theirs = database.mkdir(bob, "theirs")
    database.run(sharing.share, bob, theirs, alice.email, Terms("write", None))
    found = database.digest()
    refusals: list[tuple[type[CloudError], str, Move]] = [
        (FolderCycle, outer, Move(inner)),
        (FolderCycle, outer, Move(outer)),
        (NameTaken, file_id, Move(inner)),
        (NameTaken, outer, Move("", "file")),
        (OtherDrive, file_id, Move(theirs)),
        (VersionMoved, file_id, Move(outer, expected_version=2)),
        (Missing, file_id, Move(taken)),
        (PathTooLong, outer, Move(None, "x" * 40)),
        (TooDeep, outer, Move(database.mkdir(alice, "deeper", database.mkdir(alice, "deep")))),
    ]
    found = database.digest()
    for error, entry_id, to in refusals:
        with pytest.raises(error):
            database.run(changes.move, alice, entry_id, to, Limits(max_depth=3, max_path_bytes=50))
        assert database.digest() == found


def test_the_limits_hold_for_the_deepest_and_for_the_longest_of_what_is_moved(database: Meta, alice: Caller) -> None:
    top, target = database.mkdir(alice, "top"), database.mkdir(alice, "target")
    database.mkdir(alice, "y", database.mkdir(alice, "y", database.mkdir(alice, "y", top)))
    database.mkdir(alice, "\u00e9" * 10, top)
    fits = Limits(max_depth=4, max_path_bytes=len("/target/top/") + 20)
    for limits, error in (
        (Limits(3, fits.max_path_bytes), TooDeep),
        (Limits(fits.max_depth, fits.max_path_bytes - 1), PathTooLong),
    ):
        with pytest.raises(error):
            move(database, alice, top, target, limits=limits)
    assert move(database, alice, top, target, limits=fits) == "/target/top"


def test_what_lies_too_deep_by_a_lower_limit_can_still_be_brought_up(database: Meta, alice: Caller) -> None:
    deep = database.mkdir(alice, "c", database.mkdir(alice, "b", database.mkdir(alice, "a")))
    inner = database.put(alice, "file", 1, parent_id=deep)
    assert move(database, alice, inner, "", limits=Limits(0, 10)) == "/file"


def test_a_path_that_gets_shorter_can_still_get_too_deep(database: Meta, alice: Caller) -> None:
    top, target = database.mkdir(alice, "x" * 50), database.mkdir(alice, "u", database.mkdir(alice, "t"))
    database.put(alice, "file", 1, parent_id=top)
    with pytest.raises(TooDeep):
        move(database, alice, top, target, "x", limits=Limits(2, 100))
    assert move(database, alice, top, target, "x", limits=Limits(3, 100)) == "/t/u/x"


def test_of_two_moves_that_would_make_a_cycle_one_wins(database: Meta, alice: Caller) -> None:
    for number in range(ROUNDS):
        one, two = database.mkdir(alice, f"one{number}"), database.mkdir(alice, f"two{number}")
        answers = database.race(
            [partial(changes.move, alice, one, Move(two), LIMITS), partial(changes.move, alice, two, Move(one), LIMITS)]
        )
        assert sorted(isinstance(answer, FolderCycle) for answer in answers) == [False, True]
        assert {path_of(database, alice, one), path_of(database, alice, two)} in (
            {f"/two{number}", f"/two{number}/one{number}"},
            {f"/one{number}", f"/one{number}/two{number}"},
        )


def test_three_moves_in_a_circle_leave_everything_below_the_root(database: Meta, alice: Caller) -> None:
    for number in range(ROUNDS):
        ids = [database.mkdir(alice, f"{name}{number}") for name in "abc"]
        circle = [partial(changes.move, alice, ids[n], Move(ids[n - 1]), LIMITS) for n in range(3)]
        assert sum(isinstance(answer, FolderCycle) for answer in database.race(circle)) == 1
        for one in ids:
            path_of(database, alice, one)


def test_what_is_moved_into_a_folder_that_is_deleted_meanwhile_goes_with_it_or_stays(
    database: Meta, alice: Caller
) -> None:
    for number in range(ROUNDS):
        target, file_id = database.mkdir(alice, "target"), database.put(alice, f"file{number}", 1)
        moved, trashed = database.race(
            [partial(changes.move, alice, file_id, Move(target), LIMITS), partial(changes.trash, alice, target)]
        )
        assert trashed is None
        if isinstance(moved, Missing):
            assert path_of(database, alice, file_id) == f"/file{number}"
        else:
            assert moved == f"/target/file{number}"
            assert database.read(tree.trashed_top, alice, file_id) == target
        database.run(changes.purge, alice, target)
    database.check_books(alice)


def test_of_several_that_take_one_name_at_once_one_gets_it(database: Meta, alice: Caller) -> None:
    ids = [database.put(alice, f"file{n}", 1) for n in range(4)]
    answers = database.race([partial(changes.move, alice, one, Move(None, "name"), LIMITS) for one in ids])
    assert sorted(isinstance(answer, NameTaken) for answer in answers) == [False, True, True, True]


# Deleting


def test_what_must_be_so_for_a_delete_is_looked_at_live_and_in_the_trash(database: Meta, alice: Caller) -> None:
    file_id, folder = database.put(alice, "file", 1), database.mkdir(alice, "folder")
    database.put(alice, "inner", 1, parent_id=folder)
    refusals = [
        (VersionMoved, file_id, Removal(expected_version=2)),
        (Missing, file_id, Removal(is_of_folder=True)),
        (FolderNotEmpty, folder, Removal(is_of_folder=True, only_empty=True)),
    ]
    for way in (changes.trash, changes.purge):
        for error, entry_id, how in refusals:
            with pytest.raises(error):
                database.run(way, alice, entry_id, how)
    for entry_id in (file_id, folder):
        database.run(changes.trash, alice, entry_id)
    for error, entry_id, how in refusals:
        with pytest.raises(error):
            database.run(changes.purge, alice, entry_id, how)
    database.run(changes.purge, alice, file_id, Removal(expected_version=1))
    database.run(changes.purge, alice, folder, Removal(is_of_folder=True))
    database.run(changes.trash, alice, database.mkdir(alice, "empty"), Removal(is_of_folder=True, only_empty=True))
    assert database.used(alice.account_id) == (0, 0)


def test_a_folder_that_holds_only_what_is_in_the_trash_is_empty(database: Meta, alice: Caller) -> None:
    folder = database.mkdir(alice, "folder")
    file_id = database.put(alice, "file", 1, parent_id=folder)
    database.run(changes.trash, alice, file_id)
    database.run(changes.trash, alice, folder, Removal(is_of_folder=True, only_empty=True))
    assert len(database.read(trash.page, alice, None, 10)[0]) == 2


def test_what_a_grantee_deletes_lies_in_the_owners_trash_and_says_who_did_it(
    database: Meta, alice: Caller, bob: Caller
) -> None:
    secret = database.mkdir(alice, "secret")
    folder = database.mkdir(alice, "shared", secret)
    file_id = database.put(alice, "file", 1, parent_id=folder)
    database.run(sharing.share, alice, folder, bob.email, Terms("write", None))
    database.run(changes.trash, bob, file_id)
    assert [one.path for one in database.read(trash.page, alice, None, 10)[0]] == ["/secret/shared/file"]
    assert database.read(trash.page, bob, None, 10)[0] == []
    event = database.run(lambda: Event.get(Event.kind == "entry.trashed"))
    assert (event.account_id, event.actor_id) == (alice.account_id, bob.account_id)
    assert event.message == "/secret/shared/file was moved to the trash"


def test_a_file_that_was_purged_twice_at_once_frees_its_bytes_once(database: Meta, alice: Caller) -> None:
    for number in range(ROUNDS):
        folder = database.mkdir(alice, f"folder{number}")
        file_id = database.put(alice, "file", 10, parent_id=folder)
        answers = database.race(
            [
                partial(changes.purge, alice, file_id),
                partial(changes.purge, alice, folder),
                partial(changes.trash, alice, folder),
            ]
        )
        assert all(isinstance(answer, int | None | Missing) for answer in answers)
        database.check_books(alice)
        assert database.used(alice.account_id) == (0, 0)


WHOLE: dict[str, Any] = {"with_trash": False, "after": None, "limit": 1000}
