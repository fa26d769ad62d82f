"""Begin, receive, commit, abandon: quota to the byte, one answer per request, and nothing half done."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloudgrpc.errors import Missing, NameTaken, QuotaExceeded, RequestIdReused, UploadEnded, VersionMoved
from cloudgrpc.meta import changes, copies, files, nodes, uploads
from cloudgrpc.meta.models import Account, Entry, Receipt, Upload, UploadChunk, Version, new_id
from cloudgrpc.meta.uploads import Answer, Opened, Planned, Stored
from contract.meta_fixture import HOUR, KEEP, LIMITS, NOT_IDS, Meta, plan, wish_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudgrpc.meta.accounts import Caller


@pytest.fixture
def alice(database: Meta) -> Caller:
    return database.enroll(quota=1000)


@pytest.fixture
def deadlocks(database: Meta, request: pytest.FixtureRequest) -> Callable[[], int]:
    """How many the server has found."""
    if not database.is_postgres:
        return lambda: 0
    log = request.getfixturevalue("postgres").folder / "log"
    return lambda: log.read_text(errors="replace").count("deadlock detected")


def begin(person: Caller, name: str, size: int, **wish: Any) -> functools.partial[Answer | Opened]:
    return functools.partial(uploads.begin, new_id(), wish_for(person, name, size, **wish), [], HOUR, LIMITS)


def make_folder(database: Meta, person: Caller, name: str) -> str:
    return database.run(changes.make_folder, person, "", name, LIMITS).folder_id


# The flow


def test_an_upload_becomes_a_file_with_its_chunks_in_order(database: Meta, alice: Caller) -> None:
    database.add_node("node1")
    upload_id = database.begin(alice, "a.txt", 30)
    later = database.send(upload_id, 1, 10, on=["node1"])
    first = database.send(upload_id, 0, 20, on=["node1", "pool"])
    assert database.used(alice.account_id) == (0, 30)
    answer = database.commit(upload_id)
    assert (answer.chunks_stored, answer.digest) == (2, "blake3:00")
    assert database.used(alice.account_id) == (30, 0)
    file = database.read(files.find_file, alice, answer.file_id)
    assert (file.name, file.size_bytes, file.chunk_count) == ("a.txt", 30, 2)
    pieces = database.read(files.pieces, file.version_id, -1, 10)
    assert [(piece.position, piece.chunk_id, piece.length) for piece in pieces] == [(0, first, 20), (1, later, 10)]
    assert [piece.checksum for piece in pieces] == [f"sum-{first}", f"sum-{later}"]
    held = database.read(copies.holders, [first, later])
    assert {chunk: {one.node_id for one in holders} for chunk, holders in held.items()} == {
        first: {"node1", "pool"},
        later: {"node1"},
    }
    assert [database.run(table.select().count) for table in (UploadChunk, Receipt)] == [0, 0]
    assert database.events("file.uploaded") == 1


def test_an_empty_file_is_a_file(database: Meta, alice: Caller) -> None:
    file_id = database.put(alice, "empty")
    file = database.read(files.find_file, alice, file_id)
    assert (file.size_bytes, file.chunk_count) == (0, 0)
    assert database.read(files.pieces, file.version_id, -1, 10) == []
    assert database.used(alice.account_id) == (0, 0)


def test_a_chunk_is_written_down_before_it_is_sent(database: Meta, alice: Caller) -> None:
    first, second = Planned(0, new_id()), Planned(1, new_id())
    upload_id = new_id()
    database.run(uploads.begin, upload_id, wish_for(alice, "a", 20), [first], HOUR, LIMITS)
    database.run(uploads.receive, upload_id, [Stored(first.chunk_id, 10, "s", ("pool",))], [second], HOUR)
    names = database.run(lambda: {chunk.chunk_id for chunk in UploadChunk.select()})
    assert names == {first.chunk_id, second.chunk_id}


def test_an_abandoned_upload_frees_its_bytes_and_leaves_its_chunks_as_orphans(database: Meta, alice: Caller) -> None:
    upload_id = database.begin(alice, "a", 300)
    sent, planned = database.send(upload_id, 0, 100), new_id()
    database.run(plan, upload_id, Planned(1, planned))
    assert database.run(uploads.abandon, upload_id)
    assert database.used(alice.account_id) == (0, 0)
    assert database.unreferenced_at(sent) is not None
    assert database.unreferenced_at(planned) is not None
    assert (database.state(sent, "pool"), database.state(planned, "pool")) == ("good", None)
    assert not database.run(uploads.abandon, upload_id)
    assert database.used(alice.account_id) == (0, 0)
    assert database.events("upload.abandoned") == 1


@pytest.mark.parametrize("end", ["commit", "abandon"])
def test_an_upload_that_has_ended_takes_nothing_more(database: Meta, alice: Caller, end: str) -> None:
    upload_id = database.begin(alice, "a", 10)
    chunk_id = database.send(upload_id, 0, 10)
    if end == "commit":
        database.commit(upload_id)
    else:
        database.run(uploads.abandon, upload_id)
    found = database.digest()
    with pytest.raises(UploadEnded):
        database.run(uploads.receive, upload_id, [Stored(chunk_id, 10, "s", ("pool",))], [Planned(1, new_id())], HOUR)
    with pytest.raises(UploadEnded):
        database.commit(upload_id)
    assert not database.run(uploads.abandon, upload_id)
    assert database.digest() == found


def test_an_upload_never_begun_takes_nothing(database: Meta, alice: Caller) -> None:
    with pytest.raises(UploadEnded):
        database.run(uploads.receive, new_id(), [Stored(new_id(), 10, "s", ("pool",))], [], HOUR)
    with pytest.raises(UploadEnded):
        database.commit(new_id())


def test_a_chunk_counts_for_its_own_upload_only(database: Meta, alice: Caller) -> None:
    mine, other = database.begin(alice, "mine", 10), database.begin(alice, "other", 10)
    chunk_id = new_id()
    database.run(plan, other, Planned(0, chunk_id))
    with pytest.raises(UploadEnded):
        database.run(uploads.receive, mine, [Stored(chunk_id, 10, "s", ("pool",))], [], HOUR)
    assert database.run(Receipt.select().count) == 0


# The lease


def test_an_upload_whose_lease_ran_out_can_neither_receive_nor_commit(database: Meta, alice: Caller) -> None:
    upload_id = database.begin(alice, "a", 20)
    database.send(upload_id, 0, 20)
    assert database.read(uploads.expired, 10) == []
    database.age("upload", "lease_until_at", HOUR)
    assert database.read(uploads.expired, 10) == [upload_id]
    planned = Planned(1, new_id())
    database.run(plan, upload_id, planned)
    with pytest.raises(UploadEnded):
        database.run(uploads.receive, upload_id, [Stored(planned.chunk_id, 1, "s", ("pool",))], [], HOUR)
    with pytest.raises(UploadEnded):
        database.commit(upload_id)
    assert database.run(uploads.abandon, upload_id)
    assert database.read(uploads.expired, 10) == []
    assert database.used(alice.account_id) == (0, 0)


def test_each_receipt_renews_the_lease(database: Meta, alice: Caller) -> None:
    upload_id = database.begin(alice, "a", 10)
    database.age("upload", "lease_until_at", HOUR - 5_000_000)
    database.send(upload_id, 0, 10)
    database.age("upload", "lease_until_at", HOUR - 5_000_000)
    assert database.commit(upload_id).chunks_stored == 1


def test_of_a_commit_and_an_abandon_at_once_exactly_one_happens(database: Meta, alice: Caller) -> None:
    for attempt in range(4):
        upload_id = database.begin(alice, f"file{attempt}", 10)
        chunk_id = database.send(upload_id, 0, 10)
        works: list[Any] = [
            functools.partial(uploads.commit, upload_id, [], "d", 1, KEEP),
            functools.partial(uploads.abandon, upload_id),
        ]
        committed, abandoned = database.race(works)
        assert isinstance(committed, Answer) is not abandoned
        assert isinstance(committed, UploadEnded) is abandoned
        assert (database.unreferenced_at(chunk_id) is not None) is abandoned
        assert database.used(alice.account_id) == database.counted(alice.account_id)


def test_records_of_ended_uploads_go_after_a_while_and_open_ones_stay(database: Meta, alice: Caller) -> None:
    database.put(alice, "done", 1)
    still_open = database.begin(alice, "open", 1)
    database.run(uploads.forget, HOUR)
    assert database.run(Upload.select().count) == 2
    database.age("upload", "lease_until_at", 3 * HOUR)
    database.run(uploads.forget, HOUR)
    assert database.run(lambda: [upload.upload_id for upload in Upload.select()]) == [still_open]


# Commit refuses what is not whole


@pytest.mark.parametrize(
    ("sent", "planned", "size", "quorum"),
    [
        ([(0, 10, 1)], [], 20, 1),  # bytes are missing
        ([(0, 10, 1), (1, 10, 1)], [], 10, 1),  # too many bytes
        ([(0, 10, 1), (2, 10, 1)], [], 20, 1),  # a chunk is missing in the middle
        ([(1, 20, 1)], [], 20, 1),  # the first one is
        ([(0, 10, 2), (1, 10, 1)], [], 20, 2),  # one node too few has it
        ([(0, 20, 1)], [1], 20, 1),  # a chunk is on its way
        ([], [0], 0, 1),
        ([], [], 1, 1),
    ],
)
def test_a_commit_without_every_byte_on_its_quorum_is_refused(
    database: Meta, alice: Caller, sent: list[tuple[int, int, int]], planned: list[int], size: int, quorum: int
) -> None:
    nodes = ["node1", "node2"]
    for node in nodes:
        database.add_node(node)
    upload_id = database.begin(alice, "a", size)
    for position, length, count in sent:
        database.send(upload_id, position, length, on=nodes[:count])
    for position in planned:
        database.run(plan, upload_id, Planned(position, new_id()))
    found = database.digest()
    with pytest.raises(UploadEnded):
        database.commit(upload_id, quorum)
    assert database.digest() == found


def test_a_commit_into_a_folder_that_was_deleted_meanwhile_is_refused(database: Meta, alice: Caller) -> None:
    for way in (changes.trash, changes.purge):
        folder = make_folder(database, alice, "folder")
        upload_id = database.begin(alice, "a", 10, parent_id=folder)
        database.send(upload_id, 0, 10)
        database.run(way, alice, folder)
        with pytest.raises(UploadEnded):
            database.commit(upload_id)
        database.run(uploads.abandon, upload_id)
    assert database.used(alice.account_id) == (0, 0)


def test_a_node_that_came_with_another_folder_takes_its_receipts_with_it(database: Meta, alice: Caller) -> None:
    database.add_node("node1")
    upload_id = database.begin(alice, "a", 10)
    database.send(upload_id, 0, 10, on=["node1", "pool"])
    database.set_offline("node1")
    database.add_node("node1", instance_id="another folder")
    with pytest.raises(UploadEnded):
        database.commit(upload_id, quorum=2)
    assert database.commit(upload_id, quorum=1).chunks_stored == 1


# Quota


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 400), min_size=2, max_size=10), st.integers(0, 900))
def test_uploads_racing_for_the_last_bytes_never_pass_the_quota(database: Meta, sizes: list[int], before: int) -> None:
    person = database.enroll(quota=1000)
    database.put(person, "before", *([before] if before else []))
    answers = database.race([begin(person, f"file{n}", size) for n, size in enumerate(sizes)])
    refused = [size for size, answer in zip(sizes, answers, strict=True) if isinstance(answer, QuotaExceeded)]
    taken = [size for size, answer in zip(sizes, answers, strict=True) if isinstance(answer, Opened)]
    assert len(refused) + len(taken) == len(sizes)
    assert database.used(person.account_id) == (before, sum(taken)) == database.counted(person.account_id)
    assert before + sum(taken) <= 1000
    assert all(before + sum(taken) + size > 1000 for size in refused)
    assert database.run(Upload.select().where(Upload.account == person.account_id).count) == len(taken) + 1


def test_the_last_byte_can_be_used_and_not_one_more(database: Meta, alice: Caller) -> None:
    database.put(alice, "most", 990)
    with pytest.raises(QuotaExceeded, match=r"b needs 11 B, but only 10 B of 1000 B are left"):
        database.begin(alice, "b", 11)
    database.put(alice, "rest", 10)
    with pytest.raises(QuotaExceeded):
        database.begin(alice, "c", 1)
    database.put(alice, "empty")


def test_a_refused_upload_changes_nothing(database: Meta, alice: Caller) -> None:
    database.put(alice, "most", 990)
    found = database.digest()
    with pytest.raises(QuotaExceeded):
        database.begin(alice, "b", 1 << 62, request_id="r")
    assert database.digest() == found


def test_a_new_version_needs_room_of_its_own_since_the_old_one_stays(database: Meta, alice: Caller) -> None:
    file_id = database.put(alice, "a", 600)
    with pytest.raises(QuotaExceeded):
        database.begin(alice, "a", 500)
    assert database.put(alice, "a", 400) == file_id
    assert database.used(alice.account_id) == (1000, 0)


# The client's request id


def test_a_retry_gets_the_first_answer_and_is_charged_once(database: Meta, alice: Caller) -> None:
    upload_id = database.begin(alice, "a", 100, request_id="r")
    database.send(upload_id, 0, 100)
    answer = database.commit(upload_id)
    found = database.digest()
    assert database.run(begin(alice, "a", 100, request_id="r")) == answer
    assert database.digest() == found
    assert database.run(Version.select().count) == 1


def test_a_retry_gets_its_answer_also_when_the_quota_is_used_up_or_the_file_was_trashed(
    database: Meta, alice: Caller
) -> None:
    upload_id = database.begin(alice, "a", 1000, request_id="r")
    database.send(upload_id, 0, 1000)
    answer = database.commit(upload_id)
    assert database.run(begin(alice, "a", 1000, request_id="r")) == answer
    database.run(changes.trash, alice, answer.file_id)
    assert database.run(begin(alice, "a", 1000, request_id="r")) == answer


def test_a_retry_takes_the_place_of_an_unfinished_try(database: Meta, alice: Caller) -> None:
    first = database.begin(alice, "a", 900, request_id="r")
    sent = database.send(first, 0, 900)
    second = database.begin(alice, "a", 900, request_id="r")  # has room, since the first one's was freed
    assert database.used(alice.account_id) == (0, 900)
    with pytest.raises(UploadEnded):
        database.commit(first)
    assert database.unreferenced_at(sent) is not None
    database.send(second, 0, 900)
    database.commit(second)
    assert database.used(alice.account_id) == (900, 0)
    assert database.run(Version.select().count) == 1


def test_retries_that_come_at_once_leave_one_upload(database: Meta, alice: Caller) -> None:
    answers = database.race([begin(alice, "a", 400, request_id="r") for _ in range(3)])
    assert [type(answer) for answer in answers] == [Opened] * 3  # each in the place of the one before
    assert database.used(alice.account_id) == (0, 400) == database.counted(alice.account_id)
    assert database.run(Upload.select().where(Upload.state == "open").count) == 1


@pytest.mark.parametrize("other", [("b", 100, "root"), ("a", 99, "root"), ("a", 100, "folder")])
def test_a_request_id_is_not_taken_for_another_upload(
    database: Meta, alice: Caller, other: tuple[str, int, str]
) -> None:
    folder = make_folder(database, alice, "folder")
    name, size, where = other
    reuse = begin(alice, name, size, request_id="r", parent_id=folder if where == "folder" else "")
    upload_id = database.begin(alice, "a", 100, request_id="r")
    with pytest.raises(RequestIdReused):
        database.run(reuse)
    database.send(upload_id, 0, 100)
    database.commit(upload_id)
    with pytest.raises(RequestIdReused):
        database.run(reuse)


def test_a_request_id_is_free_again_after_the_upload_was_abandoned(database: Meta, alice: Caller) -> None:
    database.run(uploads.abandon, database.begin(alice, "a", 100, request_id="r"))
    database.begin(alice, "b", 50, request_id="r")


def test_a_request_id_is_of_one_person(database: Meta, alice: Caller) -> None:
    database.begin(alice, "a", 100, request_id="r")
    database.begin(database.enroll(), "b", 50, request_id="r")
    assert database.used(alice.account_id) == (0, 100)


# Names


def test_an_upload_to_a_name_that_exists_adds_a_version(database: Meta, alice: Caller) -> None:
    file_id = database.put(alice, "a", 10)
    old = database.read(files.find_file, alice, file_id)
    assert database.put(alice, "a", 20) == file_id
    new = database.read(files.find_file, alice, file_id)
    assert (new.size_bytes, new.created_at) == (20, old.created_at)
    assert new.modified_at > old.modified_at
    numbers = database.run(lambda: [one.number for one in Version.select().order_by(Version.number)])
    assert numbers == [1, 2]
    assert len(database.chunks_of(file_id)) == 2
    assert database.used(alice.account_id) == (30, 0)


def test_an_upload_may_say_which_version_it_replaces(database: Meta, alice: Caller) -> None:
    def begin_at(version: int) -> str:
        upload_id, wish = new_id(), dataclasses.replace(wish_for(alice, "a", 10), expected_version=version)
        database.run(uploads.begin, upload_id, wish, [], HOUR, LIMITS)
        database.send(upload_id, 0, 10)
        return upload_id

    first, second = begin_at(0), begin_at(0)
    for version in (1, 2):
        with pytest.raises(VersionMoved):
            begin_at(version)
    assert database.commit(first).version == 1
    with pytest.raises(VersionMoved):
        database.commit(second)
    with pytest.raises(VersionMoved):
        begin_at(0)
    database.run(uploads.abandon, second)
    assert database.commit(begin_at(1)).version == 2
    assert database.used(alice.account_id) == (20, 0)


def test_first_uploads_of_one_name_that_end_at_once_make_one_file(database: Meta, alice: Caller) -> None:
    works = []
    for _ in range(5):
        upload_id = database.begin(alice, "same", 10)
        database.send(upload_id, 0, 10)
        works.append(functools.partial(uploads.commit, upload_id, [], "d", 1, KEEP))
    answers = database.race(works)
    assert len({answer.file_id for answer in answers}) == 1
    assert sorted(database.run(lambda: [one.number for one in Version.select()])) == [1, 2, 3, 4, 5]
    assert database.used(alice.account_id) == (50, 0)


def test_names_are_compared_in_composed_form_and_kept_as_given(database: Meta, alice: Caller) -> None:
    file_id = database.put(alice, "cafe\u0301", 1)
    assert database.put(alice, "caf\u00e9", 1) == file_id
    assert database.read(files.find_file, alice, file_id).name == "cafe\u0301"
    with pytest.raises(NameTaken):
        make_folder(database, alice, "caf\u00e9")


def test_a_file_cannot_take_the_name_of_a_folder(database: Meta, alice: Caller) -> None:
    make_folder(database, alice, "photos")
    with pytest.raises(NameTaken):
        database.begin(alice, "photos", 1)
    assert database.used(alice.account_id) == (0, 0)


def test_a_folder_that_took_the_name_meanwhile_is_not_replaced(database: Meta, alice: Caller) -> None:
    upload_id = database.begin(alice, "photos", 1)
    database.send(upload_id, 0, 1)
    make_folder(database, alice, "photos")
    with pytest.raises(NameTaken):
        database.commit(upload_id)


def test_after_the_file_was_trashed_the_name_is_a_new_files(database: Meta, alice: Caller) -> None:
    upload_id = database.begin(alice, "a", 10)
    database.send(upload_id, 0, 10)
    trashed = database.put(alice, "a", 10)
    database.run(changes.trash, alice, trashed)
    assert database.commit(upload_id).file_id != trashed


@pytest.mark.parametrize("parent_id", NOT_IDS)
def test_an_unknown_or_malformed_folder_id_is_no_folder(database: Meta, alice: Caller, parent_id: str) -> None:
    with pytest.raises(Missing):
        database.begin(alice, "a", 1, parent_id=parent_id)


def test_nobody_uploads_to_an_account_that_is_not(database: Meta, alice: Caller) -> None:
    with pytest.raises(Missing):
        database.begin(dataclasses.replace(alice, account_id=new_id()), "a", 1)


def test_what_is_somebody_elses_is_no_place_for_an_upload(database: Meta, alice: Caller) -> None:
    bob = database.enroll()
    for parent_id in (make_folder(database, bob, "his"), bob.root_id, database.put(bob, "file", 1)):
        with pytest.raises(Missing):
            database.begin(alice, "a", 1, parent_id=parent_id)


def test_an_upload_to_a_file_is_its_next_content_whatever_the_name(database: Meta, alice: Caller) -> None:
    file_id = database.put(alice, "a", 10)
    assert database.put(alice, "another name", 20, parent_id=file_id) == file_id
    upload_id = database.begin(alice, "x", 5, parent_id=file_id, request_id="r")
    database.send(upload_id, 0, 5)
    answer = database.commit(upload_id)
    assert (answer.file_id, answer.version) == (file_id, 3)
    assert database.run(begin(alice, "x", 5, parent_id=file_id, request_id="r")) == answer
    assert database.read(files.find_file, alice, file_id).name == "a"


# Races that only PostgreSQL runs; SQLite takes turns, and the outcome is the same.


def test_many_uploads_into_one_folder_at_once_never_lock_each_other_out(
    database: Meta, alice: Caller, deadlocks: Callable[[], int]
) -> None:
    database.add_node("node1")
    works: list[Any] = []
    for n in range(8):
        upload_id = database.begin(alice, f"file{n}", 10)
        database.send(upload_id, 0, 10, on=["node1", "pool"])
        works += [functools.partial(uploads.commit, upload_id, [], "d", 1, KEEP), begin(alice, f"next{n}", 1)]
    before = deadlocks()
    answers = database.race(works)
    assert all(isinstance(answer, Opened | Answer) for answer in answers)
    assert database.used(alice.account_id) == (80, 8) == database.counted(alice.account_id)
    assert deadlocks() == before  # found by the server only after a second


def test_a_heartbeat_does_not_wait_for_an_upload_to_its_node(database: Meta, alice: Caller) -> None:
    if not database.is_postgres:
        pytest.skip("SQLite has one writer")
    upload_id = database.begin(alice, "a", 10)
    database.send(upload_id, 0, 10)
    committing, done = threading.Event(), threading.Event()

    def commit_slowly() -> None:
        uploads.commit(upload_id, [], "d", 1, KEEP)
        committing.set()
        assert done.wait(20)

    async def beat_meanwhile() -> None:
        slow = asyncio.create_task(database.database.run(commit_slowly))
        assert await asyncio.to_thread(committing.wait, 20)
        beat = functools.partial(nodes.heartbeat, "pool", "folder of pool", 1, 1, is_read_only=False)
        await asyncio.wait_for(database.database.run(beat), 10)
        assert not slow.done()
        done.set()
        await slow

    asyncio.run(beat_meanwhile())


@pytest.mark.parametrize("way", [changes.trash, changes.purge])
def test_an_upload_that_ends_while_its_file_is_deleted_leaves_one_of_both_orders(
    database: Meta, alice: Caller, way: Any
) -> None:
    for attempt in range(4):
        file_id = database.put(alice, f"file{attempt}", 10)
        upload_id = database.begin(alice, f"file{attempt}", 10)
        database.send(upload_id, 0, 10)
        delete = functools.partial(way, alice, file_id)
        committed, deleted = database.race([functools.partial(uploads.commit, upload_id, [], "d", 1, KEEP), delete])
        assert isinstance(committed, Answer)
        assert not isinstance(deleted, Exception)
        live = database.run(lambda: [one.entry_id for one in Entry.select().where(Entry.parent.is_null(False))])
        assert (committed.file_id in live) is (committed.file_id != file_id)
        assert file_id not in live
        assert database.used(alice.account_id) == database.counted(alice.account_id)


def test_an_account_is_never_left_with_less_than_nothing(database: Meta, alice: Caller) -> None:
    file_ids = [database.put(alice, f"file{n}", 100) for n in range(5)]
    deletes = [functools.partial(changes.purge, alice, file_id) for file_id in file_ids * 2]
    answers = database.race(deletes)
    assert sum(isinstance(answer, Missing) for answer in answers) == 5
    account = database.run(Account.get_by_id, alice.account_id)
    assert (account.used_bytes, account.reserved_bytes) == (0, 0)
