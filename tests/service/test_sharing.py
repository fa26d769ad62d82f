"""Two people and what one of them shares, through a real gateway."""

from __future__ import annotations

import itertools
import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from cloudgrpc.pb import cloud_storage_pb2 as pb
from cluster_harness import CALM, Cluster
from user import CALL_S, User, refused, upload_messages

if TYPE_CHECKING:
    from collections.abc import Iterator

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    settings = {**CALM, "upkeep_round_s": 0.3}  # for shares to end
    cluster = Cluster(tmp_path_factory.mktemp("sharing"), nodes=1, capacity_gb=2000, **settings)
    try:
        yield cluster.start()
    finally:
        cluster.close()


@pytest.fixture
def alice(cluster: Cluster) -> User:
    return cluster.enroll(f"alice{next(_numbers)}@example.org")


@pytest.fixture
def bob(cluster: Cluster) -> User:
    return cluster.enroll(f"bob{next(_numbers)}@example.org")


@pytest.fixture
def letters(alice: User) -> str:
    """A folder of alice's, /private/letters, with a.txt in it and more/b.txt below."""
    folder = alice.mkdir("letters", alice.mkdir("private"))
    alice.upload("a.txt", b"dear", folder=folder)
    alice.upload("b.txt", b"yours", folder=alice.mkdir("more", folder))
    return folder


def id_of(user: User, path: str, folder: str = "") -> str:
    found = user.resolve(path, folder)
    return found.file.file_id or found.folder.folder_id


def test_a_folder_shared_to_read_is_read_whole_and_not_changed(alice: User, bob: User, letters: str) -> None:
    token = alice.share(letters, bob.email.upper())
    (entry,) = bob.shared_with_me()
    assert (entry.file_id, entry.filename, entry.is_folder) == (letters, "letters", True)
    assert (entry.shared_by_email, entry.permission, entry.until, entry.share_token) == (alice.email, "read", "", token)
    found = bob.resolve("/more/b.txt", letters)
    assert (found.path, found.owner_email, found.permission) == ("/letters/more/b.txt", alice.email, "read")
    assert found.share_token == token
    assert bob.download(found.file.file_id) == b"yours"
    assert bob.names(letters) == ["a.txt"]
    assert bob.search(letters) == ["/letters/a.txt", "/letters/more", "/letters/more/b.txt"]
    assert bob.search() == []
    with refused("PERMISSION_DENIED", "read_only_share"):
        bob.upload("a.txt", b"mine", folder=letters)
    with refused("PERMISSION_DENIED", "read_only_share"):
        bob.mkdir("new", letters)
    with refused("PERMISSION_DENIED", "read_only_share"):
        bob.delete(found.file.file_id)


def test_who_may_write_puts_files_and_folders_there_and_the_owner_pays(alice: User, bob: User, letters: str) -> None:
    alice.share(letters, bob.email, "write")
    before = alice.storage().used_bytes
    new = bob.upload("c.txt", b"12345", folder=bob.mkdir("bobs", letters))
    again = bob.upload("a.txt", b"1234567", folder=letters)
    assert again.version == 2
    assert (alice.storage().used_bytes, bob.storage().used_bytes) == (before + 12, 0)
    assert alice.download(new.file_id) == b"12345"
    assert alice.download(again.file_id) == b"1234567"
    listed = pb.ListVersionsRequest(session_token=alice.token, file_id=again.file_id)
    versions = alice.cluster.history.ListVersions(listed, timeout=CALL_S).versions
    assert [one.made_by_email for one in versions] == [bob.email, alice.email]
    told = [(one.event_type, one.by_email) for one in alice.history()[:3]]
    assert told == [("file.uploaded", bob.email), ("file.uploaded", bob.email), ("folder.made", bob.email)]


def test_a_full_drive_takes_nothing_from_those_who_share_it(alice: User, bob: User, letters: str) -> None:
    alice.share(letters, bob.email, "write")
    with refused("RESOURCE_EXHAUSTED", "quota_exceeded"):
        bob.upload("large", [], size=2 << 30, folder=letters)
    assert bob.upload("small", b"x", folder=letters).version == 1


