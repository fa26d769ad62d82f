"""sync: what differs travels, and nothing else; nothing that it should not touch is touched."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from cloudgrpc.errors import Exit
from cluster_harness import CALM, Cluster
from person import Person

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from user import User

Tree = dict[str, bytes | None]  # paths below the top; None for a folder

PHOTOS: Tree = {
    "a.jpg": b"a" * 2000,
    "b.jpg": b"b" * 3000,
    "empty": None,
    "inner": None,
    "inner/c.jpg": b"c" * 4000,
    "inner/deep": None,
    "inner/deep/é.txt": b"",
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("cluster"), nodes=2, **CALM)
    try:
        yield cluster.start()
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def user(cluster: Cluster) -> User:
    return cluster.enroll("alice@example.org")


@pytest.fixture(scope="module")
def alice(cluster: Cluster, user: User, tmp_path_factory: pytest.TempPathFactory) -> Person:
    person = Person(cluster, tmp_path_factory.mktemp("alice"))
    person.is_signed_in_as(user)
    return person


@pytest.fixture
def top(request: pytest.FixtureRequest) -> str:
    """A folder of the drive of this test's own; not made yet."""
    return f"/{request.node.name[:100]}"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    write(folder, PHOTOS)
    return folder


def write(folder: Path, tree: Tree) -> None:
    folder.mkdir(exist_ok=True)
    for path, content in tree.items():
        if content is None:
            (folder / path).mkdir(exist_ok=True)
        else:
            (folder / path).write_bytes(content)


def here(folder: Path) -> Tree:
    return {
        str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes()
        for path in folder.rglob("*")
        if not path.is_symlink()
    }


def there(user: User, top: str) -> Tree:
    found: Tree = {}
    waiting = [("", user.resolve(top).folder.folder_id)]
    while waiting:
        path, folder_id = waiting.pop()
        listed = user.ls(folder_id)
        found |= {f"{path}{file.filename}": user.download(file.file_id) for file in listed.files}
        for folder in listed.folders:
            found[f"{path}{folder.folder_name}"] = None
            waiting.append((f"{path}{folder.folder_name}/", folder.folder_id))
    return found


def steps(alice: Person, *words: str) -> list[tuple[str, str]]:
    """What a sync would do, without doing it."""
    document: dict[str, Any] = json.loads(alice.here("sync", "--dry-run", "--json", *words))
    assert document["done"] is None
    return [(step["action"], step["path"]) for step in document["steps"]]


def test_what_differs_travels_up_and_nothing_else(alice: Person, user: User, photos: Path, top: str) -> None:
    told = alice.here("sync", str(photos), f"drive:{top}")
    assert "Uploaded 4 files" in told
    assert there(user, top) == PHOTOS
    assert "Uploaded 0 files" in alice.here("sync", str(photos), f"drive:{top}")

    (photos / "a.jpg").write_bytes(b"A" * 2000)  # of the same size
    (photos / "b.jpg").write_bytes(b"longer" * 1000)
    (photos / "inner" / "new.jpg").write_bytes(b"new")
    expected = [("upload", f"{top}/{name}") for name in ("a.jpg", "b.jpg", "inner/new.jpg")]
    assert steps(alice, str(photos), f"drive:{top}") == expected
    told = alice.here("sync", str(photos), f"drive:{top}")
    assert "Uploaded 3 files" in told
    assert "2 files are the same" in told
    assert there(user, top) == here(photos)
    assert user.resolve(f"{top}/inner/c.jpg").file.version == 1
    assert user.resolve(f"{top}/a.jpg").file.version == 2, "what was there is not lost"


def test_what_differs_travels_down_and_nothing_else(
    alice: Person, user: User, photos: Path, top: str, tmp_path: Path
) -> None:
    alice.here("sync", str(photos), f"drive:{top}")
    copy = tmp_path / "copy"
    assert "Downloaded 4 files" in alice.here("sync", f"drive:{top}", str(copy))
    assert here(copy) == PHOTOS
    assert steps(alice, f"drive:{top}", str(copy)) == []
    user.upload("a.jpg", b"A" * 2000, folder=user.resolve(top).folder.folder_id)
    (copy / "inner" / "c.jpg").write_bytes(b"x" * 4000)
    assert steps(alice, f"drive:{top}", str(copy)) == [
        ("download", str(copy / "a.jpg")),
        ("download", str(copy / "inner" / "c.jpg")),
    ]
    alice.here("sync", f"drive:{top}", str(copy))
    assert here(copy) == {**PHOTOS, "a.jpg": b"A" * 2000}


