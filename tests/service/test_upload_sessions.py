"""Uploads that are broken off and go on later: what arrived stays, what comes of it is verified whole."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from cloudgrpc.pb import cloud_storage_pb2 as pb
from cluster_harness import CALM, Cluster
from service.files_fixture import (
    CHUNK,
    Halting,
    Unfinished,
    content,
    digest,
    limit_quota,
    someone,
    wire_to,
)
from user import CALL_S, User, refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FILM = content(2 * CHUNK + 5)  # three chunks
FREE = "0" * 32


@pytest.fixture
def alice(calm: Cluster) -> User:
    return someone(calm)


@pytest.fixture
def anna(calm_on_either: Cluster) -> User:
    """Somebody on either engine."""
    return someone(calm_on_either)


# Going on


def test_chunks_may_come_in_any_order_and_make_one_file(anna: User) -> None:
    upload = Unfinished(anna, "film", FILM)
    assert (upload.stored(), anna.names()) == ([], [])
    assert anna.cluster.used_bytes(anna.email) == (0, len(FILM))
    assert upload.put(2, 1) == 1
    assert upload.put(0, 1) == 1
    assert upload.stored() == [(0, 1), (2, 1)]
    with refused("FAILED_PRECONDITION", "upload_unfinished") as errors:
        upload.finish()
    assert "1 of its 3 chunks" in str(errors[0])
    upload.put(1, 1)
    answer = upload.finish()
    assert (answer.chunks_stored, answer.checksum, answer.version) == (3, digest(FILM), 1)
    assert anna.download(answer.file_id) == FILM
    assert anna.cluster.used_bytes(anna.email) == (len(FILM), 0)
    assert upload.finish() == answer, "also when the first reply was lost"
    assert upload.status().file_id == answer.file_id


def test_an_upload_broken_off_at_any_message_keeps_its_whole_chunks_and_goes_on(alice: User) -> None:
    """In turns by its client, who cancels, and by the network, which breaks."""
    count_of_all = len(list(Unfinished(alice, "film", FILM).messages(0, 2)))
    for count in range(count_of_all + 1):
        upload = Unfinished(alice, f"film{count}", FILM)
        with wire_to(alice.cluster) as line:
            messages = itertools.islice(upload.messages(0, 2), count)
            sending = Halting(alice, messages, line.address, resumable=True)
            assert sending.halted.wait(CALL_S)
            whole = max(0, count - 1) // 4
            expected = [(0, whole)] if whole else []
            alice.cluster.wait(lambda: upload.stored() == expected, what=f"{expected} to be stored")  # noqa: B023
            if count % 2:
                sending.call.cancel()
            line.cut()
            sending.end()
        assert upload.stored() == expected
        assert upload.put_missing() == 3 - whole
        assert alice.download(upload.finish().file_id) == FILM


def test_streams_of_one_upload_may_come_at_once(alice: User) -> None:
    upload = Unfinished(alice, "film", FILM)
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(lambda first: upload.put(first, 1), range(3))) == [1, 1, 1]
    assert alice.download(upload.finish().file_id) == FILM


def test_a_chunk_may_be_sent_again_with_other_bytes(alice: User) -> None:
    upload = Unfinished(alice, "film", FILM)
    upload.put(0, 3, bytes(CHUNK) + FILM[CHUNK:])
    upload.put(0, 1)
    assert alice.download(upload.finish().file_id) == FILM
    assert alice.cluster.used_bytes(alice.email) == (len(FILM), 0)


def test_the_request_id_leads_to_the_upload_until_it_is_ended(alice: User) -> None:
    upload = Unfinished(alice, "film", FILM, request_id="once")
    upload.put(1, 1)
    again = upload.begin()
    assert (again.upload_id, again.stored_bytes) == (upload.upload_id, CHUNK)
    with refused("INVALID_ARGUMENT", "request_id_reused"):
        alice.upload("film", FILM, request_id="once")
    upload.put_missing()
    file_id = upload.finish().file_id
    assert upload.begin().file_id == file_id
    assert alice.upload("film", FILM, request_id="once").file_id == file_id
    other = Unfinished(alice, "other", FILM, request_id="twice")
    other.cancel()
    assert other.begin().upload_id != other.upload_id


def test_an_empty_file_has_nothing_to_be_sent(alice: User) -> None:
    upload = Unfinished(alice, "empty", b"")
    with refused("INVALID_ARGUMENT", "invalid_field"):
        upload.put(0, 1)
    assert alice.download(upload.finish().file_id) == b""


# Another process


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster whose gateway may be killed."""
    settings = {**CALM, "upkeep_round_s": 0.3}  # for uploads to end
    cluster = Cluster(tmp_path_factory.mktemp("mortal"), nodes=2, capacity_gb=20, **settings)
    try:
        yield cluster.start()
    finally:
        cluster.close()


