"""The tree of folders and files: names, lists, trash and purge, and whose they are."""

from __future__ import annotations

import functools
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloudgrpc.errors import InvalidField, Missing, NameTaken
from cloudgrpc.meta import changes, copying, files, orphans, trash, versions
from cloudgrpc.meta.changes import Move
from cloudgrpc.meta.copying import CopyTo
from cloudgrpc.meta.files import File, Folder
from cloudgrpc.meta.models import Entry, Version
from cloudgrpc.meta.trash import Place
from contract.meta_fixture import HOUR, KEEP, LIMITS, NOT_IDS, Meta

if TYPE_CHECKING:
    from cloudgrpc.meta.accounts import Caller
    from cloudgrpc.meta.files import Page

NAMES = st.text("aAäz0 .-", min_size=1, max_size=3)


@pytest.fixture
def alice(database: Meta) -> Caller:
    return database.enroll(quota=10_000)


def make_folder(database: Meta, person: Caller, name: str, parent_id: str = "") -> str:
    return database.run(changes.make_folder, person, parent_id, name, LIMITS).folder_id


def whole(database: Meta, person: Caller, folder_id: str = "", *, with_trash: bool = False) -> Page:
    return database.read(files.page, person, folder_id, with_trash=with_trash, after=None, limit=1000)


def trashed() -> list[str]:
    return [entry.entry_id for entry in Entry.select().where(Entry.trashed_at.is_null(False))]


# Lists


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.sampled_from(["file", "folder"]), NAMES, st.booleans()), max_size=14),
    st.integers(1, 6),
    st.booleans(),
)
def test_the_pages_of_any_size_put_together_are_the_whole_list(
    database: Meta, made: list[tuple[str, str, bool]], page_size: int, with_trash: bool
) -> None:
    person = database.enroll()
    standing: dict[str, str] = {}
    wanted: Counter[tuple[str, str, bool]] = Counter()
    for kind, name, is_trashed in made:
        if name in standing:
            continue
        entry_id = database.put(person, name) if kind == "file" else make_folder(database, person, name)
        if is_trashed:
            database.run(changes.trash, person, entry_id)
        else:
            standing[name] = entry_id
        if with_trash or not is_trashed:
            wanted[kind, name, is_trashed] += 1

    listed: list[tuple[str, Any]] = []
    after, pages = None, 0
    while pages == 0 or after is not None:
        page = database.read(files.page, person, "", with_trash=with_trash, after=after, limit=page_size)
        assert len(page.folders) + len(page.files) <= page_size
        listed += [("folder", folder) for folder in page.folders] + [("file", file) for file in page.files]
        after, pages = page.last, pages + 1
        assert pages <= len(made) + 1

    assert Counter((kind, one.name, one.is_trashed) for kind, one in listed) == wanted
    everything = whole(database, person, with_trash=with_trash)
    assert [one for _, one in listed] == [*everything.folders, *everything.files]
    assert [kind for kind, _ in listed] == sorted((kind for kind, _ in listed), reverse=True)
    for kind in ("folder", "file"):
        names = [one.name for this, one in listed if this == kind]
        assert names == sorted(names)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_entries_of_one_name_are_each_listed_once_when_a_page_ends_among_them(
    database: Meta, alice: Caller, kind: str
) -> None:
    made = set()
    for _ in range(5):
        made.add(database.put(alice, "same") if kind == "file" else make_folder(database, alice, "same"))
        database.run(changes.trash, alice, max(made - set(database.run(trashed))))
    listed: list[str] = []
    after = None
    for _ in range(3):
        page = database.read(files.page, alice, "", with_trash=True, after=after, limit=2)
        listed += [file.file_id for file in page.files] + [folder.folder_id for folder in page.folders]
        after = page.last
    assert after is None
    assert listed == sorted(made)


def test_a_list_whose_next_page_begins_at_a_deleted_name_goes_on_behind_it(database: Meta, alice: Caller) -> None:
    ids = [database.put(alice, f"file{n}") for n in range(4)]
    page = database.read(files.page, alice, "", with_trash=False, after=None, limit=2)
    database.run(changes.purge, alice, ids[1])
    rest = database.read(files.page, alice, "", with_trash=False, after=page.last, limit=2)
    assert [file.file_id for file in rest.files] == ids[2:]
    assert rest.last is None


def test_a_folder_says_how_many_live_files_it_holds(database: Meta, alice: Caller) -> None:
    folder = make_folder(database, alice, "folder")
    make_folder(database, alice, "inner", folder)
    ids = [database.put(alice, f"file{n}", parent_id=folder) for n in range(3)]
    database.run(changes.trash, alice, ids[0])
    assert [(one.name, one.file_count) for one in whole(database, alice).folders] == [("folder", 2)]
    found = database.read(files.resolve, alice, "", ["folder"]).entry
    assert isinstance(found, Folder)
    assert found.file_count == 2


# Looking up


