"""Many small files in one message: each is stored as if it had come alone, or refused as if it had."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

import grpc
import pytest

from cloudgrpc import rpc
from cloudgrpc.actions.small_uploads import BATCHES_OF_ONE
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.pb.cloud_storage_pb2_grpc import FileServiceStub
from cluster_harness import CALM
from service.files_fixture import content, digest, limit_quota, nothing_kept, someone, versions_of, wire_to
from user import CALL_S, User, refused, small_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from cluster_harness import Cluster

NOWHERE = "f" * 32


@pytest.fixture
def alice(calm: Cluster) -> User:
    return someone(calm)


@pytest.fixture
def anna(calm_on_either: Cluster) -> User:
    """Somebody on either engine."""
    return someone(calm_on_either)


def codes(outcomes: list[pb.UploadOutcome]) -> list[str]:
    return [outcome.error_code for outcome in outcomes]


def test_every_file_of_a_batch_is_stored_as_if_it_had_come_alone(anna: User) -> None:
    folder = anna.mkdir("folder")
    contents = {"empty": b"", "one": b"1", "page": content(4096), "most": content(rpc.SMALL_FILE_BYTES)}
    files = [small_file(name, data, folder=folder, mime_type="text/plain") for name, data in contents.items()]
    outcomes = anna.upload_small(*files)
    assert codes(outcomes) == [""] * 4
    for (name, data), outcome in zip(contents.items(), outcomes, strict=True):
        assert (outcome.checksum, outcome.version, outcome.chunks_stored) == (digest(data), 1, int(bool(data)))
        assert anna.download(outcome.file_id) == data
        file = anna.metadata(outcome.file_id).file
        assert (file.filename, file.mime_type, file.parent_folder_id) == (name, "text/plain", folder)
        for chunk_id in anna.cluster.chunks_of(outcome.file_id):
            assert len(anna.cluster.holders(chunk_id)) == 2, "on its quorum of nodes"
    assert anna.cluster.used_bytes(anna.email) == (sum(map(len, contents.values())), 0)
    assert [entry.event_type for entry in anna.history()].count("file.uploaded") == 4


def test_what_one_file_is_refused_for_leaves_the_others_as_they_are(anna: User) -> None:
    other = someone(anna.cluster)
    foreign = other.mkdir("foreign")
    anna.mkdir("taken")
    outcomes = anna.upload_small(
        small_file("a", b"a"),
        small_file("x/y", b"x"),
        small_file("nowhere", b"x", folder=NOWHERE),
        small_file("foreign", b"x", folder=foreign),
        small_file("no id", b"x", folder="../../x"),
        small_file("taken", b"x"),
        small_file("cut", b"x", size=2),
        small_file("more", b"xx", size=1),
        small_file("large", bytes(rpc.SMALL_FILE_BYTES + 1)),
        small_file("moved", b"x", expected_version=7),
        small_file("b", b"b"),
    )
    assert codes(outcomes) == [
        "",
        "invalid_field",
        *["not_found"] * 3,
        "name_taken",
        *["upload_size_wrong"] * 2,
        "invalid_field",
        "version_moved",
        "",
    ]
    assert [outcome.status for outcome in outcomes[1:4]] == ["INVALID_ARGUMENT", "NOT_FOUND", "NOT_FOUND"]
    assert outcomes[3].message.replace(foreign, NOWHERE) == outcomes[2].message, "what is not yours does not exist"
    assert "filename" in outcomes[1].message
    assert not any(outcome.file_id for outcome in outcomes[1:-1])
    assert anna.names() == ["a", "b"]
    assert other.names(foreign) == []
    assert anna.cluster.used_bytes(anna.email) == (2, 0)
    assert anna.cluster.used_bytes(other.email) == (0, 0)


def test_each_is_refused_with_the_words_of_upload_file(alice: User) -> None:
    limit_quota(alice, 10)
    for name, data, folder in (("x/y", b"x", ""), ("a", b"x", NOWHERE), ("a", b"x" * 11, "")):
        (outcome,) = alice.upload_small(small_file(name, data, folder=folder))
        with refused(outcome.status, outcome.error_code) as found:
            alice.upload(name, data, folder=folder)
        assert str(found[0]) == outcome.message


def test_a_quota_is_kept_to_the_byte(anna: User) -> None:
    limit_quota(anna, 25)
    outcomes = anna.upload_small(
        *(small_file(f"{number}", bytes(10)) for number in range(4)), small_file("5", bytes(5))
    )
    assert codes(outcomes) == ["", "", "quota_exceeded", "quota_exceeded", ""]
    assert anna.cluster.used_bytes(anna.email) == (25, 0)


@pytest.mark.parametrize(
    "files",
    [
        [],
        [small_file(f"{number}", b"x") for number in range(rpc.BATCH_FILES + 1)],
        [small_file(f"{number}", bytes(rpc.SMALL_FILE_BYTES)) for number in range(8)] + [small_file("9", b"x")],
        [small_file("a", b"x", request_id="same"), small_file("b", b"x", request_id="same")],
    ],
    ids=["none", "too many", "too many bytes", "a request_id twice"],
)
def test_of_a_message_that_is_wrong_as_a_whole_nothing_is_kept(alice: User, files: list[pb.SmallFile]) -> None:
    with nothing_kept(alice), refused("INVALID_ARGUMENT", "invalid_field") as found:
        alice.upload_small(*files)
    assert str(found[0]).startswith("files: ")


def test_as_much_as_a_message_may_hold_is_stored(alice: User) -> None:
    files = [small_file(f"{number}", content(rpc.BATCH_BYTES // 64)) for number in range(rpc.BATCH_FILES)]
    assert codes(alice.upload_small(*files)) == [""] * rpc.BATCH_FILES


def test_without_a_session_nothing_is_looked_at(alice: User) -> None:
    nobody = User(alice.cluster, "", "", "no token")
    with refused("UNAUTHENTICATED"):
        nobody.upload_small(small_file("a", b"x", session_token=alice.token))


def test_sent_again_each_file_gets_its_first_answer(anna: User) -> None:
    files = [small_file(name, b"12345", request_id=name) for name in ("a", "b")]
    first = anna.upload_small(*files)
    anna.upload("a", b"newer")
    again = anna.upload_small(*files, small_file("c", b"x", request_id="c"))
    assert again[:2] == first
    assert again[2].version == 1
    assert anna.upload("b", b"12345", request_id="b").file_id == first[1].file_id, "as with UploadFile"
    (other,) = anna.upload_small(small_file("other", b"12345", request_id="a"))
    assert other.error_code == "request_id_reused"
    assert (versions_of(anna, "a"), versions_of(anna, "b")) == (2, 1)


def test_when_the_reply_was_lost_on_its_way_each_file_is_there_once(anna: User) -> None:
    files = [small_file(f"file{number}", b"12345", request_id=f"{number}") for number in range(10)]
    with (
        wire_to(anna.cluster) as line,
        closing(grpc.insecure_channel(line.address, options=rpc.CHANNEL_OPTIONS)) as channel,
    ):
        grpc.channel_ready_future(channel).result(CALL_S)
        line.swallows_replies = True
        request = pb.UploadFilesRequest(session_token=anna.token, files=files)
        call = FileServiceStub(channel).UploadFiles.future(request, timeout=CALL_S)
        anna.cluster.wait(lambda: len(anna.names()) == 10, what="the batch to be committed")
        assert not call.done()
        line.cut()
        with refused("UNAVAILABLE"):
            call.result()
    outcomes = anna.upload_small(*files)
    assert [outcome.version for outcome in outcomes] == [1] * 10
    assert anna.cluster.used_bytes(anna.email) == (50, 0)


def test_the_same_name_twice_makes_two_versions(alice: User) -> None:
    first, second = alice.upload_small(small_file("a", b"old"), small_file("a", b"new"))
    assert (first.file_id, first.version, second.version) == (second.file_id, 1, 2)
    assert alice.download(first.file_id) == b"new"


def test_files_go_into_folders_shared_for_writing_and_count_for_their_owner(anna: User) -> None:
    owner = someone(anna.cluster)
    shared, shown = owner.mkdir("shared"), owner.mkdir("shown")
    owner.share(shared, anna.email, "write")
    owner.share(shown, anna.email, "read")
    files = [small_file("a", b"12345", folder=folder) for folder in (shared, shown, "")]
    assert codes(anna.upload_small(*files)) == ["", "read_only_share", ""]
    assert anna.cluster.used_bytes(owner.email) == (5, 0)
    assert anna.cluster.used_bytes(anna.email) == (5, 0)


# Nodes that fail


def test_a_node_that_dies_or_hangs_is_replaced(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(nodes=4, upkeep_round_s=3600, cluster_offline_after_s=3600, cluster_node_timeout_s=4)
    user = someone(cluster)
    cluster.kill("node1")
    cluster.pause("node2")
    files = [small_file(f"{number}", content(1000 + number)) for number in range(40)]
    outcomes = user.upload_small(*files)
    cluster.resume("node2")
    assert codes(outcomes) == [""] * 40
    for number, outcome in enumerate(outcomes):
        (chunk_id,) = cluster.chunks_of(outcome.file_id)
        assert {"node3", "node4"} <= set(cluster.holders(chunk_id))
        assert user.download(outcome.file_id) == content(1000 + number)


def test_with_too_few_nodes_every_file_says_so_and_nothing_is_kept(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(nodes=2, **CALM)
    user = someone(cluster)
    cluster.kill("node2")
    with nothing_kept(user):
        outcomes = user.upload_small(*(small_file(f"{number}", b"x") for number in range(5)), small_file("empty", b""))
        assert {(one.error_code, one.status) for one in outcomes[:5]} == {("quorum_missed", "UNAVAILABLE")}
        user.delete(outcomes[5].file_id, permanent=True)  # it needs no node
        cluster.change("DELETE FROM version WHERE size_bytes = 0")
        cluster.change("DELETE FROM entry WHERE purged_at IS NOT NULL")
    assert cluster.rows("SELECT * FROM upload WHERE state = 'open'") == []


def test_when_nodes_become_full_what_fits_is_stored(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(nodes=2, capacity_gb=0.0001, drive_new_account_mb=1, drive_overcommit=1000, **CALM)
    user = someone(cluster)
    outcomes = user.upload_small(*(small_file(f"{number}", content(10_000)) for number in range(20)))
    stored = [one for one in outcomes if not one.error_code]
    assert 1 <= len(stored) <= 10
    assert {one.error_code for one in outcomes} == {"", "pool_full"}
    assert cluster.used_bytes(user.email) == (10_000 * len(stored), 0)
    assert user.download(stored[0].file_id) == content(10_000)


def test_one_account_has_only_so_many_batches_waiting(make_cluster: Callable[..., Cluster]) -> None:
    """What they bring is in memory already."""
    cluster = make_cluster(nodes=2, **CALM)
    user, other = someone(cluster), someone(cluster)
    cluster.pause("node1", "node2")
    with ThreadPoolExecutor(BATCHES_OF_ONE + 8) as pool:
        calls = [pool.submit(user.upload_small, small_file(f"{number}", b"x")) for number in range(BATCHES_OF_ONE + 8)]
        cluster.wait(lambda: sum(call.done() for call in calls) == 8, what="those that are too many to be refused")
        others = pool.submit(other.upload_small, small_file("a", b"x"))
        cluster.resume("node1", "node2")
        assert codes(others.result()) == [""]
    errors = [call.exception() for call in calls]
    assert sum(error is None for error in errors) == BATCHES_OF_ONE
    assert {error.code() for error in errors if isinstance(error, grpc.RpcError)} == {  # type: ignore[attr-defined]
        grpc.StatusCode.RESOURCE_EXHAUSTED
    }
