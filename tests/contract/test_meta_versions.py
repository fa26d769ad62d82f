"""The contents that a file had: listed, made the newest again, deleted, and kept up to a number."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

import pytest

from cloudgrpc.errors import Missing, OwnerOnly, QuotaExceeded, ReadOnlyShare, VersionMoved, VersionNewest
from cloudgrpc.meta import changes, copying, files, sharing, uploads, versions
from cloudgrpc.meta.changes import Move
from cloudgrpc.meta.copying import CopyTo
from cloudgrpc.meta.models import Event, Version
from cloudgrpc.meta.sharing import Terms
from contract.meta_fixture import KEEP, LIMITS, Meta

if TYPE_CHECKING:
    from cloudgrpc.meta.accounts import Caller
    from cloudgrpc.meta.versions import Content

ROUNDS = 6  # of a race


@pytest.fixture
def alice(database: Meta) -> Caller:
    return database.enroll(quota=1000)


@pytest.fixture
def bob(database: Meta) -> Caller:
    return database.enroll()


def put(database: Meta, person: Caller, name: str, *sizes: int, parent_id: str = "", keep: int = KEEP) -> str:
    """A file with a version of each size, all of which differ; returns its id. `parent_id`: or the file itself."""
    file_id = ""
    for size in sizes:
        upload_id = database.begin(person, name, size, parent_id=parent_id)
        database.send(upload_id, 0, size)
        file_id = database.run(uploads.commit, upload_id, [], f"blake3:{upload_id}", 1, keep).file_id
    return file_id


def contents(database: Meta, person: Caller, file_id: str, limit: int = 1000) -> list[Content]:
    found, before = database.read(versions.page, person, file_id, None, limit)
    while before is not None:
        more, before = database.read(versions.page, person, file_id, before, limit)
        assert len(more) <= limit
        found += more
    return found


def sizes(database: Meta, person: Caller, file_id: str) -> dict[int, int]:
    return {one.version: one.size_bytes for one in contents(database, person, file_id)}


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_the_pages_put_together_are_all_versions_the_newest_first(
    database: Meta, alice: Caller, bob: Caller, limit: int
) -> None:
    file_id = put(database, alice, "file", 1, 2, 3)
    put(database, alice, "other", 9)
    database.run(sharing.share, alice, file_id, bob.email, Terms("write", None))
    upload_id = database.begin(bob, "any name", 4, parent_id=file_id)
    database.send(upload_id, 0, 4)
    database.run(uploads.commit, upload_id, [], "blake3:04", 1, KEEP)
    found = contents(database, alice, file_id, limit)
    assert [(one.version, one.size_bytes, one.is_newest) for one in found] == [
        (4, 4, True),
        (3, 3, False),
        (2, 2, False),
        (1, 1, False),
    ]
    assert [one.made_by for one in found] == [bob.email, *[alice.email] * 3]
    assert contents(database, bob, file_id, limit) == found


def test_a_restored_version_is_a_further_one_on_the_same_chunks(database: Meta, alice: Caller) -> None:
    file_id = put(database, alice, "file", 10, 20, 30)
    chunks = database.chunks_of(file_id)
    assert database.run(versions.restore, alice, file_id, 1, 3, KEEP) == 4
    assert sizes(database, alice, file_id) == {1: 10, 2: 20, 3: 30, 4: 10}
    assert sorted(set(database.chunks_of(file_id))) == sorted(chunks)
    file = database.read(files.find_file, alice, file_id)
    assert (file.version, file.size_bytes) == (4, 10)
    assert file.digest == database.read(files.find_file, alice, file_id, 1).digest
    assert database.used(alice.account_id) == (70, 0)
    database.check_books(alice)


def test_asking_for_a_restore_again_after_a_lost_reply_makes_no_further_version(database: Meta, alice: Caller) -> None:
    file_id = put(database, alice, "file", 10, 20)
    assert [database.run(versions.restore, alice, file_id, number, None, KEEP) for number in (2, 1, 1, 3)] == [
        2,
        3,
        3,
        3,
    ]
    assert sizes(database, alice, file_id) == {1: 10, 2: 20, 3: 10}
    assert database.events("version.restored") == 1


def test_a_restore_prunes_and_the_oldest_can_come_back_as_it_goes(database: Meta, alice: Caller) -> None:
    file_id = put(database, alice, "file", 1, 2, 3)
    assert database.run(versions.restore, alice, file_id, 1, None, 3) == 4
    assert sizes(database, alice, file_id) == {2: 2, 3: 3, 4: 1}
    database.check_books(alice)
    assert database.read(files.pieces, database.read(files.find_file, alice, file_id).version_id, -1, 9)


def test_a_restore_counts_in_the_quota_exactly_also_when_several_come_at_once(database: Meta) -> None:
    carol = database.enroll(quota=100)
    ids = [put(database, carol, name, 20, 5) for name in ("a", "b", "c")]
    answers = database.race([partial(versions.restore, carol, one, 1, None, KEEP) for one in ids])
    assert sorted(isinstance(answer, QuotaExceeded) for answer in answers) == [False, True, True]
    assert database.used(carol.account_id) == (95, 0)
    database.check_books(carol)


def test_a_deleted_version_frees_its_bytes_and_the_others_stay(database: Meta, alice: Caller) -> None:
    file_id = put(database, alice, "file", 10, 20, 30)
    chunks = database.chunks_of(file_id)
    database.run(versions.delete, alice, file_id, 2)
    assert sizes(database, alice, file_id) == {1: 10, 3: 30}
    assert database.used(alice.account_id) == (40, 0)
    database.check_books(alice)
    assert len(set(chunks) - set(database.chunks_of(file_id))) == 1
    with pytest.raises(Missing):
        database.run(versions.delete, alice, file_id, 2)
    assert database.read(files.find_file, alice, file_id, 1).size_bytes == 10
    with pytest.raises(Missing):
        database.read(files.find_file, alice, file_id, 2)
    assert put(database, alice, "file", 40) == file_id
    assert sizes(database, alice, file_id) == {1: 10, 3: 30, 4: 40}, "a number is never used again"


def test_what_is_refused_changes_nothing(database: Meta, alice: Caller, bob: Caller) -> None:
    reader = database.enroll()
    file_id, folder = put(database, alice, "file", 10, 20), database.mkdir(alice, "folder")
    database.run(sharing.share, alice, file_id, bob.email, Terms("write", None))
    database.run(sharing.share, alice, file_id, reader.email, Terms("read", None))
    found = database.digest()
    for error, work in (
        (VersionNewest, partial(versions.delete, alice, file_id, 2)),
        (Missing, partial(versions.delete, alice, file_id, 3)),
        (Missing, partial(versions.delete, alice, folder, 1)),
        (OwnerOnly, partial(versions.delete, bob, file_id, 1)),
        (OwnerOnly, partial(versions.delete, reader, file_id, 1)),
        (Missing, partial(versions.restore, alice, file_id, 0, None, KEEP)),
        (Missing, partial(versions.restore, alice, folder, 1, None, KEEP)),
        (VersionMoved, partial(versions.restore, alice, file_id, 1, 1, KEEP)),
        (ReadOnlyShare, partial(versions.restore, reader, file_id, 1, None, KEEP)),
    ):
        with pytest.raises(error):
            database.run(work)
        assert database.digest() == found


def test_a_grantee_who_may_write_restores_on_the_owners_account(database: Meta, alice: Caller, bob: Caller) -> None:
    file_id = put(database, alice, "file", 10, 20)
    database.run(sharing.share, alice, file_id, bob.email, Terms("write", None))
    assert database.run(versions.restore, bob, file_id, 1, 2, KEEP) == 3
    assert (database.used(alice.account_id), database.used(bob.account_id)) == ((40, 0), (0, 0))
    assert contents(database, alice, file_id)[0].made_by == bob.email
    event = database.run(lambda: Event.get(Event.kind == "version.restored"))
    assert (event.account_id, event.actor_id) == (alice.account_id, bob.account_id)


def test_a_restore_and_an_upload_at_once_are_two_versions_and_no_loss(database: Meta, alice: Caller) -> None:
    for number in range(ROUNDS):
        name = f"file{number}"
        file_id = put(database, alice, name, 1, 2)
        upload_id = database.begin(alice, name, 5)
        database.send(upload_id, 0, 5)
        database.race(
            [
                partial(versions.restore, alice, file_id, 1, None, KEEP),
                partial(uploads.commit, upload_id, [], "blake3:55", 1, KEEP),
            ]
        )
        found = sizes(database, alice, file_id)
        assert (found[1], found[2], {found[3], found[4]}) == (1, 2, {1, 5})
    database.check_books(alice)


def written_by_another(database: Meta, alice: Caller, bob: Caller) -> str:
    """A file with two contents of the owner's, over which somebody else wrote three times; two are kept."""
    file_id = put(database, alice, "file", 1, 2)
    database.run(sharing.share, alice, file_id, bob.email, Terms("write", None))
    put(database, bob, "file", 3, 4, 5, parent_id=file_id, keep=2)
    return file_id


