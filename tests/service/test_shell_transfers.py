"""upload, download and uploads as a person types them, against a real gateway and nodes."""

from __future__ import annotations

import json
import os
import re
import signal
from typing import TYPE_CHECKING, Any

import pytest

from cloudgrpc.clients.session import SignIn
from cloudgrpc.core.chunking import CHUNK_BYTES
from cloudgrpc.errors import Exit
from cluster_harness import CALM, Cluster
from line import Line
from person import Person

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from user import User

FILM = os.urandom(9 * CHUNK_BYTES + 5)
MIB = 1 << 20


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
    """Her drive is shared by the tests of this file, each in a folder of its own."""
    person = Person(cluster, tmp_path_factory.mktemp("alice"))
    person.is_signed_in_as(user)
    return person


@pytest.fixture
def line(alice: Person, user: User) -> Iterator[Line]:
    """Over which she reaches the gateway with `--gateway`."""
    with Line(alice.cluster.port) as line:
        alice.store.remember(line.address, SignIn(user.email, user.token))
        yield line


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return tmp_path


def ended(process: subprocess.Popen[str], line: Line) -> str:
    """What a command that is interrupted now says on stderr."""
    process.send_signal(signal.SIGINT)
    line.up.release()
    line.down.release()
    out, err = process.communicate(timeout=60)
    assert process.returncode == Exit.INTERRUPTED, out + err
    assert "Traceback" not in err
    return err


def test_ctrl_c_tells_what_is_kept_and_what_to_type_and_that_goes_on(alice: Person, user: User, line: Line) -> None:
    film = alice.write("film one.bin", FILM)
    user.mkdir("films")
    line.up.hold_after(6 * CHUNK_BYTES)
    process = alice.start("--gateway", line.address, "upload", "film one.bin", "/films")
    line.up.wait_held()
    alice.cluster.wait(lambda: unfinished(alice) and unfinished(alice)[0]["stored_bytes"], what="chunks stored")
    told = ended(process, line)
    (kept,) = unfinished(alice)
    assert kept["name"] == "film one.bin"
    assert kept["folder"] == "/films"
    assert kept["size"] == len(FILM)
    stored = kept["stored_bytes"]
    assert 0 < stored <= 6 * CHUNK_BYTES
    assert re.search(r"Interrupted; [\d.]+ MB of film one.bin \(36.0 MB\) are kept until 2\d{3}-", told)
    assert "Go on with: cloudgrpc shell upload --resume 'film one.bin' /films" in told
    assert "film one.bin" not in alice.here("ls", "/films")
    assert "film one.bin" in alice.here("uploads")

    line.up.count = 0
    told = alice.shell("--gateway", line.address, "upload", "--resume", "film one.bin", "/films")
    assert "of it were there already" in told
    assert 0 < line.up.count < len(FILM) - stored + MIB, "only what was missing travelled"
    alice.here("download", "/films/film one.bin", str(film.with_name("back")))
    assert film.with_name("back").read_bytes() == FILM
    assert unfinished(alice) == []


def unfinished(alice: Person) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(alice.here("uploads", "--json"))
    return found


def test_going_on_expects_the_version_that_is_named_now(alice: Person, user: User, line: Line) -> None:
    file_id = user.upload("plan.bin", b"first").file_id
    user.upload("plan.bin", b"second")
    plan = alice.write("plan.bin", FILM)
    line.up.hold_after(6 * CHUNK_BYTES)
    process = alice.start("--gateway", line.address, "upload", str(plan), "/")
    line.up.wait_held()
    alice.cluster.wait(lambda: unfinished(alice) and unfinished(alice)[0]["stored_bytes"], what="chunks stored")
    ended(process, line)
    user.upload("plan.bin", b"third, of somebody else")
    line.up.count = 0
    options = ["upload", "--resume", str(plan), "/", "--if-version"]
    told = alice.shell("--gateway", line.address, *options, "2", exit_code=Exit.CONFLICT)
    assert "is at version 3 now, not at 2; nothing was changed" in told
    assert line.up.count < MIB, "it is known before the rest travels"
    assert user.download(file_id) == b"third, of somebody else"
    assert len(unfinished(alice)) == 1
    told = alice.shell("--gateway", line.address, *options, "3")
    assert "of it were there already" in told
    assert user.download(file_id) == FILM
    found = json.loads(alice.here("versions", "/plan.bin", "--json"))
    assert [one["version"] for one in found] == [4, 3, 2, 1]


