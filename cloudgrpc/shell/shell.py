"""The shell: one command from the command line, a script on stdin, or a person at a prompt.

Every command runs through `Shell.run`, the one place that tells a failure and sets the exit code.
"""

from __future__ import annotations

import logging
import os
import shlex
import signal
import sys
from typing import TYPE_CHECKING

from cloudgrpc.clients import render
from cloudgrpc.clients.session import Session, SessionStore, config_folder
from cloudgrpc.clients.trusting import connected
from cloudgrpc.errors import CloudError, CommandUnknown, Exit, SessionEnded, Unexpected, UsageWrong
from cloudgrpc.executable import once
from cloudgrpc.shell.command_table import CommandTable, Part
from cloudgrpc.shell.completion import COMMAND
from cloudgrpc.shell.parser import Command, Parser
from cloudgrpc.shell.sign_in import AtStdin, Entrance

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from cloudgrpc.clients.places import Places, WorkingFolder
    from cloudgrpc.clients.session import Gateway, SignIn
    from cloudgrpc.config import Config

log = logging.getLogger(__name__)

PROMPT_LETTERS = 40  # of the current folder's path


def run(config: Config, args: argparse.Namespace) -> int:
    """Run `args.words` as one command; without words, a script from stdin or a prompt. Returns the exit code."""
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, once(_end_on_signal))
    address = gateway_address(args.gateway) if args.gateway else config.gateway_address
    with connected(config, address, wants_system=args.tls) as gateway:
        shell = Shell(gateway, SessionStore(config_folder()))
        if args.words:
            shell.run(args.words)
            return shell.exit_code
        if not sys.stdin.isatty():
            return shell.run_script(sys.stdin)
        # The prompt alone needs cmd2, which costs 0.2 s.
        from cloudgrpc.shell.past_lines import PastLines
        from cloudgrpc.shell.prompt import Prompt

        shell.is_prompting = True
        Prompt(shell, PastLines(config_folder())).cmdloop()
        return Exit.OK


def gateway_address(told: str) -> str:
    """Raises: UsageWrong when `told` is not HOST:PORT."""
    host, _, port = told.rpartition(":")
    if not host or not port.isdecimal() or not 1 <= int(port) <= 65535 or any(letter.isspace() for letter in told):
        raise UsageWrong(reason=f"--gateway wants HOST:PORT, not {told!r}")
    return told


