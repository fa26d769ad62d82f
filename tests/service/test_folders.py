"""Folders over the wire: how they nest, what names and paths lead to, and lists whole and in pages."""

from __future__ import annotations

import base64
import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from cloudgrpc.pb import cloud_storage_pb2 as pb
from service.files_fixture import nothing_kept, root_of, someone
from user import CALL_S, User, refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cluster_harness import Cluster


@pytest.fixture
def alice(calm: Cluster) -> User:
    return someone(calm)


@pytest.fixture(scope="module")
def zoe(calm: Cluster) -> User:
    """Somebody whose tries are all refused, so that many tests may share her."""
    return someone(calm)


@pytest.fixture
def anna(calm_on_either: Cluster) -> User:
    """Somebody on either engine."""
    return someone(calm_on_either)


def test_folders_nest_and_paths_lead_to_what_is_in_them(alice: User) -> None:
    photos = alice.mkdir("photos")
    summer = alice.mkdir("été 2026", photos)
    file_id = alice.upload("a.jpg", b"jpg", folder=summer).file_id
    assert [folder.folder_name for folder in alice.ls().folders] == ["photos"]
    assert [(folder.folder_name, folder.file_count) for folder in alice.ls(photos).folders] == [("été 2026", 1)]
    assert alice.resolve("/photos/été 2026/a.jpg").file.file_id == file_id
    assert alice.resolve("//photos///été 2026/").folder.folder_id == summer
    for root in ("/", ""):
        assert alice.resolve(root).folder.folder_name == ""


@pytest.mark.parametrize("path", ["/nothing", "/photos/nothing", "/photos/a.jpg/b", "/Photos", "/photos/A.jpg"])
def test_a_path_to_nothing_is_not_found(photographer: User, path: str) -> None:
    with refused("NOT_FOUND", "not_found"):
        photographer.resolve(path)


@pytest.fixture(scope="module")
def photographer(zoe: User) -> User:
    zoe.upload("a.jpg", b"jpg", folder=zoe.mkdir("photos"))
    return zoe


@pytest.mark.parametrize("path", ["photos", "/..", "/photos/../photos", "/.", "/a\0b", "/" + "x" * 256, "/x" * 5000])
def test_what_is_no_path_is_refused(zoe: User, path: str) -> None:
    with refused("INVALID_ARGUMENT", "invalid_field") as errors:
        zoe.resolve(path)
    assert str(errors[0]).startswith("path:")


def test_a_name_stands_once_in_its_folder(alice: User) -> None:
    photos = alice.mkdir("photos")
    alice.upload("notes", b"x")
    for taken in ("photos", "notes"):
        with refused("ALREADY_EXISTS", "name_taken"):
            alice.mkdir(taken)
    with nothing_kept(alice), refused("ALREADY_EXISTS", "name_taken"):
        alice.upload("photos", b"x")
    assert alice.mkdir("photos", photos), "in another folder it is free"
    alice.mkdir("caf\u00e9")
    with refused("ALREADY_EXISTS", "name_taken"):
        alice.mkdir("cafe\u0301")


def test_folders_made_at_the_same_time_under_one_name_are_one(anna: User) -> None:
    def make(_: int) -> str:
        with suppress(grpc.RpcError):
            return anna.mkdir("twin")
        return ""

    with ThreadPoolExecutor(8) as pool:
        made = [folder_id for folder_id in pool.map(make, range(8)) if folder_id]
    assert made == [folder.folder_id for folder in anna.ls().folders]


def test_pages_together_are_the_whole_list_in_its_order(alice: User) -> None:
    for number in range(4):
        alice.mkdir(f"folder {number}")
        alice.upload(f"file {number}", b"")
    whole = alice.ls()
    assert not whole.next_page_token
    for page_size in (1, 3, 8, 100):
        entries = [entry for page in pages(alice, page_size) for entry in (*page.folders, *page.files)]
        assert entries == [*whole.folders, *whole.files], page_size


BAD_TOKENS = ["x", "%%%", "é", base64.urlsafe_b64encode(b"[1,2,3]").decode(), "\0", "W10=", "W" * 100_000]
BAD_TOKENS += [base64.urlsafe_b64encode(b"[" * 50_000).decode(), base64.urlsafe_b64encode(b'["a","b"]').decode()]
BAD_TOKENS += [base64.urlsafe_b64encode(json.dumps(["file", odd, "x"]).encode()).decode() for odd in ("\ud800", "\0")]


@pytest.mark.parametrize("token", BAD_TOKENS, ids=range(len(BAD_TOKENS)))
def test_what_is_no_page_token_is_refused(zoe: User, token: str) -> None:
    with refused("INVALID_ARGUMENT", "invalid_field") as errors:
        listing(zoe, page_size=1, page_token=token)
    assert str(errors[0]).startswith("page_token:")


@pytest.mark.parametrize("page_size", [-1, 10_001, -(2**31), 2**31 - 1])
def test_a_page_has_its_limits(zoe: User, page_size: int) -> None:
    with refused("INVALID_ARGUMENT", "invalid_field") as errors:
        listing(zoe, page_size=page_size)
    assert str(errors[0]).startswith("page_size:")


def test_a_list_too_long_for_one_reply_is_refused_whole_and_given_in_pages(alice: User) -> None:
    names = [f"{number:0255}" for number in range(11_500)]
    folders = [(f"{alice.user_id[:16]}{number:016x}", name) for number, name in enumerate(names)]
    with closing(sqlite3.connect(alice.cluster.data / "metadata.sqlite3", timeout=10)) as connection, connection:
        columns = "entry_id, account_id, parent_id, name, name_key, kind, created_at, modified_at"
        values = f"?1, '{alice.user_id}', '{root_of(alice)}', ?2, ?2, 'folder', 1, 1"
        connection.executemany(f"INSERT INTO entry ({columns}) VALUES ({values})", folders)
    with refused("RESOURCE_EXHAUSTED", "list_too_long"):
        alice.ls()
    assert [folder.folder_name for page in pages(alice, 10_000) for folder in page.folders] == names


def listing(user: User, **fields: Any) -> pb.ListFilesResponse:
    return user.cluster.files.ListFiles(pb.ListFilesRequest(session_token=user.token, **fields), timeout=CALL_S)


def pages(user: User, page_size: int) -> Iterator[pb.ListFilesResponse]:
    token = ""
    while True:
        page = listing(user, page_size=page_size, page_token=token)
        yield page
        assert len(page.files) + len(page.folders) <= page_size
        token = page.next_page_token
        if not token:
            return