def test_what_to_type_to_go_on_names_the_version_that_was_expected(alice: Person, user: User, line: Line) -> None:
    user.upload("seen.bin", b"first")
    alice.write("seen.bin", FILM)
    line.up.hold_after(6 * CHUNK_BYTES)
    process = alice.start("--gateway", line.address, "upload", "seen.bin", "/", "--if-version", "1")
    line.up.wait_held()
    alice.cluster.wait(lambda: unfinished(alice) and unfinished(alice)[0]["stored_bytes"], what="chunks stored")
    told = ended(process, line)
    assert "Go on with: cloudgrpc shell upload --resume --if-version 1 seen.bin /" in told
    alice.shell("upload", "--resume", "--if-version", "1", "seen.bin", "/")


def test_an_upload_can_be_told_to_go_where_nothing_is(alice: Person, user: User, here: Path) -> None:
    new = here / "new.txt"
    new.write_bytes(b"mine")
    alice.here("upload", str(new), "/", "--if-version", "0")
    new.write_bytes(b"again")
    told = alice.here("upload", str(new), "/", "--if-version", "0", exit_code=Exit.CONFLICT)
    assert "is at version 1 now, not at 0; nothing was changed" in told
    assert alice.output("cat", "/new.txt") == b"mine"
    for word in ("-1", "x", str(1 << 31)):
        alice.here("upload", str(new), "/", f"--if-version={word}", exit_code=Exit.USAGE)
    for command in (["rm"], ["mv"], ["versions", "restore"]):
        alice.here(*command, "/new.txt", "1", "--if-version", "0", exit_code=Exit.USAGE)


def test_an_upload_that_broke_off_is_told_of_and_can_be_dropped(alice: Person, line: Line) -> None:
    film = alice.write("broken.bin", FILM)
    line.up.hold_after(4 * CHUNK_BYTES)
    process = alice.start("--gateway", line.address, "upload", str(film))
    line.up.wait_held()
    alice.cluster.wait(lambda: unfinished(alice) and unfinished(alice)[0]["stored_bytes"], what="chunks stored")
    process.kill()
    process.communicate()
    line.up.release()
    told = alice.here("upload", str(film))
    assert re.search(r"An earlier upload of broken.bin broke off at [\d.]+ MB of 36.0 MB; with --resume", told)
    (kept,) = unfinished(alice)
    assert "Dropped the upload of broken.bin" in alice.here("uploads", "drop", kept["id"])
    told = alice.here("uploads", "drop", kept["id"], exit_code=Exit.NOT_FOUND)
    assert "does not exist" in told
    assert told.endswith("with: cloudgrpc shell uploads\n")
    assert alice.here("uploads") == alice.here("uploads", "drop", "--all") == "Nothing is unfinished.\n"
    alice.here("uploads", "drop", exit_code=Exit.USAGE)
    # Its room is free again at once.
    assert alice.cluster.used_bytes("alice@example.org")[1] == 0


def test_resuming_what_never_began_says_so(alice: Person, here: Path) -> None:
    (here / "inner").mkdir()
    (here / "inner" / "small.txt").write_bytes(b"x")
    for command in (["upload", str(here / "inner" / "small.txt")], ["upload", "-r", str(here / "inner")]):
        told = alice.here(*command, "--resume")
        assert "There was nothing to go on with; all of it travelled.\n" in told
        assert "Uploaded" in told
        told = alice.here(*command, "--resume")
        assert "nothing to go on with" not in told
    alice.here("upload", "--resume", str(here / "inner" / "missing.txt"), exit_code=Exit.NOT_NOW)


def test_who_uploads_to_a_folder_that_is_not_there_is_told_how_to_make_it(alice: Person, here: Path) -> None:
    plan = here / "plan.txt"
    plan.write_bytes(b"x")
    for words in ([str(plan), "/no pe/deeper"], [str(plan), "--to", "/no pe/deeper"]):
        told = alice.here("upload", *words, exit_code=Exit.NOT_FOUND)
        assert "/no pe/deeper" in told.splitlines()[0]
        assert told.endswith("Make the folder with: cloudgrpc shell mkdir -p '/no pe/deeper'\n")
    for word in ("f" * 32, "shared:nobody@example.org"):
        assert "mkdir" not in alice.here("upload", str(plan), "--to", word, exit_code=Exit.NOT_FOUND)
    alice.script_here("mkdir -p '/no pe/deeper'", f"upload {plan} '/no pe/deeper'")