def test_who_may_write_moves_renames_and_deletes_below_what_is_shared(alice: User, bob: User, letters: str) -> None:
    alice.share(letters, bob.email, "write")
    first, more = id_of(bob, "/a.txt", letters), id_of(bob, "/more", letters)
    bob.move(first, more, "moved.txt")
    assert alice.resolve("/private/letters/more/moved.txt").file.file_id == first
    bob.delete(first)
    assert alice.names(more) == ["b.txt"]
    assert [one.filename for one in alice.ls(more, include_deleted=True).files if one.is_deleted] == ["moved.txt"]
    assert [one.filename for one in bob.ls(more, include_deleted=True).files] == ["b.txt"]
    with refused("NOT_FOUND"):
        bob.metadata(first)


def test_what_only_the_owner_may_is_refused(alice: User, bob: User, letters: str) -> None:
    alice.share(letters, bob.email, "write")
    inner = id_of(bob, "/a.txt", letters)
    with refused("PERMISSION_DENIED", "owner_only"):
        bob.delete(inner, permanent=True)
    with refused("PERMISSION_DENIED", "owner_only"):
        bob.share(inner, "carol@example.org")
    with refused("PERMISSION_DENIED", "owner_only"):
        bob.shares(inner)
    for shared_itself in (letters,):
        with refused("PERMISSION_DENIED", "owner_only"):
            bob.delete(shared_itself)
        with refused("PERMISSION_DENIED", "owner_only"):
            bob.move(shared_itself, shared_itself, "other")
    with refused("PERMISSION_DENIED", "other_drive"):
        bob.move(inner, "")
    assert alice.download(inner) == b"dear"


def test_nothing_above_what_is_shared_can_be_reached_or_seen(alice: User, bob: User, letters: str) -> None:
    alice.share(letters, bob.email, "write")
    above, inner = id_of(alice, "/private"), id_of(bob, "/a.txt", letters)
    for call in (
        lambda: bob.ls(above),
        lambda: bob.search(above),
        lambda: bob.resolve("/", above),
        lambda: bob.move(inner, above),
        lambda: bob.mkdir("new", above),
        lambda: bob.upload("new", b"", folder=above),
    ):
        with refused("NOT_FOUND", "not_found"):
            call()
    assert bob.resolve("", letters).folder.parent_folder_id == ""
    bob.move(inner, letters, "renamed.txt")
    bob.delete(inner)
    assert "private" not in f"{bob.history()}{bob.shared_with_me()}{bob.ls(letters)}{bob.search(letters)}"
    told = [one.message for one in bob.history()[:2]]
    there = f"shared:{alice.email}/letters"
    assert told == [
        f"{there}/renamed.txt was moved to the trash",
        f"{there}/a.txt was moved to {there}/renamed.txt",
    ]
    assert alice.history()[0].message == "/private/letters/renamed.txt was moved to the trash"


def test_a_single_file_shared_to_write_takes_new_content_and_nothing_else(alice: User, bob: User, letters: str) -> None:
    file_id = id_of(alice, "/private/letters/a.txt")
    token = alice.share(file_id, bob.email, "write")
    assert (bob.resolve("", file_id).path, bob.resolve("/", file_id).file.filename) == ("/a.txt", "a.txt")
    assert bob.shared_with_me()[0].file_size == len(b"dear")
    answer = bob.upload("whatever", b"dearest", folder=file_id)
    assert (answer.file_id, answer.version) == (file_id, 2)
    assert alice.metadata(file_id).file.filename == "a.txt"
    for call in (
        lambda: bob.resolve("/a.txt", file_id),
        lambda: bob.ls(file_id),
        lambda: bob.ls(letters),
        lambda: bob.search(file_id),
    ):
        with refused("NOT_FOUND", "not_found"):
            call()
    opened = pb.OpenShareRequest(session_token=bob.token, share_token=token)
    assert bob.cluster.sharing.OpenShare(opened, timeout=CALL_S).shared_file.file_id == file_id