def test_files_that_came_down_are_known_by_their_time(alice: Person, photos: Path, top: str, tmp_path: Path) -> None:
    alice.here("sync", str(photos), f"drive:{top}")
    copy = tmp_path / "copy"
    alice.here("sync", f"drive:{top}", str(copy))
    state = (copy / "a.jpg").stat()
    (copy / "a.jpg").write_bytes(b"?" * 2000)
    os.utime(copy / "a.jpg", ns=(state.st_atime_ns, state.st_mtime_ns))
    assert steps(alice, f"drive:{top}", str(copy)) == []
    assert steps(alice, "--checksum", f"drive:{top}", str(copy)) == [("download", str(copy / "a.jpg"))]


def test_what_only_the_target_has_stays_unless_it_is_to_be_deleted(
    alice: Person, user: User, photos: Path, top: str, tmp_path: Path
) -> None:
    alice.here("sync", str(photos), f"drive:{top}")
    copy = tmp_path / "copy"
    alice.here("sync", f"drive:{top}", str(copy))
    for path in ("inner/deep/é.txt", "b.jpg"):
        (photos / path).unlink()
    (photos / "inner" / "deep").rmdir()
    assert "3 more only there" in alice.here("sync", str(photos), f"drive:{top}")
    assert there(user, top) == PHOTOS
    expected = [("delete", f"{top}/inner/deep"), ("delete", f"{top}/b.jpg")]
    assert sorted(steps(alice, "--delete", str(photos), f"drive:{top}")) == sorted(expected)
    assert "moved to the trash: 2" in alice.here("sync", "--delete", str(photos), f"drive:{top}")
    assert there(user, top) == here(photos)
    assert "b.jpg" in alice.here("trash")

    assert here(copy) == PHOTOS
    assert "deleted 2" in alice.here("sync", "--delete", f"drive:{top}", str(copy))
    assert here(copy) == here(photos)


def test_a_dry_run_does_nothing(alice: Person, user: User, photos: Path, top: str) -> None:
    told = alice.here("sync", "--dry-run", str(photos), f"drive:{top}")
    assert f"make      {top}/inner/deep/\n" in told
    assert f"upload    {top}/b.jpg (2.9 KB)\n" in told
    assert "Would upload 4 files (8.8 KB), make 4 folders; 0 files are the same" in told
    alice.here("ls", top, exit_code=Exit.NOT_FOUND)


@pytest.mark.parametrize("options", [[], ["--yes"]])
def test_an_empty_source_deletes_all_only_when_one_is_sure(
    alice: Person, user: User, photos: Path, top: str, tmp_path: Path, options: list[str]
) -> None:
    top = top.translate({ord("["): "-", ord("]"): "-"})
    alice.here("sync", str(photos), f"drive:{top}")
    empty = tmp_path / "mount"
    empty.mkdir()
    code = Exit.OK if options else Exit.USAGE
    told = alice.here("sync", "--delete", *options, str(empty), f"drive:{top}", exit_code=code)
    assert there(user, top) == ({} if options else PHOTOS)
    assert options or "--yes" in told


def test_a_source_that_is_not_there_deletes_nothing(alice: Person, user: User, photos: Path, top: str) -> None:
    alice.here("sync", str(photos), f"drive:{top}")
    alice.here("sync", "--delete", "--yes", str(photos / "gone"), f"drive:{top}", exit_code=Exit.NOT_NOW)
    alice.here("sync", "--delete", "--yes", f"drive:{top}/gone", str(photos), exit_code=Exit.NOT_FOUND)
    assert there(user, top) == here(photos) == PHOTOS


