"""What was deleted for good goes little by little: no step is large, and no chunk goes that something needs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from cloudgrpc.meta import changes, copying, files, sweeping, uploads, versions
from cloudgrpc.meta.copying import CopyTo
from cloudgrpc.meta.models import Chunk, Entry, Extent, Version
from contract.meta_fixture import KEEP, LIMITS, Meta

if TYPE_CHECKING:
    from cloudgrpc.meta.accounts import Caller

TABLES = [Entry, Version, Extent]


@pytest.fixture
def alice(database: Meta) -> Caller:
    return database.enroll()


def rows_of(database: Meta) -> list[int]:
    return [database.run(table.select().count) for table in TABLES]


def sweep_in_steps(database: Meta, limit: int) -> int:
    """How many steps it took; none of them deleted more than `limit` rows of a table but for as many again of what a
    folder held."""
    steps, before = 0, rows_of(database)
    while database.run(sweeping.sweep, limit):
        after = rows_of(database)
        assert all(was - now <= 2 * limit for was, now in zip(before, after, strict=True)), (before, after)
        steps, before = steps + 1, after
    return steps


@pytest.mark.parametrize("limit", [1, 3, 100])
def test_a_tree_of_any_shape_goes_in_small_steps_to_its_last_row(database: Meta, alice: Caller, limit: int) -> None:
    kept = database.put(alice, "kept", 1)
    top = database.mkdir(alice, "top")
    parent = top
    for depth in range(4):
        parent = database.mkdir(alice, f"deeper{depth}", parent)
        for name in ("one", "two"):
            database.put(alice, name, 1, 1, parent_id=parent)
    database.put(alice, "two", 1, parent_id=parent)
    database.run(changes.purge, alice, top)
    before = rows_of(database)
    assert before == [2 + 1 + 4 + 8, 1 + 9, 1 + 17], "a purge itself deletes nothing"
    assert sweep_in_steps(database, limit) >= before[0] // (3 * limit)
    assert rows_of(database) == [2, 1, 1]
    database.check_books(alice)
    (chunk_id,) = database.chunks_of(kept)
    assert database.unreferenced_at(chunk_id) is None
    assert database.run(sweeping.sweep, limit) == 0


def test_a_large_file_and_a_file_of_many_versions_go_in_small_steps_too(database: Meta, alice: Caller) -> None:
    large = database.put(alice, "large", *[1] * 10)
    for _ in range(KEEP):
        many = database.put(alice, "many", 1)
    for file_id in (large, many):
        database.run(changes.purge, alice, file_id)
    assert sweep_in_steps(database, 2) >= 10
    assert rows_of(database) == [1, 0, 0]
    database.check_books(alice)


def test_old_versions_go_from_the_file_at_once_and_their_rows_later(database: Meta, alice: Caller) -> None:
    file_id = database.put(alice, "file", 5)
    upload_id = database.begin(alice, "file", 0)
    database.run(uploads.commit, upload_id, [], "blake3:01", 1, 1)
    assert [one.version for one in database.read(versions.page, alice, file_id, None, 9)[0]] == [2]
    assert database.used(alice.account_id) == (0, 0) == database.counted(alice.account_id)
    assert rows_of(database) == [3, 2, 1]
    database.sweep()
    assert rows_of(database) == [2, 1, 0]
    database.check_books(alice)


def test_a_chunk_that_several_share_ages_from_when_the_last_of_them_went(database: Meta, alice: Caller) -> None:
    file_id = database.put(alice, "file", 5)
    (chunk_id,) = database.chunks_of(file_id)
    folder = database.mkdir(alice, "folder")
    for name in ("one", "two"):
        database.run(copying.copy, alice, file_id, CopyTo(folder, name), LIMITS, KEEP)
    database.run(changes.purge, alice, file_id)
    database.sweep()
    assert database.unreferenced_at(chunk_id) is None
    database.run(changes.purge, alice, folder)
    database.run(sweeping.sweep, 1)
    assert database.unreferenced_at(chunk_id) is None, "the other is still there"
    database.sweep()
    assert database.unreferenced_at(chunk_id) is not None
    database.check_books(alice)


def test_sweeps_at_once_let_go_of_every_chunk_and_of_each_once(database: Meta, alice: Caller) -> None:
    for number in range(4):
        file_id = database.put(alice, "file", 5, 5)
        for name in ("one", "two", "three"):
            database.run(copying.copy, alice, file_id, CopyTo("", name), LIMITS, KEEP)
        for file in database.read(files.page, alice, "", with_trash=False, after=None, limit=99).files:
            database.run(changes.purge, alice, file.file_id)
        answers = database.race([partial(sweeping.sweep, limit) for limit in (1, 2, 3, 100)])
        assert all(isinstance(answer, int) for answer in answers), answers
        database.check_books(alice)
        assert database.run(Chunk.select().where(Chunk.unreferenced_at.is_null(False)).count) == 2 * (number + 1)


def test_two_who_let_go_of_a_chunk_at_once_do_not_each_leave_it_to_the_other(database: Meta, alice: Caller) -> None:
    for number in range(6):
        file_id = database.put(alice, f"file{number}", 5, 5)
        copied = database.run(copying.copy, alice, file_id, CopyTo("", f"copy{number}"), LIMITS, KEEP)
        held = [
            [(extent.version_id, extent.position, extent.chunk_id) for extent in found]
            for found in (database.run(_extents_of, one) for one in (file_id, copied.entry_id))
        ]
        works = [partial(sweeping._let_go, extents, partial(sweeping._delete_each, extents)) for extents in held]
        database.race(works)
        for _, _, chunk_id in held[0]:
            assert database.unreferenced_at(chunk_id) is not None


def _extents_of(file_id: str) -> list[Extent]:
    return list(Extent.select().join(Version).where(Version.entry == file_id))
