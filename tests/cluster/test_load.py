"""Somebody misbehaves with all his might; everybody else is answered meanwhile. The figures are printed with `-s`."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from statistics import quantiles
from typing import TYPE_CHECKING

import grpc
import pytest

from cloudgrpc import rpc
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.pb.cloud_storage_pb2_grpc import AuthServiceStub, FileServiceStub
from user import CALL_S, refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cluster_harness import Cluster
    from user import User

pytestmark = [pytest.mark.soak, pytest.mark.timeout(400)]

CHUNK = 4 << 20
BEAR_S = 3.0  # what a bystander may wait at the worst, on two busy cores
IDLE_STREAMS = 1000
TRIES = 10_000


class Bystander:
    """Somebody who lists, uploads a little and downloads it, again and again."""

    def __init__(self, user: User) -> None:
        self._user = user
        self._over = threading.Event()
        self.took: list[float] = []
        self.failures: list[str] = []

    @contextmanager
    def watching(self, what: str) -> Iterator[None]:
        self._over.clear()
        self.took.clear()
        thread = threading.Thread(target=self._go_on)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()
        median, worst = quantiles(self.took, n=100)[49], max(self.took)
        print(f"{what}: {len(self.took)} rounds, {median * 1000:.0f} ms in the middle, {worst * 1000:.0f} ms at worst")
        assert not self.failures, self.failures[:3]
        assert worst < BEAR_S

    def _go_on(self) -> None:
        number = 0
        while not self._over.is_set():
            started = time.monotonic()
            try:
                number += 1
                uploaded = self._user.upload(f"note{number % 5}", b"words" * number)
                assert self._user.download(uploaded.file_id) == b"words" * number
                self._user.names()
            except (grpc.RpcError, AssertionError) as error:
                self.failures.append(repr(error))
            self.took.append(time.monotonic() - started)
            time.sleep(0.02)


@pytest.fixture
def cluster(make_cluster: Callable[..., Cluster]) -> Cluster:
    """With the limits as they are by default; all callers have one address, so calls by peer alone are not counted."""
    settings = {"limits_tries_per_hour": 30, "limits_codes_per_hour": 10, "limits_peer_calls_per_second": 1_000_000}
    return make_cluster(nodes=2, capacity_gb=200, **settings)


@pytest.fixture
def mallory(cluster: Cluster) -> User:
    return cluster.enroll("mallory@example.org")


@pytest.fixture
def bob(cluster: Cluster) -> Bystander:
    bystander = Bystander(cluster.enroll("bob@example.org"))
    with bystander.watching("nothing else going on"):
        time.sleep(3)
    return bystander


def own_channel(cluster: Cluster) -> grpc.Channel:
    options = [*rpc.CHANNEL_OPTIONS, ("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
    return grpc.insecure_channel(f"127.0.0.1:{cluster.port}", options=options)


def idle(user: User, over: threading.Event, first: bytes = b"") -> Iterator[pb.UploadFileRequest]:
    yield pb.UploadFileRequest(metadata=pb.FileMetadata(session_token=user.token, filename="film", file_size=CHUNK))
    if first:
        yield pb.UploadFileRequest(chunk_data=first)
    over.wait()


def test_a_thousand_idle_streams(cluster: Cluster, mallory: User, bob: Bystander) -> None:
    """Half of them began to upload and stopped, half stopped before they said anything."""
    over = threading.Event()
    channels = [own_channel(cluster) for _ in range(10)]
    try:
        with bob.watching(f"{IDLE_STREAMS} idle streams"):
            calls = []
            for number in range(IDLE_STREAMS):
                stub = FileServiceStub(channels[number % len(channels)])
                messages = idle(mallory, over, b"x") if number % 2 else iter(over.wait, True)
                calls.append(stub.UploadFile.future(messages, timeout=300))
            time.sleep(20)
            assert sum(not call.done() for call in calls) > IDLE_STREAMS // 4, "they are there all the while"
    finally:
        over.set()
        for channel in channels:
            channel.close()


def test_ten_thousand_sign_in_tries(cluster: Cluster, mallory: User, bob: Bystander) -> None:
    cluster.send_code("victim@example.org")
    codes: list[str] = []

    def guess(numbers: range) -> None:
        with own_channel(cluster) as channel:
            stub = AuthServiceStub(channel)
            for number in numbers:
                try:
                    stub.VerifyOTP(pb.VerifyOTPRequest(email="victim@example.org", otp=f"{number:06}"), timeout=CALL_S)
                except grpc.RpcError as failure:
                    codes.append(rpc.error_of(failure, "").code)  # type: ignore[arg-type]

    started = time.monotonic()
    with bob.watching(f"{TRIES} sign-in tries"), ThreadPoolExecutor(8) as pool:
        list(pool.map(guess, [range(start, start + TRIES // 8) for start in range(0, TRIES, TRIES // 8)]))
    print(f"{TRIES / (time.monotonic() - started):.0f} tries a second were answered")
    assert codes.count("code_wrong") == 5
    assert set(codes) == {"code_wrong", "code_spent", "too_many_tries"}
    assert len(codes) == TRIES
    assert cluster.rows("SELECT count(*) FROM event WHERE kind LIKE 'refused%'")[0][0] < 20, "the trail is no flood"


def test_slow_senders_and_messages_over_the_limit(cluster: Cluster, mallory: User, bob: Bystander) -> None:
    over = threading.Event()
    channel = own_channel(cluster)
    stub = FileServiceStub(channel)

    def trickle() -> Iterator[pb.UploadFileRequest]:
        yield next(idle(mallory, over))
        while not over.wait(0.3):
            yield pb.UploadFileRequest(chunk_data=b"x" * 100)

    def too_large() -> Iterator[pb.UploadFileRequest]:
        yield next(idle(mallory, over))
        yield pb.UploadFileRequest(chunk_data=bytes(8 << 20))

    try:
        with bob.watching("a hundred slow senders, and messages of 8 MiB"):
            slow = [stub.UploadFile.future(trickle(), timeout=300) for _ in range(100)]
            end = time.monotonic() + 15
            count = 0
            while time.monotonic() < end:
                with refused("RESOURCE_EXHAUSTED"):
                    stub.UploadFile(too_large(), timeout=CALL_S)
                count += 1
            print(f"{count} messages of 8 MiB were refused; {sum(not call.done() for call in slow)} slow ones go on")
            assert count > 10
    finally:
        over.set()
        with suppress(ValueError):
            channel.close()