class Shell:
    """The commands, at one gateway."""

    def __init__(self, gateway: Gateway, store: SessionStore) -> None:
        self.gateway = gateway
        self.exit_code: int = Exit.OK  # of the newest command
        self.is_prompting = False  # a person types the commands, without `cloudgrpc shell` before them
        self._line = 0  # of the script; 0: there is none
        self._store = store
        self._person = AtStdin()
        self._entrance = Entrance(gateway, store, self._person)
        self._folders: dict[str, WorkingFolder] = {}  # by e-mail: another person starts in a root folder of their own
        self.commands = CommandTable(self._parts())

    @property
    def who(self) -> str:
        known = self._known()
        return render.shown(known.email) if known else "not signed in"

    @property
    def where(self) -> str:
        """The current folder, shortened where it is long; "" when nobody is signed in."""
        known = self._known()
        path = self._working(known.email).path if known else ""
        return render.shown(path if len(path) <= PROMPT_LETTERS else f"...{path[-PROMPT_LETTERS:]}")

    def places(self) -> Places:
        """The drive of who is signed in, seen from their current folder. Raises: SessionEnded."""
        from cloudgrpc.clients.places import Places

        sign_in = self._store.signed_in(self.gateway.address)
        return Places(Session(self.gateway, sign_in.session_token), self._working(sign_in.email))

    def _working(self, email: str) -> WorkingFolder:
        from cloudgrpc.clients.places import WorkingFolder

        return self._folders.setdefault(email, WorkingFolder())

    def _known(self) -> SignIn | None:
        try:
            return self._store.known(self.gateway.address)
        except CloudError:
            return None

    def run(self, words: list[str]) -> bool:
        """Run a command; whatever goes wrong is told here and becomes the exit code. Returns True to leave."""
        self.exit_code = Exit.OK
        try:
            self._run_signed_in(words)
            sys.stdout.flush()
        except CloudError as error:
            self.fail(error)
        except Leaving:
            return True
        except KeyboardInterrupt:
            print("Interrupted.", file=sys.stderr)
            self.exit_code = Exit.INTERRUPTED
        except BrokenPipeError:
            # The reader of our output left, as `| head` does; Python would complain once more while it exits.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except Exception as error:
            # A fault of ours must not throw a traceback at a person, nor end the shell.
            log.debug("a command failed unexpectedly", exc_info=True)
            self.fail(Unexpected(fault=f"{type(error).__name__}: {error}"))
        return False

    def run_script(self, lines: Iterable[str]) -> int:
        """Run line after line until one fails, which is named by its number. Returns its exit code; lines that start
        with # are comments."""
        for self._line, line in enumerate(lines, 1):
            if line.lstrip().startswith("#"):
                continue
            try:
                words = shlex.split(line)
            except ValueError as error:
                self.fail(UsageWrong(reason=f"{line.strip()}: {error}"))
                break
            if words and (self.run(words) or self.exit_code != Exit.OK):
                break
        return self.exit_code

    def fail(self, error: CloudError) -> None:
        self.exit_code = error.exit_code
        where = f"line {self._line}: " if self._line else ""
        render.print_failure(error, self.is_prompting, where)

    def _run_signed_in(self, words: list[str]) -> None:
        """A session that ended leads a person back to sign-in, and the command goes on; a script just fails."""
        try:
            self._run(words)
        except SessionEnded:
            known = self._store.known(self.gateway.address)
            if known is None or not self._person.is_there:
                raise
            self._person.tell("Your session has ended; sign in again to go on.")
            self._entrance.login(known.email)
            self._run(words)

    def _run(self, words: list[str]) -> None:
        command = self._command(words[0])
        try:
            args = command.parser.parse_args(words[1:])
        except SystemExit:
            return  # --help has printed; wrong words are raised as UsageWrong
        command.run(args)

    def _command(self, name: str) -> Command:
        command = self.commands.get(name)
        if command:
            return command
        import difflib

        close = difflib.get_close_matches(name, self.commands, n=1)
        raise CommandUnknown(command=name, guess=f"; did you mean {close[0]}?" if close else ".")

    def _session(self) -> Session:
        """Raises: SessionEnded when nobody is signed in."""
        return Session(self.gateway, self._store.signed_in(self.gateway.address).session_token)

    def _parts(self) -> list[Part]:
        return [
            Part("Your account", ("enroll", "login", "logout", "sessions"), self._session_commands),
            Part("Your account", ("whoami", "account"), self._account_commands),
            Part("Look around", ("cd", "pwd", "ls", "list", "tree", "stat", "cat"), self._look_commands),
            Part("Look around", ("find", "du"), self._find_commands),
            Part("Look around", ("storage", "history"), self._overview_commands),
            Part("Upload and download", ("upload", "download", "uploads", "sync"), self._transfer_commands),
            Part("Change", ("mkdir", "mv", "cp", "rm", "delete"), self._change_commands),
            Part("Get back", ("trash", "restore", "versions"), self._history_commands),
            Part("Share", ("share", "unshare", "shares", "shared"), self._sharing_commands),
            Part("Buy room", ("pay",), self._pay_commands),
            Part("This shell", ("help", "exit", "quit"), self._own_commands),
        ]

    def _session_commands(self) -> list[Command]:
        from cloudgrpc.shell.commands_sessions import SessionCommands

        return SessionCommands(self.gateway, self._store, self._entrance, self._person).commands()

    def _account_commands(self) -> list[Command]:
        from cloudgrpc.shell.commands_account import AccountCommands

        return AccountCommands(self._session, self._entrance, self._person).commands()

    def _look_commands(self) -> list[Command]:
        from cloudgrpc.shell.commands_look import LookCommands

        return LookCommands(self._session, self.places).commands()

    def _find_commands(self) -> list[Command]:
        from cloudgrpc.shell.commands_find import FindCommands

        return FindCommands(self._session, self.places).commands()

    def _overview_commands(self) -> list[Command]:
        from cloudgrpc.shell.commands_overview import OverviewCommands

        return OverviewCommands(self._session).commands()

    def _transfer_commands(self) -> list[Command]:
        from cloudgrpc.shell.commands_transfer import TransferCommands

        return TransferCommands(self._session, self.places).commands()

    def _change_commands(self) -> list[Command]:
        from cloudgrpc.shell.commands_change import ChangeCommands

        return ChangeCommands(self._session, self.places).commands()

    def _history_commands(self) -> list[Command]:
        from cloudgrpc.shell.commands_history import HistoryCommands

        return HistoryCommands(self._session, self.places).commands()

    def _sharing_commands(self) -> list[Command]:
        from cloudgrpc.shell.commands_sharing import SharingCommands

        return SharingCommands(self._session, self.places).commands()

    def _pay_commands(self) -> list[Command]:
        from cloudgrpc.shell.commands_pay import PayCommands

        return PayCommands(self.gateway, self._store, self._entrance, self._person).commands()

    def _own_commands(self) -> list[Command]:
        return [
            Command("Show what you can do.", _help_parser(), self._help),
            Command("Leave the shell.", _exit_parser("exit"), self._exit),
            Command("The same as exit.", _exit_parser("quit"), self._exit),
        ]

    def _help(self, args: argparse.Namespace) -> None:
        if args.command:
            self._command(args.command).parser.print_help()
            return
        for title, group in self.commands.groups().items():
            print(f"{title}:")
            for command in group:
                print(f"  {command.name:<10}{command.summary}")
            print()
        print("COMMAND --help shows its words, with examples.")

    def _exit(self, _: argparse.Namespace) -> None:
        raise Leaving


class Leaving(Exception):
    """The person wants to leave the shell."""


def _help_parser() -> Parser:
    parser = Parser("help", "Show all commands, or the words and examples of one.", "help\nhelp upload")
    COMMAND.on(parser.add_argument("command", metavar="COMMAND", nargs="?", help="one command"))
    return parser


def _exit_parser(name: str) -> Parser:
    return Parser(name, "Leave the shell. Ctrl-D does the same.", name)


def _end_on_signal(number: int, _frame: object) -> None:
    """Leave by an exception, so that a transfer under way takes its half-written file with it."""
    sys.exit(128 + number)
