"""The shell's share, unshare, shares and shared: two people at their shells, against a real gateway."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from cloudgrpc.errors import Exit
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
def his(shared_cluster: Cluster, tmp_path: Path) -> User:
    return shared_cluster.enroll(f"bob-{tmp_path.name}@example.org")


@pytest.fixture
def alice(hers: User, tmp_path: Path) -> Person:
    return at_shell(hers, tmp_path / "alice")


@pytest.fixture
def bob(his: User, tmp_path: Path) -> Person:
    return at_shell(his, tmp_path / "bob")


def at_shell(user: User, folder: Path) -> Person:
    folder.mkdir()
    person = Person(user.cluster, folder)
    person.is_signed_in_as(user)
    return person


def token_in(told: str) -> str:
    (token,) = re.findall(r"Token (\S+)", told)
    return str(token)


def test_a_share_is_told_to_both_with_the_path_to_type(alice: Person, hers: User, bob: Person, his: User) -> None:
    folder = hers.mkdir("our trip")
    hers.upload("map.pdf", b"x" * 1500, folder=folder)
    plan = hers.upload("plan", b"x").file_id
    said = alice.script(
        f"share {his.email} 'our trip' --write --until '2099-12-31 18:00'",
        f"share {his.email} plan",
        "shares",
        "shares plan",
    )
    assert f"Shared /our trip/ with {his.email} to read and write until 2099-12-31 18:00\nToken " in said
    assert f"Shared /plan with {his.email} to read\nToken " in said
    assert re.search(rf"\n{his.email}  write  2099-12-31 18:00  /our trip/\n", said)
    assert len(re.findall(rf"\n{his.email}  read   -+ +/plan\n", said)) == 1
    said = bob.script("shared", f"ls 'shared:{hers.email}/our trip'", f"stat 'shared:{hers.email}/our trip/map.pdf'")
    assert re.search(rf"\n +write  2099-12-31 18:00  shared:{hers.email}/our trip/\n", said)
    assert re.search(rf"\n +1 B  read   -  +shared:{hers.email}/plan\n", said)
    assert "map.pdf" in said
    mine = json.loads(alice.here("shares", "--json"))
    assert {(share["path"], share["kind"], share["with"], share["permission"]) for share in mine} == {
        ("/our trip", "folder", his.email, "write"),
        ("/plan", "file", his.email, "read"),
    }
    (of_plan,) = json.loads(alice.here("shares", "plan", "--json"))
    assert (of_plan["id"], of_plan["until"]) == (plan, None)
    theirs = json.loads(bob.here("shared", "--json"))
    assert {(share["path"], share["owner"], share["size"], share["token"]) for share in theirs} == {
        (
            f"shared:{hers.email}/our trip",
            hers.email,
            None,
            mine[0]["token"] if mine[0]["kind"] == "folder" else mine[1]["token"],
        ),
        (f"shared:{hers.email}/plan", hers.email, 1, of_plan["token"]),
    }


def test_who_may_use_a_file_through_the_folders_above_it_is_told(alice: Person, hers: User, his: User) -> None:
    name = ("\u00e9t\u00e9", "e\u0301te\u0301")
    folder = hers.mkdir(name[0])
    inner = hers.mkdir("trip", folder)
    plan = hers.upload("plan", b"x", folder=inner).file_id
    hers.mkdir("trip 2", folder)
    for shared_id, permission in ((folder, "write"), (inner, "read"), (plan, "read")):
        hers.share(shared_id, his.email, permission, "2099-12-31T18:00:00Z" if shared_id == inner else "")
    paths = (f"/{name[1]}/trip/plan", f"/{name[0]}/trip", "/", f"/{name[0]}/trip 2")
    facts = json.loads(alice.here("stat", "--json", *paths))
    assert [[(share["permission"], share["through"]) for share in each["shared_with"]] for each in facts] == [
        [("read", None), ("read", f"/{name[0]}/trip"), ("write", f"/{name[0]}")],
        [("read", None), ("write", f"/{name[0]}")],
        [],
        [("write", f"/{name[0]}")],
    ]
    assert facts[0]["shared_with"][1]["until"] == "2099-12-31T18:00:00.000Z"
    told = alice.here("stat", paths[0])
    assert f"{his.email} may read\n" in told
    assert f"{his.email} may read and write, through /{name[0]}\n" in told
    assert re.search(rf"{his.email} may read, until 2099-12-31 ..:.., through /{name[0]}/trip\n", told)


def test_a_token_is_opened_by_whom_it_was_given_to_alone(alice: Person, hers: User, bob: Person, his: User) -> None:
    hers.mkdir("trip")
    token = token_in(alice.here("share", his.email, "trip"))
    said = bob.here("shared", "open", token)
    assert f"It is shared:{hers.email}/trip/, shared with you to read" in said
    assert json.loads(bob.here("shared", "open", token, "--json"))["path"] == f"shared:{hers.email}/trip"
    alice.here("shared", "open", token, exit_code=Exit.NOT_FOUND)
    for word in ("f" * 32, "no token"):
        told = bob.here("shared", "open", word, exit_code=Exit.NOT_FOUND)
        assert f"Share {word} does not exist." in told
        assert "what others share with you with: cloudgrpc shell shared" in told


def test_a_share_ends_by_its_owner_by_its_token_and_by_its_guest(
    alice: Person, hers: User, bob: Person, his: User
) -> None:
    for name in ("a", "b", "c", "d"):
        hers.upload(name, b"x")
    alice.script_here(*(f"share {his.email} {name}" for name in ("a", "b", "c", "d")))
    tokens = {share["path"]: share["token"] for share in json.loads(alice.here("shares", "--json"))}
    said = alice.script_here(f"unshare {his.email} a", f"unshare {tokens['/b']}")
    assert f"{his.email} can no longer use /a" in said
    said = bob.script_here(f"unshare shared:{hers.email}/c", f"unshare {tokens['/d']}", "shared")
    assert f"shared:{hers.email}/c is no longer shared with you." in said
    assert "Nobody shares anything with you." in said
    assert "You share nothing." in alice.here("shares")
    told = alice.here("unshare", his.email, "a", exit_code=Exit.NOT_FOUND)
    assert f"/a is not shared with {his.email}." in told
    assert "See what you share with: cloudgrpc shell shares" in told
    alice.here("unshare", his.email, exit_code=Exit.USAGE)
    alice.here("unshare", his.email, "/", exit_code=Exit.USAGE)
    alice.here("unshare", tokens["/b"], exit_code=Exit.NOT_FOUND)
    alice.here("unshare", "no token", exit_code=Exit.NOT_FOUND)


def test_a_guest_leaves_only_the_whole_of_what_was_shared(alice: Person, hers: User, bob: Person, his: User) -> None:
    hers.upload("a", b"x", folder=hers.mkdir("trip"))
    alice.here("share", his.email, "trip")
    bob.here("unshare", f"shared:{hers.email}/trip/a", exit_code=Exit.USAGE)
    bob.here("unshare", f"shared:{hers.email}/other", exit_code=Exit.NOT_FOUND)
    assert len(json.loads(bob.here("shared", "--json"))) == 1


@pytest.mark.parametrize(
    ("words", "exit_code", "told"),
    [
        (["bob@example.org", "/"], Exit.USAGE, "share what is in it"),
        (["bob@example.org", "shared:"], Exit.USAGE, "share what is in it"),
        (["bob@example.org", "missing"], Exit.NOT_FOUND, "does not exist"),
        (["plan", "bob@example.org"], Exit.BAD_INPUT, "WHO"),
        (["bob@", "plan"], Exit.BAD_INPUT, "bob@ is not an e-mail address."),
        (["bob\udcff@example.org", "plan"], Exit.BAD_INPUT, "WHO"),
        (["bob@example.org", "plan", "--until", "2020-01-01"], Exit.USAGE, "in the past"),
        (["bob@example.org", "plan", "--until", "soon"], Exit.USAGE, "write it as 2026-12-31"),
    ],
)
def test_what_cannot_be_shared_is_told_and_nothing_is(
    alice: Person, hers: User, words: list[str], exit_code: int, told: str
) -> None:
    hers.upload("plan", b"x")
    said = alice.here("share", *words, exit_code=exit_code)
    assert told in said
    assert alice.here("shares", "--json") == "[]\n"


def test_who_shares_with_themselves_is_told_in_words(alice: Person, hers: User) -> None:
    hers.upload("plan", b"x")
    assert alice.here("share", hers.email.upper(), "plan", exit_code=Exit.BAD_INPUT).startswith(
        f"{hers.email.upper()} is your own address.\n"
    )
    assert "share_with_email" not in alice.here("share", "bob@", "plan", exit_code=Exit.BAD_INPUT)


def test_somebody_without_an_account_sees_it_once_they_have_one(
    shared_cluster: Cluster, alice: Person, hers: User, tmp_path: Path
) -> None:
    hers.upload("plan", b"x")
    email = f"carol-{tmp_path.name}@example.org"
    alice.here("share", email, "plan")
    carol = at_shell(shared_cluster.enroll(email), tmp_path / "carol")
    assert f"shared:{hers.email}/plan" in carol.here("shared")


def test_a_reader_may_copy_but_change_nothing_and_not_share_on(
    alice: Person, hers: User, bob: Person, his: User
) -> None:
    folder = hers.mkdir("trip")
    hers.upload("map", b"x", folder=folder)
    hers.upload("alone", b"x")
    alice.script_here(f"share {his.email} trip", f"share {his.email} alone --write")
    trip = f"shared:{hers.email}/trip"
    for words in (
        ["mkdir", f"{trip}/new"],
        ["rm", f"{trip}/map"],
        ["mv", f"{trip}/map", f"{trip}/plan"],
        ["rm", "-r", trip],
        ["share", "dora@example.org", trip],
    ):
        bob.here(*words, exit_code=Exit.NOT_ALLOWED)
    told = bob.here("cp", "--replace", f"{trip}/map", f"shared:{hers.email}/alone", exit_code=Exit.USAGE)
    assert "shared without its folder" in told
    assert hers.names(folder) == ["map"]
    assert f"Copied {trip}/ to /mine/ (1 file, 1 folder, 1 B)" in bob.here("cp", "-r", trip, "mine")
    assert his.names(his.ls().folders[0].folder_id) == ["map"]


def test_a_writer_changes_what_is_shared_and_the_owner_restores_it(
    alice: Person, hers: User, bob: Person, his: User
) -> None:
    folder = hers.mkdir("trip")
    hers.upload("map", b"x", folder=folder)
    his.upload("photo", b"x")
    alice.here("share", his.email, "trip", "--write")
    trip = f"shared:{hers.email}/trip"
    said = bob.script_here(
        f"mkdir -p {trip}/day/one", f"cp photo {trip}/day", f"cd {trip}", "mv map plan", "rm day/photo"
    )
    assert f"Moved {trip}/map to {trip}/plan" in said
    assert "to its owner's trash" in said
    assert hers.names(folder) == ["plan"]
    bob.here("rm", "--permanent", f"{trip}/plan", exit_code=Exit.NOT_ALLOWED)
    bob.here("mv", "photo", trip, exit_code=Exit.NOT_ALLOWED)
    assert "Restored /trip/day/photo" in alice.here("restore", "photo")


def test_two_shares_of_one_name_are_told_apart(alice: Person, hers: User, bob: Person, his: User) -> None:
    first, second = hers.mkdir("first"), hers.mkdir("second")
    hers.upload("a.txt", b"1", folder=first)
    hers.upload("a.txt", b"22", folder=second)
    alice.script_here(f"share {his.email} /first/a.txt", f"share {his.email} /second/a.txt")
    said = bob.script_here(
        "shared", f"cp 'shared:{hers.email}/a (2).txt' mine", f"unshare 'shared:{hers.email}/a (2).txt'"
    )
    assert f"shared:{hers.email}/a (2).txt" in said
    assert his.ls().files[0].file_size == 2
    assert [share["path"] for share in json.loads(alice.here("shares", "--json"))] == ["/first/a.txt"]


def test_sharing_again_changes_what_they_may_do(alice: Person, hers: User, bob: Person, his: User) -> None:
    hers.upload("plan", b"x")
    said = alice.script_here(f"share {his.email} plan --write", f"share {his.email} plan --until 7d")
    assert len(set(re.findall(r"Token (\S+)", said))) == 1
    (share,) = json.loads(bob.here("shared", "--json"))
    assert share["permission"] == "read"
    assert share["until"]