def test_a_path_leads_through_folders_to_what_stands_there(database: Meta, alice: Caller) -> None:
    outer = make_folder(database, alice, "outer")
    inner = make_folder(database, alice, "inne\u0301r", outer)
    file_id = database.put(alice, "file", 1, parent_id=inner)
    found = database.read(files.resolve, alice, "", ["outer", "inn\u00e9r", "file"])
    assert isinstance(found.entry, File)
    assert found.entry.file_id == file_id
    assert found.reached.path == "/outer/inne\u0301r/file"
    assert database.read(files.resolve, alice, outer, ["inn\u00e9r", "file"]) == found
    root = database.read(files.resolve, alice, "", [])
    assert isinstance(root.entry, Folder)
    assert (root.entry.folder_id, root.reached.path) == (alice.root_id, "/")


@pytest.mark.parametrize("path", [["none"], ["outer", "none"], ["file", "below"], ["outer", "OUTER"]])
def test_a_path_to_nothing_is_missing_by_as_much_as_was_walked(database: Meta, alice: Caller, path: list[str]) -> None:
    make_folder(database, alice, "outer")
    database.put(alice, "file", 1)
    with pytest.raises(Missing, match=f"^/{'/'.join(path)} does not exist"):
        database.read(files.resolve, alice, "", path)


def test_pieces_can_be_read_from_any_position_on(database: Meta, alice: Caller) -> None:
    file = database.read(files.find_file, alice, database.put(alice, "file", *[10] * 7))
    for after in range(-1, 7):
        for limit in (1, 3, 10):
            pieces = database.read(files.pieces, file.version_id, after, limit)
            assert [piece.position for piece in pieces] == list(range(after + 1, min(7, after + 1 + limit)))


# Whose it is


@pytest.mark.parametrize("foreign", ["file", "folder", "trashed", "root", *NOT_IDS])
def test_what_is_not_yours_does_not_exist(database: Meta, alice: Caller, foreign: str) -> None:
    bob = database.enroll()
    his = {
        "file": database.put(bob, "file", 1),
        "folder": make_folder(database, bob, "folder"),
        "trashed": database.put(bob, "trashed", 1),
        "root": bob.root_id,
    }
    database.run(changes.trash, bob, his["trashed"])
    entry_id, mine = his.get(foreign, foreign), database.put(alice, "mine", 1)
    found = database.digest()
    for look in (
        functools.partial(files.find_file, alice, entry_id),
        functools.partial(files.find_with_trash, alice, entry_id),
        functools.partial(changes.trash, alice, entry_id),
        functools.partial(changes.purge, alice, entry_id),
        functools.partial(changes.move, alice, entry_id, Move(""), LIMITS),
        functools.partial(copying.copy, alice, entry_id, CopyTo("", "mine"), LIMITS, KEEP),
        functools.partial(trash.restore, alice, entry_id, Place("", make_room=True), LIMITS),
        functools.partial(versions.page, alice, entry_id, None, 10),
        functools.partial(versions.restore, alice, entry_id, 1, None, KEEP),
        functools.partial(versions.delete, alice, entry_id, 1),
        functools.partial(changes.make_folder, alice, entry_id, "in there", LIMITS),
        functools.partial(changes.move, alice, mine, Move(entry_id), LIMITS),
        functools.partial(copying.copy, alice, mine, CopyTo(entry_id), LIMITS, KEEP),
        functools.partial(files.page, alice, entry_id, with_trash=False, after=None, limit=1),
    ):
        with pytest.raises(Missing):
            database.run(look)
    assert database.digest() == found


def test_a_file_is_no_folder_and_a_folder_no_file(database: Meta, alice: Caller) -> None:
    file_id, folder_id = database.put(alice, "file", 1), make_folder(database, alice, "folder")
    with pytest.raises(Missing):
        whole(database, alice, file_id)
    with pytest.raises(Missing):
        make_folder(database, alice, "inside", file_id)
    with pytest.raises(Missing):
        database.read(files.find_file, alice, folder_id)


# Folders


def test_of_folders_made_at_once_under_one_name_exactly_one_comes(database: Meta, alice: Caller) -> None:
    answers = database.race([functools.partial(changes.make_folder, alice, "", "new", LIMITS)] * 6)
    assert sum(isinstance(answer, Folder) for answer in answers) == 1
    assert sum(isinstance(answer, NameTaken) for answer in answers) == 5


def test_a_folder_cannot_take_the_name_of_a_file_or_a_folder_but_of_a_trashed_one(
    database: Meta, alice: Caller
) -> None:
    file_id = database.put(alice, "name", 1)
    with pytest.raises(NameTaken):
        make_folder(database, alice, "name")
    database.run(changes.trash, alice, file_id)
    folder_id = make_folder(database, alice, "name")
    with pytest.raises(NameTaken):
        make_folder(database, alice, "name")
    make_folder(database, alice, "name", folder_id)


def test_the_root_folder_stays(database: Meta, alice: Caller) -> None:
    for way in (changes.trash, changes.purge):
        with pytest.raises(InvalidField):
            database.run(way, alice, alice.root_id)


