"""Looking around a drive from the shell: where one is, lists, trees, searches, contents; and what Tab completes."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from cloudgrpc.errors import Exit
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cluster_harness import CALM, Cluster
from person import Person
from screen import Screen
from user import CALL_S, upload_messages

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from user import User

ALICE, BOB = "alice@example.org", "bob@example.org"
ODD = "it's b c.txt"
MANY = 1100  # more than one page


@dataclass
class Drive:
    """Alice's, which no test changes.

    /photos/2026/beach.jpg    5000 bytes    shared with Bob: photos
    /photos/cat.jpg           2 versions
    /notes.txt
    /it's b c.txt
    /many/0000 ... 1099
    """

    alice: User
    bob: User
    ids: dict[str, str]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("cluster"), nodes=1, **CALM)
    try:
        yield cluster.start()
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def drive(cluster: Cluster) -> Drive:
    alice, bob = cluster.enroll(ALICE), cluster.enroll(BOB)
    ids: dict[str, str] = {}

    def put(path: str, data: bytes, mime_type: str = "text/plain") -> None:
        folder, _, name = path.rpartition("/")
        messages = upload_messages(alice.token, name, data, folder=ids.get(folder, ""), mime_type=mime_type)
        ids[path] = cluster.files.UploadFile(messages, timeout=CALL_S).file_id

    ids["/photos"] = alice.mkdir("photos")
    ids["/photos/2026"] = alice.mkdir("2026", ids["/photos"])
    ids["/many"] = alice.mkdir("many")
    put("/photos/cat.jpg", b"meow", "image/jpeg")
    put("/photos/cat.jpg", b"meow!", "image/jpeg")
    put("/photos/2026/beach.jpg", b"\xff" * 5000, "image/jpeg")
    put("/notes.txt", "grüße\n".encode())
    put(f"/{ODD}", b"odd\n")
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: alice.mkdir(f"{number:04}", ids["/many"]), range(MANY)))
    share = pb.ShareFileRequest(session_token=alice.token, file_id=ids["/photos"], share_with_email=BOB)
    cluster.files.ShareFile(share, timeout=CALL_S)
    return Drive(alice, bob, ids)


@pytest.fixture
def alice(drive: Drive, tmp_path: Path) -> Person:
    person = Person(drive.alice.cluster, tmp_path)
    person.is_signed_in_as(drive.alice)
    return person


@pytest.fixture
def bob(drive: Drive, tmp_path: Path) -> Person:
    folder = tmp_path / "bob"
    folder.mkdir()
    person = Person(drive.bob.cluster, folder)
    person.is_signed_in_as(drive.bob)
    return person


def json_of(person: Person, *words: str) -> Any:
    return json.loads(person.here(*words))


def test_a_script_keeps_its_current_folder_from_line_to_line(alice: Person) -> None:
    said = alice.script("pwd", "cd photos/2026", "pwd", "ls", "cd ..", "pwd", "cd", "pwd", "cd -", "cd -")
    assert re.findall(r"^/.*$", said, re.MULTILINE) == ["/", "/photos/2026", "/photos", "/", "/photos", "/"]
    assert "beach.jpg" in said


def test_a_script_that_fails_names_its_line(alice: Person) -> None:
    said = alice.here(said="# look\n\ncd photos\nls nowhere\npwd\n", exit_code=Exit.NOT_FOUND)
    assert "line 4: /photos/nowhere does not exist." in said
    assert "/photos\n" not in said
    assert "cat.jpg is a file" in alice.here("cd", "/photos/cat.jpg", exit_code=Exit.USAGE)


def test_a_list_tells_sizes_dates_ids_and_names_folders_first(alice: Person, drive: Drive) -> None:
    said = alice.shell("ls")
    assert re.match(r" *Size +Modified +ID +Name\n", said)
    assert re.search(rf"1 file +\S+ \S+ +{drive.ids['/photos']} +photos/\n", said)
    assert re.search(rf"8 B +\S+ \S+ +{drive.ids['/notes.txt']} +notes\.txt\n", said)
    assert said.index("photos/") < said.index(ODD) < said.index("notes.txt")
    assert alice.shell("list") == said


def test_a_long_list_tells_versions_and_what_is_shared(alice: Person, bob: Person) -> None:
    said = alice.here("ls", "-l", "/", "/photos")
    assert re.search(r"yes +[0-9a-f]{32} +photos/", said)
    assert re.search(r" 2 +[0-9a-f]{32} +cat\.jpg", said)
    assert "/:\n" in said
    assert "\n\n/photos:\n" in said


def test_what_lies_below_is_listed_drawn_and_found(alice: Person) -> None:
    said = alice.script_here(
        "ls -R photos", "tree photos", "tree -d -L 1", "cd photos", "find BEACH", "find . --larger 4k"
    )
    assert "/photos:\n" in said
    assert "\n/photos/2026:\n" in said
    assert "/photos\n├── 2026/\n│   └── beach.jpg\n└── cat.jpg\n\n1 folder, 2 files\n" in said
    assert "/\n├── many/\n└── photos/\n\n2 folders\n" in said
    assert said.endswith("2026/beach.jpg\n2026/beach.jpg\n")


def test_wildcards_name_what_fits_and_a_name_of_their_very_letters_goes_first(alice: Person, drive: Drive) -> None:
    said = alice.script("ls photos/*.jpg", "ls */2026/b*", "cat *otes.txt", f'cat "{ODD}"', "ls many/000[12]")
    assert "photos/cat.jpg\n" in said
    assert "photos/2026/beach.jpg\n" in said
    assert "grüße\nodd\n" in said
    assert said.endswith("/many/0001:\nNothing here.\n\n/many/0002:\nNothing here.\n")
    drive.alice.upload("[n]otes.txt", b"brackets")
    assert alice.shell("cat", "[n]otes.txt") == "brackets"
    assert "Nothing matches nothing*." in alice.shell("ls", "nothing*", exit_code=Exit.NOT_FOUND)


def test_everything_about_a_thing_is_told_by_path_and_by_id(alice: Person, drive: Drive) -> None:
    said = alice.here("stat", "/photos/cat.jpg", drive.ids["/photos"])
    for line in (
        r"Path +/photos/cat.jpg",
        "Size +5 B",
        "Type +image/jpeg",
        "Version +2",
        "Checksum +blake3:[0-9a-f]{64}",
    ):
        assert re.search(f"^{line}$", said, re.MULTILINE)
    assert re.search(rf"^Path +/photos\n(.*\n)*Shared with +{BOB} may read$", said, re.MULTILINE)
    assert re.search(rf"^Shared with +{BOB} may read, through /photos$", said, re.MULTILINE)


def test_what_is_missing_does_not_keep_the_others_from_being_told(alice: Person) -> None:
    said = alice.here("stat", "nowhere", "/notes.txt", exit_code=Exit.NOT_FOUND)
    assert "/nowhere does not exist." in said
    assert "Path         /notes.txt" in said
    assert "1 of 2 could not be found." in said


def test_what_is_shared_is_entered_listed_and_searched_like_ones_own(bob: Person) -> None:
    said = bob.script(
        "ls shared:", f"cd shared:{ALICE}", "ls", "cd photos/2026", "pwd", "ls", "find cat", "cd /", "find"
    )
    assert f"Name\n{ALICE}/\n" in said
    assert f"shared:{ALICE}/photos/2026\n" in said
    assert "beach.jpg\n" in said
    assert "cat.jpg" not in said
    said = bob.script(f"find shared:{ALICE}/photos cat", f"cat shared:{ALICE}/*/cat.jpg", "tree shared:")
    assert f"shared:{ALICE}/photos/cat.jpg\nmeow!" in said
    assert "└── beach.jpg" in said
    said = bob.shell("ls", f"shared:{ALICE}/nothing", exit_code=Exit.NOT_FOUND)
    assert f"shared:{ALICE}/nothing does not exist" in said
    bob.shell("ls", "shared:carol@example.org", exit_code=Exit.NOT_FOUND)


def test_json_is_one_document_with_nothing_lost(alice: Person, drive: Drive) -> None:
    listed = {entry["path"]: entry for entry in json_of(alice, "ls", "-R", "--json", "/photos")}
    assert set(listed) == {"/photos/2026", "/photos/cat.jpg", "/photos/2026/beach.jpg"}
    beach = listed["/photos/2026/beach.jpg"]
    assert (beach["kind"], beach["size"], beach["version"], beach["id"]) == (
        "file",
        5000,
        1,
        drive.ids["/photos/2026/beach.jpg"],
    )
    assert (listed["/photos/2026"]["kind"], listed["/photos/2026"]["size"]) == ("folder", None)
    assert [share["email"] for share in json_of(alice, "stat", "--json", "/photos")[0]["shared_with"]] == [BOB]
    assert json_of(alice, "find", "--json", "--type", "image", "--newer", "1h", "cat")[0]["path"] == "/photos/cat.jpg"
    assert json_of(alice, "find", "--json", "nothing like it") == []
    assert [entry["depth"] for entry in json_of(alice, "tree", "--json", "photos")] == [1, 2, 1]


def test_a_folder_of_several_pages_is_listed_whole(alice: Person) -> None:
    assert [entry["name"] for entry in json_of(alice, "ls", "--json", "many")] == [f"{n:04}" for n in range(MANY)]
    assert len(alice.here("ls", "many").splitlines()) == 1 + MANY


def test_sums_and_room_add_up(alice: Person) -> None:
    sums = {entry["path"]: entry for entry in json_of(alice, "du", "--json", "-d", "2", "photos")}
    assert sums["/photos/2026"] == {"path": "/photos/2026", "size": 5000, "files": 1}
    assert sums["/photos"] == {"path": "/photos", "size": 5005, "files": 2}
    assert re.search(r"4\.9 KB +2 files +/photos\n", alice.here("du", "-d", "0", "photos"))
    room = json_of(alice, "storage", "--json")
    parts = ("live_bytes", "version_bytes", "trash_bytes", "reserved_bytes")
    assert room["used_bytes"] == sum(room[part] for part in parts)
    assert room["version_bytes"] == len("meow")
    assert sum(room["by_type"].values()) == room["used_bytes"]
    assert "older versions" in alice.here("storage")


def test_history_tells_the_newest_first_and_as_many_as_wished(alice: Person, bob: Person) -> None:
    told = json_of(alice, "history", "--json", "-n", "1005")
    assert len(told) == 1005
    assert [entry["time"] for entry in told] == sorted((entry["time"] for entry in told), reverse=True)
    assert any(BOB in json.dumps(entry) for entry in json_of(alice, "history", "--json"))
    assert len(alice.here("history", "-n", "3").splitlines()) == 4


def test_content_is_piped_byte_for_byte_and_kept_from_a_terminal_if_it_is_no_text(alice: Person) -> None:
    assert alice.output("cat", "/photos/2026/beach.jpg", "/notes.txt") == b"\xff" * 5000 + "grüße\n".encode()
    terminal = alice.terminal("cat", "/photos/2026/beach.jpg")
    terminal.expect("is not plain text")
    assert terminal.left() == Exit.USAGE
    terminal = alice.terminal("cat", "/notes.txt")
    terminal.expect("grüße")
    assert terminal.left() == Exit.OK
    assert "is a folder" in alice.shell("cat", "/photos", exit_code=Exit.USAGE)


def test_tab_goes_on_with_paths_commands_and_options(alice: Person) -> None:
    screen = Screen(alice.terminal())
    screen.wait(f"{ALICE} />")
    screen.type("cat it\t", r"cat it\'s\ b\ c.txt")
    screen.enter("\nodd\n")
    screen.type('cat "it\t', 'cat "it\'s b c.txt"')
    screen.enter("\nodd\n")
    screen.type("cd pho\t", "cd photos/")
    screen.type("\t", "cd photos/2026/")
    screen.enter(f"{ALICE} /photos/2026>")
    screen.type("cat ../c\t", "cat ../cat.jpg")
    screen.enter("meow!")
    screen.type("find --la\t", "find --larger")
    screen.type("1 --ty\t", "--larger 1 --type")
    screen.type("im\t", "--type image")
    screen.enter("beach.jpg")
    screen.type("hel\t", "help")
    screen.type("fi\t", "help find")
    screen.enter("examples:")
    screen.type("fnd", "fnd")
    screen.enter("did you mean find")
    assert screen.terminal.leave() == Exit.OK


def test_tab_shows_what_can_come_next(alice: Person, bob: Person) -> None:
    screen = Screen(bob.terminal())
    screen.wait(f"{BOB} />")
    screen.type("cd shared:\t", f"cd shared:{ALICE}/")
    screen.type("\t", f"cd shared:{ALICE}/photos/")
    screen.enter(f"{BOB} shared:{ALICE}/photos>")
    screen.terminal.send("cat \t")
    screen.wait("2026/")
    screen.wait("cat.jpg")
    screen.type("\x03", "photos>")
    screen.terminal.send("sha\t")
    screen.wait("Show what others share with you.")
    screen.type("\x03", "photos>")
    screen.terminal.send("ls -\t")
    screen.wait("also list all folders below")
    screen.type("\x03", "photos>")
    assert screen.terminal.leave() == Exit.OK


def test_lines_are_kept_between_runs_in_a_private_file_but_not_what_is_no_command(alice: Person) -> None:
    screen = Screen(alice.terminal())
    screen.wait(f"{ALICE} />")
    for line, told in (("pwd", "\n/\n"), ("123456", "no command 123456"), (" ls /photos", "2026/")):
        screen.type(line, line)
        screen.enter(told)
    assert screen.terminal.leave() == Exit.OK
    kept = alice.folder / "home" / ".config" / "cloudgrpc" / "shell_history"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.read_text() == "pwd\n"
    screen = Screen(alice.terminal())
    screen.wait(f"{ALICE} />")
    screen.type("\x1b[A", "pwd")
    screen.enter("\n/\n")
    assert screen.terminal.leave() == Exit.OK


def test_tab_is_silent_where_the_gateway_is_away(alice: Person) -> None:
    alice.cluster.stop_gateway()
    try:
        screen = Screen(alice.terminal())
        screen.wait(f"{ALICE} />")
        screen.type("ls pho\t", "ls pho")
        screen.type("tos", "ls photos")
        assert len(screen.text.splitlines()) == 3  # the greeting and the prompt
        screen.enter("No gateway answers")
        assert screen.terminal.leave() == Exit.OK
    finally:
        alice.cluster.start_gateway()
