"""The shell's commands that change what a drive holds: mkdir, mv, cp, rm, delete."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudgrpc.shell.changes import Changes
from cloudgrpc.shell.completion import REMOTE
from cloudgrpc.shell.parser import Command, Parser, version_number
from cloudgrpc.shell.removal import Manner, Removal

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from cloudgrpc.clients.places import Places
    from cloudgrpc.clients.session import Session

FOR_GOOD = "for good: it cannot be restored, and frees room at once"


def _mkdir_parser() -> Parser:
    parser = Parser(
        "mkdir",
        "Make folders in your drive, or in a folder that is shared with you for writing.",
        """
        mkdir photos                  in the current folder
        mkdir -p /photos/2026/may     with all folders on the way
        mkdir -- -odd-                what comes after -- is never an option
        """,
    )
    REMOTE.on(parser.add_argument("paths", metavar="PATH", nargs="+", help="the new folder"))
    parser.add_argument(
        "-p", "--parents", action="store_true", help="make the folders that hold it, too; what exists is no error"
    )
    return parser


def _mv_parser() -> Parser:
    parser = Parser(
        "mv",
        """
        Move files and folders into a folder, or give one another name. Versions and
        shares go along. Nothing is ever replaced: a name that is taken is an error.
        """,
        """
        mv cat.jpg tom.jpg                 another name
        mv cat.jpg dog.jpg /photos         into a folder
        mv *.jpg /photos/2026
        mv notes.txt /papers/old.txt       both at once
        """,
    )
    _add_sources_and_target(parser)
    add_if_version(parser, "move the file only if this is its newest version")
    return parser


def _cp_parser() -> Parser:
    parser = Parser(
        "cp",
        """
        Copy files, and folders with -r, within your drive or out of what is shared
        with you. Nothing is downloaded or uploaded: a copy takes a moment, whatever its
        size. It holds the newest content only, and counts as storage you use.
        """,
        """
        cp plan.odt plan-old.odt
        cp -r /photos/2026 /backup
        cp --replace plan.odt /papers          a plan.odt there gets one more version
        cp -r shared:alice@example.org/trip /  from another person's drive into yours
        """,
    )
    _add_sources_and_target(parser)
    parser.add_argument("-r", "--recursive", action="store_true", help="copy folders with all they hold")
    parser.add_argument(
        "--replace", action="store_true", help="where a file of that name exists, make the copy its next version"
    )
    add_if_version(parser, "with --replace: only if this is the newest version of the file that is replaced")
    return parser


def _rm_parser() -> Parser:
    parser = Parser(
        "rm",
        """
        Move files and folders to the trash, from where they can be restored until they
        go for good; or delete them for good at once.
        """,
        """
        rm cat.jpg
        rm *.tmp notes.txt
        rm -r /photos/2019              with all it holds
        rm -r --permanent /old          asks first, at a terminal
        """,
    )
    REMOTE.on(parser.add_argument("paths", metavar="PATH", nargs="+", help="what to delete"))
    parser.add_argument("-r", "--recursive", action="store_true", help="delete folders with all they hold")
    parser.add_argument("--permanent", action="store_true", help=FOR_GOOD)
    add_yes(parser)
    add_if_version(parser, "delete the file only if this is its newest version")
    return parser


def _delete_parser() -> Parser:
    parser = Parser(
        "delete",
        "Move a file or a folder with all it holds to the trash, or delete it for good.",
        """
        delete /photos/cat.jpg
        delete --permanent 8c0e5f2d4b1a49d3a1f0c2b3d4e5f607   even from the trash
        """,
    )
    REMOTE.on(parser.add_argument("path", metavar="PATH_OR_ID", help="what to delete"))
    parser.add_argument("--permanent", action="store_true", help=FOR_GOOD)
    return parser


def _add_sources_and_target(parser: Parser) -> None:
    REMOTE.on(parser.add_argument("sources", metavar="SRC", nargs="+", help="files and folders; * ? [abc] work"))
    REMOTE.on(parser.add_argument("target", metavar="DST", help="a folder that exists, or a new name"))


def add_if_version(parser: Parser, meaning: str, number: Callable[[str], int] = version_number) -> None:
    """`number`: which one it may be."""
    parser.add_argument("--if-version", metavar="N", type=number, help=meaning)


def add_yes(parser: Parser) -> None:
    parser.add_argument("--yes", action="store_true", help="do not ask (a script is never asked)")


class ChangeCommands:
    def __init__(self, session: Callable[[], Session], places: Callable[[], Places]) -> None:
        """Both for who is signed in at the moment a command runs; both raise SessionEnded."""
        self._session = session
        self._places = places

    def commands(self) -> list[Command]:
        return [
            Command("Make folders.", _mkdir_parser(), self._mkdir),
            Command("Move or rename files and folders.", _mv_parser(), self._mv),
            Command("Copy files and folders.", _cp_parser(), self._cp),
            Command("Move to the trash, or delete for good.", _rm_parser(), self._rm),
            Command("The same for one file or folder, or ID.", _delete_parser(), self._delete),
        ]

    def _mkdir(self, args: argparse.Namespace) -> None:
        self._changes().make_folders(args.paths, args.parents)

    def _mv(self, args: argparse.Namespace) -> None:
        self._changes().move(args.sources, args.target, args.if_version)

    def _cp(self, args: argparse.Namespace) -> None:
        self._changes().copy(args.sources, args.target, args.recursive, args.replace, args.if_version)

    def _rm(self, args: argparse.Namespace) -> None:
        removal = Removal(self._session(), self._places())
        removal.remove(args.paths, Manner(args.recursive, args.permanent, args.yes, args.if_version))

    def _delete(self, args: argparse.Namespace) -> None:
        Removal(self._session(), self._places()).delete(args.path, args.permanent)

    def _changes(self) -> Changes:
        return Changes(self._session(), self._places())