def test_resuming_many_leaves_out_what_is_there(alice: Person, line: Line) -> None:
    for number in range(20):
        alice.write(f"many/inner/{number}.txt", os.urandom(2000))
    alice.write("many/film.bin", FILM)
    alice.here("mkdir", "/many")
    line.up.hold_after(4 * CHUNK_BYTES)
    process = alice.start("--gateway", line.address, "upload", "-r", "many", "/many")
    line.up.wait_held()
    alice.cluster.wait(lambda: unfinished(alice) and unfinished(alice)[0]["stored_bytes"], what="chunks stored")
    told = ended(process, line)
    assert "Go on with: cloudgrpc shell upload --resume -r many /many" in told
    (kept,) = unfinished(alice)
    line.up.count = 0
    told = alice.shell("--gateway", line.address, "upload", "-r", "--resume", "many", "--to", "/many")
    assert line.up.count < len(FILM) - kept["stored_bytes"] + MIB
    assert unfinished(alice) == []
    told = alice.shell("--gateway", line.address, "upload", "-r", "--resume", "many", "--to", "/many")
    assert "Uploaded 0 files" in told
    assert "21 files were there already" in told
    assert "/many/many/film.bin has this content already" in alice.here(
        "upload", "--resume", str(alice.folder / "many" / "film.bin"), "/many/many"
    )
    alice.write("many/inner/3.txt", b"changed")
    told = alice.shell("upload", "-r", "--resume", "many", "/many")
    assert "Uploaded 1 file " in told
    assert alice.output("cat", "/many/many/inner/3.txt") == b"changed"


def test_a_download_goes_on_after_ctrl_c(alice: Person, user: User, line: Line, here: Path) -> None:
    file_id = user.upload("down.bin", FILM).file_id
    line.down.hold_after(5 * CHUNK_BYTES)
    target = here / "my film"
    process = alice.start("--gateway", line.address, "download", "/down.bin", str(target))
    line.down.wait_held()
    part = here / f".my film.{file_id[:8]}v1.part"
    alice.cluster.wait(lambda: part.exists() and part.stat().st_size >= 3 * CHUNK_BYTES, what="some of it")
    told = ended(process, line)
    size = part.stat().st_size
    assert "are kept on this computer" in told
    assert f"Go on with: cloudgrpc shell download /down.bin '{target}'" in told
    line.down.count = 0
    told = alice.shell("--gateway", line.address, "download", "/down.bin", str(target))
    assert "of it were here already" in told
    assert line.down.count < len(FILM) - size + 3 * MIB, "a start of it, since only the answer tells the version"
    assert target.read_bytes() == FILM
    assert list(here.iterdir()) == [target]


def test_only_some_bytes_come_down(alice: Person, user: User, here: Path) -> None:
    user.upload("range.bin", FILM)
    alice.here("download", "/range.bin", str(here), "--range", "5-14")
    assert (here / "range.bin.5-14").read_bytes() == FILM[5:15]
    alice.here("download", "/range.bin", "--range", "-7", "-o", str(here / "tail"))
    assert (here / "tail").read_bytes() == FILM[-7:]
    start = CHUNK_BYTES - 3
    assert alice.output("download", "/range.bin", "--range", f"{start}-", "-") == FILM[start:]
    assert alice.output("download", "/range.bin", "-o", "-") == FILM
    told = alice.here("download", "/range.bin", "--range", f"{len(FILM)}-", "-o", str(here), exit_code=Exit.BAD_INPUT)
    assert "the file has only" in told
    alice.here("download", "/range.bin", "--range", "9-5", exit_code=Exit.USAGE)
    assert {path.name for path in here.iterdir()} == {"range.bin.5-14", "tail"}


