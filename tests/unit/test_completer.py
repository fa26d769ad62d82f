"""What Tab offers, as far as no drive is asked: commands, actions, options, choices, local paths."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, NoReturn

import pytest

from cloudgrpc.errors import SessionEnded
from cloudgrpc.shell.actions import Actions, run_action
from cloudgrpc.shell.completer import SHOWN, TOO_MANY, Completer
from cloudgrpc.shell.completion import COMMAND, LOCAL, LOCAL_FOLDER, LOCAL_TO_REMOTE, REMOTE, SIDE, suggest
from cloudgrpc.shell.parser import Command, Parser

if TYPE_CHECKING:
    import argparse
    from pathlib import Path


def _nothing(_: argparse.Namespace) -> None:
    pass


def _nobody() -> NoReturn:
    raise SessionEnded


def _commands() -> list[Command]:
    put = Parser("put", "Put.", "put x")
    LOCAL.on(put.add_argument("paths", metavar="PATH", nargs="+"))
    LOCAL_FOLDER.on(put.add_argument("--from", metavar="FOLDER"))
    suggest(put.add_argument("--type"), ["image", "video"])
    put.add_argument("--how", choices=["fast", "slow"])
    put.add_argument("-r", "--recursive", action="store_true", help="with all below")
    bin_ = Parser("bin", "Bin.", "bin")
    actions = Actions(bin_, _nothing)
    actions.add("empty", _nothing, "Empty it.", "bin empty").add_argument("--yes", action="store_true")
    actions.add("show", _nothing, "Show it.", "bin show")
    look = Parser("look", "Look.", "look")
    REMOTE.on(look.add_argument("path", nargs="?"))
    send = Parser("send", "Send.", "send")
    LOCAL_TO_REMOTE.on(send.add_argument("paths", nargs="+"))
    match = Parser("match", "Match.", "match")
    SIDE.on(match.add_argument("source"))
    help_ = Parser("help", "Help.", "help")
    COMMAND.on(help_.add_argument("command", nargs="?"))
    return [
        Command("Put things.", put, _nothing),
        Command("The bin.", bin_, run_action),
        Command("Look.", look, _nothing),
        Command("Help.", help_, _nothing),
        Command("Send.", send, _nothing),
        Command("Match.", match, _nothing),
    ]


@pytest.fixture
def completer() -> Completer:
    return Completer({command.name: command for command in _commands()}, _nobody)


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("", ["bin", "help", "look", "match", "put", "send"]),
        ("p", ["put"]),
        ("x", []),
        ("unknown ", []),
        ("help lo", ["look"]),
        ("bin ", ["empty", "show"]),
        ("bin e", ["empty"]),
        ("bin empty --y", ["--yes"]),
        ("bin empty ", ["--yes", "-h, --help"]),
        ("put ~", ["~/"]),
        ("put --", ["--from", "--type", "--how", "-r, --recursive", "-h, --help"]),
        ("put -r --r", []),
        ("put --type ", ["image", "video"]),
        ("put --type v", ["video"]),
        ("put --type=v", ["video"]),
        ("put --how f", ["fast"]),
        ("put a b --how s", ["slow"]),
        ("put -- --", []),
        ("look ", []),
        ("look /", []),
    ],
)
def test_tab_offers_what_can_come_next(completer: Completer, line: str, offered: list[str]) -> None:
    assert [candidate.name for candidate in completer.complete(line)] == offered


def test_a_command_is_offered_with_what_it_does(completer: Completer) -> None:
    assert [(each.rest, each.meaning) for each in completer.complete("pu")] == [("t ", "Put things.")]
    assert [(each.rest, each.meaning) for each in completer.complete("put --rec")] == [("ursive ", "with all below")]


@pytest.mark.parametrize(
    "name", ["plain.txt", "two words.txt", "it's.txt", 'a"b.txt', "back\\slash.txt", "#1 * [x].txt"]
)
@pytest.mark.parametrize("quote", ["", "'", '"'])
def test_a_local_path_is_completed_whatever_its_name_and_quotes(
    completer: Completer, tmp_path: Path, name: str, quote: str
) -> None:
    (tmp_path / name).touch()
    line = f"put {quote}{tmp_path}/"
    (only,) = completer.complete(line)
    assert shlex.split(line + only.rest) == ["put", str(tmp_path / name)]
    assert only.rest.endswith(f"{quote} ")


def test_a_local_folder_goes_on_and_hidden_files_wait_for_their_dot(completer: Completer, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "letter.txt").touch()
    (tmp_path / ".hidden").touch()
    assert [each.name for each in completer.complete(f"put {tmp_path}/")] == ["docs/", "letter.txt"]
    assert [each.rest for each in completer.complete(f"put {tmp_path}/do")] == ["cs/"]
    assert [each.name for each in completer.complete(f"put {tmp_path}/.")] == [".hidden"]
    assert [each.name for each in completer.complete(f"put --from {tmp_path}/")] == ["docs/"]
    assert completer.complete(f"put {tmp_path}/docs/nowhere/x") == []


def test_a_later_word_may_lie_on_either_side(completer: Completer, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "letter.txt").touch()
    # Nobody is signed in: what the drive cannot tell, this computer still does.
    assert [each.name for each in completer.complete(f"send {tmp_path}/")] == ["docs/", "letter.txt"]
    assert [each.meaning for each in completer.complete(f"send x {tmp_path}/l")] == ["on this computer"]
    assert [each.name for each in completer.complete("match dr")] == ["drive:"]
    assert [each.name for each in completer.complete(f"match {tmp_path}/")] == ["docs/"]
    assert completer.complete("match drive:/") == []


def test_too_many_are_cut_without_a_common_beginning_that_would_mislead(completer: Completer, tmp_path: Path) -> None:
    for number in range(SHOWN + 1):
        (tmp_path / f"file{number:04}").touch()
    offered = completer.complete(f"put {tmp_path}/")
    assert len(offered) == SHOWN + 1
    assert offered[-1] == TOO_MANY
    assert offered[-1].rest == ""
