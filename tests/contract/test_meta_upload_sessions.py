"""Uploads that rest between two streams: what stands of them, who may go on, and that nothing is half done."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any

import pytest

from cloudgrpc.core.chunking import CHUNK_BYTES
from cloudgrpc.core.content import Content
from cloudgrpc.errors import (
    Missing,
    NameTaken,
    QuotaExceeded,
    ReadOnlyShare,
    RequestIdReused,
    UploadBusy,
    UploadDiffers,
    UploadEnded,
    UploadUnfinished,
    VersionMoved,
)
from cloudgrpc.meta import changes, copies, files, sharing, uploads
from cloudgrpc.meta import upload_sessions as sessions
from cloudgrpc.meta.models import Upload, UploadChunk, Version, new_id
from cloudgrpc.meta.sharing import Terms
from cloudgrpc.meta.upload_sessions import Session, Span
from cloudgrpc.meta.uploads import Answer, Planned, Stored
from contract.meta_fixture import HOUR, KEEP, LIMITS, NOT_IDS, Meta, wish_for

if TYPE_CHECKING:
    from cloudgrpc.meta.accounts import Caller

SIZE = 3 * CHUNK_BYTES + 5  # four chunks


@pytest.fixture
def alice(database: Meta) -> Caller:
    return database.enroll()


def beginning(
    person: Caller, name: str = "film", size: int = SIZE, expected_version: int | None = None, **wish: Any
) -> functools.partial[Session]:
    wanted = dataclasses.replace(wish_for(person, name, size, **wish), expected_version=expected_version)
    return functools.partial(sessions.begin, new_id(), wanted, "a word", HOUR, LIMITS, quorum=1)


def begin(database: Meta, person: Caller, name: str = "film", size: int = SIZE, **wish: Any) -> str:
    return database.run(beginning(person, name, size, **wish)).upload_id


def plan(database: Meta, upload_id: str, *positions: int) -> list[Planned]:
    """As a stream does that is about to send these chunks."""
    planned = [Planned(position, new_id()) for position in positions]
    database.run(uploads.receive, upload_id, [], planned, HOUR)
    return planned


def stored(planned: Planned, size: int = SIZE, on: tuple[str, ...] = ("pool",)) -> Stored:
    length = min(CHUNK_BYTES, size - planned.position * CHUNK_BYTES)
    return Stored(planned.chunk_id, length, f"sum-{planned.chunk_id}", on)


def send(database: Meta, upload_id: str, *positions: int, size: int = SIZE, on: tuple[str, ...] = ("pool",)) -> None:
    """These chunks, on these nodes."""
    receipts = [stored(one, size, on) for one in plan(database, upload_id, *positions)]
    database.run(uploads.receive, upload_id, receipts, [], HOUR)


def content(database: Meta, upload_id: str) -> Content:
    """Of the chunks that the upload has now, which have no bytes here."""
    found = Content()
    query = UploadChunk.select().where(UploadChunk.upload == upload_id).order_by(UploadChunk.position)
    for chunk in database.run(lambda: list(query)):
        found.add(chunk.chunk_id, [])
    return found


def finishing(
    database: Meta,
    person: Caller,
    upload_id: str,
    checksum: str = "",
    quorum: int = 1,
    expected: int | None = None,
) -> functools.partial[Answer]:
    known = content(database, upload_id)
    return functools.partial(sessions.finish, person, upload_id, known, checksum, expected, quorum=quorum, keep=KEEP)


def find(database: Meta, person: Caller, upload_id: str, quorum: int = 1) -> Session:
    return database.read(sessions.find, person, upload_id, quorum)


def let(database: Meta, owner: Caller, entry_id: str, guest: Caller, permission: str) -> str:
    return database.run(sharing.share, owner, entry_id, guest.email, Terms(permission, None))


# What stands


def test_an_upload_begins_with_nothing_stored_and_all_its_bytes_reserved(database: Meta, alice: Caller) -> None:
    session = database.run(beginning(alice))
    assert (session.name, session.size_bytes, session.chunk_count) == ("film", SIZE, 4)
    assert (session.fingerprint, session.stored, session.stored_bytes, session.answer) == ("a word", (), 0, None)
    assert session.ends_at - session.created_at == HOUR
    assert database.used(alice.account_id) == (0, SIZE)
    assert find(database, alice, session.upload_id) == session


def test_what_is_stored_is_told_in_spans_whatever_the_order(database: Meta, alice: Caller) -> None:
    upload_id = begin(database, alice)
    for position, spans in (
        (3, (Span(3, 1),)),
        (0, (Span(0, 1), Span(3, 1))),
        (1, (Span(0, 2), Span(3, 1))),
        (2, (Span(0, 4),)),
    ):
        send(database, upload_id, position)
        assert find(database, alice, upload_id).stored == spans
    assert find(database, alice, upload_id).stored_bytes == SIZE


def test_what_is_only_planned_or_on_too_few_nodes_is_not_stored(database: Meta, alice: Caller) -> None:
    database.add_node("node1")
    upload_id = begin(database, alice)
    plan(database, upload_id, 0)
    send(database, upload_id, 1)
    send(database, upload_id, 2, on=("pool", "node1"))
    assert find(database, alice, upload_id, quorum=1).stored == (Span(1, 2),)
    assert find(database, alice, upload_id, quorum=2).stored == (Span(2, 1),)


def test_a_copy_that_was_lost_is_no_longer_stored(database: Meta, alice: Caller) -> None:
    """By a node that came with another folder, and by one that was found without it."""
    for node in ("node1", "node2"):
        database.add_node(node)
    upload_id = begin(database, alice)
    send(database, upload_id, 0, 1, on=("node1", "node2"))
    first = content_ids(database, upload_id)[0]
    assert database.run(copies.mark_bad, first, "node2", "chunk_missing")
    assert find(database, alice, upload_id, quorum=2).stored == (Span(1, 1),)
    assert not database.run(copies.mark_bad, first, "node2", "chunk_missing")
    database.set_offline("node1")
    database.add_node("node1", instance_id="another folder")
    assert find(database, alice, upload_id, quorum=1).stored == (Span(1, 1),)


def content_ids(database: Meta, upload_id: str) -> list[str]:
    query = UploadChunk.select().where(UploadChunk.upload == upload_id).order_by(UploadChunk.position)
    return [chunk.chunk_id for chunk in database.run(lambda: list(query))]


def test_the_stored_chunks_can_be_read_in_order(database: Meta, alice: Caller) -> None:
    database.add_node("node1")
    upload_id = begin(database, alice)
    send(database, upload_id, 2, 3, on=("pool", "node1"))
    send(database, upload_id, 0, 1)
    ids = content_ids(database, upload_id)
    pieces = database.read(sessions.pieces, upload_id, 0, 2)
    assert [(piece.position, piece.chunk_id) for piece in pieces] == [(1, ids[1]), (2, ids[2])]
    assert [{one.node_id for one in piece.holders} for piece in pieces] == [{"pool"}, {"pool", "node1"}]
    assert pieces[0].checksum == f"sum-{ids[1]}"
    plan(database, upload_id, 2)
    with pytest.raises(UploadBusy):
        database.read(sessions.pieces, upload_id, -1, 10)
    database.run(sessions.cancel, alice, upload_id)
    with pytest.raises(UploadEnded):
        database.read(sessions.pieces, upload_id, -1, 10)


def test_whatever_arrives_puts_the_end_off(database: Meta, alice: Caller) -> None:
    upload_id = begin(database, alice)
    database.age("upload", "lease_until_at", HOUR // 2)
    before = find(database, alice, upload_id).ends_at
    send(database, upload_id, 0)
    assert find(database, alice, upload_id).ends_at > before + HOUR // 3


def test_a_list_has_ones_own_unfinished_uploads_page_by_page(database: Meta, alice: Caller) -> None:
    mine = sorted(begin(database, alice, f"film{n}") for n in range(5))
    begin(database, database.enroll())
    for ended in (begin(database, alice, "done", 0), begin(database, alice, "late")):
        mine = [one for one in mine if one != ended]
    database.run(finishing(database, alice, open_upload(database, "done")))
    database.age("upload", "lease_until_at", 2 * HOUR, "name = 'late'")
    database.begin(alice, "one stream", 5)
    found = [one.upload_id for one in database.read(sessions.page, alice, "", 3, 1)]
    found += [one.upload_id for one in database.read(sessions.page, alice, found[-1], 100, 1)]
    assert found == mine
    assert database.read(sessions.page, alice, found[-1], 100, 1) == []


def open_upload(database: Meta, name: str) -> str:
    return database.run(lambda: Upload.get(Upload.name == name).upload_id)


# The client's request id


def test_the_request_id_of_an_unfinished_upload_leads_to_it(database: Meta, alice: Caller) -> None:
    upload_id = begin(database, alice, request_id="r")
    send(database, upload_id, 0)
    found = database.digest()
    again = database.run(beginning(alice, request_id="r"))
    assert (again.upload_id, again.stored) == (upload_id, (Span(0, 1),))
    assert database.digest() == found
    assert database.used(alice.account_id) == (0, SIZE)


def test_the_request_id_of_a_finished_upload_leads_to_its_answer(database: Meta, alice: Caller) -> None:
    upload_id = begin(database, alice, request_id="r")
    send(database, upload_id, 0, 1, 2, 3)
    answer = database.run(finishing(database, alice, upload_id))
    again = database.run(beginning(alice, request_id="r"))
    assert (again.answer, again.stored, again.stored_bytes) == (answer, (Span(0, 4),), SIZE)
    assert database.run(uploads.begin, new_id(), wish_for(alice, "film", SIZE, request_id="r"), [], HOUR, LIMITS) == (
        answer
    )


@pytest.mark.parametrize("way", ["cancelled", "late"])
def test_the_request_id_of_what_ended_begins_anew(database: Meta, alice: Caller, way: str) -> None:
    upload_id = begin(database, alice, request_id="r")
    send(database, upload_id, 0)
    if way == "cancelled":
        database.run(sessions.cancel, alice, upload_id)
    else:
        database.age("upload", "lease_until_at", 2 * HOUR)
    again = database.run(beginning(alice, request_id="r"))
    assert again.upload_id != upload_id
    assert again.stored == ()
    assert database.used(alice.account_id) == (0, SIZE) == database.counted(alice.account_id)


def test_a_request_id_is_not_taken_for_another_upload(database: Meta, alice: Caller) -> None:
    upload_id = begin(database, alice, request_id="r")
    for other in (beginning(alice, "other", request_id="r"), beginning(alice, size=SIZE + 1, request_id="r")):
        with pytest.raises(RequestIdReused):
            database.run(other)
    one_stream = functools.partial(
        uploads.begin, new_id(), wish_for(alice, "film", SIZE, request_id="r"), [], HOUR, LIMITS
    )
    with pytest.raises(RequestIdReused):
        database.run(one_stream)
    assert find(database, alice, upload_id).answer is None
    database.begin(alice, "film", SIZE, request_id="s")
    with pytest.raises(RequestIdReused):
        database.run(beginning(alice, request_id="s"))


def test_uploads_begun_at_once_with_one_request_id_are_one(database: Meta, alice: Caller) -> None:
    begun = database.race([beginning(alice, request_id="r") for _ in range(4)])
    assert len({session.upload_id for session in begun}) == 1
    assert database.used(alice.account_id) == (0, SIZE) == database.counted(alice.account_id)


# Chunks that are sent again


def test_a_chunk_that_is_sent_again_takes_the_place_of_the_older_one(database: Meta, alice: Caller) -> None:
    upload_id = begin(database, alice)
    send(database, upload_id, 0, 1)
    old, _ = content_ids(database, upload_id)
    (planned,) = plan(database, upload_id, 0)
    assert find(database, alice, upload_id).stored == (Span(1, 1),)
    assert database.unreferenced_at(old) is not None
    assert database.state(old, "pool") == "good"
    database.run(uploads.receive, upload_id, [stored(planned)], [], HOUR)
    assert find(database, alice, upload_id).stored == (Span(0, 2),)
    assert database.used(alice.account_id) == (0, SIZE)


def test_an_older_stream_can_no_longer_store_what_a_newer_one_sends(database: Meta, alice: Caller) -> None:
    upload_id = begin(database, alice)
    older = plan(database, upload_id, 0, 1)
    (newer,) = plan(database, upload_id, 0)
    assert database.unreferenced_at(older[0].chunk_id) is not None, "it may be on a node already"
    with pytest.raises(UploadEnded):
        database.run(uploads.receive, upload_id, [stored(older[0])], [Planned(2, new_id())], HOUR)
    assert content_ids(database, upload_id) == [newer.chunk_id, older[1].chunk_id], "and plans nothing more"
    database.run(uploads.receive, upload_id, [stored(older[1])], [], HOUR)
    assert find(database, alice, upload_id).stored == (Span(1, 1),), "what nobody else sends is welcome"


def test_streams_that_send_the_same_at_once_leave_one_chunk_a_position(database: Meta, alice: Caller) -> None:
    upload_id = begin(database, alice)
    ids = [[Planned(position, new_id()) for position in range(4)] for _ in range(4)]
    answers = database.race([functools.partial(uploads.receive, upload_id, [], one, HOUR) for one in ids])
    assert answers == [None] * 4
    assert content_ids(database, upload_id) in [[planned.chunk_id for planned in one] for one in ids]


def test_a_chunk_without_a_good_copy_is_to_be_sent_again(database: Meta, alice: Caller) -> None:
    upload_id = begin(database, alice)
    send(database, upload_id, 0, 1)
    lost, _ = content_ids(database, upload_id)
    database.run(sessions.lose, upload_id, 0, HOUR)
    assert find(database, alice, upload_id).stored == (Span(1, 1),)
    assert database.unreferenced_at(lost) is not None


# Finishing


def test_a_finished_upload_is_the_files_newest_version(database: Meta, alice: Caller) -> None:
    file_id = database.put(alice, "film", 7)
    upload_id = begin(database, alice)
    send(database, upload_id, 2, 3)
    send(database, upload_id, 0, 1)
    ids = content_ids(database, upload_id)
    answer = database.run(finishing(database, alice, upload_id))
    assert (answer.file_id, answer.chunks_stored, answer.version) == (file_id, 4, 2)
    assert answer.digest == content(database, "nothing").digest, "no bytes were hashed here"
    file = database.read(files.find_file, alice, file_id)
    assert [piece.chunk_id for piece in database.read(files.pieces, file.version_id, -1, 10)] == ids
    assert database.used(alice.account_id) == (SIZE + 7, 0) == database.counted(alice.account_id)
    assert database.run(UploadChunk.select().count) == 0
    assert database.events("file.uploaded") == 2
    assert find(database, alice, upload_id).answer == answer


def test_finishing_again_gives_the_first_answer(database: Meta, alice: Caller) -> None:
    upload_id = begin(database, alice)
    send(database, upload_id, 0, 1, 2, 3)
    first = finishing(database, alice, upload_id)
    answer = database.run(first)
    database.put(alice, "film", 7)
    found = database.digest()
    assert database.run(first) == answer
    assert database.run(finishing(database, alice, upload_id, checksum=answer.digest)) == answer
    with pytest.raises(UploadDiffers):
        database.run(finishing(database, alice, upload_id, checksum="blake3:other"))
    assert database.digest() == found


def test_an_empty_file_can_be_finished_at_once(database: Meta, alice: Caller) -> None:
    upload_id = begin(database, alice, "empty", 0)
    answer = database.run(finishing(database, alice, upload_id))
    assert (answer.chunks_stored, find(database, alice, upload_id).stored) == (0, ())


@pytest.mark.parametrize(("sent", "missing"), [((), 4), ((0, 1, 3), 1), ((1, 2, 3), 1), ((0, 1, 2), 1)])
def test_what_is_not_whole_cannot_be_finished(
    database: Meta, alice: Caller, sent: tuple[int, ...], missing: int
) -> None:
    upload_id = begin(database, alice)
    if sent:
        send(database, upload_id, *sent)
    plan(database, upload_id, *({0, 1, 2, 3} - set(sent)))
    found = database.digest()
    for way in (finishing(database, alice, upload_id), check(alice, upload_id)):
        with pytest.raises(UploadUnfinished, match=f"{missing} of its 4 chunks"):
            database.run(way)
    assert database.digest() == found


def check(person: Caller, upload_id: str) -> functools.partial[Session]:
    """What is asked before the content is looked at."""
    return functools.partial(sessions.check_finishable, person, upload_id, 1)


def test_chunks_on_too_few_nodes_are_to_be_sent_again_before_it_is_finished(database: Meta, alice: Caller) -> None:
    database.add_node("node1")
    upload_id = begin(database, alice)
    send(database, upload_id, 0, 1, 2, on=("pool", "node1"))
    send(database, upload_id, 3)
    with pytest.raises(UploadUnfinished, match="1 of its 4 chunks"):
        database.run(finishing(database, alice, upload_id, quorum=2))
    send(database, upload_id, 3, on=("pool", "node1"))
    assert database.run(finishing(database, alice, upload_id, quorum=2)).chunks_stored == 4


def test_only_the_chunks_whose_content_is_known_are_made_a_file(database: Meta, alice: Caller) -> None:
    upload_id = begin(database, alice)
    send(database, upload_id, 0, 1, 2, 3)
    known = finishing(database, alice, upload_id)
    send(database, upload_id, 1)
    with pytest.raises(UploadBusy):
        database.run(known)
    assert database.used(alice.account_id) == (0, SIZE)
    assert database.run(finishing(database, alice, upload_id)).version == 1


def test_another_content_than_the_clients_changes_nothing(database: Meta, alice: Caller) -> None:
    upload_id = begin(database, alice)
    send(database, upload_id, 0, 1, 2, 3)
    found = database.digest()
    with pytest.raises(UploadDiffers):
        database.run(finishing(database, alice, upload_id, checksum="blake3:other"))
    assert database.digest() == found


def test_what_stands_in_the_way_of_finishing_leaves_the_upload_as_it_is(database: Meta, alice: Caller) -> None:
    folder = database.run(changes.make_folder, alice, "", "folder", LIMITS).folder_id
    in_folder = begin(database, alice, parent_id=folder)
    of_new_file = begin(database, alice, expected_version=0)
    beside_folder = begin(database, alice, "name")
    for upload_id in (in_folder, of_new_file, beside_folder):
        send(database, upload_id, 0, 1, 2, 3)
    database.run(changes.trash, alice, folder)
    database.put(alice, "film", 7)
    database.run(changes.make_folder, alice, "", "name", LIMITS)
    found = database.digest()
    for upload_id, error in ((in_folder, Missing), (of_new_file, VersionMoved), (beside_folder, NameTaken)):
        for way in (check(alice, upload_id), finishing(database, alice, upload_id)):
            with pytest.raises(error):
                database.run(way)
    assert database.digest() == found


def test_the_expected_version_is_asked_when_an_upload_begins_too(database: Meta, alice: Caller) -> None:
    database.put(alice, "film", 7)
    for expected in (0, 2):
        with pytest.raises(VersionMoved):
            database.run(beginning(alice, expected_version=expected))
    upload_id = begin(database, alice, expected_version=1)
    send(database, upload_id, 0, 1, 2, 3)
    assert database.run(finishing(database, alice, upload_id)).version == 2


def test_the_version_expected_at_the_end_counts_in_place_of_that_of_the_beginning(
    database: Meta, alice: Caller
) -> None:
    database.put(alice, "film", 7)
    begun = [begin(database, alice, expected_version=expected) for expected in (None, 1)]
    database.put(alice, "film", 8)
    for upload_id, beginning_with in zip(begun, (None, 1), strict=True):
        send(database, upload_id, 0, 1, 2, 3)
        standing = 2 + begun.index(upload_id)
        found = database.digest()
        for expected in (0, 1, standing + 1):
            with pytest.raises(VersionMoved):
                database.run(sessions.check_finishable, alice, upload_id, 1, expected)
            with pytest.raises(VersionMoved):
                database.run(finishing(database, alice, upload_id, expected=expected))
        assert database.digest() == found
        if beginning_with is not None:
            with pytest.raises(VersionMoved):
                database.run(finishing(database, alice, upload_id))
        answer = database.run(finishing(database, alice, upload_id, expected=standing))
        assert answer.version == standing + 1
        assert database.run(finishing(database, alice, upload_id, expected=standing)) == answer, "the first answer"


def test_of_an_end_and_a_chunk_sent_again_at_once_nothing_is_lost(database: Meta, alice: Caller) -> None:
    for attempt in range(4):
        upload_id = begin(database, alice, f"film{attempt}")
        send(database, upload_id, 0, 1, 2, 3)
        again = functools.partial(uploads.receive, upload_id, [], [Planned(1, new_id())], HOUR)
        finished, sent = database.race([finishing(database, alice, upload_id), again])
        if isinstance(finished, Answer):
            assert isinstance(sent, UploadEnded)
            assert database.read(files.find_file, alice, finished.file_id).chunk_count == 4
        else:
            assert isinstance(finished, UploadUnfinished)
            assert sent is None
            assert find(database, alice, upload_id).stored == (Span(0, 1), Span(2, 2))
        assert database.used(alice.account_id) == database.counted(alice.account_id)


def test_an_upload_finished_twice_at_once_is_one_version(database: Meta, alice: Caller) -> None:
    upload_id = begin(database, alice)
    send(database, upload_id, 0, 1, 2, 3)
    first, second = database.race([finishing(database, alice, upload_id)] * 2)
    assert isinstance(first, Answer)
    assert first == second
    assert database.run(Version.select().count) == 1


# Ending


def test_a_cancelled_upload_frees_its_bytes_and_leaves_orphans(database: Meta, alice: Caller) -> None:
    upload_id = begin(database, alice)
    send(database, upload_id, 0)
    (chunk_id,) = content_ids(database, upload_id)
    database.run(sessions.cancel, alice, upload_id)
    assert database.used(alice.account_id) == (0, 0)
    assert database.unreferenced_at(chunk_id) is not None
    assert database.events("upload.abandoned") == 1
    for way in (cancelling(alice, upload_id), finishing(database, alice, upload_id), check(alice, upload_id)):
        with pytest.raises(UploadEnded):
            database.run(way)
    with pytest.raises(UploadEnded):
        plan(database, upload_id, 1)


def cancelling(person: Caller, upload_id: str) -> functools.partial[None]:
    return functools.partial(sessions.cancel, person, upload_id)


def test_what_is_finished_cannot_be_cancelled(database: Meta, alice: Caller) -> None:
    upload_id = begin(database, alice, "empty", 0)
    database.run(finishing(database, alice, upload_id))
    found = database.digest()
    with pytest.raises(UploadEnded):
        database.run(sessions.cancel, alice, upload_id)
    assert database.digest() == found


def test_an_upload_whose_time_ran_out_can_only_be_ended(database: Meta, alice: Caller) -> None:
    upload_id = begin(database, alice)
    send(database, upload_id, 0, 1, 2, 3)
    database.age("upload", "lease_until_at", 2 * HOUR)
    for way in (cancelling(alice, upload_id), finishing(database, alice, upload_id), check(alice, upload_id)):
        with pytest.raises(UploadEnded):
            database.run(way)
    assert database.read(uploads.expired, 10) == [upload_id]
    assert database.run(uploads.abandon, upload_id)
    assert database.used(alice.account_id) == (0, 0)


# Whose it is


@pytest.mark.parametrize("upload_id", NOT_IDS)
def test_what_is_no_upload_is_missing(database: Meta, alice: Caller, upload_id: str) -> None:
    told = upload_id.replace("\0", "?")  # the services let nothing else through
    for way in (check(alice, told), cancelling(alice, told), finishing(database, alice, told)):
        with pytest.raises(Missing):
            database.run(way)


def test_an_upload_is_only_of_the_one_who_uploads(database: Meta, alice: Caller) -> None:
    bob = database.enroll()
    folder = database.run(changes.make_folder, alice, "", "folder", LIMITS).folder_id
    let(database, alice, folder, bob, "write")
    upload_id = begin(database, bob, parent_id=folder)
    send(database, upload_id, 0, 1, 2, 3)
    found = database.digest()
    for way in (check(alice, upload_id), cancelling(alice, upload_id), finishing(database, alice, upload_id)):
        with pytest.raises(Missing):
            database.run(way)
    assert database.read(sessions.page, alice, "", 100, 1) == []
    assert database.digest() == found


def test_an_upload_by_one_stream_is_no_session(database: Meta, alice: Caller) -> None:
    upload_id = database.begin(alice, "film", SIZE)
    for way in (check(alice, upload_id), cancelling(alice, upload_id), finishing(database, alice, upload_id)):
        with pytest.raises(Missing):
            database.run(way)


def test_who_owns_the_folder_pays_for_what_others_upload_there(database: Meta, alice: Caller) -> None:
    bob = database.enroll(quota=10)
    folder = database.run(changes.make_folder, alice, "", "folder", LIMITS).folder_id
    let(database, alice, folder, bob, "write")
    with pytest.raises(QuotaExceeded):
        begin(database, bob)
    upload_id = begin(database, bob, parent_id=folder)
    assert (database.used(alice.account_id), database.used(bob.account_id)) == ((0, SIZE), (0, 0))
    send(database, upload_id, 0, 1, 2, 3)
    answer = database.run(finishing(database, bob, upload_id))
    assert (database.used(alice.account_id), database.used(bob.account_id)) == ((SIZE, 0), (0, 0))
    assert database.read(files.find_file, alice, answer.file_id).name == "film"
    assert database.run(Version.get).made_by == bob.email


@pytest.mark.parametrize("then", ["read", ""])
def test_a_share_that_ended_meanwhile_stops_the_upload_at_its_end(database: Meta, alice: Caller, then: str) -> None:
    bob = database.enroll()
    folder = database.run(changes.make_folder, alice, "", "folder", LIMITS).folder_id
    share_id = let(database, alice, folder, bob, "write")
    upload_id = begin(database, bob, parent_id=folder)
    send(database, upload_id, 0, 1, 2, 3)
    if then:
        let(database, alice, folder, bob, then)
    else:
        database.run(sharing.unshare, alice, share_id)
    found = database.digest()
    for way in (check(bob, upload_id), finishing(database, bob, upload_id)):
        with pytest.raises(ReadOnlyShare if then else Missing):
            database.run(way)
    assert database.digest() == found
    database.run(sessions.cancel, bob, upload_id)
    assert database.used(alice.account_id) == (0, 0)


def test_the_last_byte_can_be_reserved_and_not_one_more(database: Meta) -> None:
    person = database.enroll(quota=SIZE + 10)
    begin(database, person)
    with pytest.raises(QuotaExceeded):
        begin(database, person, "b", 11)
    begin(database, person, "b", 10)
    answers = database.race([beginning(person, f"more{n}", 1) for n in range(3)])
    assert all(isinstance(answer, QuotaExceeded) for answer in answers)
    assert database.used(person.account_id) == (0, SIZE + 10) == database.counted(person.account_id)