def test_a_token_opens_a_share_for_its_grantee_only(cluster: Cluster, alice: User, bob: User, letters: str) -> None:
    token = alice.share(letters, bob.email)
    for other in (alice, cluster.enroll(f"carol{next(_numbers)}@example.org")):
        with refused("NOT_FOUND", "share_unknown"):
            cluster.sharing.OpenShare(pb.OpenShareRequest(session_token=other.token, share_token=token), timeout=CALL_S)


def test_an_address_that_is_enrolled_later_sees_what_waits_for_it(cluster: Cluster, alice: User, bob: User) -> None:
    file_id = alice.upload("a", b"waits").file_id
    late = f"late{next(_numbers)}@example.org"
    known, unknown = (
        cluster.files.ShareFile(
            pb.ShareFileRequest(session_token=alice.token, file_id=file_id, share_with_email=email), timeout=CALL_S
        )
        for email in (bob.email, late)
    )
    known.share_token = unknown.share_token = ""
    assert known == unknown
    user = cluster.enroll(late)
    assert user.download(user.shared_with_me()[0].file_id) == b"waits"


def test_a_share_ends_when_it_was_said_to(cluster: Cluster, alice: User, bob: User, letters: str) -> None:
    until = datetime.now(UTC) + timedelta(hours=1)
    token = alice.share(letters, bob.email, "read", until.isoformat())
    (entry,) = bob.shared_with_me()
    assert datetime.fromisoformat(entry.until) == until.replace(microsecond=until.microsecond // 1000 * 1000)
    assert bob.names(letters) == ["a.txt"]
    with closing(sqlite3.connect(cluster.data / "metadata.sqlite3", timeout=10)) as connection, connection:
        connection.execute(f"UPDATE share SET until_at = until_at - {3600 * 1_000_000} WHERE share_id = '{token}'")
    assert bob.shared_with_me() == []
    with refused("NOT_FOUND"):
        bob.ls(letters)
    with refused("NOT_FOUND"):
        cluster.sharing.OpenShare(pb.OpenShareRequest(session_token=bob.token, share_token=token), timeout=CALL_S)
    cluster.wait(lambda: alice.history()[0].event_type == "share.ended", what="the record of its end")
    assert alice.history()[0].by_email == ""


def test_ending_a_share_takes_effect_at_once(alice: User, bob: User, letters: str) -> None:
    alice.share(letters, bob.email, "write")
    file_id = id_of(bob, "/a.txt", letters)
    alice.unshare(file_id=letters, email=f" {bob.email.upper()} ")
    assert (bob.shared_with_me(), alice.shares()) == ([], [])
    with refused("NOT_FOUND"):
        bob.download(file_id)
    with refused("NOT_FOUND"):
        bob.upload("new", b"", folder=letters)


def test_who_was_given_something_can_leave_it(alice: User, bob: User, letters: str) -> None:
    token = alice.share(letters, bob.email)
    bob.unshare(token)
    assert (bob.shared_with_me(), alice.shares()) == ([], [])
    (left,) = [one for one in alice.history() if one.event_type == "share.ended"]
    assert left.by_email == bob.email
    assert bob.history()[0].event_type == "share.ended"


def test_an_upload_under_way_when_its_share_ends_is_not_kept(
    cluster: Cluster, alice: User, bob: User, letters: str
) -> None:
    token = alice.share(letters, bob.email, "write")
    before = cluster.used_bytes(alice.email)

    def messages() -> Iterator[pb.UploadFileRequest]:
        yield from upload_messages(bob.token, "late.bin", b"x", size=2, folder=letters)
        cluster.wait(lambda: cluster.used_bytes(alice.email)[1] == 2, what="the upload under way")
        alice.unshare(token)
        yield pb.UploadFileRequest(chunk_data=b"y")

    with refused("ABORTED", "upload_ended"):
        cluster.files.UploadFile(messages(), timeout=CALL_S)
    cluster.wait(lambda: cluster.used_bytes(alice.email) == before, what="the reservation given back")
    assert alice.names(letters) == ["a.txt"]


def test_what_an_owner_shares_is_listed_by_path(alice: User, bob: User, letters: str) -> None:
    token = alice.share(letters, bob.email, "write")
    (share,) = alice.shares()
    assert (share.share_token, share.file_id, share.path) == (token, letters, "/private/letters")
    assert (share.is_folder, share.shared_with_email, share.permission) == (True, bob.email, "write")
    alice.delete(letters)
    assert [one.path for one in alice.shares(letters)] == [""]
    assert bob.shared_with_me() == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("share_with_email", "nobody"),
        ("share_with_email", ""),
        ("permission", "own"),
        ("permission", "WRITE"),
        ("until", "tomorrow"),
        ("until", "2026-12-31"),
        ("until", "2026-12-31T18:00:00"),
        ("until", "2020-01-01T00:00:00Z"),
        ("until", "9999-12-31T23:59:59-23:59"),
    ],
)
def test_what_makes_no_sense_is_refused_by_the_name_of_the_field(
    cluster: Cluster, alice: User, letters: str, field: str, value: str
) -> None:
    request = pb.ShareFileRequest(session_token=alice.token, file_id=letters, share_with_email="x@example.org")
    setattr(request, field, value)
    with refused("INVALID_ARGUMENT", "invalid_field") as told:
        cluster.files.ShareFile(request, timeout=CALL_S)
    assert str(told[0]).startswith(f"{field}: ")
    assert alice.shares() == []


