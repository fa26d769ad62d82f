"""The prompt of the shell: cmd2 edits, remembers and completes the lines, and `Shell.run` runs them."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import cmd2
from cmd2.exceptions import Cmd2ShlexError, EmptyStatement
from cmd2.parsing import StatementParser

from cloudgrpc import __version__

if TYPE_CHECKING:
    from cloudgrpc.clients.shell import Shell


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


class Prompt(cmd2.Cmd):
    def __init__(self, shell: Shell) -> None:
        super().__init__(
            allow_cli_args=False,
            allow_clipboard=False,
            allow_redirection=False,
            intro=f"CloudGrpc {__version__} at {shell.gateway.address}."
            " Type help to see what you can do, exit to leave.",
            shortcuts={},
        )
        self._shell = shell
        self.statement_parser = WordParser()
        self.prompt = shell.prompt
        self._replace_commands()

    def default(self, statement: cmd2.Statement) -> bool | None:
        """Every line but Ctrl-D ends here, also one whose command does not exist."""
        is_over = self._shell.run(statement.argv)
        self.prompt = self._shell.prompt
        return is_over

    def do__eof(self, _: cmd2.Statement | str) -> bool:
        """What cmd2 runs at Ctrl-D."""
        print()
        return True

    def _replace_commands(self) -> None:
        """Ours for cmd2's, which are for programmers. cmd2 finds commands and what completes them by attributes."""
        for name in self.get_all_commands():
            if name != "_eof":
                setattr(self, f"do_{name}", None)
        for command in self._shell.commands.values():
            setattr(self, f"do_{command.name}", self.default)
            if command.takes_local_paths:
                setattr(self, f"complete_{command.name}", self.path_complete)