def test_an_upload_outlives_its_gateway_and_its_nodes(mortal: Cluster) -> None:
    alice = someone(mortal)
    upload = Unfinished(alice, "film", FILM)
    damaged = Unfinished(alice, "damaged", FILM)
    upload.put(0, 2)
    damaged.put(0, 3, FILM[:-1] + b"x")
    mortal.kill("gateway", "node1", "node2")
    seen = len(mortal.gateway.err.read_text())
    mortal.start_gateway()
    for node in ("node1", "node2"):
        mortal.start_node(node, ready=False)
    fresh_channel(mortal)
    assert upload.stored() == [(0, 2)]
    for node in ("node1", "node2"):
        words = f"{node} is here at"
        mortal.wait(lambda words=words: words in mortal.gateway.err.read_text()[seen:], what=words)
    assert upload.put_missing() == 1
    answer = upload.finish()
    assert answer.checksum == digest(FILM)
    assert alice.download(answer.file_id) == FILM
    with refused("DATA_LOSS", "upload_differs"):
        damaged.finish()
    assert alice.names() == ["film"]
    assert mortal.used_bytes(alice.email) == (len(FILM), 0)


def test_a_gateway_stops_though_somebody_uploads_and_the_upload_goes_on_at_the_next(mortal: Cluster) -> None:
    alice = someone(mortal)
    upload = Unfinished(alice, "film", FILM)
    sending = Halting(alice, itertools.islice(upload.messages(0, 3), 6), resumable=True)
    mortal.wait(lambda: upload.stored() == [(0, 1)], what="the first chunk")
    assert mortal.stop_gateway() == 0
    sending.end()
    mortal.start_gateway()
    fresh_channel(mortal)
    assert upload.put_missing() == 2
    assert alice.download(upload.finish().file_id) == FILM


def test_an_upload_that_nothing_comes_of_ends_by_itself(mortal: Cluster) -> None:
    alice = someone(mortal)
    upload = Unfinished(alice, "film", FILM)
    upload.put(0, 1)
    left = datetime.fromisoformat(upload.status().ends_at) - datetime.now(UTC)
    assert timedelta(days=1.9) < left <= timedelta(days=2)
    two_days_on = f"lease_until_at = lease_until_at - {2 * 86400 * 1_000_000}"
    mortal.change(f"UPDATE upload SET {two_days_on} WHERE upload_id = '{upload.upload_id}'")
    mortal.wait(lambda: mortal.used_bytes(alice.email) == (0, 0), what="the upload to end")
    for attempt in (upload.status, upload.finish, upload.cancel, lambda: upload.put(0, 1)):
        with refused("ABORTED", "upload_ended"):
            attempt()
    assert listed(alice) == []
    assert mortal.rows(f"SELECT kind FROM event WHERE account_id = '{alice.user_id}' AND kind LIKE 'upload.%'") == [
        ("upload.abandoned",)
    ]


def fresh_channel(cluster: Cluster) -> None:
    """A connection that saw the gateway die would wait out its back-off."""
    cluster.channel.close()
    cluster._channel = None


@pytest.mark.parametrize(("sent", "stored"), [(CHUNK + 1, [(0, 1)]), (2 * CHUNK + 1, [(0, 2)]), (0, [])])
def test_more_or_less_than_the_chunks_announced_is_refused_and_whole_chunks_stay(
    alice: User, sent: int, stored: list[tuple[int, int]]
) -> None:
    upload = Unfinished(alice, "film", FILM)
    with refused("INVALID_ARGUMENT", "part_size_wrong"):
        upload.put(0, 2, FILM[:sent])
    assert upload.stored() == stored


# Ending


def test_a_cancelled_upload_frees_its_room(alice: User) -> None:
    upload = Unfinished(alice, "film", FILM)
    upload.put(0, 1)
    upload.cancel()
    assert alice.cluster.used_bytes(alice.email) == (0, 0)
    for attempt in (upload.status, upload.finish, upload.cancel, lambda: upload.put(0, 1)):
        with refused("ABORTED", "upload_ended"):
            attempt()


def test_a_stream_whose_upload_is_cancelled_meanwhile_is_ended(alice: User) -> None:
    upload = Unfinished(alice, "film", FILM)

    def messages() -> Iterator[pb.PutChunksRequest]:
        sent = list(upload.messages(0, 3))
        yield from sent[:5]
        alice.cluster.wait(lambda: upload.stored() == [(0, 1)], what="the first chunk")
        upload.cancel()
        yield from sent[5:]

    with refused("ABORTED", "upload_ended"):
        alice.cluster.uploads.PutChunks(messages(), timeout=CALL_S)
    assert alice.cluster.used_bytes(alice.email) == (0, 0)


def test_another_content_than_the_clients_is_not_kept(alice: User) -> None:
    upload = Unfinished(alice, "film", FILM)
    upload.put(0, 3, FILM[:-1] + b"x")
    with refused("DATA_LOSS", "upload_differs"):
        upload.finish()
    with refused("ABORTED", "upload_ended"):
        upload.status()
    assert alice.cluster.used_bytes(alice.email) == (0, 0)
    unchecked = Unfinished(alice, "film", FILM)
    unchecked.put(0, 3, FILM[:-1] + b"x")
    assert unchecked.finish("").checksum == digest(FILM[:-1] + b"x"), "a client that knows no checksum is told it"