def test_nothing_is_shared_with_oneself(alice: User, letters: str) -> None:
    with refused("INVALID_ARGUMENT", "invalid_field"):
        alice.share(letters, alice.email.upper())
    with refused("INVALID_ARGUMENT", "invalid_field"):
        alice.share(id_of(alice, "/"), "x@example.org")


def test_lists_of_shares_are_paged(cluster: Cluster, alice: User, bob: User) -> None:
    tokens = [alice.share(alice.mkdir(f"folder{n}"), bob.email) for n in range(5)]
    with_me = pb.GetSharedFilesRequest(session_token=bob.token, page_size=2)
    mine = pb.ListSharesRequest(session_token=alice.token, page_size=2)
    seen: tuple[list[str], list[str]] = [], []
    for _ in range(3):
        theirs = cluster.files.GetSharedFiles(with_me, timeout=CALL_S)
        own = cluster.sharing.ListShares(mine, timeout=CALL_S)
        seen[0].extend(one.share_token for one in theirs.shared_files)
        seen[1].extend(one.share_token for one in own.shares)
        with_me.page_token, mine.page_token = theirs.next_page_token, own.next_page_token
    assert seen == (tokens[::-1], tokens[::-1])
    assert (with_me.page_token, mine.page_token) == ("", "")


def test_an_account_that_is_closed_shares_nothing_until_it_is_open_again(
    cluster: Cluster, alice: User, bob: User, letters: str
) -> None:
    alice.share(letters, bob.email)
    closing = pb.CloseAccountRequest(session_token=alice.token, verification_token=cluster.prove(alice.email))
    cluster.auth.CloseAccount(closing, timeout=CALL_S)
    assert bob.shared_with_me() == []
    with refused("NOT_FOUND"):
        bob.ls(letters)
    cluster.auth.ReopenAccount(pb.ReopenAccountRequest(session_token=alice.token), timeout=CALL_S)
    assert bob.names(letters) == ["a.txt"]


def test_a_history_tells_what_is_ones_own_to_know(alice: User, bob: User, letters: str) -> None:
    alice.share(letters, bob.email, "write")
    bob.upload("c.txt", b"", folder=letters)
    uploaded = alice.history()[0]
    assert json.loads(uploaded.details).keys() == {"file_id", "version", "bytes"}
    (own,) = [one for one in alice.history() if one.event_type == "session.started"]
    assert json.loads(own.details)["from"] == "127.0.0.1"
    assert [one.event_type for one in bob.history()] == ["file.uploaded", "session.started", "account.enrolled"]
    assert {one.by_email for one in bob.history()} == {bob.email}