def test_whatever_others_write_the_newest_that_the_owner_made_stays(database: Meta, alice: Caller, bob: Caller) -> None:
    file_id = written_by_another(database, alice, bob)
    assert sizes(database, alice, file_id) == {2: 2, 4: 4, 5: 5}
    assert database.run(versions.restore, bob, file_id, 4, None, 2) == 6
    assert sizes(database, alice, file_id) == {2: 2, 5: 5, 6: 4}
    source = put(database, bob, "source", 7)
    folder = database.mkdir(alice, "folder")
    database.run(changes.move, alice, file_id, Move(folder), LIMITS)
    database.run(sharing.share, alice, folder, bob.email, Terms("write", None))
    database.run(copying.copy, bob, source, CopyTo(folder, "file", replace=True), LIMITS, 2)
    assert sizes(database, alice, file_id) == {2: 2, 6: 4, 7: 7}
    found = database.read(versions.overfull, "", 2, 10)
    assert database.run(versions.prune_overfull, found, 2) == 0
    assert sizes(database, alice, file_id) == {2: 2, 6: 4, 7: 7}
    assert put(database, alice, "file", 8, parent_id=file_id, keep=2) == file_id
    assert sizes(database, alice, file_id) == {7: 7, 8: 8}, "a newer one of the owner's takes its place"
    database.check_books(alice, bob)


