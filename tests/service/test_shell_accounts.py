"""The shell about accounts: the way in with all its turns, sessions, a session that ended, and the account's care."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cloudgrpc import __version__
from cloudgrpc.clients.session import client_words
from cloudgrpc.errors import Exit, LocalFile, Missing, UsageWrong
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.shell.commands_account import _check_target
from cloudgrpc.shell.commands_sessions import _named
from cluster_harness import CALM, Cluster
from person import Person, Terminal, other_than
from program import HOST, free_port
from user import CALL_S, refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from user import User

CODE = "Code: "


def running(cluster: Cluster) -> Iterator[Cluster]:
    try:
        yield cluster.start()
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Sends a new code whenever one is asked for."""
    folder = tmp_path_factory.mktemp("hasty")
    yield from running(Cluster(folder, nodes=1, drive_new_account_mb=1, limits_resend_s=0.001, **CALM))


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Makes people wait between codes, and after three tries."""
    folder = tmp_path_factory.mktemp("patient")
    yield from running(
        Cluster(folder, nodes=1, drive_new_account_mb=1, limits_resend_s=30, limits_tries_per_hour=3, **CALM)
    )


@pytest.fixture
def person(hasty: Cluster, tmp_path: Path) -> Person:
    return Person(hasty, tmp_path)


@pytest.fixture
def waiting(patient: Cluster, tmp_path: Path) -> Person:
    return Person(patient, tmp_path)


@pytest.fixture
def alice(person: Person) -> User:
    """Signed in at the person's shell."""
    user = person.cluster.enroll(f"alice-{person.folder.name}@example.org", "Alice Ndi")
    person.is_signed_in_as(user)
    return user


def answer(terminal: Terminal, typed: str) -> None:
    terminal.expect_exact(CODE)
    terminal.sendline(typed)


def end_behind_its_back(user: User) -> None:
    user.cluster.auth.EndSession(
        pb.EndSessionRequest(session_token=user.cluster.login(user.email).token, others=True), timeout=CALL_S
    )


# The way in


def test_enter_and_resend_send_another_code_and_a_spent_one_is_replaced_at_once(person: Person) -> None:
    email = "many-codes@example.org"
    terminal = person.terminal("enroll", email, "Many Codes")
    answer(terminal, "")
    terminal.expect_exact("A code of 6 digits was sent")
    answer(terminal, "resend")
    terminal.expect_exact("A code of 6 digits was sent")
    for attempt in range(5):
        answer(terminal, other_than(person.codes(email)[-1]))
        terminal.expect_exact(f"{4 - attempt} attempts are left")
    answer(terminal, person.codes(email)[-1])
    terminal.expect_exact("There is no valid code")
    terminal.expect_exact("A code of 6 digits was sent")
    assert len(person.codes(email)) == 4
    answer(terminal, person.codes(email)[-1])
    terminal.expect_exact("Welcome, Many Codes")
    assert terminal.left() == Exit.OK


def test_too_early_for_another_code_the_seconds_are_told_and_the_one_that_was_sent_works(waiting: Person) -> None:
    terminal = waiting.terminal("enroll", "hasty@example.org", "Hasty")
    answer(terminal, "")
    terminal.expect(r"the next can be sent in \d+ s. Until then the newest code still works")
    answer(terminal, waiting.codes("hasty@example.org")[-1])
    terminal.expect_exact("Welcome, Hasty")
    assert terminal.left() == Exit.OK


def test_a_code_that_was_asked_for_elsewhere_is_enough_to_enter(waiting: Person) -> None:
    code = waiting.cluster.send_code("elsewhere@example.org")
    told = waiting.shell("enroll", "elsewhere@example.org", "Somebody", said=f"{code}\n")
    assert re.search(r"sent in \d+ s. A code that was sent before still works, if", told)
    assert "Welcome, Somebody" in told


def test_too_many_tries_keep_a_person_in_the_flow_and_end_a_script(waiting: Person) -> None:
    email = "guesses@example.org"
    wrong = other_than(waiting.cluster.send_code(email))
    told = waiting.shell("login", email, said=f"{wrong}\n" * 9, exit_code=Exit.LIMIT)
    assert told.count("attempts are left") == 3
    terminal = waiting.terminal("login", email)
    answer(terminal, wrong)
    terminal.expect("the next try is in [0-9]+ s")
    answer(terminal, "quit")
    assert terminal.left() == Exit.NOT_SIGNED_IN


