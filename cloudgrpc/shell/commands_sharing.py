"""The shell's commands about sharing: share, unshare, shares, shared."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cloudgrpc.shell import dates
from cloudgrpc.shell.actions import Actions, run_action
from cloudgrpc.shell.completion import REMOTE
from cloudgrpc.shell.parser import Command, Parser
from cloudgrpc.shell.sharing import Sharing

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from cloudgrpc.clients.places import Places
    from cloudgrpc.clients.session import Session


def _share_parser() -> Parser:
    parser = Parser(
        "share",
        """
        Share a file, or a folder with all it holds, with somebody: to read, or to write
        as well. They need no account yet: they see it once they have one. Sharing the
        same again changes what they may do and until when.
        """,
        """
        share bob@example.org /photos/2026
        share bob@example.org /papers --write --until 2026-12-31
        share bob@example.org plan.odt --until 7d
        """,
    )
    parser.add_argument("who", metavar="WHO", help="an e-mail address")
    REMOTE.on(parser.add_argument("path", metavar="PATH", help="what they may use"))
    parser.add_argument(
        "--write",
        action="store_true",
        help="they may change it, too, and put more into a folder, which counts as storage you use",
    )
    parser.add_argument(
        "--until",
        metavar="DATE",
        help="when it ends: 2026-12-31, '2026-12-31 18:00', 30m, 12h, 7d, 4w (default: never)",
    )
    return parser


def _unshare_parser() -> Parser:
    parser = Parser(
        "unshare",
        """
        Take back what you share with somebody; or leave what somebody shares with you,
        named by its path or by its token.
        """,
        """
        unshare bob@example.org /photos/2026
        unshare shared:alice@example.org/trip
        unshare 8c0e5f2d4b1a49d3a1f0c2b3d4e5f607
        """,
    )
    parser.add_argument("who", metavar="WHO_OR_TOKEN", help="an e-mail address; or a token, or a path in shared:")
    REMOTE.on(parser.add_argument("path", metavar="PATH", nargs="?", help="what WHO may no longer use"))
    return parser


def _shares_parser() -> Parser:
    parser = Parser(
        "shares",
        "Show what you share, with whom, and until when.",
        """
        shares
        shares /photos/2026          only of this
        shares --json                with tokens
        """,
    )
    REMOTE.on(parser.add_argument("path", metavar="PATH", nargs="?", help="only of this file or folder"))
    parser.add_argument("--json", action="store_true", help="as JSON")
    return parser


class SharingCommands:
    def __init__(self, session: Callable[[], Session], places: Callable[[], Places]) -> None:
        """Both for who is signed in at the moment a command runs; both raise SessionEnded."""
        self._session = session
        self._places = places

    def commands(self) -> list[Command]:
        return [
            Command("Let somebody use a file or folder of yours.", _share_parser(), self._share),
            Command("End that, or leave what is shared with you.", _unshare_parser(), self._unshare),
            Command("Show what you share.", _shares_parser(), self._shares),
            Command("Show what others share with you.", self._shared_parser(), run_action),
        ]

    def _shared_parser(self) -> Parser:
        parser = Parser(
            "shared",
            """
            Show what others share with you. Its paths begin with shared: and work wherever
            a path does.
            """,
            """
            shared
            ls shared:alice@example.org/trip
            download shared:alice@example.org/trip/map.pdf
            shared open 8c0e5f2d4b1a49d3a1f0c2b3d4e5f607
            """,
        )
        parser.add_argument("--json", action="store_true", help="as JSON, with tokens")
        actions = Actions(parser, self._shared)
        opened = actions.add(
            "open", self._open, "Show what a token stands for.", "shared open 8c0e5f2d4b1a49d3a1f0c2b3d4e5f607"
        )
        opened.add_argument("token", metavar="TOKEN", help="as its owner told it to you")
        opened.add_argument("--json", action="store_true", help="as JSON")
        return parser

    def _share(self, args: argparse.Namespace) -> None:
        until = "" if args.until is None else dates.end(args.until, datetime.now(UTC))
        self._sharing().share(args.who, args.path, "write" if args.write else "read", until)

    def _unshare(self, args: argparse.Namespace) -> None:
        if args.path is None:
            self._sharing().end(args.who)
        else:
            self._sharing().end_mine(args.who, args.path)

    def _shares(self, args: argparse.Namespace) -> None:
        if args.json:
            self._sharing().print_mine_json(args.path)
        else:
            self._sharing().print_mine(args.path)

    def _shared(self, args: argparse.Namespace) -> None:
        if args.json:
            self._sharing().print_with_me_json()
        else:
            self._sharing().print_with_me()

    def _open(self, args: argparse.Namespace) -> None:
        self._sharing().open(args.token, args.json)

    def _sharing(self) -> Sharing:
        return Sharing(self._session(), self._places())
