"""The shell's mkdir, mv, cp, rm and delete, against a real gateway."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import pytest

from cloudgrpc.errors import Exit
from cluster_harness import CALM, Cluster
from person import Person

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from user import User

ODD_NAMES = [
    "it is",
    'it\'s a > b; c|d "e" #1',
    "-r",
    "--help",
    "été, 研究 👩‍🚀",
    "0123456789abcdef0123456789abcdef",
    "shared:bob@example.org",
    "*",
    "[ab]?.txt",
    "~",
    "back\\slash",
    "restore",
    "...",
]


@pytest.fixture(scope="module")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(
        tmp_path_factory.mktemp("cluster"), nodes=1, drive_new_account_mb=1, limits_resend_s=0.001, **CALM
    )
    try:
        yield cluster.start()
    finally:
        cluster.close()


@pytest.fixture
def hers(shared_cluster: Cluster, tmp_path: Path) -> User:
    return shared_cluster.enroll(f"alice-{tmp_path.name}@example.org")


@pytest.fixture
def alice(hers: User, tmp_path: Path) -> Person:
    """At her shell, in a drive of her own."""
    person = Person(hers.cluster, tmp_path)
    person.is_signed_in_as(hers)
    person.environment["NO_COLOR"] = "1"  # so that the prompt ends in what the tests wait for
    return person


def paths(user: User, folder: str = "", above: str = "/") -> list[str]:
    """Of everything live in the drive; folders end with a slash."""
    listed = user.ls(folder)
    found = [above + file.filename for file in listed.files]
    for inner in listed.folders:
        path = f"{above}{inner.folder_name}/"
        found += [path, *paths(user, inner.folder_id, path)]
    return sorted(found)


# mkdir


def test_folders_are_made_where_one_is_and_with_all_on_the_way(alice: Person, hers: User) -> None:
    said = alice.script_here("mkdir /a b", "mkdir -p /c/d/e c/f /a", "cd c", "mkdir ../b/g here", "mkdir -p ./x/../y/")
    assert paths(hers) == ["/a/", "/b/", "/b/g/", "/c/", "/c/d/", "/c/d/e/", "/c/f/", "/c/here/", "/c/y/"]
    assert re.search(r"Made /c/here/, ID [0-9a-f]{32}", said)
    assert said.count("Made ") == 9


def test_a_folder_that_cannot_be_made_keeps_no_other_from_being_made(alice: Person, hers: User) -> None:
    hers.upload("file", b"x")
    said = alice.here("mkdir", "/no/parent", "good", "/file/in-a-file", exit_code=Exit.NOT_FOUND)
    assert "/no does not exist" in said
    assert "2 of 3 could not be made." in said
    assert alice.here("mkdir", "good", exit_code=Exit.EXISTS).startswith("/good exists already.\n")
    alice.here("mkdir", "-p", "file", exit_code=Exit.USAGE)
    alice.here("mkdir", "-p", "/", "good/", "good/.")
    for wrong in ("/", "..", "good/..", "bad\nname", "x" * 256):
        alice.here("mkdir", wrong, exit_code=Exit.BAD_INPUT)
    assert paths(hers) == ["/file", "/good/"]


def test_odd_names_are_made_moved_copied_deleted_and_restored_as_they_are(alice: Person, hers: User) -> None:
    lines = ["mkdir in"]
    for name in ODD_NAMES:
        here, there = shlex.quote(f"./{name}"), shlex.quote(f"in/{name}")
        lines += [f"mkdir {here}", f"mv {here} in", f"cp -r {there} .", f"mv {here} {there}/{shlex.quote(name)}"]
    alice.script(*lines)
    moved = paths(hers)
    assert moved == sorted(["/in/", *(f"/in/{name}/" for name in ODD_NAMES), *(f"/in/{n}/{n}/" for n in ODD_NAMES)])
    every = " ".join(shlex.quote(f"/in/{name}") for name in ODD_NAMES)
    alice.script(f"rm -r {every}", f"restore {every}", "mkdir -- -p", "rm -- -p", "restore -- -p")
    assert paths(hers) == sorted([*moved, "/-p/"])


# mv


def test_things_are_moved_into_folders_and_to_other_names(alice: Person, hers: User) -> None:
    for name in ("a.jpg", "b.jpg", "c.txt", "d.txt"):
        hers.upload(name, b"x")
    said = alice.script_here(
        "mkdir photos texts",
        "mv *.jpg photos",
        "mv c.txt texts/see.txt",
        "mv photos pictures",
        "mv d.txt texts pictures",
    )
    assert "Moved /a.jpg to /photos/a.jpg\nMoved /b.jpg to /photos/b.jpg\n" in said
    assert "Moved /texts/ to /pictures/texts/" in said
    assert paths(hers) == [
        "/pictures/",
        "/pictures/a.jpg",
        "/pictures/b.jpg",
        "/pictures/d.txt",
        "/pictures/texts/",
        "/pictures/texts/see.txt",
    ]


def test_a_move_replaces_nothing_and_says_what_is_in_the_way(alice: Person, hers: User) -> None:
    hers.upload("a", b"mine")
    hers.upload("b", b"other")
    folder = hers.mkdir("folder")
    hers.upload("a", b"third", folder=folder)
    before = paths(hers)
    for words in (["a", "b"], ["a", "folder"], ["a", "/folder/a"]):
        assert "exists already" in alice.here("mv", *words, exit_code=Exit.EXISTS)
    assert "a folder is needed" in alice.here("mv", "a", "folder", "b", exit_code=Exit.USAGE)
    alice.here("mv", "a", "b", "missing", exit_code=Exit.NOT_FOUND)
    alice.here("mv", "a", "missing/", exit_code=Exit.NOT_FOUND)
    alice.here("mv", "folder", "folder/inside", exit_code=Exit.NOT_NOW)
    assert "root folder" in alice.here("mv", "/", "folder", exit_code=Exit.USAGE)
    assert paths(hers) == before
    said = alice.here("mv", "missing", "b", "*.none", "folder", exit_code=Exit.NOT_FOUND)
    assert "Moved /b to /folder/b" in said
    assert "2 of 3 could not be moved." in said


def test_what_is_named_by_its_id_is_moved_by_it(alice: Person, hers: User) -> None:
    file_id = hers.upload("a", b"x").file_id
    folder = hers.mkdir("folder")
    alice.here("mv", file_id, folder.upper())
    assert paths(hers) == ["/folder/", "/folder/a"]
    alice.here("mv", file_id, "f" * 32, exit_code=Exit.NOT_FOUND)


def test_a_name_can_get_another_unicode_form_or_case(alice: Person, hers: User) -> None:
    hers.upload("cafe\u0301", b"x")
    hers.mkdir("re\u0301sume\u0301")
    alice.script_here(
        "mv cafe\u0301 caf\u00e9", "mv r\u00e9sum\u00e9 r\u00e9sum\u00e9", "mv r\u00e9sum\u00e9 R\u00e9sum\u00e9"
    )
    assert paths(hers) == ["/R\u00e9sum\u00e9/", "/caf\u00e9"]


def test_an_edit_of_a_version_that_moved_on_is_refused(alice: Person, hers: User) -> None:
    hers.upload("a", b"first")
    hers.upload("a", b"second")
    hers.upload("c", b"other")
    hers.mkdir("folder")
    for words in (["mv", "a", "b"], ["rm", "a"], ["cp", "--replace", "c", "a"]):
        told = alice.here(*words, "--if-version", "1", exit_code=Exit.CONFLICT)
        assert "version 2 now, not at 1" in told
    for words in (["mv", "a", "c", "folder"], ["rm", "-r", "folder"], ["rm", "a", "c"], ["cp", "c", "folder"]):
        alice.here(*words, "--if-version", "2", exit_code=Exit.USAGE)
    for number in ("0", "-1", "x", "2147483648"):
        alice.here("rm", "a", "--if-version", number, exit_code=Exit.USAGE)
    assert paths(hers) == ["/a", "/c", "/folder/"]
    alice.script_here("mv a b --if-version 2", "rm b --if-version 2")
    assert paths(hers) == ["/c", "/folder/"]


# cp


def test_copies_are_whole_and_their_size_is_told(alice: Person, hers: User) -> None:
    folder = hers.mkdir("folder")
    hers.mkdir("inner", folder)
    hers.upload("a", b"12345", folder=folder)
    hers.upload("b", b"1234567", folder=folder)
    hers.upload("plan", b"my plan")
    said = alice.script_here(
        "cp plan plan-2", "cp -r folder copy", "cp -r folder /copy", "cp folder/[ab] plan copy/inner"
    )
    assert "Copied /plan to /plan-2 (7 B)" in said
    assert "Copied /folder/ to /copy/ (2 files, 2 folders, 12 B)" in said
    copied = [
        "/copy/",
        "/copy/a",
        "/copy/b",
        "/copy/folder/",
        "/copy/folder/a",
        "/copy/folder/b",
        "/copy/folder/inner/",
    ]
    copied += ["/copy/inner/", "/copy/inner/a", "/copy/inner/b", "/copy/inner/plan"]
    assert paths(hers) == [*copied, "/folder/", "/folder/a", "/folder/b", "/folder/inner/", "/plan", "/plan-2"]
    (copy,) = (file for file in hers.ls().files if file.filename == "plan-2")
    assert hers.download(copy.file_id) == b"my plan"


def test_a_copy_replaces_a_file_only_when_told_so_and_as_its_next_version(alice: Person, hers: User) -> None:
    hers.upload("a", b"new")
    old = hers.upload("b", b"old").file_id
    folder = hers.mkdir("folder")
    hers.upload("a", b"other", folder=folder)
    for target in ("b", "folder", old):
        told = alice.here("cp", "a", target, exit_code=Exit.EXISTS)
        assert "--replace makes" in told
    assert "add -r" in alice.here("cp", "folder", "elsewhere", exit_code=Exit.USAGE)
    alice.here("cp", "-r", "folder", "folder/in-itself", exit_code=Exit.NOT_NOW)
    assert hers.download(old) == b"old"
    alice.script_here("cp --replace a b", "cp --replace a folder")
    assert hers.download(old) == b"new"
    assert hers.metadata(old).file.version == 2
    alice.here("cp", "--replace", "b", old, exit_code=Exit.EXISTS)
    assert paths(hers) == ["/a", "/b", "/folder/", "/folder/a"]


def test_a_copy_that_has_no_room_is_refused_whole(alice: Person, hers: User) -> None:
    hers.upload("large", b"x" * 600_000)
    alice.here("cp", "large", "again", exit_code=Exit.LIMIT)
    assert paths(hers) == ["/large"]


# rm and delete


def test_files_and_folders_go_to_the_trash_and_the_rest_goes_on(alice: Person, hers: User) -> None:
    for name in ("a.tmp", "b.tmp", "keep"):
        hers.upload(name, b"x")
    hers.upload("c", b"x", folder=hers.mkdir("full"))
    hers.mkdir("empty")
    said = alice.here("rm", "*.tmp", "missing", "full", "empty", "/", exit_code=Exit.NOT_FOUND)
    assert "Moved /a.tmp to the trash\nMoved /b.tmp to the trash\nMoved /empty/ to the trash" in said
    assert "Folder full is not empty." in said
    assert "the root folder cannot be" in said
    assert "3 of 6 could not be deleted." in said
    assert "rm -r PATH" in alice.here("rm", "full", exit_code=Exit.NOT_NOW)
    assert paths(hers) == ["/full/", "/full/c", "/keep"]
    alice.script_here("rm -r full", "restore full", "rm --permanent -r full", "delete keep --permanent")
    assert paths(hers) == []
    assert alice.here("trash", "--json").count('"id"') == 3


def test_deleting_by_id_reaches_into_the_trash(alice: Person, hers: User) -> None:
    file_id = hers.upload("a", b"x").file_id
    said = alice.script_here(f"delete {file_id}", f"delete --permanent {file_id.upper()}", "trash")
    assert f"Moved {file_id} to the trash, ID {file_id}" in said
    assert "The trash is empty." in said
    alice.here("delete", file_id, exit_code=Exit.NOT_FOUND)
    alice.here("delete", "--permanent", file_id, exit_code=Exit.NOT_FOUND)
    assert "root folder" in alice.here("delete", "/", exit_code=Exit.USAGE)


def test_at_a_prompt_deleting_much_for_good_is_asked_about(alice: Person, hers: User) -> None:
    for name in ("a", "b", "c", "d"):
        hers.upload(name, b"x")
    hers.mkdir("folder")
    everything = paths(hers)
    prompt = alice.terminal()
    for answer in ("\n", "n\n", "maybe\n", "\x04"):
        prompt.give("rm -r --permanent a b folder")
        prompt.expect_exact("Delete 2 files and 1 folder with all that is in it for good?")
        prompt.send(answer)
        prompt.expect_exact("Nothing was deleted.")
    assert paths(hers) == everything
    prompt.give("rm -r --permanent folder")
    prompt.expect_exact("Delete /folder/ with all that is in it for good? That cannot be undone. [y/N]")
    prompt.sendline("yes")
    for words, last in (("rm --permanent a", "/a"), ("rm --yes --permanent b c", "/c"), ("delete d --permanent", "/d")):
        prompt.give(words)
        prompt.expect_exact(f"Deleted {last} for good.")
    prompt.give("exit")
    assert prompt.left() == Exit.OK
    assert paths(hers) == []


def test_at_a_prompt_it_is_told_how_to_bring_something_back(alice: Person, hers: User) -> None:
    for name in ("it is", "it's", "plain"):
        hers.upload(name, b"x")
    prompt = alice.terminal()
    for words, told in (
        ("rm 'it is'", "restore '/it is'"),
        ('delete "it\'s"', 'restore "/it\'s"'),
        ("rm plain", "restore /plain"),
    ):
        prompt.give(words)
        prompt.expect(r"Until \d{4}-\d\d-\d\d \d\d:\d\d it can be brought back with: (restore [^\r\x1b]+)")
        assert isinstance(prompt.match, re.Match)
        assert prompt.match[1] == told
        prompt.give(told)
        prompt.expect_exact("Restored /")
    prompt.give("exit")
    assert prompt.left() == Exit.OK
    assert paths(hers) == ["/it is", "/it's", "/plain"]


@pytest.mark.parametrize("word", ["", "\udcff", "bad\udcff/x", "\x1b[2J", "x" * 256])
def test_a_word_that_can_name_nothing_is_refused_before_anything_happens(alice: Person, hers: User, word: str) -> None:
    hers.upload("a", b"x")
    hers.mkdir("folder")
    for words in (
        ["mkdir", word],
        ["mkdir", "-p", word],
        ["mv", "a", word],
        ["mv", word, "folder"],
        ["cp", "a", word],
        ["rm", "-r", word],
        ["delete", word],
        ["versions", word],
        ["share", "bob@example.org", word],
    ):
        told = alice.here(*words, exit_code=Exit.BAD_INPUT)
        assert "\x1b" not in told
        assert len(told.splitlines()) == 2
    assert paths(hers) == ["/a", "/folder/"]