def test_a_file_that_changed_meanwhile_is_not_replaced_unless_that_is_wanted(alice: User) -> None:
    alice.upload("film", b"old")
    with refused("ABORTED", "version_moved"):
        Unfinished(alice, "film", FILM, expected_version=0)
    first, second = (Unfinished(alice, "film", FILM, expected_version=1) for _ in range(2))
    for upload in (first, second):
        upload.put(0, 3)
    assert first.finish().version == 2
    with refused("ABORTED", "version_moved"):
        second.finish()
    assert second.stored() == [(0, 3)], "and nothing is lost"
    assert Unfinished(alice, "film", b"").finish().version == 3


# Whose it is, and who pays


def test_without_a_session_nothing_can_be_uploaded(alice: User) -> None:
    nobody = Unfinished.__new__(Unfinished)
    nobody.user, nobody.data, nobody.upload_id = replace(alice, token="x" * 43), FILM, FREE
    attempts: list[Callable[[], object]] = [nobody.status, nobody.finish, nobody.cancel, lambda: nobody.put(0, 1)]
    attempts += [lambda: listed(nobody.user), lambda: Unfinished(nobody.user, "film", FILM)]
    for attempt in attempts:
        with refused("UNAUTHENTICATED", "session_ended"):
            attempt()


def test_uploads_of_others_do_not_exist(alice: User) -> None:
    upload = Unfinished(alice, "film", FILM)
    upload.put(0, 3)
    bob = someone(alice.cluster)
    for upload_id in (upload.upload_id, FREE, "x", "a\0b", "", "é" * 1000):
        theirs = Unfinished.__new__(Unfinished)
        theirs.user, theirs.data, theirs.upload_id = bob, FILM, upload_id
        for attempt in (theirs.status, theirs.finish, theirs.cancel, lambda theirs=theirs: theirs.put(0, 1)):
            with refused("NOT_FOUND", "upload_unknown"):
                attempt()
    assert listed(bob) == []
    assert alice.download(upload.finish().file_id) == FILM


def test_the_owner_of_a_shared_folder_pays_and_may_end_the_share(alice: User) -> None:
    bob = someone(alice.cluster)
    folder = alice.mkdir("ours")
    alice.share(folder, bob.email, "write")
    first, second = (Unfinished(bob, name, FILM, parent_folder_id=folder) for name in ("film", "late"))
    assert alice.cluster.used_bytes(alice.email) == (0, 2 * len(FILM))
    for upload in (first, second):
        upload.put(0, 3)
    file_id = first.finish().file_id
    assert alice.download(file_id) == FILM
    alice.share(folder, bob.email, "read")
    with refused("PERMISSION_DENIED", "read_only_share"):
        second.finish()
    alice.unshare(file_id=folder, email=bob.email)
    with refused("NOT_FOUND", "not_found"):
        second.finish()
    second.cancel()
    assert alice.cluster.used_bytes(alice.email) == (len(FILM), 0)
    assert alice.cluster.used_bytes(bob.email) == (0, 0)


def test_room_is_reserved_to_the_byte_when_an_upload_begins(alice: User) -> None:
    limit_quota(alice, 2 * len(FILM))
    first = Unfinished(alice, "first", FILM)
    with refused("RESOURCE_EXHAUSTED", "quota_exceeded"):
        Unfinished(alice, "second", FILM + b"x")
    Unfinished(alice, "second", FILM)
    with refused("RESOURCE_EXHAUSTED", "quota_exceeded"):
        alice.upload("third", b"x")
    first.cancel()
    assert alice.upload("third", b"x").success


def test_unfinished_uploads_are_listed_page_by_page(alice: User) -> None:
    uploads = [Unfinished(alice, f"film{n}", FILM, fingerprint=f"/home/alice/film{n}") for n in range(5)]
    uploads[3].put(1, 2)
    Unfinished(alice, "done", b"").finish()
    found = listed(alice, page_size=2)
    assert sorted(one.upload_id for one in found) == sorted(upload.upload_id for upload in uploads)
    (third,) = (one for one in found if one.upload_id == uploads[3].upload_id)
    assert third == uploads[3].status()
    assert (third.filename, third.fingerprint) == ("film3", "/home/alice/film3")
    assert (third.file_size, third.chunk_bytes, third.stored_bytes) == (len(FILM), CHUNK, CHUNK + 5)
    assert third.created_at < third.ends_at
    assert listed(alice) == found


def listed(user: User, page_size: int = 0) -> list[pb.UploadStatus]:
    found: list[pb.UploadStatus] = []
    token = ""
    while True:
        request = pb.ListUploadsRequest(session_token=user.token, page_size=page_size, page_token=token)
        page = user.cluster.uploads.ListUploads(request, timeout=CALL_S)
        assert len(page.uploads) <= (page_size or 100)
        found += page.uploads
        token = page.next_page_token
        if not token:
            return found