@pytest.mark.parametrize("typed", [" QUIT\n", ""])
def test_there_is_a_friendly_way_out(person: Person, typed: str) -> None:
    told = person.shell("login", "leaves@example.org", said=typed, exit_code=Exit.NOT_SIGNED_IN)
    assert "nothing was changed" in told


def test_a_code_that_cannot_be_mailed_ends_the_sign_in(make_cluster: Callable[..., Cluster], tmp_path: Path) -> None:
    mail = {"mail_host": HOST, "mail_port": free_port(), "mail_user": "sender@example.org", "mail_password": "secret"}
    person = Person(make_cluster(nodes=0, **mail), tmp_path)
    told = person.shell("login", "alice@example.org", said="123456\n", exit_code=Exit.UNAVAILABLE)
    assert "could not be sent by mail" in told
    assert len(told.splitlines()) == 2


# Sessions


def test_a_person_sees_where_they_are_signed_in_and_ends_it(person: Person) -> None:
    told = person.sign_in("enroll", "many@example.org", "Many Places")
    assert "signed in as many@example.org" in told
    phone, tablet, desk = (person.cluster.login("many@example.org") for _ in range(3))
    told = person.script("sessions", "sessions --json")
    table, _, listed = told.partition("[\n")
    sessions = json.loads(f"[{listed}")
    assert len(sessions) == 4
    (own,) = (session for session in sessions if session["is_current"])
    assert own["client"].startswith(f"shell {__version__} on ")
    (line,) = (line for line in table.splitlines() if "(this one)" in line)
    assert line.startswith(own["session_id"][:8] + " ")
    assert HOST in line
    assert own["client"] in line
    newest = sessions[0]["session_id"]
    told = person.shell("sessions", "end", newest[:8])
    assert f"Ended session {newest[:8]}." in told
    person.shell("sessions", "end", newest, exit_code=Exit.NOT_FOUND)
    assert "Ended 2 other sessions." in person.shell("sessions", "end", "--others")
    for user in (phone, tablet, desk):
        with refused("UNAUTHENTICATED", "session_ended"):
            user.ls()
    told = person.shell("sessions", "end", own["session_id"])
    assert "you are signed out" in told
    assert person.store.known(person.cluster.address) is None


@pytest.mark.parametrize("words", [["end"], ["end", "abc", "--others"]])
def test_wrong_words_about_sessions_end_none(person: Person, alice: User, words: list[str]) -> None:
    person.shell("sessions", *words, exit_code=Exit.USAGE)
    assert alice.names() == []


def test_a_session_is_named_by_any_beginning_that_is_its_own() -> None:
    sessions = [pb.SessionInfo(session_id=session_id) for session_id in ("abcd", "abef")]
    assert _named("abe", sessions).session_id == "abef"
    for several in ("a", "ab"):
        with pytest.raises(UsageWrong, match="2 sessions"):
            _named(several, sessions)
    for nobodys in ("x", "abefg", ""):
        with pytest.raises(Missing):
            _named(nobodys, sessions)


@pytest.mark.parametrize(("host", "words"), [("desk", "desk"), ("büro\n\x1b[2J.local", "bro[2J.local"), ("研究室", "")])
def test_the_client_names_itself_in_printable_ascii(host: str, words: str) -> None:
    assert client_words(host) == f"shell {__version__} on {words}".strip()


# A session that ended


def test_a_session_that_ended_leads_back_to_sign_in_and_the_command_goes_on(person: Person, alice: User) -> None:
    end_behind_its_back(alice)
    seen = len(person.codes(alice.email))
    terminal = person.terminal()
    terminal.expect(f"{alice.email}.*/.*>")
    terminal.sendline("mkdir /made")
    terminal.expect_exact("Your session has ended; sign in again to go on.")
    terminal.expect_exact(CODE)
    assert len(person.codes(alice.email)) == seen + 1
    terminal.sendline(person.codes(alice.email)[-1])
    terminal.expect_exact("Made /made/")
    terminal.expect(f"{alice.email}.*/.*>")
    terminal.sendline("ls")
    terminal.expect(r"0 files .*made/")
    terminal.expect(f"{alice.email}.*/.*>")
    assert terminal.leave() == Exit.OK


