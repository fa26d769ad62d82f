"""The shell as a person meets it: one command, a script on stdin, or a prompt, against a real gateway and nodes."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from cloudgrpc.errors import Exit
from cluster_harness import CALM, Cluster
from person import Person

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EMAIL = "alice@example.org"
NAME_THAT_NEEDS_QUOTES = 'it\'s a > b; c|d "e" #1.txt'


@pytest.fixture(scope="module")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("cluster"), nodes=2, limits_resend_s=0.001, **CALM)
    try:
        yield cluster.start()
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def alice(shared_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Person:
    """Signed in. Her drive is shared by the tests of this file, each in a folder of its own."""
    person = Person(shared_cluster, tmp_path_factory.mktemp("alice"))
    told = person.sign_in("enroll", EMAIL, "Alice", "Ndi", attempts=2)
    assert "A code is 6 digits" in told
    assert "3 attempts are left" in told
    assert f"signed in as {EMAIL}" in told
    return person


@pytest.fixture
def stranger(shared_cluster: Cluster, tmp_path: Path) -> Person:
    return Person(shared_cluster, tmp_path)


def test_a_session_is_kept_between_runs_in_a_private_file(alice: Person) -> None:
    assert f"Alice Ndi <{EMAIL}>" in alice.shell("whoami")
    kept = alice.folder / "home" / ".config" / "cloudgrpc" / "sessions.json"
    assert kept.stat().st_mode & 0o777 == 0o600


def test_a_stranger_is_told_how_to_sign_in(stranger: Person) -> None:
    assert "Sign in with: cloudgrpc shell login" in stranger.shell("ls", exit_code=Exit.NOT_SIGNED_IN)


def test_leaving_at_the_code_changes_nothing(stranger: Person) -> None:
    told = stranger.shell("enroll", "leaves@example.org", "Someone", exit_code=Exit.NOT_SIGNED_IN)
    assert "nothing was changed" in told


def test_logout_ends_the_session_and_login_remembers_nothing_of_it(stranger: Person) -> None:
    stranger.sign_in("enroll", "bob@example.org", "Bob")
    assert "bob@example.org is signed out" in stranger.shell("logout")
    stranger.shell("whoami", exit_code=Exit.NOT_SIGNED_IN)
    assert "signed in as bob@example.org" in stranger.sign_in("login", "bob@example.org")
    assert "enrolled already" in stranger_enrolls_again(stranger)


def stranger_enrolls_again(person: Person) -> str:
    with pytest.raises(AssertionError) as told:
        person.sign_in("enroll", "bob@example.org", "Bob")
    return str(told.value)


def test_a_file_comes_back_byte_for_byte_under_a_name_that_needs_quotes(alice: Person, tmp_path: Path) -> None:
    data = os.urandom((5 << 20) + 7)
    alice.write(NAME_THAT_NEEDS_QUOTES, data)
    told = alice.shell("upload", NAME_THAT_NEEDS_QUOTES)
    file_id = re.findall("ID ([0-9a-f]{32})", told)[0]
    quoted = shlex.quote(NAME_THAT_NEEDS_QUOTES)
    told = alice.script("ls", f"download {quoted} {tmp_path}", f"download {file_id} {tmp_path}/by-id")
    assert NAME_THAT_NEEDS_QUOTES in told
    assert (tmp_path / NAME_THAT_NEEDS_QUOTES).read_bytes() == data
    assert (tmp_path / "by-id").read_bytes() == data
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_is_uploaded_with_all_it_holds_but_links(alice: Person) -> None:
    for number in range(20):
        alice.write(f"tree/inner/{number}.txt", b"x" * number)
    (alice.folder / "tree" / "passwd").symlink_to("/etc/passwd")
    os.mkfifo(alice.folder / "tree" / "pipe")
    told = alice.script("mkdir trees", "upload -r tree /trees")
    assert "Uploaded 20 files" in told
    assert "passwd is a link; it was left out" in told
    assert "pipe is not a regular file" in told
    told = alice.script("upload -r tree --to /trees", "ls /trees/tree/inner")
    assert "Uploaded 20 files" in told
    assert len(re.findall(r"\d+\.txt", told)) == 20
    assert "add -r" in alice.shell("upload", "tree", exit_code=Exit.USAGE)


def test_what_cannot_be_uploaded_is_named_and_the_rest_goes_on(alice: Person) -> None:
    alice.write("partly/good.txt", b"good")
    alice.write("partly/bad\nname.txt", b"bad")
    told = alice.shell("upload", "-r", "partly", exit_code=Exit.NOT_NOW)
    assert "Uploaded 1 file" in told
    assert "name.txt: cannot be kept under its name" in told
    assert "1 file or folder is missing" in told


def test_several_files_go_up_at_once(alice: Person) -> None:
    for name in ("one.txt", "two.txt", "three.txt"):
        alice.write(name, name.encode())
    said = alice.script("mkdir several", "upload one.txt two.txt three.txt --to several", "ls several")
    assert re.findall(r"\w+\.txt", said) == ["one.txt", "three.txt", "two.txt"]
    # Two words that are both here are two files; the second is a folder only where nothing here has its name.
    assert "Uploaded 2 files" in alice.shell("upload", "one.txt", "two.txt")
    alice.shell("upload", "one.txt", "nowhere", exit_code=Exit.NOT_FOUND)


def test_a_file_goes_to_the_trash_first_and_then_for_good(alice: Person) -> None:
    alice.write("gone.txt", b"x")
    said = alice.script(
        "mkdir trash", "upload gone.txt trash", "delete trash/gone.txt", "ls trash", "ls trash --deleted"
    )
    assert said.count("Nothing here.") == 1
    assert "gone.txt  (in the trash)" in said
    alice.shell("delete", "trash/gone.txt", exit_code=Exit.NOT_FOUND)
    file_id = re.findall("/gone.txt .*ID ([0-9a-f]{32})", said)[0]
    said = alice.script(f"delete --permanent {file_id}", "ls trash --deleted", "storage")
    assert "for good" in said
    assert "Nothing here." in said
    assert "used" in said


@pytest.mark.parametrize(
    ("words", "exit_code", "told"),
    [
        (["frobnicate"], Exit.USAGE, "There is no command frobnicate"),
        (["upload"], Exit.USAGE, "required: PATH"),
        (["upload", "missing.txt"], Exit.NOT_NOW, "missing.txt: No such file"),
        (["download", "/missing"], Exit.NOT_FOUND, "/missing does not exist"),
        (["download", "0" * 32], Exit.NOT_FOUND, "does not exist"),
        (["mkdir", "/no/parent"], Exit.NOT_FOUND, "/no does not exist"),
        (["mkdir", "/.."], Exit.BAD_INPUT, ".."),
        (["delete", "/"], Exit.USAGE, "root folder"),
        (["shell", "true"], Exit.USAGE, "There is no command shell"),
    ],
)
def test_what_goes_wrong_is_told_in_two_lines_with_its_exit_code(
    alice: Person, words: list[str], exit_code: int, told: str
) -> None:
    said = alice.shell(*words, exit_code=exit_code)
    assert told in said
    assert len(said.splitlines()) == 2


def test_a_gateway_that_is_not_there_is_told_with_what_to_start(alice: Person) -> None:
    assert "wants HOST:PORT" in alice.shell("--gateway", "nonsense", "ls", exit_code=Exit.USAGE)
    assert "demo-cluster" in alice.shell("--gateway", "127.0.0.1:1", "login", "a@b.org", exit_code=Exit.UNAVAILABLE)


def test_help_names_every_command_with_examples_behind_it(alice: Person) -> None:
    told = alice.shell("help")
    account = ("enroll", "login", "logout", "whoami", "sessions", "account")
    for command in (*account, "upload", "download", "ls", "mkdir", "delete", "storage"):
        assert f"\n  {command} " in told
    for unwanted in ("macro", "run_script", "alias", "edit"):
        assert unwanted not in told
    assert "examples:" in alice.shell("download", "--help")
    assert "upload -r ~/photos" in alice.shell("help", "upload")


def test_a_script_stops_at_its_first_error_with_that_exit_code(alice: Person) -> None:
    said = alice.shell(said="# a comment\n\nmkdir /script\nls /missing\nmkdir /never\n", exit_code=Exit.NOT_FOUND)
    assert "Made /script/" in said
    assert "never" not in said
    alice.shell(said='whoami\nls "unclosed\n', exit_code=Exit.USAGE)
    alice.shell(said="exit\nls /missing\n")


def test_a_pipe_that_closes_early_is_no_error(alice: Person) -> None:
    command = f"{sys.executable} -m cloudgrpc shell --gateway {alice.cluster.address} help | true"
    run = subprocess.run(["sh", "-c", command], env=alice.environment, capture_output=True, check=False, timeout=60)
    assert (run.returncode, run.stderr) == (0, b"")


def test_ctrl_c_ends_a_transfer_with_one_line(alice: Person) -> None:
    alice.write("large.bin", b"\0" * (64 << 20))
    nodes = ("node1", "node2")
    # With its nodes frozen the gateway cannot finish, so that Ctrl-C surely comes in the middle.
    alice.cluster.pause(*nodes)
    try:
        process = alice.start("upload", "large.bin")
        alice.cluster.wait(lambda: alice.cluster.used_bytes(EMAIL)[1], what="the upload under way")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        alice.cluster.resume(*nodes)
    assert process.returncode == Exit.INTERRUPTED, out + err
    assert err.strip() == "Interrupted."
    assert "large.bin" not in alice.shell("ls")


def test_a_person_at_the_prompt_signs_in_works_and_leaves(stranger: Person) -> None:
    stranger.write("hello.txt", b"hello")
    seen = len(stranger.codes())
    terminal = stranger.terminal()
    terminal.expect("not signed in>")
    terminal.sendline("ls /")
    terminal.expect("Sign in with: login")
    terminal.sendline('enroll carol@example.org "Carol Che"')
    terminal.expect("Code: ")
    terminal.sendline(stranger.codes()[seen])
    terminal.expect("Welcome, Carol Che")
    terminal.expect("carol@example.org.*/.*>")
    terminal.sendline("upload hello.txt")
    terminal.expect("Uploaded /hello.txt")
    terminal.sendline('ls "unclosed')
    terminal.expect("No closing quotation")
    terminal.sendline("ls")
    terminal.expect(r"5 B .* hello\.txt")
    terminal.expect("carol@example.org.*/.*>")
    assert terminal.leave() == Exit.OK


def test_an_upload_outlives_a_restart_of_the_gateway(alice: Person) -> None:
    alice.write("outlives.bin", os.urandom(24 << 20))
    nodes = ("node1", "node2")
    alice.cluster.pause(*nodes)
    process = alice.start("upload", "outlives.bin")
    alice.cluster.wait(lambda: alice.cluster.used_bytes(EMAIL)[1], what="the upload under way")
    alice.cluster.kill_gateway()
    alice.cluster.resume(*nodes)
    # It waits for so long as a restart takes; on a busy machine that takes longer, and so time stands still for it.
    process.send_signal(signal.SIGSTOP)
    alice.cluster.start_gateway()
    process.send_signal(signal.SIGCONT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == Exit.OK, out + err
    said = alice.script("ls", "download outlives.bin back.bin")
    assert said.count("outlives.bin") == 1
    assert (alice.folder / "back.bin").read_bytes() == (alice.folder / "outlives.bin").read_bytes()
