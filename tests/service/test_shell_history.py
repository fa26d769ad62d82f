"""The shell's trash, restore and versions, against a real gateway."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from cloudgrpc.clients.session import Gateway
from cloudgrpc.errors import Exit
from cloudgrpc.shell.completer import Completer
from cloudgrpc.shell.shell import Shell
from cluster_harness import CALM, Cluster
from person import Person

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from user import User


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


def trashed(alice: Person) -> list[str]:
    """Where the things in the trash were, the newest first."""
    return [entry["path"] for entry in json.loads(alice.here("trash", "--json"))]


# The trash


def test_the_trash_is_shown_with_where_things_were_and_when_they_go(alice: Person, hers: User) -> None:
    folder = hers.mkdir("photos")
    inner = hers.mkdir("2026", folder)
    file_id = hers.upload("a.jpg", b"x" * 1500, folder=folder).file_id
    hers.delete(file_id)
    hers.delete(inner)
    said = alice.script("trash", "trash --json")
    table, _, listed = said.partition("[\n")
    lines = table.splitlines()
    assert re.fullmatch(r"ID +Size +Deleted +Goes +Was", lines[0])
    assert re.fullmatch(rf"{inner[:8]} +[-\d]+ [:\d]+  [-\d]+  /photos/2026/", lines[1])
    assert re.fullmatch(rf"{file_id[:8]} +1\.5 KB  [-\d]+ [:\d]+  [-\d]+  /photos/a\.jpg", lines[2])
    entries = json.loads(f"[{listed}")
    assert [(e["id"], e["kind"], e["name"], e["path"], e["size"]) for e in entries] == [
        (inner, "folder", "2026", "/photos/2026", None),
        (file_id, "file", "a.jpg", "/photos/a.jpg", 1500),
    ]
    assert all(entry["deleted_at"] < entry["ends_at"] for entry in entries)
    assert "is empty" in alice.script("trash rm a.jpg 2026", "trash")
    assert alice.here("trash", "--json") == "[]\n"


def test_some_of_the_trash_goes_for_good_by_any_of_its_names(alice: Person, hers: User) -> None:
    ids = [hers.upload(name, b"x").file_id for name in ("by-name", "by-path", "by-id", "kept")]
    for file_id in ids:
        hers.delete(file_id)
    said = alice.here("trash", "rm", "by-name", "/by-path", ids[2][:8], "nothing", exit_code=Exit.NOT_FOUND)
    assert "Deleted /by-id for good." in said
    assert "Nothing called nothing is in the trash." in said
    assert trashed(alice) == ["/kept"]


def test_a_script_empties_the_trash_unasked_and_is_told_what_is_free(alice: Person, hers: User) -> None:
    for name in ("a", "b"):
        hers.delete(hers.upload(name, b"x" * 1000).file_id)
    hers.upload("kept", b"x")
    said = alice.script_here("trash empty", "trash empty")
    assert "Deleted 2 files and folders for good; 2.0 KB are free again." in said
    assert "The trash is empty." in said
    assert hers.names() == ["kept"]
    assert hers.storage().used_bytes == 1


def test_a_person_is_asked_before_the_trash_is_emptied(alice: Person, hers: User) -> None:
    hers.delete(hers.upload("a", b"x" * 1000).file_id)
    prompt = alice.terminal()
    for answer in ("n", ""):
        prompt.give("trash empty")
        prompt.expect_exact("Delete 1 file or folder (1000 B) for good? [y/N]")
        prompt.sendline(answer)
        prompt.expect_exact("Nothing was deleted.")
    assert trashed(alice) == ["/a"]
    prompt.give("trash empty --yes")
    prompt.expect_exact("Deleted 1 file or folder for good; 1000 B are free again.")
    prompt.give("exit")
    assert prompt.left() == Exit.OK
    assert trashed(alice) == []


def test_what_was_restored_while_a_person_was_asked_is_not_deleted(alice: Person, hers: User) -> None:
    ids = [hers.upload(name, b"x").file_id for name in ("a", "b")]
    for file_id in ids:
        hers.delete(file_id)
    terminal = alice.terminal("trash", "rm", "a", "b")
    terminal.expect_exact("Delete 2 files for good? That cannot be undone. [y/N]")
    alice.here("restore", "a")
    terminal.sendline("y")
    terminal.expect_exact("Deleted /b for good.")
    terminal.expect_exact("Nothing called /a is in the trash.")
    assert terminal.left() == Exit.NOT_FOUND
    assert hers.names() == ["a"]


# Restoring


def test_things_come_back_by_name_by_path_and_by_id(alice: Person, hers: User) -> None:
    folder = hers.mkdir("photos")
    first = hers.upload("a.jpg", b"x", folder=folder).file_id
    second = hers.upload("b.jpg", b"x", folder=folder).file_id
    third = hers.upload("été 1", b"x", folder=folder).file_id
    fourth = hers.upload("d.jpg", b"x", folder=folder).file_id
    for file_id in (first, second, third, fourth):
        hers.delete(file_id)
    said = alice.script_here("restore a.jpg /photos/b.jpg", "cd photos", "restore './e\u0301te\u0301 1' " + fourth[:8])
    assert said.splitlines()[-4:] == [f"Restored /photos/{name}" for name in ("a.jpg", "b.jpg", "été 1", "d.jpg")]
    assert hers.names(folder) == ["a.jpg", "b.jpg", "d.jpg", "été 1"]
    for word in ("a.jpg", "", "/", "\udcff", "x\udcff/y", "dead"):
        alice.here("restore", word, exit_code=Exit.NOT_FOUND)
    told = alice.here("restore", "a.jpg", exit_code=Exit.NOT_FOUND)
    assert "Nothing called a.jpg is in the trash." in told
    assert "trash" in told.splitlines()[1]


def test_a_folder_comes_back_with_all_it_held(alice: Person, hers: User) -> None:
    folder = hers.mkdir("photos")
    hers.upload("a.jpg", b"x", folder=folder)
    alice.here("rm", "-r", "photos")
    told = alice.here("restore", "/photos/a.jpg", exit_code=Exit.NOT_FOUND)
    assert "may have been in /photos, which is in the trash as a whole" in told
    said = alice.script_here("mkdir there", "restore photos --to there --as pictures")
    assert "Restored /photos/ as /there/pictures/" in said
    assert hers.names(folder) == ["a.jpg"]


def test_of_several_of_one_name_a_script_must_name_one(alice: Person, hers: User) -> None:
    old = hers.upload("a.txt", b"old").file_id
    hers.delete(old)
    new = hers.upload("a.txt", b"new").file_id
    hers.delete(new)
    told = alice.here("restore", "a.txt", exit_code=Exit.USAGE)
    assert re.search(
        rf"2 things in the trash are called a.txt, the newest first: {new[:8]}  /a.txt, .*; {old[:8]}  /a.txt, ", told
    )
    assert len(told.splitlines()) == 2
    assert hers.names() == []
    alice.here("restore", old[:8])
    assert hers.download(old) == b"old"
    assert hers.names() == ["a.txt"]


def test_of_several_of_one_name_a_person_chooses(alice: Person, hers: User) -> None:
    old = hers.upload("a.txt", b"old").file_id
    hers.delete(old)
    new = hers.upload("a.txt", b"new").file_id
    hers.delete(new)
    prompt = alice.terminal()
    for answer in ("3\n", "\x04"):
        prompt.give("restore a.txt")
        prompt.expect_exact("2 things in the trash are called a.txt; the newest first:")
        prompt.expect(rf"1  {new[:8]}  /a\.txt, deleted ")
        prompt.expect(rf"2  {old[:8]}  /a\.txt, deleted ")
        prompt.expect_exact("3  none of these")
        prompt.expect_exact("Your choice [1]: ")
        prompt.send(answer)
    assert hers.names() == []
    prompt.give("restore a.txt")
    for answer in ("0", "4", "two", "2"):
        prompt.expect_exact("Your choice [1]: ")
        prompt.sendline(answer)
    prompt.expect_exact("Restored /a.txt")
    prompt.give("exit")
    assert prompt.left() == Exit.OK
    assert hers.ls().files[0].file_id == old


def test_where_its_name_is_taken_a_script_says_what_to_do(alice: Person, hers: User) -> None:
    hers.delete(hers.upload("a.txt", b"old").file_id)
    hers.upload("a.txt", b"new")
    told = alice.here("restore", "a.txt", exit_code=Exit.EXISTS)
    assert "a.txt exists already; --anyway restores" in told
    assert trashed(alice) == ["/a.txt"]
    said = alice.script_here("restore a.txt --anyway", "rm 'a (2).txt'", "restore 'a (2).txt' --as b.txt")
    assert "Restored /a.txt as /a (2).txt" in said
    assert hers.names() == ["a.txt", "b.txt"]


def test_where_its_name_is_taken_a_person_is_asked(alice: Person, hers: User) -> None:
    ids = [hers.upload("a.txt", b"first").file_id]
    for content in (b"second", b"third"):
        hers.delete(ids[-1])
        ids.append(hers.upload("a.txt", content).file_id)
    prompt = alice.terminal()
    for file_id, answers, told in (
        (ids[0], ["3"], "/a.txt stays in the trash."),
        (ids[0], ["2", ""], "/a.txt stays in the trash."),
        (ids[0], [""], "Restored /a.txt as /a (2).txt"),
        (ids[1], ["2", "a.txt", "2", "b.txt"], "Restored /a.txt as /b.txt"),
    ):
        prompt.give(f"restore {file_id}")
        prompt.expect_exact("a.txt exists already.")
        for answer in answers:
            prompt.expect("(Your choice .*|New name): ")
            prompt.sendline(answer)
        prompt.expect_exact(told)
    prompt.give("exit")
    assert prompt.left() == Exit.OK
    assert hers.names() == ["a (2).txt", "a.txt", "b.txt"]


def test_where_its_folder_is_gone_a_script_says_what_to_do(alice: Person, hers: User) -> None:
    alice.script_here("mkdir -p a b")
    folders = {entry.folder_name: entry.folder_id for entry in hers.ls().folders}
    hers.upload("1.txt", b"x", folder=folders["a"])
    hers.upload("2.txt", b"x", folder=folders["a"])
    alice.script_here("rm a/1.txt a/2.txt", "rm a")
    told = alice.here("restore", "1.txt", exit_code=Exit.NOT_NOW)
    assert "--anyway" in told
    alice.here("restore", "1.txt", "--to", "/missing", exit_code=Exit.NOT_FOUND)
    said = alice.script_here("restore 1.txt --anyway", "restore /a/2.txt --to b")
    assert "Restored /a/1.txt as /1.txt\nRestored /a/2.txt as /b/2.txt" in said
    assert hers.names(folders["b"]) == ["2.txt"]


def test_where_its_folder_is_gone_a_person_is_asked(alice: Person, hers: User) -> None:
    alice.script_here("mkdir a b")
    hers.upload("1.txt", b"x", folder=hers.ls().folders[0].folder_id)
    alice.script_here("rm a/1.txt", "rm --permanent a")
    terminal = alice.terminal("restore", "1.txt")
    terminal.expect_exact("does not exist any more.")
    terminal.expect_exact("1  restore it to the root folder")
    terminal.expect_exact("Your choice [1]: ")
    terminal.sendline("2")
    terminal.expect_exact("Folder: ")
    terminal.sendline("/b")
    terminal.expect_exact("Restored /a/1.txt as /b/1.txt")
    assert terminal.left() == Exit.OK


def test_tab_offers_what_lies_in_the_trash_and_both_forms_of_versions(alice: Person, hers: User) -> None:
    for name in ("a.txt", "a.txt", "ab c", "b.txt", "rmdir"):
        hers.delete(hers.upload(name, b"x").file_id)
    hers.upload("report", b"x")
    with Gateway(alice.cluster.address) as gateway:
        shell = Shell(gateway, alice.store)

        def offered(line: str) -> list[str]:
            return sorted({each.name for each in Completer(shell.commands, shell.places).complete(line)})

        assert offered("restore a") == ["a.txt", "ab c"]
        assert offered("trash rm b") == ["b.txt"]
        assert offered("versions re") == ["report", "restore"]
        assert offered("versions restore re") == ["report"]


def test_one_name_for_several_things_is_refused(alice: Person, hers: User) -> None:
    for name in ("a", "b"):
        hers.delete(hers.upload(name, b"x").file_id)
    alice.here("restore", "a", "b", "--as", "c", exit_code=Exit.USAGE)
    alice.here("restore", "a", "--as", "c/d", exit_code=Exit.BAD_INPUT)
    assert hers.names() == []


# Versions


def test_versions_are_shown_restored_and_deleted(alice: Person, hers: User) -> None:
    for content in (b"one", b"second", b"the third"):
        file_id = hers.upload("plan", content).file_id
    said = alice.script_here(
        "versions plan", "versions restore plan 1", "versions rm plan 2 3 2", "versions --json plan"
    )
    lines = said.splitlines()
    assert re.fullmatch(r"Version +Size +Made +By", lines[0])
    assert re.fullmatch(rf" +3 +9 B +[-\d]+ [:\d]+  {hers.email}  \(the newest\)", lines[1])
    assert re.fullmatch(rf" +1 +3 B +[-\d]+ [:\d]+  {hers.email}", lines[3])
    assert "Version 1 of /plan is its newest content again, as version 4" in said
    assert "Deleted version 2 of /plan for good.\nDeleted version 3 of /plan for good.\n" in said
    listed = json.loads("[" + said.partition("[\n")[2])
    assert [(entry["version"], entry["size"], entry["is_newest"]) for entry in listed] == [(4, 3, True), (1, 3, False)]
    assert listed[0]["made_by"] == hers.email
    assert listed[0]["checksum"].startswith("blake3:")
    assert hers.download(file_id) == b"one"
    assert "/plan has the content of version 4 already." in alice.here("versions", "restore", "plan", "4")


def test_a_version_that_cannot_be_had_is_told(alice: Person, hers: User) -> None:
    file_id = hers.upload("plan", b"one").file_id
    hers.upload("plan", b"two")
    hers.mkdir("folder")
    for words in (["versions", "restore", "plan", "7"], ["versions", "rm", "plan", "7"]):
        told = alice.here(*words, exit_code=Exit.NOT_FOUND)
        assert "Version 7 of plan does not exist." in told
        assert told.endswith("versions PATH\n")
    words = ["download", "plan", "--version", "7", "-o", str(alice.folder / "plan")]
    assert alice.here(*words, exit_code=Exit.NOT_FOUND).endswith("versions PATH\n")
    alice.here("versions", "restore", "plan", "1", "--if-version", "1", exit_code=Exit.CONFLICT)
    told = alice.here("versions", "rm", "plan", "2", "7", "1", exit_code=Exit.NOT_NOW)
    assert "2 of 3 could not be deleted." in told
    assert "only files have versions" in alice.here("versions", "folder", exit_code=Exit.USAGE)
    assert "not the number of a version" in alice.here("versions", "rm", "plan", "all", exit_code=Exit.USAGE)
    for words in ([], ["restore", "plan"], ["rm"], ["plan", "1"]):
        alice.here("versions", *words, exit_code=Exit.USAGE)
    alice.here("versions", "missing", exit_code=Exit.NOT_FOUND)
    assert hers.download(file_id) == b"two"


def test_a_file_may_be_called_like_an_action(alice: Person, hers: User) -> None:
    hers.upload("rm", b"one")
    hers.upload("list", b"1234")
    assert "3 B" in alice.here("versions", "./rm")
    assert "4 B" in alice.here("versions", "list", "list")
