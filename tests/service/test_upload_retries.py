"""Uploads that are tried again, or come at once: one answer for one request, and every byte charged once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import grpc
import pytest

from cloudgrpc import rpc
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.pb.cloud_storage_pb2_grpc import FileServiceStub
from service.files_fixture import CHUNK, content, digest, nothing_kept, someone, versions_of, wire_to
from user import CALL_S, User, refused, upload_messages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cluster_harness import Cluster


@pytest.fixture
def alice(calm: Cluster) -> User:
    return someone(calm)


@pytest.fixture
def anna(calm_on_either: Cluster) -> User:
    """Somebody on either engine."""
    return someone(calm_on_either)


def test_a_retry_with_the_same_request_id_gets_the_first_answer(anna: User) -> None:
    first = anna.upload("notes", b"12345", request_id="once")
    assert anna.upload("notes", b"12345", request_id="once") == first
    assert versions_of(anna, "notes") == 1
    anna.upload("notes", b"newer")
    assert anna.upload("notes", b"12345", request_id="once") == first, "even when a newer version came"
    assert anna.download(first.file_id) == b"newer"
    assert anna.cluster.used_bytes(anna.email) == (10, 0)


def test_a_request_id_belongs_to_one_upload_of_one_person(alice: User) -> None:
    alice.upload("notes", b"12345", request_id="once")
    folder = alice.mkdir("other")
    with nothing_kept(alice):
        for name, sent, where in (("other name", b"12345", ""), ("notes", b"1", ""), ("notes", b"12345", folder)):
            with refused("INVALID_ARGUMENT", "request_id_reused"):
                alice.upload(name, sent, folder=where, request_id="once")
    assert someone(alice.cluster).upload("notes", b"x", request_id="once").success
    assert alice.upload("other name", b"x", request_id="x" * 128).success


def test_an_upload_that_failed_leaves_its_request_id_free(alice: User) -> None:
    with refused("INVALID_ARGUMENT", "upload_size_wrong"):
        alice.upload("notes", b"1234", size=5, request_id="once")
    answer = alice.upload("notes", b"12345", request_id="once")
    assert alice.download(answer.file_id) == b"12345"


def test_when_the_reply_was_lost_on_its_way_the_retry_gets_it(anna: User) -> None:
    sent = content(10_000)  # less than the gateway must make room for by a reply
    with wire_to(anna.cluster) as line:

        def messages() -> Iterator[pb.UploadFileRequest]:
            first, *more = upload_messages(anna.token, "notes", sent, request_id="once")
            yield first
            anna.cluster.wait(lambda: anna.cluster.used_bytes(anna.email) == (0, 10_000), what="the upload to begin")
            line.swallows_replies = True
            yield from more

        with closing(grpc.insecure_channel(line.address, options=rpc.CHANNEL_OPTIONS)) as channel:
            call = FileServiceStub(channel).UploadFile.future(messages(), timeout=CALL_S)
            anna.cluster.wait(lambda: anna.names() == ["notes"], what="the upload to be committed")
            assert not call.done()
            line.cut()
            with refused("UNAVAILABLE"):
                call.result()
    with nothing_kept(anna):
        answer = anna.upload("notes", sent, request_id="once")
    assert (answer.file_id, answer.checksum) == (anna.ls().files[0].file_id, digest(sent))
    assert versions_of(anna, "notes") == 1
    assert anna.cluster.used_bytes(anna.email) == (10_000, 0)


def test_a_client_that_leaves_around_its_last_message_may_always_retry(anna: User) -> None:
    sent = content(CHUNK + 1)
    for number in range(6):
        name = f"film{number}"
        messages = upload_messages(anna.token, name, sent, request_id=name)
        call = anna.cluster.files.UploadFile.future(messages, timeout=CALL_S)
        with suppress(grpc.FutureTimeoutError):
            call.result(timeout=0.02 * number)
        call.cancel()
        answer = anna.upload(name, sent, request_id=name)
        assert answer.checksum == digest(sent)
        assert versions_of(anna, name) == 1
    assert anna.download(answer.file_id) == sent
    anna.cluster.wait(lambda: anna.cluster.used_bytes(anna.email) == (6 * len(sent), 0), what="every byte charged once")


def test_of_uploads_at_once_with_one_request_id_exactly_one_counts(anna: User) -> None:
    sent = content(100_000)
    for round_ in range(3):
        name = f"film{round_}"

        def upload(_: int, name: str = name) -> pb.UploadFileResponse | str:
            try:
                return anna.upload(name, sent, request_id=name)
            except grpc.RpcError as failure:
                return rpc.error_of(failure, "the gateway").code  # type: ignore[arg-type]

        with ThreadPoolExecutor(4) as pool:
            ended = list(pool.map(upload, range(4)))
        answers = [answer for answer in ended if isinstance(answer, pb.UploadFileResponse)]
        assert {one for one in ended if isinstance(one, str)} <= {"upload_ended"}
        assert len({answer.file_id for answer in answers}) == 1
        assert versions_of(anna, name) == 1
    assert anna.cluster.used_bytes(anna.email) == (3 * len(sent), 0)


def test_first_uploads_of_one_name_at_once_become_versions_of_one_file(anna: User) -> None:
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda number: anna.upload("notes", content(number)), range(1, 7)))
    assert len({answer.file_id for answer in answers}) == 1
    assert sorted(answer.version for answer in answers) == [1, 2, 3, 4, 5, 6]
    assert versions_of(anna, "notes") == 6
    assert anna.cluster.used_bytes(anna.email) == (21, 0)
