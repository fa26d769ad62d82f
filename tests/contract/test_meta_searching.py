"""Searching below a folder: what is found, by whom, and a bounded part of the drive at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from cloudgrpc.core import paging
from cloudgrpc.core.name_patterns import name_matcher
from cloudgrpc.errors import Missing
from cloudgrpc.meta import changes, searching, sharing
from cloudgrpc.meta.models import Entry
from cloudgrpc.meta.searching import Wanted
from cloudgrpc.meta.sharing import Terms
from contract.meta_fixture import HOUR, LIMITS, NUMBERS, Meta

if TYPE_CHECKING:
    from cloudgrpc.meta.accounts import Caller
    from cloudgrpc.meta.searching import Found

ANYTHING = Wanted(None, "", "", None, None)


@pytest.fixture
def alice(database: Meta) -> Caller:
    return database.enroll()


def folder(database: Meta, person: Caller, name: str, parent_id: str = "") -> str:
    return database.run(changes.make_folder, person, parent_id, name, LIMITS).folder_id


def wanted(name: str = "", **more: Any) -> Wanted:
    facts: dict[str, Any] = {"kind": "", "mime_type": "", "larger_than": None, "newer_than": None, **more}
    return Wanted(name_matcher(name, "name") if name else None, **facts)


def found(
    database: Meta, person: Caller, folder_id: str = "", what: Wanted = ANYTHING, limit: int = 100
) -> list[Found]:
    """All pages."""
    everything: list[Found] = []
    after, pages = "", 0
    while pages == 0 or after:
        page, after = database.read(searching.search, person, folder_id, what, after, limit)
        assert len(page) <= limit
        everything += page
        pages += 1
    return everything


def paths(database: Meta, person: Caller, folder_id: str = "", what: Wanted = ANYTHING, limit: int = 100) -> list[str]:
    return sorted(one.path for one in found(database, person, folder_id, what, limit))


def test_everything_that_is_live_below_a_folder_is_found(database: Meta, alice: Caller) -> None:
    outer = folder(database, alice, "outer")
    inner = folder(database, alice, "inner", outer)
    for name, parent_id in (("a", ""), ("b", outer), ("c", inner)):
        database.put(alice, name, 1, parent_id=parent_id)
    assert paths(database, alice) == ["/a", "/outer", "/outer/b", "/outer/inner", "/outer/inner/c"]
    assert paths(database, alice, outer) == ["/outer/b", "/outer/inner", "/outer/inner/c"]
    assert paths(database, alice, inner) == ["/outer/inner/c"]
    (one,) = found(database, alice, inner)
    assert (one.entry.name, one.entry.parent_id) == ("c", inner)


def test_what_was_deleted_is_not_found_nor_what_it_holds(database: Meta, alice: Caller) -> None:
    tops = [folder(database, alice, name) for name in ("trashed", "purged", "kept")]
    for top in tops:
        database.put(alice, "a", 1, parent_id=folder(database, alice, "inner", top))
    database.run(changes.trash, alice, tops[0])
    database.run(changes.purge, alice, tops[1])
    assert paths(database, alice) == ["/kept", "/kept/inner", "/kept/inner/a"]
    for top in tops[:2]:
        with pytest.raises(Missing):
            found(database, alice, top)


def test_each_condition_takes_its_part_away(database: Meta, alice: Caller) -> None:
    folder(database, alice, "Fotos")
    for name, size, mime_type in (
        ("foto.jpg", 10, "image/jpeg"),
        ("foto.png", 20, "Image/PNG"),
        ("foto.txt", 30, "text/plain"),
        ("none.jpg", 0, "image/jpeg"),
    ):
        upload_id = database.begin(alice, name, size, mime_type=mime_type)
        if size:
            database.send(upload_id, 0, size)
        database.commit(upload_id)
    database.age("entry", "modified_at", HOUR, "name = 'foto.png'")
    moment = database.run(Entry.get, Entry.name == "foto.png").modified_at
    assert paths(database, alice, what=wanted("foto")) == ["/Fotos", "/foto.jpg", "/foto.png", "/foto.txt"]
    assert paths(database, alice, what=wanted("*.JPG")) == ["/foto.jpg", "/none.jpg"]
    assert paths(database, alice, what=wanted("foto.[jp]*")) == ["/foto.jpg", "/foto.png"]
    assert paths(database, alice, what=wanted(kind="folder")) == ["/Fotos"]
    assert paths(database, alice, what=wanted("foto", kind="file")) == ["/foto.jpg", "/foto.png", "/foto.txt"]
    assert paths(database, alice, what=wanted(mime_type="image/")) == ["/foto.jpg", "/foto.png", "/none.jpg"]
    assert paths(database, alice, what=wanted(larger_than=10)) == ["/foto.png", "/foto.txt"]
    assert paths(database, alice, what=wanted(newer_than=moment)) == ["/Fotos", "/foto.jpg", "/foto.txt", "/none.jpg"]
    assert paths(database, alice, what=wanted("foto", mime_type="image/", larger_than=10, newer_than=moment)) == []


def test_it_is_the_newest_content_that_counts(database: Meta, alice: Caller) -> None:
    database.put(alice, "a", 50)
    database.put(alice, "a", 5)
    assert paths(database, alice, what=wanted(larger_than=5)) == []
    (one,) = found(database, alice)
    assert (one.entry.version, one.entry.size_bytes) == (2, 5)  # type: ignore[union-attr]


def test_pages_of_any_size_put_together_are_everything_once(
    database: Meta, monkeypatch: pytest.MonkeyPatch, alice: Caller
) -> None:
    outer = folder(database, alice, "outer")
    for n in range(7):
        database.put(alice, f"file{n}", 1, parent_id=outer)
        database.put(alice, f"other{n}", 1)
    for scanned in (1, 7, 16, 17):
        monkeypatch.setattr(searching, "LOOKED_AT", scanned)
        for limit in (3, 7, 8):
            assert paths(database, alice, outer, limit=limit) == [f"/outer/file{n}" for n in range(7)]


def test_a_call_looks_at_a_bounded_part_of_the_drive(
    database: Meta, monkeypatch: pytest.MonkeyPatch, alice: Caller
) -> None:
    monkeypatch.setattr(searching, "LOOKED_AT", 3)
    for n in range(9):
        database.put(alice, f"file{n}", 1)
    page, after = database.read(searching.search, alice, "", wanted("no such name"), "", 100)
    assert page == []
    (seen,) = database.rows(
        f"SELECT COUNT(*) FROM entry WHERE account_id = '{alice.account_id}' AND entry_id <= '{after}'"
    )
    assert seen == (3,)


def test_a_small_folder_of_a_large_drive_takes_one_call(
    database: Meta, monkeypatch: pytest.MonkeyPatch, alice: Caller
) -> None:
    monkeypatch.setattr(searching, "LOOKED_AT", 3)
    outer = folder(database, alice, "outer")
    for parent_id in (outer, folder(database, alice, "inner", outer), "", "", "", ""):
        database.put(alice, f"file{next(NUMBERS)}", 1, parent_id=parent_id)
    page, after = database.read(searching.search, alice, outer, ANYTHING, "", 100)
    assert (len(page), after) == (3, "")


def test_paths_that_are_long_make_a_page_shorter(
    database: Meta, monkeypatch: pytest.MonkeyPatch, alice: Caller
) -> None:
    monkeypatch.setattr(paging, "PAGE_BYTES", 2000)
    inner = folder(database, alice, "x" * 250, folder(database, alice, "y" * 250))
    for n in range(6):
        folder(database, alice, str(n), inner)
    page, after = database.read(searching.search, alice, inner, ANYTHING, "", 1000)
    assert (len(page), bool(after)) == (3, True)
    assert len(found(database, alice, inner, limit=1000)) == 6


# Shared folders


def test_a_shared_folder_is_searched_by_whom_it_is_shared_with(database: Meta, alice: Caller) -> None:
    bob, outer = database.enroll(), folder(database, alice, "outer")
    inner = folder(database, alice, "inner", outer)
    file_id = database.put(alice, "a", 1, parent_id=inner)
    database.put(alice, "b", 1, parent_id=outer)
    database.put(bob, "bobs", 1)
    for shared in (inner, file_id):
        database.run(sharing.share, alice, shared, bob.email, Terms("read", None))
    assert paths(database, bob, inner) == ["/inner/a"]
    assert paths(database, bob) == ["/bobs"]
    assert not found(database, bob, inner)[0].entry.is_shared
    assert found(database, alice, inner)[0].entry.is_shared
    for not_shared in (outer, alice.root_id, file_id):
        with pytest.raises(Missing):
            found(database, bob, not_shared)
