"""The shell: one command from the command line, a script on stdin, or a person at a prompt.

Every command runs through `Shell.onecmd`, the one place that tells a failure and sets the exit code.
"""

from __future__ import annotations

import inspect
import logging
import os
import shlex
import signal
import sys
from typing import TYPE_CHECKING, Any

import cmd2
from cmd2.exceptions import Cmd2ArgparseError, Cmd2ShlexError, EmptyStatement
from cmd2.parsing import StatementParser

from cloudgrpc import __version__
from cloudgrpc.clients import render
from cloudgrpc.clients.session import Gateway, Session, SessionStore, config_folder
from cloudgrpc.clients.shell_account import AccountCommands
from cloudgrpc.clients.shell_files import FileCommands
from cloudgrpc.clients.shell_parser import Parser
from cloudgrpc.clients.sign_in import ask_stdin
from cloudgrpc.errors import CloudError, CommandUnknown, Exit, Unexpected, UsageWrong

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from cloudgrpc.config import Config

log = logging.getLogger(__name__)

# What cmd2 brings for programmers; a person who keeps files needs none of it.
UNWANTED = ("alias", "edit", "history", "macro", "run_pyscript", "run_script", "set", "shell", "shortcuts")
UNWANTED_INSIDE = ("_relative_run_script",)


def run(config: Config, args: argparse.Namespace) -> int:
    """Run `args.words` as one command; without words, a script from stdin or a prompt. Returns the exit code."""
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, end_on_signal)
    with Gateway(gateway_address(args.gateway) if args.gateway else config.gateway_address) as gateway:
        shell = Shell(gateway, SessionStore(config_folder()))
        if args.words:
            return shell.run_words(args.words)
        if not sys.stdin.isatty():
            return shell.run_script(sys.stdin)
        return shell.cmdloop()


def end_on_signal(number: int, _frame: object) -> None:
    """Leave by an exception, so that a transfer under way takes its half-written file with it."""
    sys.exit(128 + number)


def gateway_address(told: str) -> str:
    """Raises: UsageWrong when `told` is not HOST:PORT."""
    host, _, port = told.rpartition(":")
    if not host or not port.isdecimal() or not 1 <= int(port) <= 65535 or any(letter.isspace() for letter in told):
        raise UsageWrong(reason=f"--gateway wants HOST:PORT, not {told!r}")
    return told


def _help_parser() -> Parser:
    parser = Parser("Show all commands, or the words and examples of one.", "help\nhelp upload")
    parser.add_argument("command", metavar="COMMAND", nargs="?", help="one command")
    return parser


def _exit_parser() -> Parser:
    return Parser("Leave the shell. Ctrl-D does the same.", "exit")


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


class Shell(cmd2.Cmd):
    """The commands, at one gateway."""

    DEFAULT_CATEGORY = "This shell"

    def __init__(self, gateway: Gateway, store: SessionStore) -> None:
        super().__init__(
            allow_cli_args=False,
            allow_clipboard=False,
            allow_redirection=False,
            command_sets=[AccountCommands(gateway, store, ask_stdin), FileCommands(self.session)],
            intro=f"CloudGrpc {__version__} at {gateway.address}. Type help to see what you can do, exit to leave.",
            shortcuts={},
            suggest_similar_command=True,
        )
        self._gateway = gateway
        self._store = store
        self._is_prompting = False
        self.statement_parser = WordParser()
        for command in (*UNWANTED, *UNWANTED_INSIDE):
            setattr(self, f"do_{command}", None)
        self.prompt = self._prompt()

    def session(self) -> Session:
        """Raises: SessionEnded when nobody is signed in."""
        return Session(self._gateway, self._store.signed_in(self._gateway.address).session_token)

    def run_words(self, words: list[str]) -> int:
        """Run one command. Returns its exit code."""
        self.onecmd(Words(shlex.join(words[1:]), raw=shlex.join(words), command=words[0]))
        return self.exit_code

    def run_script(self, lines: Iterable[str]) -> int:
        """Run line after line until one fails. Returns its exit code; lines that start with # are comments."""
        for line in lines:
            if line.lstrip().startswith("#"):
                continue
            try:
                is_over = self.onecmd(self.statement_parser.parse(line))
            except EmptyStatement:
                continue
            except Cmd2ShlexError as error:
                self.fail(UsageWrong(reason=f"{line.strip()}: {error}"))
                break
            if is_over or self.exit_code != Exit.OK:
                break
        return self.exit_code

    def cmdloop(self, intro: Any = "") -> int:
        self._is_prompting = True
        return super().cmdloop(intro)

    def onecmd(self, statement: cmd2.Statement | str, *, add_to_history: bool = True) -> bool:
        """Run a command; whatever goes wrong is told here and becomes the exit code. Returns True to leave."""
        self.exit_code = Exit.OK
        try:
            is_over = super().onecmd(statement, add_to_history=add_to_history)
            sys.stdout.flush()
        except Cmd2ArgparseError as error:
            # --help leaves argparse by way of SystemExit(0).
            if not (isinstance(error.__cause__, SystemExit) and error.__cause__.code == 0):
                self.exit_code = Exit.USAGE
        except CloudError as error:
            self.fail(error)
        except KeyboardInterrupt:
            self.perror("Interrupted.")
            self.exit_code = Exit.INTERRUPTED
        except BrokenPipeError:
            # The reader of our output left, as `| head` does; Python would complain once more while it exits.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except Exception as error:
            # A fault of ours must not throw a traceback at a person, nor end the shell.
            log.debug("a command failed unexpectedly", exc_info=True)
            self.fail(Unexpected(fault=f"{type(error).__name__}: {error}"))
        else:
            self.prompt = self._prompt()
            return is_over
        return False

    def fail(self, error: CloudError) -> None:
        """Tell what went wrong and what to try, a line each."""
        self.exit_code = error.exit_code
        self.perror(render.shown(str(error)))
        print(render.advice(error, self._is_prompting), file=sys.stderr)

    def perror(self, *objects: Any, **options: Any) -> None:
        # cmd2 tells wrong quoting and the like through here, and would leave the exit code at 0.
        self.exit_code = self.exit_code or Exit.USAGE
        super().perror(*objects, **options)

    def default(self, statement: cmd2.Statement) -> bool | None:
        close = self._suggest_similar_command(statement.command)
        guess = f"; did you mean {close}?" if close else "."
        raise CommandUnknown(command=statement.command, guess=guess)

    @cmd2.with_argparser(_help_parser)
    def do_help(self, args: argparse.Namespace) -> None:
        """Show what you can do."""
        if args.command:
            self.onecmd(Words("--help", raw=shlex.join([args.command, "--help"]), command=args.command))
            return
        categories, _ = self._build_command_info()
        for category in sorted(categories, key=lambda name: (name == self.DEFAULT_CATEGORY, name)):
            print(f"{category}:")
            for command in categories[category]:
                function = self.get_command_func(command)
                print(f"  {command:<10}{inspect.getdoc(function)}")
            print()
        print("COMMAND --help shows its words, with examples.")

    @cmd2.with_argparser(_exit_parser)
    def do_exit(self, _: argparse.Namespace) -> bool:
        """Leave the shell."""
        return True

    @cmd2.with_argparser(_exit_parser)
    def do_quit(self, _: argparse.Namespace) -> bool:
        """The same as exit."""
        return True

    def _prompt(self) -> str:
        try:
            known = self._store.known(self._gateway.address)
        except CloudError:
            known = None
        return f"{render.shown(known.email) if known else 'not signed in'}> "