def test_an_older_version_comes_down_and_a_newer_goes_up_only_over_what_was_seen(
    alice: Person, user: User, here: Path
) -> None:
    user.upload("plan.txt", b"first")
    user.upload("plan.txt", b"second")
    alice.here("download", "/plan.txt", str(here), "--version", "1")
    assert (here / "plan.txt").read_bytes() == b"first"
    (here / "plan.txt").write_bytes(b"third")
    told = alice.here("upload", str(here / "plan.txt"), "/", "--if-version", "1", exit_code=Exit.CONFLICT)
    assert "is at version 2 now" in told
    alice.here("upload", str(here / "plan.txt"), "/", "--if-version", "2")
    assert alice.output("cat", "/plan.txt") == b"third"
    big = here / "plan.txt"
    big.write_bytes(FILM)
    alice.here("upload", str(big), "/", "--if-version", "1", exit_code=Exit.CONFLICT)
    assert unfinished(alice) == [], "nobody could go on with it"


def test_a_file_can_be_uploaded_over_one_of_another_name(alice: Person, user: User, here: Path) -> None:
    user.upload("standing.txt", b"old")
    (here / "fresh.txt").write_bytes(b"new")
    assert "Uploaded /standing.txt" in alice.here("upload", str(here / "fresh.txt"), "/standing.txt")
    assert alice.output("cat", "/standing.txt") == b"new"
    (here / "film.txt").write_bytes(FILM)
    alice.here("upload", str(here / "film.txt"), "--to", "/standing.txt")
    assert user.resolve("/standing.txt").file.version == 3
    assert "film.txt" not in alice.here("ls", "/")
    alice.here("upload", str(here), str(here / "fresh.txt"), "--to", "/standing.txt", exit_code=Exit.USAGE)


def test_several_files_come_down_by_wildcard(alice: Person, user: User, here: Path) -> None:
    folder = user.mkdir("wild")
    for name in ("a.jpg", "b.jpg", "c.txt"):
        user.upload(name, name.encode(), folder=folder)
    told = alice.here("download", "/wild/*.jpg", str(here / "pictures"))
    assert "Downloaded 2 files" in told
    assert {path.name: path.read_bytes() for path in (here / "pictures").iterdir()} == {
        "a.jpg": b"a.jpg",
        "b.jpg": b"b.jpg",
    }
    assert "2 files were here already" in alice.here("download", "/wild/*.jpg", "-o", str(here / "pictures"))
    alice.here("download", "/wild/*.png", str(here), exit_code=Exit.NOT_FOUND)
    alice.here("download", "/wild/*.jpg", "-", exit_code=Exit.USAGE)


def test_a_folder_comes_down_with_all_it_holds(alice: Person, user: User, here: Path) -> None:
    top = user.mkdir("tree")
    inner = user.mkdir("inner", top)
    user.mkdir("empty", inner)
    user.upload("a.txt", b"a", folder=top)
    user.upload("film.bin", FILM, folder=inner)
    assert "add -r" in alice.here("download", "/tree", str(here), exit_code=Exit.USAGE)
    assert "Downloaded 2 files" in alice.here("download", "-r", "/tree", str(here))
    assert (here / "tree" / "inner" / "empty").is_dir()
    assert (here / "tree" / "inner" / "film.bin").read_bytes() == FILM
    (here / "tree" / "a.txt").write_bytes(b"b")
    told = alice.here("download", "-r", "/tree", str(here))
    assert "Downloaded 1 file " in told
    assert "1 file was here already" in told
    assert (here / "tree" / "a.txt").read_bytes() == b"a"


def test_nothing_comes_down_through_a_link_or_over_a_folder(alice: Person, user: User, here: Path) -> None:
    top = user.mkdir("trap")
    inner = user.mkdir("inner", top)
    user.upload("good.txt", b"good", folder=top)
    user.upload("bad.txt", b"bad", folder=inner)
    user.upload("linked.txt", b"linked", folder=top)
    user.upload("folder.txt", b"x", folder=top)
    elsewhere = here / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_bytes(b"precious")
    target = here / "target" / "trap"
    (target / "folder.txt").mkdir(parents=True)
    (target / "inner").symlink_to(elsewhere)
    (target / "linked.txt").symlink_to(elsewhere / "precious")
    told = alice.here("download", "-r", "/trap", str(target.parent), exit_code=Exit.NOT_NOW)
    assert "inner: is a link" in told
    assert "folder.txt: is a folder" in told
    assert "2 files or folders are missing" in told
    assert (target / "good.txt").read_bytes() == b"good"
    assert {path.name: path.read_bytes() for path in elsewhere.iterdir()} == {"precious": b"precious"}
    assert (target / "linked.txt").read_bytes() == b"linked"
    assert not (target / "linked.txt").is_symlink(), "a link is replaced itself"
