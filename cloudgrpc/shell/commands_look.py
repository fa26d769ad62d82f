"""The shell's commands that look around: cd, pwd, ls, list, tree, stat, cat."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from cloudgrpc.clients import render
from cloudgrpc.clients.address import address_of
from cloudgrpc.errors import UsageWrong
from cloudgrpc.shell.attempts import Attempts
from cloudgrpc.shell.completion import REMOTE, REMOTE_FOLDER
from cloudgrpc.shell.parser import Command, Parser, whole_number

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from cloudgrpc.clients.places import Place, Places
    from cloudgrpc.clients.session import Session
    from cloudgrpc.shell.branches import Branch, Tree

BACK = "-"
AS_JSON = "print as JSON, for programs"


def _cd_parser() -> Parser:
    parser = Parser(
        "cd",
        """
        Go to a folder, which is then the current one: paths without a / at their
        beginning start there. What others share with you is in shared:
        """,
        """
        cd /photos/2026
        cd ..                            up
        cd -                             back to where you were
        cd                               to your root folder
        cd shared:alice@example.org      to what Alice shares with you
        """,
    )
    REMOTE_FOLDER.on(parser.add_argument("path", metavar="FOLDER", nargs="?", default="/", help="default: /"))
    return parser


def _pwd_parser() -> Parser:
    return Parser("pwd", "Show the current folder.", "pwd")


def _list_parser(name: str) -> Parser:
    parser = Parser(
        name,
        """
        List folders of your drive, or of what is shared with you. Where a terminal is too
        narrow for IDs beside the names, they are left out; stat shows them.
        """,
        f"""
        {name}
        {name} /photos
        {name} *.jpg /photos/2026
        {name} -R /photos           with all folders below
        {name} --deleted            what was deleted here, too
        {name} shared:              who shares something with you
        """,
    )
    paths = parser.add_argument("paths", metavar="PATH", nargs="*", help="folders and files (default: this folder)")
    REMOTE.on(paths)
    parser.add_argument(
        "-l",
        "--long",
        action="store_true",
        help="also tell versions, and what is shared itself; what is shared through a folder above it, stat tells",
    )
    parser.add_argument("-R", "--recursive", action="store_true", help="also list all folders below")
    parser.add_argument("--deleted", action="store_true", help="show what lies in the trash, too")
    parser.add_argument("--json", action="store_true", help=AS_JSON)
    return parser


def _tree_parser() -> Parser:
    parser = Parser(
        "tree",
        "Draw a folder with all it holds.",
        """
        tree
        tree -L 2 /photos     two levels of it
        tree -d               folders only
        """,
    )
    REMOTE_FOLDER.on(parser.add_argument("path", metavar="FOLDER", nargs="?", default=".", help="default: this folder"))
    parser.add_argument("-d", "--folders", action="store_true", help="leave files out")
    parser.add_argument("-L", "--depth", metavar="DEPTH", type=whole_number, default=0, help="no deeper than that")
    parser.add_argument("--json", action="store_true", help=AS_JSON)
    return parser


def _stat_parser() -> Parser:
    parser = Parser(
        "stat",
        "Show everything about files and folders: size, type, version, checksum, dates, whose it is, who may use it.",
        "stat cat.jpg\nstat /photos *.pdf\nstat 8c0e5f2d4b1a49d3a1f0c2b3d4e5f607     what has this ID, and where it is",
    )
    REMOTE.on(parser.add_argument("paths", metavar="PATH", nargs="+", help="files, folders, or IDs"))
    parser.add_argument("--json", action="store_true", help=AS_JSON)
    return parser


def _cat_parser() -> Parser:
    parser = Parser(
        "cat",
        """
        Print files, one after the other. What is not text is printed only where a
        program reads it, or with --force.
        """,
        "cat notes.txt\ncat part1.txt part2.txt\ncat --force log-with-colours.txt",
    )
    REMOTE.on(parser.add_argument("paths", metavar="PATH", nargs="+", help="files"))
    parser.add_argument("--force", action="store_true", help="print whatever it is, even at a terminal")
    return parser


class LookCommands:
    def __init__(self, session: Callable[[], Session], places: Callable[[], Places]) -> None:
        """Both for who is signed in at the moment a command runs; both raise SessionEnded."""
        self._session = session
        self._places = places

    def commands(self) -> list[Command]:
        return [
            Command("Go to a folder.", _cd_parser(), self._cd),
            Command("Show the current folder.", _pwd_parser(), self._pwd),
            Command("List folders.", _list_parser("ls"), self._ls),
            Command("The same as ls.", _list_parser("list"), self._ls),
            Command("Draw a folder with all it holds.", _tree_parser(), self._tree),
            Command("Show everything about files and folders.", _stat_parser(), self._stat),
            Command("Print files.", _cat_parser(), self._cat),
        ]

    def _cd(self, args: argparse.Namespace) -> None:
        places = self._places()
        is_back = args.path == BACK
        place = places.at(places.working.previous) if is_back else places.find(args.path)
        if not place.is_folder:
            raise UsageWrong(reason=f"{place.path} is a file; a folder is needed here")
        places.working.go(address_of(place.path))
        if is_back:
            print(render.shown(place.path))

    def _pwd(self, _: argparse.Namespace) -> None:
        print(render.shown(self._places().working.path))

    def _ls(self, args: argparse.Namespace) -> None:
        from cloudgrpc.shell.listing import Listing, Wish

        listing = Listing(self._places(), Wish(args.long, args.recursive, args.deleted))
        words = args.paths or ["."]
        if args.json:
            render.print_json_list(listing.facts(words))
        else:
            listing.show(words)

    def _tree(self, args: argparse.Namespace) -> None:
        from cloudgrpc.shell.branches import Tree

        places = self._places()
        top = places.find(args.path)
        if not top.is_folder:
            raise UsageWrong(reason=f"{top.path} is a file; a folder is needed here")
        tree = Tree(places, args.depth, args.folders)
        if args.json:
            render.print_json_list(_tree_facts(tree.branches(top)))
        else:
            _draw(tree, top)

    def _stat(self, args: argparse.Namespace) -> None:
        from cloudgrpc.shell.details import Details

        places = self._places()
        details = Details(self._session(), places)
        if args.json:
            render.print_json([details.facts(place) for place in places.expand(args.paths)])
            return
        attempts = Attempts()
        for number, place in enumerate(attempts.named(places, args.paths)):
            with attempts.one():
                print("\n" * bool(number), end="")
                details.show(place)
        attempts.finish("found")

    def _cat(self, args: argparse.Namespace) -> None:
        from cloudgrpc.shell.printing import print_file

        attempts = Attempts()
        for place in attempts.named(self._places(), args.paths):
            with attempts.one():
                print_file(self._session(), place, is_checked=sys.stdout.isatty() and not args.force)
        attempts.finish("printed")


def _draw(tree: Tree, top: Place) -> None:
    print(render.styled(render.shown(top.path), render.FOLDER))
    for branch in tree.branches(top):
        place = branch.place
        name = render.path_words(place.name, place.is_folder)
        print(branch.lines + render.styled(name, render.FOLDER if place.is_folder else ""))
    told = [render.count(tree.folders, "folder")]
    if not tree.are_files_left_out:
        told.append(render.count(tree.files, "file"))
    print(f"\n{', '.join(told)}")


def _tree_facts(branches: Iterator[Branch]) -> Iterator[dict[str, object]]:
    """Those of `entries.facts`, and "depth": 1 for what lies directly in the folder."""
    from cloudgrpc.shell.entries import facts

    return ({**facts(branch.place), "depth": branch.depth} for branch in branches)
