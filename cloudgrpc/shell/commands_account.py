"""The shell's commands about the account itself: whoami, and account with its actions."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cloudgrpc.clients import render
from cloudgrpc.clients.session import write_private
from cloudgrpc.errors import AccountClosed, LocalFile, NameTaken
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.shell.actions import Actions, run_action
from cloudgrpc.shell.parser import Command, Parser

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from cloudgrpc.clients.session import Session
    from cloudgrpc.shell.sign_in import Entrance, Person

CLOSING = (
    "This closes the account of {email}:",
    "- all other sessions end, and your files cannot be reached any more;",
    "- they are deleted for good after a time of grace, whose last day is told when the account is closed;",
    "- until that day you can take it back with: account reopen",
    "The code that is sent to you now confirms it; Ctrl-D leaves everything as it is.",
)


def _whoami_parser() -> Parser:
    parser = Parser("whoami", "Show whose drive this is, and until when you are signed in.", "whoami\nwhoami --json")
    parser.add_argument("--json", action="store_true", help="as JSON")
    return parser


class AccountCommands:
    def __init__(self, session: Callable[[], Session], entrance: Entrance, person: Person) -> None:
        """`session`: who is signed in at the moment a command runs; raises SessionEnded."""
        self._session = session
        self._entrance = entrance
        self._person = person

    def commands(self) -> list[Command]:
        return [
            Command("Show who is signed in.", _whoami_parser(), self._show),
            Command("Rename, export, close or reopen your account.", self._account_parser(), run_action),
        ]

    def _account_parser(self) -> Parser:
        parser = Parser(
            "account",
            "Show your account, or change it.",
            """
            account
            account --json
            account name "Alice Ndi"
            account export alice.json
            account close
            """,
        )
        parser.add_argument("--json", action="store_true", help="show it as JSON")
        actions = Actions(parser, self._show)
        name = actions.add("name", self._rename, "Change your name.", 'account name "Alice Ndi"')
        name.add_argument("full_name", metavar="NAME", nargs="+", help="your new name")
        export = actions.add(
            "export",
            self._export,
            "Save an index of everything kept about you, as JSON.",
            "account export alice.json\naccount export | less",
        )
        export.add_argument("file", metavar="FILE", nargs="?", help="on this computer (default: printed)")
        export.add_argument("--force", action="store_true", help="replace FILE if it exists")
        actions.add("close", self._close, "Close your account; a code confirms it.", "account close")
        actions.add("reopen", self._reopen, "Take the closing of your account back.", "account reopen")
        return parser

    def _show(self, args: argparse.Namespace) -> None:
        session = self._session()
        me = self._me(session)
        if args.json:
            render.print_json(_facts(me, session.gateway.address))
            return
        print(f"{render.shown(me.full_name)} <{render.shown(me.email)}>")
        print(f"at {session.gateway.address}, enrolled {render.when(me.created_at)}")
        print(f"signed in until {render.when(me.session_expires_at)}")
        if me.closes_at:
            print(f"closed: the files go on {render.when(me.closes_at)}, unless you type: account reopen")

    def _rename(self, args: argparse.Namespace) -> None:
        session = self._session()
        request = pb.ChangeNameRequest(session_token=session.token, full_name=" ".join(args.full_name))
        reply = session.call(session.gateway.auth.ChangeName, request)
        print(f"Your name is now {render.shown(reply.full_name)}.")

    def _export(self, args: argparse.Namespace) -> None:
        if args.file is None:
            _print_export(self._exported())
            return
        path = Path(args.file).expanduser()
        _check_target(path, may_replace=args.force)
        try:
            write_private(path, self._exported())
        except OSError as error:
            raise LocalFile(path=path, reason=error.strerror or error) from error
        print(f"Wrote {render.shown(str(path))}")

    def _exported(self) -> Iterator[bytes]:
        session = self._session()
        request = pb.ExportAccountRequest(session_token=session.token)
        for reply in session.gateway.stream(session.gateway.auth.ExportAccount, request):
            yield reply.data

    def _close(self, _: argparse.Namespace) -> None:
        session = self._session()
        me = self._me(session)
        if me.closes_at:
            raise AccountClosed(closes_at=render.when(me.closes_at))
        for line in CLOSING:
            self._person.tell(line.format(email=me.email))
        request = pb.CloseAccountRequest(session_token=session.token, verification_token=self._entrance.prove(me.email))
        reply = session.call(session.gateway.auth.CloseAccount, request)
        print(f"Your account is closed. Its files go on {render.when(reply.closes_at)}; until then: account reopen")

    def _reopen(self, _: argparse.Namespace) -> None:
        session = self._session()
        session.call(session.gateway.auth.ReopenAccount, pb.ReopenAccountRequest(session_token=session.token))
        print("Your account is open again.")

    def _me(self, session: Session) -> pb.WhoAmIResponse:
        return session.call(session.gateway.auth.WhoAmI, pb.WhoAmIRequest(session_token=session.token))


def _facts(me: pb.WhoAmIResponse, gateway: str) -> dict[str, object]:
    """As JSON tells it.

    user_id email full_name
    gateway                            its address
    created_at session_expires_at      of the account, and of this session
    closes_at                          when a closed account's files go; null while it is open
    """
    return {
        "user_id": me.user_id,
        "email": me.email,
        "full_name": me.full_name,
        "gateway": gateway,
        "created_at": me.created_at,
        "session_expires_at": me.session_expires_at,
        "closes_at": me.closes_at or None,
    }


def _check_target(path: Path, may_replace: bool) -> None:
    """Raises: NameTaken, LocalFile when what stands there is no file."""
    if not os.path.lexists(path):
        return
    if not may_replace:
        raise NameTaken.told(f"{path} exists already; --force replaces it.")
    # Replacing /dev/null, say, would harm the whole computer.
    if not (path.is_file() or path.is_symlink()):
        raise LocalFile(path=path, reason="is not a regular file")


def _print_export(pieces: Iterator[bytes]) -> None:
    if not sys.stdout.isatty():
        sys.stdout.buffer.writelines(pieces)
        return
    # Names of files may hold what steers a terminal.
    for line in b"".join(pieces).decode(errors="replace").split("\n"):
        print(render.shown(line))
