"""The shell's commands as a whole: each is found by its name, and its help can be trusted."""

from __future__ import annotations

import argparse
import re
import shlex
from typing import TYPE_CHECKING

import pytest

from cloudgrpc.clients.session import Gateway, SessionStore
from cloudgrpc.errors import UsageWrong
from cloudgrpc.shell.shell import Shell

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cloudgrpc.shell.parser import Command

SCREEN = 80  # columns


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    with Gateway("127.0.0.1:1") as gateway:
        yield Shell(gateway, SessionStore(tmp_path))


def parsers(command: Command) -> Iterator[argparse.ArgumentParser]:
    """Of a command and of its actions."""
    yield command.parser
    for action in command.parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.values()


def test_every_command_is_in_the_table_under_its_name(shell: Shell) -> None:
    for part in shell._parts():
        assert [command.name for command in part.load()] == list(part.names)
    assert [command.name for group in shell.commands.groups().values() for command in group] == list(shell.commands)


def test_a_command_is_loaded_without_the_others(shell: Shell) -> None:
    assert shell.commands["ls"].name == "ls"
    assert "upload" not in shell.commands._loaded
    assert "no such command" not in shell.commands


def test_every_command_has_a_summary_and_a_help_that_fits_the_screen(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(SCREEN))
    for name, command in shell.commands.items():
        assert command.summary.endswith(".")
        assert len(f"  {name:<10}{command.summary}") <= SCREEN
        for parser in parsers(command):
            too_long = [line for line in parser.format_help().splitlines() if len(line) > SCREEN]
            assert not too_long, parser.prog


def test_every_action_is_called_by_the_words_that_are_typed(shell: Shell) -> None:
    for name, command in shell.commands.items():
        command_parser, *actions = parsers(command)
        assert command_parser.prog == name
        assert all(re.fullmatch(rf"{name} [a-z]+", parser.prog) for parser in actions)
    with pytest.raises(UsageWrong, match=r"^versions list: the following arguments are required: PATH\.$"):
        shell.commands["versions"].parser.parse_args([])


def test_every_example_is_understood_by_its_command(shell: Shell) -> None:
    for command in shell.commands.values():
        for parser in parsers(command):
            assert parser.epilog
            title, *examples = parser.epilog.splitlines()
            assert title == "examples:"
            for example in examples:
                # What is told about it stands behind some spaces; a pipe is typed outside of the shell.
                typed, _, _ = re.split(r" {2,}", example.strip())[0].partition(" | ")
                name, *words = shlex.split(typed)
                shell.commands[name].parser.parse_args(words)