@pytest.mark.parametrize("way", [changes.trash, changes.purge])
def test_nothing_live_is_left_in_a_folder_that_was_deleted_meanwhile(database: Meta, alice: Caller, way: Any) -> None:
    for attempt in range(4):
        folder = make_folder(database, alice, f"folder{attempt}")
        inner = make_folder(database, alice, "inner", folder)
        made = [functools.partial(changes.make_folder, alice, inner, f"new{n}", LIMITS) for n in range(4)]
        deleted, *answers = database.race([functools.partial(way, alice, folder), *made])
        assert not isinstance(deleted, Exception)
        assert all(isinstance(answer, Folder | Missing) for answer in answers)
        assert whole(database, alice).folders == []
        with pytest.raises(Missing):
            whole(database, alice, inner)


# Deleting


def test_a_trashed_file_is_hidden_but_kept_and_still_charged(database: Meta, alice: Caller) -> None:
    file_id = database.put(alice, "file", 10)
    database.run(changes.trash, alice, file_id)
    with pytest.raises(Missing):
        database.read(files.find_file, alice, file_id)
    assert whole(database, alice).files == []
    assert [file.is_trashed for file in whole(database, alice, with_trash=True).files] == [True]
    assert database.read(files.find_with_trash, alice, file_id).is_trashed
    assert database.used(alice.account_id) == (10, 0)
    (chunk_id,) = database.chunks_of(file_id)
    assert database.unreferenced_at(chunk_id) is None
    usage = database.read(files.usage, alice)
    assert (usage.trash_bytes, usage.live_bytes, usage.total_files, usage.by_type) == (10, 0, 0, {"text/plain": 10})


def test_a_second_delete_is_missing(database: Meta, alice: Caller) -> None:
    file_id = database.put(alice, "file", 10)
    database.run(changes.trash, alice, file_id)
    with pytest.raises(Missing):
        database.run(changes.trash, alice, file_id)
    database.run(changes.purge, alice, file_id)
    for way in (changes.trash, changes.purge):
        with pytest.raises(Missing):
            database.run(way, alice, file_id)
    assert [database.events(kind) for kind in ("entry.trashed", "entry.purged")] == [1, 1]


@pytest.mark.parametrize("way", [changes.trash, changes.purge])
def test_of_deletes_at_once_exactly_one_happens(database: Meta, alice: Caller, way: Any) -> None:
    file_id = database.put(alice, "file", 10)
    answers = database.race([functools.partial(way, alice, file_id)] * 6)
    assert sum(isinstance(answer, Missing) for answer in answers) == 5
    assert database.used(alice.account_id) == database.counted(alice.account_id)


def test_a_purge_frees_every_versions_bytes_at_once_and_a_sweep_starts_the_chunks_grace(
    database: Meta, alice: Caller
) -> None:
    file_id = database.put(alice, "file", 10, 20)
    database.put(alice, "file", 5)
    other = database.put(alice, "other", 7)
    chunks = database.chunks_of(file_id)
    database.run(changes.purge, alice, file_id)
    assert database.used(alice.account_id) == (7, 0)
    database.sweep()
    assert len(chunks) == 3
    assert all(database.unreferenced_at(chunk) is not None for chunk in chunks)
    assert all(database.state(chunk, "pool") == "good" for chunk in chunks)
    (kept,) = database.chunks_of(other)
    assert database.unreferenced_at(kept) is None
    assert database.run(Version.select().count) == 1
    assert database.run(orphans.doom_orphans, HOUR, 100) == 0  # never before the grace


def test_deleting_a_folder_takes_all_it_holds_and_nothing_beside_it(database: Meta, alice: Caller) -> None:
    folder, beside = make_folder(database, alice, "folder"), make_folder(database, alice, "beside")
    inner = make_folder(database, alice, "inner", folder)
    ids = [database.put(alice, "file", 10, parent_id=parent) for parent in (folder, inner, beside, "")]
    database.run(changes.trash, alice, folder)
    shown = [database.read(files.find_with_trash, alice, one).is_trashed for one in ids]
    assert shown == [True, True, False, False]
    for hidden in (folder, inner):
        with pytest.raises(Missing):
            whole(database, alice, hidden)
    database.run(changes.purge, alice, folder)
    assert database.used(alice.account_id) == (20, 0) == database.counted(alice.account_id)
    for gone in ids[:2]:
        with pytest.raises(Missing):
            database.read(files.find_with_trash, alice, gone)
    database.sweep()
    assert database.run(Entry.select().count) == 4  # root, beside, and two files


def test_what_was_trashed_before_its_folder_is_there_by_itself(database: Meta, alice: Caller) -> None:
    folder = make_folder(database, alice, "folder")
    file_id = database.put(alice, "file", 10, parent_id=folder)
    database.run(changes.trash, alice, file_id)
    database.run(changes.trash, alice, folder)
    assert sorted(database.run(trashed)) == sorted([file_id, folder])
    database.run(changes.purge, alice, folder)
    assert database.used(alice.account_id) == (10, 0) == database.counted(alice.account_id)
    database.sweep()
    assert database.read(files.find_with_trash, alice, file_id).is_trashed
