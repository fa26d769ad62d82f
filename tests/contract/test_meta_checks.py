"""A check finds what cannot be in the metadata, one fault at a time, and nothing where all is well."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cloudgrpc.meta import changes, checks, copying, uploads
from cloudgrpc.meta.copying import CopyTo
from cloudgrpc.meta.models import new_id
from cloudgrpc.meta.uploads import Planned
from contract.backup_fixture import faults_of
from contract.meta_fixture import KEEP, LIMITS, Meta, plan

if TYPE_CHECKING:
    from cloudgrpc.meta.accounts import Caller


@pytest.fixture
def alice(database: Meta) -> Caller:
    """With something of every kind."""
    alice = database.enroll()
    folder = database.mkdir(alice, "folder")
    database.put(alice, "a.txt", 10, 20, parent_id=folder)
    database.put(alice, "a.txt", 5, parent_id=folder)
    database.put(alice, "empty")
    database.run(copying.copy, alice, folder, CopyTo("", "twin"), LIMITS, KEEP)
    database.run(changes.trash, alice, database.put(alice, "trashed", 3))
    database.run(changes.trash, alice, database.mkdir(alice, "trashed folder"))
    database.orphan(database.enroll())
    gone = database.mkdir(alice, "gone")
    database.put(alice, "in it", 7, parent_id=gone)
    database.run(changes.purge, alice, gone)  # not swept yet
    upload_id = database.begin(alice, "half", 50)
    database.send(upload_id, 0, 20)
    database.run(uploads.abandon, database.begin(alice, "given up", 50))
    return alice


def test_nothing_is_found_where_all_is_well(database: Meta, alice: Caller) -> None:
    assert database.used(alice.account_id)[1] == 50
    assert faults_of(database) == []
    assert faults_of(database, limit=2) == []
    database.sweep()
    assert faults_of(database) == []


FAULTS = {
    "used": ("UPDATE account SET used_bytes = used_bytes + 1", "its account says"),
    "reserved": ("UPDATE account SET reserved_bytes = reserved_bytes - 1 WHERE reserved_bytes > 0", "reserve 50"),
    "root": ("UPDATE account SET root_id = 'nowhere'", "root folder nowhere"),
    "no version": ("UPDATE entry SET version_id = 'none' WHERE name = 'empty'", "/empty: its version none"),
    "another's version": (
        "UPDATE entry SET version_id = (SELECT version_id FROM entry WHERE name = 'trashed') WHERE name = 'empty'",
        "is none of its own",
    ),
    "a folder's version": ("UPDATE entry SET version_id = 'v' WHERE name = 'twin'", "is a folder and has a version"),
    "in a file": (
        "UPDATE entry SET parent_id = (SELECT entry_id FROM entry WHERE name = 'trashed') WHERE name = 'empty'",
        "which is no folder",
    ),
    "adrift": ("UPDATE entry SET parent_id = NULL WHERE name = 'empty'", "1 of its files and folders hang nowhere"),
    "in itself": ("UPDATE entry SET parent_id = entry_id WHERE name = 'folder'", "2 of its files and folders hang"),
    "a gap": ("UPDATE extent SET position = 2 WHERE position = 1", "is of 30 bytes"),
    "too few": ("DELETE FROM extent WHERE length = 20", "its 1 chunks come to 10"),
    "too long": ("UPDATE version SET size_bytes = 6 WHERE size_bytes = 5", "is of 6 bytes"),
    "other length": ("UPDATE chunk SET length = length + 1 WHERE length = 26", "or miss one"),
    "aging": ("UPDATE chunk SET unreferenced_at = 1 WHERE length = 21", "a file needs it"),
    "not as sealed": ("UPDATE chunk SET is_sealed = FALSE WHERE length = 26", "or miss one"),
    "no key": ("UPDATE version SET wrapped_key = '' WHERE size_bytes = 30", "are sealed, and it has no key"),
    "another's key": (
        "UPDATE version SET wrapped_key = (SELECT MIN(wrapped_key) FROM version) WHERE size_bytes <> 30",
        "does not open",
    ),
    "the account's key": ("UPDATE account SET wrapped_key = ''", "does not open"),
    "ageless": ("UPDATE chunk SET unreferenced_at = NULL", "it is never collected"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_found(database: Meta, alice: Caller, name: str) -> None:
    statement, words = FAULTS[name]
    database.sql(statement)
    assert [found for found in faults_of(database) if words in found], faults_of(database)


def test_what_nodes_must_hold_is_told_stretch_by_stretch(database: Meta, alice: Caller) -> None:
    chunks = {chunk_id for (chunk_id,) in database.rows("SELECT chunk_id FROM chunk")}
    planned = sorted(new_id() for _ in range(5))
    upload_id = database.begin(alice, "coming", 5)
    for place, chunk_id in enumerate(planned):
        database.run(plan, upload_id, Planned(place, chunk_id))
    database.compare("pool", *chunks, *planned, new_id())
    seen: list[str] = []
    on_the_way: set[str] = set()
    for limit in (2, 1000):
        seen.clear()
        after = ""
        while True:
            part = database.read(checks.stretch, after, "", limit)
            assert all(after < chunk_id and (not part.last or chunk_id <= part.last) for chunk_id in part.chunks)
            assert len(part.chunks) <= limit
            seen += sorted(part.chunks)
            on_the_way |= part.on_the_way
            if not part.last:
                break
            after = part.last
        assert seen == sorted(chunks)
        assert set(planned) <= on_the_way
    ended = database.read(checks.stretch, "", seen[1], 1000)
    assert (sorted(ended.chunks), ended.last) == (seen[:2], seen[1])
    assert database.read(checks.stretch_of, seen).chunks == database.read(checks.stretch, "", "", 1000).chunks


def test_lost_files_are_named_with_their_owner(database: Meta, alice: Caller) -> None:
    assert database.read(checks.lost, 100) == checks.Lost(0, 0, [])
    standing = {name: file_id for file_id, name in database.rows("SELECT entry_id, name FROM entry")}
    lost = [database.chunks_of(standing[name])[0] for name in ("trashed", "in it")]
    (newest,) = database.rows("SELECT chunk_id FROM extent WHERE length = 5")[:1]
    (older,) = database.rows("SELECT DISTINCT chunk_id FROM extent WHERE length = 20")
    for chunk_id in [*lost, newest[0], older[0]]:
        database.lose(chunk_id, "pool")
    found = database.read(checks.lost, 100)
    places = {f"{alice.email}: /folder/a.txt", f"{alice.email}: /twin/a.txt", f"{alice.email}: /trashed"}
    assert {one.removesuffix(" (an older version)") for one in found.some} == places
    assert (found.chunks, found.files) == (3, 3)  # one is of a file that was deleted for good
    assert len(database.read(checks.lost, 1).some) == 1
    assert database.read(checks.files_of, older[0]) == [f"{alice.email}: /folder/a.txt (an older version)"]
    assert database.read(checks.files_of, lost[1]) == []