def test_what_ends_since_there_are_newer_ones_is_an_event(database: Meta, alice: Caller, bob: Caller) -> None:
    folder = database.mkdir(alice, "folder")
    file_id = put(database, alice, "file", 1, 2, 3, parent_id=folder, keep=2)
    database.run(versions.restore, alice, file_id, 2, None, 2)
    source = put(database, alice, "source", 7)
    database.run(copying.copy, alice, source, CopyTo(folder, "file", replace=True), LIMITS, 2)
    told = database.run(lambda: list(Event.select().where(Event.kind == "versions.ended").order_by(Event.event_id)))
    assert [(one.account_id, one.message) for one in told] == [
        (alice.account_id, "1 older version of /folder/file ended")
    ] * 3
    assert [json.loads(one.details) for one in told] == [
        {"file_id": file_id, "versions": 1, "bytes": size, "by": ""} for size in (1, 2, 3)
    ]
    written_by_another(database, bob, alice)
    assert database.events("versions.ended") == 3 + 2, "of what another's writing ended too"


def test_when_fewer_versions_are_kept_than_before_the_older_ones_end(
    database: Meta, alice: Caller, bob: Caller
) -> None:
    many, few = put(database, alice, "many", 1, 2, 3, 4), put(database, alice, "few", 1, 2)
    trashed, purged = put(database, bob, "trashed", 1, 2, 3, 4), put(database, bob, "purged", 1, 2, 3, 4)
    folder = database.mkdir(bob, "folder")
    database.run(changes.trash, bob, trashed)
    database.run(changes.move, bob, purged, Move(folder), LIMITS)
    found = database.read(versions.overfull, "", 2, 10)
    assert {one for one, _ in found} == {many, trashed, purged}
    assert found == [
        row
        for after in ["", *sorted(one for one, _ in found)[:-1]]
        for row in database.read(versions.overfull, after, 2, 1)
    ]
    database.run(changes.purge, bob, folder)  # meanwhile
    assert database.run(versions.prune_overfull, found, 2) == 4
    assert sizes(database, alice, many) == {3: 3, 4: 4}
    assert sizes(database, alice, few) == {1: 1, 2: 2}
    assert database.run(Version.select().where(Version.entry == trashed).count) == 2
    assert (database.used(alice.account_id), database.used(bob.account_id)) == ((10, 0), (7, 0))
    assert database.events("versions.ended") == 2
    database.check_books(alice, bob)
    assert database.read(versions.overfull, "", 2, 10) == []
