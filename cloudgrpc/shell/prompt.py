"""The prompt of the shell: cmd2 edits, remembers and completes the lines, and `Shell.run` runs them."""

from __future__ import annotations

import logging
import os
import shlex
from typing import TYPE_CHECKING, Any

import cmd2
from cmd2.exceptions import Cmd2ShlexError, EmptyStatement
from cmd2.parsing import StatementParser

from cloudgrpc import __version__
from cloudgrpc.executable import once
from cloudgrpc.shell.completer import Completer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cloudgrpc.shell.parser import Command
    from cloudgrpc.shell.past_lines import PastLines
    from cloudgrpc.shell.shell import Shell

log = logging.getLogger(__name__)

ONE_COLUMN = 7  # so few candidates have room for their meanings beside them


class Words(cmd2.Statement):
    """A line split as a POSIX shell splits it: cmd2's own way breaks words that hold a quote, `>`, `|` or `;`."""

    @property
    def argv(self) -> list[str]:
        return shlex.split(self.raw)


class WordParser(StatementParser):
    def parse(self, line: str) -> Words:
        try:
            words = shlex.split(line)
        except ValueError as error:
            raise Cmd2ShlexError(str(error)) from error
        if not words:
            raise EmptyStatement
        return Words(shlex.join(words[1:]), raw=line, command=words[0])


class Group(cmd2.CommandSet["Prompt"]):
    """A group of the shell's commands. cmd2 takes one instance of a type, so each group has a type of its own."""

    def __init__(self, commands: Sequence[Command], run: Callable[[cmd2.Statement], bool | None]) -> None:
        super().__init__()
        for command in commands:
            setattr(self, f"do_{command.name}", _function(command, run))


class Prompt(cmd2.Cmd):
    # cmd2's way to make room for commands of the same names; its other ones are silenced below.
    for _name in ("do_help", "do_history", "do_quit"):
        delattr(cmd2.Cmd, _name)

    def __init__(self, shell: Shell, past: PastLines) -> None:
        super().__init__(
            allow_cli_args=False,
            allow_clipboard=False,
            allow_redirection=False,
            intro="\n".join(_greeting(shell)),
            shortcuts={},
        )
        self._shell = shell
        self._past = past
        self.sigint_handler = once(self.sigint_handler)  # type: ignore[method-assign]
        self.termination_signal_handler = once(self.termination_signal_handler)  # type: ignore[method-assign]
        self._completer = Completer(shell.commands, shell.places)
        self.statement_parser = WordParser()
        self._show_where()
        self._replace_commands()
        for line in past.read():
            self.main_session.history.append_string(line)

    def default(self, statement: cmd2.Statement) -> bool | None:
        """Every line but Ctrl-D ends here, also one whose command does not exist."""
        if statement.command in self._shell.commands:
            self._past.add(statement.raw.rstrip())
        is_over = self._shell.run(statement.argv)
        self._show_where()
        return is_over

    def do__eof(self, _: cmd2.Statement | str) -> bool:
        """What cmd2 runs at Ctrl-D."""
        print()
        return True

    def complete(self, text: str, line: str, begidx: int, endidx: int, custom_settings: Any = None) -> cmd2.Completions:
        """In place of cmd2's own way, which breaks words as its parser does. `text`: line[begidx:endidx]."""
        del begidx, custom_settings
        try:
            found = self._completer.complete(line[:endidx])
        except Exception:
            # A fault of ours must not take the line away that is being typed.
            log.debug("completing failed unexpectedly", exc_info=True)
            found = []
        # One of prompt_toolkit's, which is a part of cmd2 and nothing of ours.
        style = type(self.active_session.complete_style)
        self.active_session.complete_style = style("COLUMN" if len(found) <= ONE_COLUMN else "MULTI_COLUMN")
        items = [cmd2.CompletionItem(text + each.rest, display=each.name, display_meta=each.meaning) for each in found]
        return cmd2.Completions(items, is_sorted=True, allow_finalization=False)

    def _replace_commands(self) -> None:
        """Ours for cmd2's, which are for programmers."""
        for name in self.get_all_commands():
            if name != "_eof":
                setattr(self, f"do_{name}", None)
        for title, commands in self._shell.commands.groups().items():
            group = type("Group", (Group,), {"DEFAULT_CATEGORY": title})
            self.register_command_set(group(commands, self.default))

    def _show_where(self) -> None:
        who, where = self._shell.who, self._shell.where
        if "NO_COLOR" in os.environ:
            self.prompt = f"{who} {where}> " if where else f"{who}> "
        else:
            self.prompt = f"\x1b[32m{who}\x1b[0m \x1b[1;34m{where}\x1b[0m> " if where else f"{who}> "


def _greeting(shell: Shell) -> Iterator[str]:
    yield f"CloudGrpc {__version__} at {shell.gateway.address}."
    yield "Type help to see what you can do, exit to leave; Tab completes what you type."
    if not shell.where:
        yield "To begin, type: login EMAIL   or: enroll EMAIL NAME"


def _function(command: Command, run: Callable[[cmd2.Statement], bool | None]) -> Callable[[cmd2.Statement], Any]:
    """cmd2 finds a command by the name of its function, and tells what that does by its docstring."""

    def do(statement: cmd2.Statement) -> bool | None:
        return run(statement)

    do.__name__, do.__doc__ = f"do_{command.name}", command.summary
    return do
