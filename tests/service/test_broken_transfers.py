"""Transfers that break off, stand still or crawl: nothing is left of them, and nobody else notices."""

from __future__ import annotations

import itertools
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, TypeVar

import grpc
import pytest

from cloudgrpc import rpc
from cluster_harness import PATIENT, Cluster
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
    from collections.abc import Callable, Iterator

    from cloudgrpc.pb import cloud_storage_pb2 as pb

T = TypeVar("T")

SILENCE_S = 1.0
TRIES = 5
TWO_CHUNKS = CHUNK + 1


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that waits for whoever is silent, as long as a call may take."""
    settings = {**PATIENT, "upkeep_inventory_s": 0.3}
    cluster = Cluster(tmp_path_factory.mktemp("silence"), 2, 200, drive_silence_s=CALL_S, **settings)
    try:
        yield cluster.start()
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def impatient(patient: Cluster) -> Cluster:
    """The same for the tests further below: from now on it ends silent transfers."""
    patient.stop_gateway()
    patient.start_gateway(drive_silence_s=SILENCE_S)
    return patient


@pytest.fixture(scope="module")
def crowd(patient: Cluster) -> list[User]:
    """As many as use up the whole budget of uploads, and one more."""
    return [someone(patient) for _ in range(7)]


def heard(act: Callable[[], T]) -> T:
    """What it gives. A machine that stands still for a moment is silent itself, and then it is done once more."""
    for _ in range(TRIES):
        try:
            return act()
        except grpc.RpcError as failure:
            if rpc.error_of(failure, "the gateway").code != "peer_silent":  # type: ignore[arg-type]
                raise
    return act()


def upload_in_parallel(users: list[User]) -> None:
    """All of them at the same time, each a whole chunk and more: so nobody who came before still holds room."""
    with ThreadPoolExecutor(len(users)) as pool:
        uploads = pool.map(lambda user: heard(lambda: user.upload("together", content(TWO_CHUNKS))), users)
        answers = list(uploads)
    assert [answer.checksum for answer in answers] == [digest(content(TWO_CHUNKS))] * len(users)


# Broken off


def test_an_upload_broken_off_at_any_message_leaves_nothing(patient: Cluster, crowd: list[User]) -> None:
    """One by its client, who cancels; one by the network, which breaks."""
    alice, bob, *_ = crowd
    count_of_all = len(list(upload_messages("", "film.mp4", content(TWO_CHUNKS))))
    for count in range(count_of_all + 1):
        with wire_to(patient) as line:
            uploads = [Halting(alice, film(alice, count)), Halting(bob, film(bob, count), line.address)]
            whole_chunks = 2 if count == count_of_all else max(0, count - 1) // 4
            for user, upload in zip((alice, bob), uploads, strict=True):
                assert upload.halted.wait(CALL_S)
                expected = (TWO_CHUNKS if count else 0, 2 * whole_chunks)
                patient.wait(lambda: arrived(user) == expected, what=f"{expected} to be there")  # noqa: B023
            uploads[0].call.cancel()
            line.cut()
            for user, upload in zip((alice, bob), uploads, strict=True):
                patient.wait(lambda: patient.used_bytes(user.email) == (0, 0), what="quota as before")  # noqa: B023
                upload.end()
                assert user.names() == [], f"broken off after {count} messages"
    upload_in_parallel(crowd)  # whoever was broken off holds nothing
    patient.wait(lambda: not needless_long_since(patient), what="needless chunks to be collected")
    assert not patient.rows("SELECT 1 FROM node WHERE NOT is_collecting")


def film(user: User, count: int) -> Iterator[pb.UploadFileRequest]:
    """The first messages of an upload of two chunks."""
    return itertools.islice(upload_messages(user.token, "film.mp4", content(TWO_CHUNKS)), count)


def needless_long_since(cluster: Cluster) -> set[str]:
    """Chunks on the nodes' disks that no file needs, from now on as if their grace were over."""
    with closing(sqlite3.connect(cluster.data / "metadata.sqlite3", timeout=10)) as connection, connection:
        connection.execute("UPDATE chunk SET unreferenced_at = 1 WHERE unreferenced_at IS NOT NULL")
        connection.execute("UPDATE stray SET first_seen_at = 1")
    needed = {chunk_id for (chunk_id,) in cluster.rows("SELECT chunk_id FROM extent")}
    return {chunk_id for node in cluster.online() for chunk_id in cluster.chunk_files(node)} - needed


# Crawling


def test_slow_senders_make_way_for_others(patient: Cluster) -> None:
    """How many one account may have, see test_transfers."""
    mallory, moe, bob = (someone(patient) for _ in range(3))
    over = threading.Event()
    with ExitStack() as ending:
        ending.callback(over.set)
        slow = [
            patient.files.UploadFile.future(trickle(user, f"film{number}", over), timeout=2 * CALL_S)
            for user in (mallory, moe)
            for number in range(4)
        ]
        for call in slow:
            ending.callback(call.cancel)
        patient.wait(lambda: patient.used_bytes(moe.email)[1] == 4 * CHUNK, what="all to begin")
        started = time.monotonic()
        bob.upload("file", content(TWO_CHUNKS))
        took = time.monotonic() - started
        assert took < CALL_S / 3, "two rounds of them make way after two seconds each"
        assert not any(call.done() for call in slow), "and go on"
    for user in (mallory, moe):
        patient.wait(lambda: patient.used_bytes(user.email) == (0, 0), what="their quota as before")  # noqa: B023


def trickle(user: User, name: str, over: threading.Event) -> Iterator[pb.UploadFileRequest]:
    """A chunk, a little at a time, until `over`."""
    yield metadata(user, name, CHUNK)
    while not over.wait(0.2):
        yield data(b"x" * 1000)


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
    for _ in range(TRIES):
        silent = Halting(alice, itertools.islice(upload.messages(0, 2), 5), resumable=True)
        with refused("DEADLINE_EXCEEDED", "peer_silent"):
            silent.call.result(timeout=CALL_S)
        silent.end()
        if upload.stored():  # else this stood still before the chunk was whole
            break
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
    film_id = heard(lambda: alice.upload("film.mp4", content(3 * CHUNK))).file_id
    told = impatient.gateway.err.stat().st_size
    stalled = [alice.pieces(film_id) for _ in range(9)]  # more than there is room for
    for reader in stalled:
        assert next(reader).file_info.file_size == 3 * CHUNK
    tries: list[str] = []

    def look() -> bytes:
        tries.append(film_id)
        return alice.download(film_id)

    def dropped() -> int:
        return impatient.gateway.err.read_bytes()[told:].count(b"DownloadFile: peer_silent")

    assert heard(look) == content(3 * CHUNK)
    impatient.wait(lambda: dropped() == len(stalled) + len(tries) - 1, what="all readers dropped")
    for reader in stalled:
        with refused("DEADLINE_EXCEEDED", "peer_silent"):
            for _ in reader:
                pass
    upload_in_parallel(crowd)


def test_a_slow_reader_is_not_a_silent_one(impatient: Cluster) -> None:
    alice = someone(impatient)
    film_id = heard(lambda: alice.upload("film.mp4", content(CHUNK))).file_id

    def slowly() -> Iterator[bytes]:
        for piece in alice.pieces(film_id):
            time.sleep(0.3 * SILENCE_S)  # more than SILENCE_S in all
            yield piece.chunk_data

    assert heard(lambda: b"".join(slowly())) == content(CHUNK)