def test_a_source_that_cannot_be_read_whole_deletes_nothing(
    alice: Person, user: User, photos: Path, top: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice.here("sync", str(photos), f"drive:{top}")
    (photos / "b.jpg").unlink()
    scan = os.scandir

    def failing(path: Path) -> Any:
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", failing)  # whoever runs the tests may be root, who can read everything
    told = alice.here("sync", "--delete", str(photos), f"drive:{top}", exit_code=Exit.NOT_NOW)
    assert "deep: Permission denied" in told
    assert "Not everything was done, and nothing was deleted." in told
    assert there(user, top) == PHOTOS


def test_a_file_in_the_place_of_a_folder_is_told_and_left_alone_unless_deleting(
    alice: Person, user: User, photos: Path, top: str
) -> None:
    alice.here("sync", str(photos), f"drive:{top}")
    (photos / "inner" / "deep" / "é.txt").unlink()
    (photos / "inner" / "deep").rmdir()
    (photos / "inner" / "deep").write_bytes(b"a file now")
    (photos / "a.jpg").unlink()
    (photos / "a.jpg").mkdir()
    (photos / "a.jpg" / "in.txt").write_bytes(b"in a folder now")
    (photos / "b.jpg").write_bytes(b"changed")
    told = alice.here("sync", str(photos), f"drive:{top}", exit_code=Exit.NOT_NOW)
    assert f"clash     {top}/a.jpg is a file there, and something else at the source" in told
    assert f"clash     {top}/inner/deep/ is a folder there, and something else at the source" in told
    assert "1 file is the same, 2 left alone\n" in told
    assert there(user, top) == {**PHOTOS, "b.jpg": b"changed"}
    alice.here("sync", "--delete", str(photos), f"drive:{top}")
    assert there(user, top) == here(photos)


def test_links_neither_travel_nor_are_replaced(
    alice: Person, user: User, photos: Path, top: str, tmp_path: Path
) -> None:
    alice.here("sync", str(photos), f"drive:{top}")
    elsewhere = tmp_path / "elsewhere"
    write(elsewhere, {"precious": b"precious"})
    (photos / "b.jpg").unlink()
    (photos / "b.jpg").symlink_to(elsewhere / "precious")
    (photos / "inner" / "deep" / "é.txt").unlink()
    (photos / "inner" / "deep").rmdir()
    (photos / "inner" / "deep").symlink_to(elsewhere)
    told = alice.here("sync", "--delete", str(photos), f"drive:{top}")
    assert "b.jpg is a link; it was left out" in told
    assert there(user, top) == PHOTOS
    told = alice.here("sync", "--delete", f"drive:{top}", str(photos), exit_code=Exit.NOT_NOW)
    assert f"clash     {photos}/b.jpg is a link or a special file there, and something else at the source" in told
    assert "2 files are the same, 2 left alone\n" in told
    assert "2 left alone\n" in alice.here("sync", "--dry-run", f"drive:{top}", str(photos))
    assert json.loads(alice.output("sync", "--dry-run", "--json", f"drive:{top}", str(photos)))["steps"]
    assert here(elsewhere) == {"precious": b"precious"}
    assert (photos / "b.jpg").is_symlink()
    assert (photos / "inner" / "deep").is_symlink()


def test_the_beginning_of_a_download_neither_travels_nor_goes(
    alice: Person, user: User, photos: Path, top: str
) -> None:
    part = photos / ".film.mkv.0123abcdv1.part"
    part.write_bytes(b"some of it")
    alice.here("sync", str(photos), f"drive:{top}")
    assert there(user, top) == PHOTOS
    alice.here("sync", "--delete", f"drive:{top}", str(photos))
    assert part.exists()


def test_the_root_folder_can_be_synced_and_what_is_shared(
    alice: Person, cluster: Cluster, photos: Path, top: str, tmp_path: Path
) -> None:
    bob = cluster.enroll("bob@example.org")
    person = Person(cluster, tmp_path)
    person.is_signed_in_as(bob)
    person.here("sync", str(photos), "drive:/")
    assert there(bob, "/") == PHOTOS
    bob.share(bob.resolve("/inner").folder.folder_id, "alice@example.org", "write")
    copy = tmp_path / "trip"
    alice.here("sync", "shared:bob@example.org/inner", str(copy))
    assert here(copy) == {"c.jpg": b"c" * 4000, "deep": None, "deep/é.txt": b""}
    (copy / "more.jpg").write_bytes(b"more")
    alice.here("sync", str(copy), "shared:bob@example.org/inner")
    assert there(bob, "/inner") == here(copy)


@pytest.mark.parametrize("words", [["a", "b"], ["drive:/a", "drive:/b"], ["drive:/a", "shared:x@y.org/b"]])
def test_it_must_be_clear_which_side_is_the_drive(alice: Person, words: list[str]) -> None:
    assert "write drive: before the side that is in your drive" in alice.here("sync", *words, exit_code=Exit.USAGE)
