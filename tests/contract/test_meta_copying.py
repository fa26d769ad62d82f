"""Copies: no byte travels, the target's owner pays, and the chunks live as long as any copy."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from cloudgrpc.errors import (
    CloudError,
    CopyTooLarge,
    FolderCycle,
    InvalidField,
    Missing,
    NameTaken,
    PathTooLong,
    QuotaExceeded,
    ReadOnlyShare,
    TooDeep,
    VersionMoved,
)
from cloudgrpc.meta import changes, copying, files, sharing, sweeping, tree, versions
from cloudgrpc.meta.copying import Copied, CopyTo
from cloudgrpc.meta.sharing import Terms
from cloudgrpc.meta.tree import Limits
from contract.meta_fixture import KEEP, LIMITS, Meta

if TYPE_CHECKING:
    from cloudgrpc.meta.accounts import Caller

ROUNDS = 6  # of a race
READ, WRITE = Terms("read", None), Terms("write", None)


@pytest.fixture
def alice(database: Meta) -> Caller:
    return database.enroll(quota=1000)


@pytest.fixture
def bob(database: Meta) -> Caller:
    return database.enroll(quota=1000)


def copy(
    database: Meta, person: Caller, entry_id: str, to: CopyTo, limits: Limits = LIMITS, keep: int = KEEP
) -> Copied:
    return database.run(copying.copy, person, entry_id, to, limits, keep)


def listing(database: Meta, person: Caller, folder_id: str) -> dict[str, Any]:
    """What a folder holds: sizes of files, and folders as dictionaries."""
    page = database.read(files.page, person, folder_id, with_trash=False, after=None, limit=1000)
    held: dict[str, Any] = {file.name: (file.version, file.size_bytes) for file in page.files}
    return held | {folder.name: listing(database, person, folder.folder_id) for folder in page.folders}


def test_a_copied_file_is_a_file_of_its_own_on_the_same_chunks(database: Meta, alice: Caller) -> None:
    file_id, folder = database.put(alice, "file", 10, 20), database.mkdir(alice, "folder")
    chunks = database.chunks_of(file_id)
    copied = copy(database, alice, file_id, CopyTo(folder))
    assert copied == Copied(copied.entry_id, 1, 0, 30)
    found, like = (database.read(files.find_file, alice, one) for one in (copied.entry_id, file_id))
    assert (found.name, found.digest, found.mime_type, found.version) == ("file", like.digest, like.mime_type, 1)
    assert found.created_at > like.created_at
    assert database.chunks_of(copied.entry_id) == chunks
    assert database.read(versions.page, alice, copied.entry_id, None, 9)[0][0].made_by == alice.email
    database.put(alice, "file", 5)
    assert database.read(files.find_file, alice, copied.entry_id).size_bytes == 30
    assert database.used(alice.account_id) == (65, 0)
    database.run(changes.purge, alice, file_id)
    database.check_books(alice)
    assert database.chunks_of(copied.entry_id) == chunks


def test_a_folder_is_copied_with_all_it_holds_and_the_newest_contents(database: Meta, alice: Caller) -> None:
    top = database.mkdir(alice, "top")
    inner = database.mkdir(alice, "inner", top)
    database.mkdir(alice, "empty", inner)
    for number in range(copying.TWINS_AT_ONCE + 1):
        database.put(alice, f"file{number}", 1, parent_id=inner)
    for size in (7, 8):
        database.put(alice, "two", size, parent_id=top)
    database.put(alice, "nothing", parent_id=top)
    gone = database.put(alice, "gone", 50, parent_id=top)
    database.run(changes.trash, alice, gone)
    database.run(sharing.share, alice, inner, "somebody@example.org", READ)
    copied = copy(database, alice, top, CopyTo("", "copy"))
    files_held = copying.TWINS_AT_ONCE + 1
    assert copied == Copied(copied.entry_id, files_held + 2, 3, files_held + 8)
    found = listing(database, alice, copied.entry_id)
    assert found["two"] == (1, 8)
    assert found == listing(database, alice, top) | {"two": (1, 8)}
    assert database.run(lambda: sharing.mine(alice, "", None, 10)[0][0].path) == "/top/inner", "shares stay behind"
    assert database.used(alice.account_id) == (2 * files_held + 15 + 50 + 8, 0)
    database.check_books(alice)


def test_a_replaced_file_gets_the_content_as_its_next_version(database: Meta, alice: Caller) -> None:
    source, target = database.put(alice, "source", 10), database.put(alice, "target", 5)
    database.put(alice, "target", 6)
    copied = copy(database, alice, source, CopyTo("", "target", replace=True, expected_version=2), keep=2)
    assert copied == Copied(target, 1, 0, 10)
    found, _ = database.read(versions.page, alice, target, None, 9)
    assert [(one.version, one.size_bytes) for one in found] == [(3, 10), (2, 6)]
    assert database.used(alice.account_id) == (26, 0)
    database.check_books(alice)


def test_what_somebody_may_read_they_can_copy_home_and_then_it_is_theirs(
    database: Meta, alice: Caller, bob: Caller
) -> None:
    folder = database.mkdir(alice, "folder")
    file_id = database.put(alice, "file", 10, parent_id=folder)
    database.run(sharing.share, alice, folder, bob.email, READ)
    copied = copy(database, bob, folder, CopyTo(""))
    assert listing(database, bob, copied.entry_id) == {"file": (1, 10)}
    assert (database.used(alice.account_id), database.used(bob.account_id)) == ((10, 0), (10, 0))
    database.run(changes.purge, alice, folder)
    database.sweep()
    (mine,) = database.read(files.page, bob, copied.entry_id, with_trash=False, after=None, limit=9).files
    assert mine.file_id != file_id
    assert len(database.read(files.pieces, mine.version_id, -1, 9)) == 1
    database.check_books(alice, bob)


def test_a_copy_into_a_shared_folder_is_the_owners_and_counts_for_the_owner(
    database: Meta, alice: Caller, bob: Caller
) -> None:
    shared, mine = database.mkdir(alice, "shared"), database.put(bob, "mine", 10)
    database.run(sharing.share, alice, shared, bob.email, WRITE)
    copied = copy(database, bob, mine, CopyTo(shared))
    assert database.read(tree.reach, alice, copied.entry_id).permission == "own"
    assert (database.used(alice.account_id), database.used(bob.account_id)) == ((10, 0), (10, 0))
    assert database.read(versions.page, alice, copied.entry_id, None, 9)[0][0].made_by == bob.email
    database.check_books(alice, bob)


def test_a_copy_that_is_refused_changes_nothing(
    database: Meta, alice: Caller, bob: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "ENTRIES_MOST", 3)
    top = database.mkdir(alice, "top")
    inner = database.mkdir(alice, "inner", top)
    file_id, taken = database.put(alice, "file", 10, parent_id=top), database.put(alice, "taken", 5)
    large = database.mkdir(alice, "large")
    for number in range(4):
        database.put(alice, f"file{number}", 1, parent_id=large)
    readable, theirs = database.mkdir(bob, "readable"), database.put(bob, "theirs", 1)
    database.run(sharing.share, bob, readable, alice.email, READ)
    database.put(alice, "filler", 900)
    big = database.put(bob, "big", 90)
    database.run(sharing.share, bob, big, alice.email, READ)
    refusals: list[tuple[type[CloudError], str, CopyTo]] = [
        (FolderCycle, top, CopyTo(inner)),
        (FolderCycle, top, CopyTo(top, "again")),
        (FolderCycle, alice.root_id, CopyTo(top, "everything")),
        (NameTaken, top, CopyTo("")),
        (NameTaken, file_id, CopyTo("", "taken")),
        (NameTaken, file_id, CopyTo("", "top", replace=True)),
        (NameTaken, top, CopyTo("", "taken", replace=True)),
        (NameTaken, taken, CopyTo("", "taken", replace=True)),
        (VersionMoved, file_id, CopyTo("", "taken", replace=True, expected_version=0)),
        (VersionMoved, file_id, CopyTo("", "new", expected_version=1)),
        (Missing, theirs, CopyTo("")),
        (Missing, file_id, CopyTo(taken)),
        (ReadOnlyShare, file_id, CopyTo(readable)),
        (QuotaExceeded, big, CopyTo("")),
        (QuotaExceeded, big, CopyTo("", "taken", replace=True)),
        (CopyTooLarge, large, CopyTo("", "copy")),
        (TooDeep, top, CopyTo(large, "copy")),
        (PathTooLong, file_id, CopyTo("", "x" * 30)),
    ]
    found = database.digest()
    for error, entry_id, to in refusals:
        with pytest.raises(error):
            copy(database, alice, entry_id, to, Limits(max_depth=1, max_path_bytes=30))
        assert database.digest() == found
    with pytest.raises(InvalidField):
        copy(database, bob, bob.root_id, CopyTo(_writable(database, alice, bob)))


def _writable(database: Meta, owner: Caller, grantee: Caller) -> str:
    folder = database.mkdir(owner, "writable")
    database.run(sharing.share, owner, folder, grantee.email, WRITE)
    return folder


def test_the_quota_is_exact_when_copies_come_at_once(database: Meta) -> None:
    carol = database.enroll(quota=100)
    folder = database.mkdir(carol, "folder")
    database.put(carol, "file", 30, parent_id=folder)
    works = [partial(copying.copy, carol, folder, CopyTo("", f"copy{n}"), LIMITS, KEEP) for n in range(4)]
    answers = database.race(works)
    assert sorted(isinstance(answer, QuotaExceeded) for answer in answers) == [False, False, True, True]
    assert database.used(carol.account_id) == (90, 0)
    database.check_books(carol)


# Races, in which a chunk could be let go of that a copy has just come to need


def test_a_copy_of_what_is_purged_and_swept_meanwhile_is_whole_or_does_not_come(
    database: Meta, alice: Caller, bob: Caller
) -> None:
    for number in range(ROUNDS):
        folder = database.mkdir(alice, f"folder{number}")
        for name in ("one", "two"):
            database.put(alice, name, 10, parent_id=folder)
        database.run(sharing.share, alice, folder, bob.email, READ)
        copied, purged, *_ = database.race(
            [
                partial(copying.copy, bob, folder, CopyTo("", f"copy{number}"), LIMITS, KEEP),
                partial(_purge_and_sweep, alice, folder),
                partial(sweeping.sweep, 2),
            ]
        )
        assert purged == 20
        assert isinstance(copied, Missing) or copied.size_bytes == 20
        database.check_books(alice, bob)


def _purge_and_sweep(person: Caller, entry_id: str) -> int:
    size = changes.purge(person, entry_id)
    while sweeping.sweep(1):
        pass
    return size


def test_a_copy_of_a_version_that_is_pruned_meanwhile_is_whole(database: Meta, alice: Caller, bob: Caller) -> None:
    for number in range(ROUNDS):
        name = f"file{number}"
        file_id, beside = database.put(alice, name, 10), database.put(alice, f"beside{number}", 1)
        database.run(sharing.share, alice, file_id, bob.email, READ)
        copied, replaced, *_ = database.race(
            [
                partial(copying.copy, bob, file_id, CopyTo(""), LIMITS, KEEP),
                partial(copying.copy, alice, beside, CopyTo("", name, replace=True), LIMITS, 1),
                partial(sweeping.sweep, 10),
                partial(sweeping.sweep, 10),
            ]
        )
        assert (copied.size_bytes, replaced.size_bytes) in ((10, 1), (1, 1))
        database.check_books(alice, bob)


def test_copies_both_ways_between_two_drives_at_once_do_not_wait_for_each_other(
    database: Meta, alice: Caller, bob: Caller
) -> None:
    his, hers = database.mkdir(bob, "his"), database.mkdir(alice, "hers")
    database.run(sharing.share, bob, his, alice.email, WRITE)
    database.run(sharing.share, alice, hers, bob.email, WRITE)
    mine, theirs = database.put(alice, "mine", 1), database.put(bob, "theirs", 1)
    for number in range(ROUNDS):
        answers = database.race(
            [
                partial(copying.copy, person, entry_id, CopyTo(folder, f"{number} of {entry_id}"), LIMITS, KEEP)
                for person, entry_id, folder in ((alice, mine, his), (bob, theirs, hers)) * 2
            ]
        )
        assert sum(isinstance(answer, Copied) for answer in answers) == 2
        assert sum(isinstance(answer, NameTaken) for answer in answers) == 2
    database.check_books(alice, bob)
