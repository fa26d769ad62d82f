"""Transfers that break off, stand still or crawl: nothing is left of them, and nobody else notices."""

from __future__ import annotations

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from cluster_harness import Cluster
from service.files_fixture import (
    CHUNK,
    Halting,
    Unfinished,
    arrived,
    content,
    data,
    digest,
    metadata,
    send,
    someone,
    wire_to,
)
from user import CALL_S, User, refused, upload_messages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloudgrpc.pb import cloud_storage_pb2 as pb

SILENCE_S = 1.0
TWO_CHUNKS = CHUNK + 1


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that ends silent transfers and collects what nobody needs, both within seconds."""
    quick: dict[str, Any] = {
        "drive_silence_s": SILENCE_S,
        "drive_upload_lease_s": 3,
        "upkeep_grace_s": 3.1,
        "upkeep_inventory_s": 0.3,
    }
    cluster = Cluster(tmp_path_factory.mktemp("impatient"), nodes=2, capacity_gb=200, **quick)
    try:
        yield cluster.start()
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def crowd(impatient: Cluster) -> list[User]:
    """As many as use up the whole budget of uploads, and one more."""
    return [someone(impatient) for _ in range(7)]


def upload_in_parallel(users: list[User]) -> None:
    """All of them at the same time, each a whole chunk and more: so nobody who came before still holds room."""
    with ThreadPoolExecutor(len(users)) as pool:
        answers = list(pool.map(lambda user: user.upload("together", content(TWO_CHUNKS)), users))
    assert [answer.checksum for answer in answers] == [digest(content(TWO_CHUNKS))] * len(users)


# Broken off


def test_an_upload_broken_off_at_any_message_leaves_nothing(impatient: Cluster, crowd: list[User]) -> None:
    """One by its client, who cancels; one by the network, which breaks."""
    alice, bob, *_ = crowd
    count_of_all = len(list(upload_messages("", "film.mp4", content(TWO_CHUNKS))))
    for count in range(count_of_all + 1):
        with wire_to(impatient) as line:
            uploads = [Halting(alice, film(alice, count)), Halting(bob, film(bob, count), line.address)]
            whole_chunks = 2 if count == count_of_all else max(0, count - 1) // 4
            for user, upload in zip((alice, bob), uploads, strict=True):
                assert upload.halted.wait(CALL_S)
                expected = (TWO_CHUNKS if count else 0, 2 * whole_chunks)
                impatient.wait(lambda: arrived(user) == expected, what=f"{expected} to be there")  # noqa: B023
            uploads[0].call.cancel()
            line.cut()
            for user, upload in zip((alice, bob), uploads, strict=True):
                impatient.wait(lambda: impatient.used_bytes(user.email) == (0, 0), what="quota as before")  # noqa: B023
                upload.end()
                assert user.names() == [], f"broken off after {count} messages"
    upload_in_parallel(crowd)  # whoever was broken off holds nothing
    impatient.wait(lambda: not needless(impatient), what="needless chunks to be collected")
    assert not impatient.rows("SELECT 1 FROM node WHERE NOT is_collecting")


def film(user: User, count: int) -> Iterator[pb.UploadFileRequest]:
    """The first messages of an upload of two chunks."""
    return itertools.islice(upload_messages(user.token, "film.mp4", content(TWO_CHUNKS)), count)


def needless(cluster: Cluster) -> set[str]:
    """Chunks on the nodes' disks that no file needs."""
    needed = {chunk_id for (chunk_id,) in cluster.rows("SELECT chunk_id FROM extent")}
    return {chunk_id for node in cluster.online() for chunk_id in cluster.chunk_files(node)} - needed


# Standing still


def test_who_sends_nothing_is_dropped_and_gives_back_what_he_held(impatient: Cluster, crowd: list[User]) -> None:
    """Twice as many as there is room for, which is why some are still silent when others upload."""
    alice = someone(impatient)
    messages = list(upload_messages(alice.token, "film.mp4", content(TWO_CHUNKS)))
    counts = [0, 1, 2, len(messages) - 1, len(messages), *[1] * 7]
    silent = [Halting(alice, messages[:count]) for count in counts]
    upload_in_parallel(crowd)
    for upload in silent:
        with refused("DEADLINE_EXCEEDED", "peer_silent"):
            upload.call.result(timeout=CALL_S)
        upload.end()
    assert alice.names() == []
    assert impatient.used_bytes(alice.email) == (0, 0)


