"""Moving, copying, deleting, the trash and versions over the wire: what the fields say, and what upkeep ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from cloudgrpc.actions.page_tokens import write_token
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cluster_harness import PATIENT
from service.files_fixture import digest, someone
from user import CALL_S, User, refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from cluster_harness import Cluster

NOT_A_TOKEN = [
    "nonsense",
    "e30=",
    "W10=",
    "WyIxIl0=",
    "Wy0xXQ==",
    "W3RydWVd",
    "WzFlMzBd",
    "WyJcdTAwMDAiXQ==",
    "[" * 10_000,
]


@pytest.fixture
def alice(calm: Cluster) -> User:
    return someone(calm)


@pytest.fixture
def anna(calm_on_either: Cluster) -> User:
    """Somebody on either engine."""
    return someone(calm_on_either)


def call(user: User, request: Any) -> Any:
    """The RPC whose request this is, as this user."""
    request.session_token = user.token
    name = type(request).__name__.removesuffix("Request")
    stub = user.cluster.files if hasattr(user.cluster.files, name) else user.cluster.history
    return getattr(stub, name)(request, timeout=CALL_S)


def trash_of(user: User) -> list[pb.TrashEntry]:
    return list(call(user, pb.ListTrashRequest()).entries)


def versions_of(user: User, file_id: str) -> list[pb.VersionEntry]:
    return list(call(user, pb.ListVersionsRequest(file_id=file_id)).versions)


def test_a_day_in_a_drive(anna: User) -> None:
    photos = anna.mkdir("photos")
    file_id = anna.upload("a.jpg", b"first", folder=photos).file_id
    anna.upload("a.jpg", b"second", folder=photos)
    assert call(anna, pb.MoveFileRequest(file_id=file_id, new_name="b.jpg")).message == "Moved to /b.jpg."
    assert call(anna, pb.RenameFileRequest(file_id=file_id, new_name="c.jpg")).message == "Renamed to /c.jpg."
    copied = call(anna, pb.CopyFileRequest(file_id=file_id, target_folder_id=photos))
    assert (copied.files, copied.folders, copied.bytes) == (1, 0, 6)
    assert anna.download(copied.file_id) == b"second"
    both = call(anna, pb.CopyFileRequest(file_id=photos, new_name="again"))
    assert (both.files, both.folders, both.bytes) == (1, 1, 6)
    assert call(anna, pb.RestoreVersionRequest(file_id=file_id, version=1, expected_version=2)).version == 3
    assert anna.download(file_id) == b"first"
    assert anna.storage().used_bytes == 5 + 6 + 6 + 6 + 5
    call(anna, pb.DeleteVersionRequest(file_id=file_id, version=2))
    assert [(one.version, one.is_newest, one.checksum) for one in versions_of(anna, file_id)] == [
        (3, True, digest(b"first")),
        (1, False, digest(b"first")),
    ]
    call(anna, pb.DeleteFileRequest(file_id=file_id, expected_version=3))
    call(anna, pb.DeleteFolderRequest(folder_id=photos, recursive=True))
    assert [(one.name, one.is_folder, one.path, one.file_size) for one in trash_of(anna)] == [
        ("photos", True, "/photos", 0),
        ("c.jpg", False, "/c.jpg", 5),
    ]
    assert call(anna, pb.RestoreFileRequest(file_id=file_id)).path == "/c.jpg"
    emptied = call(anna, pb.EmptyTrashRequest())
    assert (emptied.entries, emptied.bytes) == (1, 6)
    assert trash_of(anna) == []
    assert anna.storage().used_bytes == 5 + 5 + 6
    assert anna.download(file_id) == b"first"
    (inner,) = anna.ls(both.file_id).files
    assert anna.download(inner.file_id) == b"second", "the copy outlives what was copied"


def test_a_version_that_is_not_told_is_any_and_version_0_is_none(alice: User) -> None:
    folder = alice.mkdir("folder")
    file_id = alice.upload("file", b"1").file_id
    other = alice.upload("other", b"2").file_id
    for request in (
        pb.MoveFileRequest(file_id=file_id, target_folder_id=folder, expected_version=0),
        pb.RenameFileRequest(file_id=file_id, new_name="new", expected_version=2),
        pb.CopyFileRequest(file_id=file_id, new_name="other", replace=True, expected_version=0),
        pb.DeleteFileRequest(file_id=file_id, expected_version=0),
        pb.DeleteFileRequest(file_id=file_id, expected_version=2, permanent=True),
        pb.RestoreVersionRequest(file_id=file_id, version=1, expected_version=0),
    ):
        with refused("ABORTED", "version_moved"):
            call(alice, request)
    call(alice, pb.CopyFileRequest(file_id=file_id, new_name="fresh", expected_version=0))
    call(alice, pb.CopyFileRequest(file_id=file_id, new_name="other", replace=True, expected_version=1))
    assert alice.download(other) == b"1"
    call(alice, pb.MoveFileRequest(file_id=file_id, target_folder_id=folder))
    assert alice.names() == ["fresh", "other"]


def test_a_restore_without_a_folder_goes_home_and_with_an_empty_one_to_the_root(alice: User) -> None:
    folder = alice.mkdir("folder")
    ids = [alice.upload(name, b"1", folder=folder).file_id for name in ("a", "b", "c", "d")]
    for file_id in ids:
        alice.delete(file_id)
    restores: list[dict[str, Any]] = [{}, {"target_folder_id": ""}, {"target_folder_id": "", "new_name": "named"}]
    assert [
        call(alice, pb.RestoreFileRequest(file_id=one, **how)).path for one, how in zip(ids, restores, strict=False)
    ] == [
        "/folder/a",
        "/b",
        "/named",
    ]
    alice.delete(folder)
    with refused("FAILED_PRECONDITION", "place_gone"):
        call(alice, pb.RestoreFileRequest(file_id=ids[3]))
    assert call(alice, pb.RestoreFileRequest(file_id=ids[3], make_room=True)).path == "/d"


def test_a_folder_is_deleted_when_it_is_empty_unless_all_of_it_may_go(alice: User) -> None:
    folder = alice.mkdir("folder")
    file_id = alice.upload("file", b"1", folder=folder).file_id
    for permanent in (False, True):
        with refused("FAILED_PRECONDITION", "folder_not_empty"):
            call(alice, pb.DeleteFolderRequest(folder_id=folder, permanent=permanent))
        with refused("NOT_FOUND", "not_found"):
            call(alice, pb.DeleteFolderRequest(folder_id=file_id, permanent=permanent, recursive=True))
    call(alice, pb.DeleteFolderRequest(folder_id=folder, permanent=True, recursive=True))
    assert alice.storage().used_bytes == 0
    call(alice, pb.DeleteFolderRequest(folder_id=alice.mkdir("empty")))
    assert [one.name for one in trash_of(alice)] == ["empty"]


@pytest.mark.parametrize("name", ["", ".", "a/b", "a\0b", "x" * 256, "\u202eexe"])
def test_names_are_judged_before_anything_happens(alice: User, name: str) -> None:
    file_id = alice.upload("file", b"1").file_id
    requests: list[Any] = [pb.RenameFileRequest(file_id=file_id, new_name=name)]
    if name:  # elsewhere an empty one keeps the name
        requests += [
            pb.MoveFileRequest(file_id=file_id, new_name=name),
            pb.CopyFileRequest(file_id=file_id, new_name=name),
            pb.RestoreFileRequest(file_id=file_id, new_name=name),
        ]
    for request in requests:
        with refused("INVALID_ARGUMENT", "invalid_field") as told:
            call(alice, request)
        assert str(told[0]).startswith("new_name: ")
    assert alice.names() == ["file"]


def test_lists_go_on_by_their_token_and_know_no_other(alice: User) -> None:
    file_id = ""
    for number in range(3):
        file_id = alice.upload("file", bytes(number)).file_id
        alice.delete(alice.upload(f"gone{number}", b"1").file_id)
    names: list[str] = []
    numbers: list[int] = []
    token = ""
    for _ in range(2):
        page = call(alice, pb.ListTrashRequest(page_size=2, page_token=token))
        names, token = [*names, *(one.name for one in page.entries)], page.next_page_token
    assert (names, token) == (["gone2", "gone1", "gone0"], "")
    for _ in range(2):
        found = call(alice, pb.ListVersionsRequest(file_id=file_id, page_size=2, page_token=token))
        numbers, token = [*numbers, *(one.version for one in found.versions)], found.next_page_token
    assert (numbers, token) == ([3, 2, 1], "")
    for wrong in NOT_A_TOKEN:
        for request in (
            pb.ListTrashRequest(page_token=wrong),
            pb.ListVersionsRequest(file_id=file_id, page_token=wrong),
            pb.ListFilesRequest(page_token=wrong),
        ):
            with refused("INVALID_ARGUMENT", "invalid_field"):
                call(alice, request)
    with refused("INVALID_ARGUMENT", "invalid_field"):  # of another kind of thing
        call(alice, pb.ListFilesRequest(page_token=write_token("share", "a", file_id)))
    for size in (-1, 1001):
        with refused("INVALID_ARGUMENT", "invalid_field"):
            call(alice, pb.ListTrashRequest(page_size=size))
        with refused("INVALID_ARGUMENT", "invalid_field"):
            call(alice, pb.ListVersionsRequest(file_id=file_id, page_size=size))


def test_upkeep_ends_old_trash_and_versions_too_many_and_sweeps_what_they_held(
    make_cluster: Callable[..., Cluster],
) -> None:
    cluster = make_cluster(nodes=1, upkeep_grace_s=700, **PATIENT)
    alice = cluster.enroll("alice@example.org")
    kept = alice.upload("kept", b"1").file_id
    for number in range(4):
        alice.upload("kept", bytes(number))
    folder = alice.mkdir("folder")
    alice.upload("file", b"12345", folder=folder)
    alice.delete(folder)
    (lying,) = trash_of(alice)
    assert lying.deleted_at < lying.ends_at
    cluster.stop_gateway()
    cluster.start_gateway(drive_keep_versions=2, drive_trash_days=1e-5)
    cluster.wait(lambda: alice.storage().used_bytes == 2 + 3, what="the end of trash and older versions")
    assert [one.version for one in versions_of(alice, kept)] == [5, 4]
    assert trash_of(alice) == []
    cluster.wait(lambda: cluster.rows("SELECT count(*) FROM version") == [(2,)], what="the end of their rows")
    named = cluster.rows("SELECT count(*) FROM chunk WHERE unreferenced_at IS NULL")
    assert named == cluster.rows("SELECT count(DISTINCT chunk_id) FROM extent")
    assert {"trash.ended", "versions.ended"} <= {one.event_type for one in alice.history()}
