"""A walk over every RPC as those with whom something is shared: what they may do and see, and nothing else."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from cloudgrpc.pb import cloud_storage_pb2 as pb
from cluster_harness import Cluster
from every_rpc import CONTENT, METHODS, RPCS, UNLIMITED, Needs, Person, call, names, settle, with_fields
from program import PATIENCE_S
from user import User, upload_messages
from watching import CODES, Watch, check_refused, check_told_nothing, connect, with_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import grpc
    from google.protobuf.message import Message

# Those that take an id and change nothing; all others that take one change what it names, or something in it.
LOOKS = {
    "FileService/DownloadFile",
    "FileService/ListFiles",
    "FileService/GetFileMetadata",
    "FileService/ResolvePath",
    "FileService/SearchFiles",
    "HistoryService/ListVersions",
    "SharingService/ListShares",
    "SharingService/OpenShare",
    "UploadService/GetUpload",
    "PaymentService/CheckPaymentStatus",
}
WITH_IDS = [name for name in names(Needs.SESSION) if RPCS[name].to_others == "NOT_FOUND"]
CHANGES = [name for name in WITH_IDS if name not in LOOKS]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """It does nothing by itself while the tests run, so that whatever changes was changed by a call."""
    still: dict[str, object] = {
        "upkeep_round_s": 3600,
        "cluster_heartbeat_s": 3600,
        "cluster_offline_after_s": 7200,
        "cluster_node_timeout_s": PATIENCE_S,
        "logging_level": "info",
    }
    cluster = Cluster(tmp_path_factory.mktemp("grantees"), nodes=1, capacity_gb=2000, **still, **UNLIMITED)  # type: ignore[arg-type]
    try:
        yield cluster.start()
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def watch(cluster: Cluster) -> Iterator[Watch]:
    with closing(Watch(cluster)) as watch:
        yield watch


@pytest.fixture(scope="module")
def channel(cluster: Cluster) -> Iterator[grpc.Channel]:
    with connect(cluster.address) as channel:
        yield channel


@pytest.fixture(scope="module")
def alice(cluster: Cluster) -> Person:
    """Who shares `folder_id`, in which `inner_id` lies, and `file_id`; no test of this file changes her things."""
    return settle(cluster, "alice", cluster.enroll("giver@example.org"))


@pytest.fixture(scope="module")
def reader(cluster: Cluster, alice: Person) -> User:
    return grantee(cluster, alice, "read")


@pytest.fixture(scope="module")
def writer(cluster: Cluster, alice: Person) -> User:
    return grantee(cluster, alice, "write")


def grantee(cluster: Cluster, owner: Person, permission: str) -> User:
    user = cluster.enroll(f"{permission}-grantee@example.org")
    for entry_id in (owner.folder_id, owner.file_id):
        owner.user.share(entry_id, user.email, permission)
    return user


def shared_by(person: Person) -> dict[str, str]:
    return {"a folder": person.folder_id, "a file in it": person.inner_id, "a file": person.file_id}


def not_shared_by(person: Person) -> dict[str, str]:
    return {kind: one for kind, one in person.ids.items() if one not in shared_by(person).values()}


def test_the_walk_knows_every_rpc_that_takes_an_id() -> None:
    assert set(WITH_IDS) >= LOOKS


@pytest.mark.parametrize("name", CHANGES)
def test_who_may_only_read_changes_nothing(
    watch: Watch, channel: grpc.Channel, alice: Person, reader: User, name: str
) -> None:
    asked = with_fields(RPCS[name].ask(alice), session_token=reader.token)
    for kind, entry_id in {**shared_by(alice), **not_shared_by(alice)}.items():
        because = f"{name} for {kind}"
        with watch.nothing_changes(because):
            outcome = call(channel, name, with_id(name, asked, entry_id))
        assert outcome.status in {"PERMISSION_DENIED", "NOT_FOUND"}, f"{because}: {outcome}"
        assert not outcome.replies


@pytest.mark.parametrize("name", sorted(LOOKS))
def test_who_may_read_sees_what_is_shared_and_nothing_that_is_around_it(
    channel: grpc.Channel, alice: Person, reader: User, name: str
) -> None:
    asked = with_fields(RPCS[name].ask(alice), session_token=reader.token, path="/")
    known = f"{[*shared_by(alice).values()]} {alice.email}".encode()
    for kind, entry_id in shared_by(alice).items():
        outcome = call(channel, name, with_id(name, asked, entry_id))
        assert outcome.status in {"OK", "NOT_FOUND", "PERMISSION_DENIED"}, f"{name} for {kind}: {outcome}"
        check_told_nothing(outcome, alice, f"{name} for {kind}", known)


@pytest.mark.parametrize("name", WITH_IDS)
def test_what_is_not_shared_does_not_exist_for_grantees_either(
    watch: Watch, channel: grpc.Channel, alice: Person, writer: User, name: str
) -> None:
    asked = with_fields(RPCS[name].ask(alice), session_token=writer.token)
    for kind, entry_id in not_shared_by(alice).items():
        because = f"{name} for {kind}"
        with watch.nothing_changes(because):
            outcome = call(channel, name, with_id(name, asked, entry_id))
        check_refused(outcome, "NOT_FOUND", CODES.get(name, "not_found"), because)


OWNERS_ACTS: dict[str, Callable[[Person], Message]] = {
    "deleting for good": lambda p: pb.DeleteFileRequest(file_id=p.inner_id, permanent=True),
    "deleting a folder for good": lambda p: pb.DeleteFolderRequest(
        folder_id=p.folder_id, permanent=True, recursive=True
    ),
    "deleting what was shared": lambda p: pb.DeleteFileRequest(file_id=p.file_id),
    "deleting the folder that was shared": lambda p: pb.DeleteFolderRequest(folder_id=p.folder_id, recursive=True),
    "renaming what was shared": lambda p: pb.RenameFileRequest(file_id=p.folder_id, new_name="other"),
    "moving what was shared": lambda p: pb.MoveFileRequest(file_id=p.file_id, target_folder_id=p.folder_id),
    "taking it into one's own drive": lambda p: pb.MoveFileRequest(file_id=p.inner_id),
    "sharing on": lambda p: pb.ShareFileRequest(file_id=p.inner_id, share_with_email="x@example.org"),
    "seeing who else it is shared with": lambda p: pb.ListSharesRequest(file_id=p.folder_id),
    "deleting a version": lambda p: pb.DeleteVersionRequest(file_id=p.file_id, version=1),
    "ending another's share": lambda p: pb.UnshareFileRequest(
        file_id=p.folder_id, shared_with_email="read-grantee@example.org"
    ),
    "ending another's share by its token": lambda p: pb.UnshareFileRequest(share_token=p.share_token),
    "opening another's share": lambda p: pb.OpenShareRequest(share_token=p.share_token),
}


def name_of(request: Message) -> str:
    """Of the RPC that takes it."""
    return next(name for name, method in METHODS.items() if method.input_type is request.DESCRIPTOR)


@pytest.mark.parametrize("act", OWNERS_ACTS)
def test_what_only_the_owner_may_is_refused_to_who_may_write(
    watch: Watch, channel: grpc.Channel, alice: Person, writer: User, reader: User, act: str
) -> None:
    request = OWNERS_ACTS[act](alice)
    name = name_of(request)
    with watch.nothing_changes(act):
        outcome = call(channel, name, with_fields([request], session_token=writer.token))
    assert (outcome.status, outcome.replies) in {("PERMISSION_DENIED", ()), ("NOT_FOUND", ())}, outcome
    if act.startswith(("ending another's", "opening another's")):
        check_refused(outcome, "NOT_FOUND", "share_unknown", act)


def written(person: Person, user: User) -> list[tuple[str, Sequence[Message]]]:
    """What a `write` share allows, in an order in which all of it works once; by the RPC."""
    metadata = pb.FileMetadata(filename="new", parent_folder_id=person.folder_id)
    return [
        ("FileService/UploadFile", list(upload_messages("", "up", CONTENT, folder=person.folder_id))),
        ("FileService/UploadFile", list(upload_messages("", "whatever", CONTENT, folder=person.file_id))),
        ("FileService/CreateFolder", [pb.CreateFolderRequest(folder_name="made", parent_folder_id=person.folder_id)]),
        ("UploadService/BeginUpload", [pb.BeginUploadRequest(metadata=metadata)]),
        ("HistoryService/RestoreVersion", [pb.RestoreVersionRequest(file_id=person.file_id, version=1)]),
        (
            "FileService/CopyFile",
            [pb.CopyFileRequest(file_id=person.inner_id, target_folder_id=person.folder_id, new_name="copy")],
        ),
        ("FileService/CopyFile", [pb.CopyFileRequest(file_id=person.inner_id)]),
        ("FileService/RenameFile", [pb.RenameFileRequest(file_id=person.inner_id, new_name="renamed")]),
        (
            "FileService/MoveFile",
            [pb.MoveFileRequest(file_id=person.inner_id, target_folder_id=person.folder_id, new_name="moved")],
        ),
        ("FileService/DeleteFile", [pb.DeleteFileRequest(file_id=person.inner_id)]),
    ]


def test_what_a_share_to_write_allows_works_and_is_refused_to_who_may_read(
    cluster: Cluster, watch: Watch, channel: grpc.Channel
) -> None:
    dora = settle(cluster, "dora", cluster.enroll("giver-of-dora@example.org"))
    reader, writer = (cluster.enroll(f"{may}-of-dora@example.org") for may in ("read", "write"))
    for user, permission in ((reader, "read"), (writer, "write")):
        for entry_id in (dora.folder_id, dora.file_id):
            dora.user.share(entry_id, user.email, permission)
    for name, messages in written(dora, writer):
        if name != "FileService/CopyFile":
            with watch.nothing_changes(name):
                outcome = call(channel, name, with_fields(messages, session_token=reader.token))
            check_refused(outcome, "PERMISSION_DENIED", "read_only_share", name)
        outcome = call(channel, name, with_fields(messages, session_token=writer.token))
        assert outcome.status == "OK", f"{name}: {outcome}"