def test_who_falls_silent_in_an_upload_that_can_be_gone_on_with_keeps_its_whole_chunks(impatient: Cluster) -> None:
    alice = someone(impatient)
    upload = Unfinished(alice, "film.mp4", content(TWO_CHUNKS))
    silent = Halting(alice, itertools.islice(upload.messages(0, 2), 5), resumable=True)
    with refused("DEADLINE_EXCEEDED", "peer_silent"):
        silent.call.result(timeout=CALL_S)
    silent.end()
    assert upload.stored() == [(0, 1)]
    upload.cancel()


def test_empty_messages_are_no_sign_of_life(impatient: Cluster) -> None:
    alice = someone(impatient)
    over = threading.Event()

    def babble() -> Iterator[pb.UploadFileRequest]:
        yield metadata(alice, size=10)
        while not over.wait(0.01):
            yield data(b"")

    with refused("DEADLINE_EXCEEDED", "peer_silent"):
        send(alice, babble())
    over.set()


def test_readers_that_stop_reading_are_dropped_and_the_others_are_served(impatient: Cluster, crowd: list[User]) -> None:
    alice = someone(impatient)
    film_id = alice.upload("film.mp4", content(3 * CHUNK)).file_id
    told = impatient.gateway.err.stat().st_size
    stalled = [alice.pieces(film_id) for _ in range(9)]  # more than there is room for
    for reader in stalled:
        assert next(reader).file_info.file_size == 3 * CHUNK
    started = time.monotonic()
    assert alice.download(film_id) == content(3 * CHUNK)
    assert time.monotonic() - started < 15 * SILENCE_S

    def dropped() -> int:
        return impatient.gateway.err.read_bytes()[told:].count(b"DownloadFile: peer_silent")

    impatient.wait(lambda: dropped() == len(stalled), what="all readers dropped")
    for reader in stalled:
        with refused("DEADLINE_EXCEEDED", "peer_silent"):
            for _ in reader:
                pass
    upload_in_parallel(crowd)


# Crawling


def test_a_slow_reader_is_not_a_silent_one(impatient: Cluster) -> None:
    alice = someone(impatient)
    got = b""
    for piece in alice.pieces(alice.upload("film.mp4", content(CHUNK)).file_id):
        time.sleep(0.3 * SILENCE_S)  # more than SILENCE_S in all
        got += piece.chunk_data
    assert got == content(CHUNK)


def test_slow_senders_make_way_for_others(impatient: Cluster) -> None:
    """How many one account may have, see test_transfers."""
    mallory, moe, bob = (someone(impatient) for _ in range(3))
    over = threading.Event()
    with ExitStack() as ending:
        ending.callback(over.set)
        slow = [
            impatient.files.UploadFile.future(trickle(user, f"film{number}", over), timeout=CALL_S)
            for user in (mallory, moe)
            for number in range(4)
        ]
        for call in slow:
            ending.callback(call.cancel)
        impatient.wait(lambda: impatient.used_bytes(moe.email)[1] == 4 * CHUNK, what="all to begin")
        started = time.monotonic()
        bob.upload("file", content(TWO_CHUNKS))
        took = time.monotonic() - started
        assert took < 10, "two rounds of them make way after two seconds each"
        assert not any(call.done() for call in slow), "and go on"
    for user in (mallory, moe):
        impatient.wait(lambda: impatient.used_bytes(user.email) == (0, 0), what="their quota as before")  # noqa: B023


def trickle(user: User, name: str, over: threading.Event) -> Iterator[pb.UploadFileRequest]:
    """A chunk, a little at a time, until `over`."""
    yield metadata(user, name, CHUNK)
    while not over.wait(0.2):
        yield data(b"x" * 1000)