def test_who_leaves_that_sign_in_gets_the_exit_code_of_one_not_signed_in(person: Person, alice: User) -> None:
    end_behind_its_back(alice)
    terminal = person.terminal("whoami")
    answer(terminal, "exit")
    assert terminal.left() == Exit.NOT_SIGNED_IN


def test_without_a_terminal_an_ended_session_fails_and_the_address_stays_known(person: Person, alice: User) -> None:
    end_behind_its_back(alice)
    seen = len(person.codes(alice.email))
    told = person.shell(said="mkdir /made\nwhoami\n", exit_code=Exit.NOT_SIGNED_IN)
    assert len(told.splitlines()) == 2
    assert len(person.codes(alice.email)) == seen, "no code was sent"
    assert f"signed in as {alice.email}" in person.sign_in("login")


# The account


def test_a_name_is_changed_and_shown(person: Person, alice: User) -> None:
    told = person.script('account name "Alice Ndi Che"', "account", "whoami")
    assert "Your name is now Alice Ndi Che." in told
    assert told.count(f"Alice Ndi Che <{alice.email}>") == 2
    assert "closed" not in told
    person.shell("account", "name", "x" * 201, exit_code=Exit.BAD_INPUT)


def test_who_is_signed_in_is_told_as_json(person: Person, alice: User) -> None:
    told = [json.loads(person.here(command, "--json")) for command in ("whoami", "account")]
    assert told[0] == told[1]
    me = told[0]
    assert (me["email"], me["user_id"], me["closes_at"]) == (alice.email, alice.user_id, None)
    assert me["created_at"] < me["session_expires_at"]
    assert me["gateway"] == person.cluster.address
    assert me["full_name"]


def test_an_export_is_whole_private_and_replaces_nothing_unasked(person: Person, alice: User) -> None:
    alice.mkdir("photos")
    printed = person.start("account", "export").communicate(timeout=60)[0]
    assert "photos" in str(json.loads(printed))
    person.shell("account", "export", "me.json")
    kept = person.folder / "me.json"
    assert json.loads(kept.read_bytes()).keys() == json.loads(printed).keys()
    assert kept.stat().st_mode & 0o777 == 0o600
    kept.write_text("mine")
    told = person.shell("account", "export", "me.json", exit_code=Exit.EXISTS)
    assert "--force" in told
    assert kept.read_text() == "mine"
    person.shell("account", "export", "me.json", "--force")
    assert "photos" in str(json.loads(kept.read_bytes()))
    person.shell("account", "export", "no/where.json", exit_code=Exit.NOT_NOW)
    assert {path.name for path in person.folder.iterdir()} == {"home", "me.json"}


def test_what_is_no_file_is_not_replaced_even_by_force(tmp_path: Path) -> None:
    for place in (tmp_path, Path("/dev/null")):
        with pytest.raises(LocalFile, match="not a regular file"):
            _check_target(place, may_replace=True)


def test_an_export_that_is_refused_leaves_nothing_behind(person: Person, alice: User) -> None:
    end_behind_its_back(alice)
    person.shell("account", "export", "me.json", exit_code=Exit.NOT_SIGNED_IN)
    assert {path.name for path in person.folder.iterdir()} == {"home"}


def test_an_account_is_closed_by_a_code_and_taken_back(person: Person, alice: User) -> None:
    phone = person.cluster.login(alice.email)
    terminal = person.terminal("account", "close")
    terminal.expect_exact(f"This closes the account of {alice.email}")
    terminal.expect_exact("account reopen")
    terminal.expect_exact(CODE)
    terminal.sendline(person.codes(alice.email)[-1])
    terminal.expect(r"Your account is closed. Its files go on (\d{4}-\d\d-\d\d)")
    assert isinstance(terminal.match, re.Match)
    day = terminal.match[1]
    assert terminal.left() == Exit.OK
    with refused("UNAUTHENTICATED", "session_ended"):
        phone.ls()
    told = person.script("whoami", "account", "sessions")
    assert told.count(f"closed: the files go on {day}") == 2
    assert "account reopen" in person.shell("ls", exit_code=Exit.NOT_NOW)
    assert day in person.shell("account", "close", exit_code=Exit.NOT_NOW)
    assert "open again" in person.script("account reopen", "ls")


def test_an_account_whose_owner_leaves_at_the_code_stays_open(person: Person, alice: User) -> None:
    person.shell("account", "close", said="exit\n", exit_code=Exit.NOT_SIGNED_IN)
    assert alice.names() == []
