"""The shell's commands that look through everything below a folder: find, du."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cloudgrpc.clients import render
from cloudgrpc.clients.address import ID, SHARED
from cloudgrpc.core.units import size_words
from cloudgrpc.errors import UsageWrong
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.shell import dates
from cloudgrpc.shell.amounts import size
from cloudgrpc.shell.attempts import Attempts
from cloudgrpc.shell.completion import REMOTE, REMOTE_FOLDER, suggest
from cloudgrpc.shell.parser import Command, Parser, whole_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cloudgrpc.clients.places import Place, Places
    from cloudgrpc.clients.session import Session
    from cloudgrpc.shell.usage import Sums

KINDS = {"file": "file", "f": "file", "folder": "folder", "d": "folder"}
TYPES = {
    "image": "image/",
    "video": "video/",
    "audio": "audio/",
    "text": "text/",
    "pdf": "application/pdf",
    "zip": "application/zip",
}


def _find_parser() -> Parser:
    parser = Parser(
        "find",
        """
        Find files and folders in all that is below a folder, by a part of their name in
        any case, by a pattern with * ? [abc], or by other facts. A word is the FOLDER if
        it starts with / or shared: or ends with / or is . or .. and else it is the NAME.
        """,
        """
        find cat                        all with "cat" in its name, below here
        find *.jpg
        find /photos beach
        find --type image --newer 7d    images of the last seven days
        find / --larger 100M
        find . --type folder
        """,
    )
    words = parser.add_argument("words", metavar="FOLDER NAME", nargs="*", help="where to look, and for what")
    REMOTE_FOLDER.on(words)
    parser.add_argument("--name", metavar="NAME", help="the same as NAME, whatever it looks like")
    kind = parser.add_argument("--type", metavar="TYPE", help=f"file, folder, {', '.join(TYPES)}, or as in image/png")
    suggest(kind, ["file", "folder", *TYPES])
    # For those who know find from elsewhere.
    for option in ("name", "type"):
        parser.add_argument(f"-{option}", dest=option, help=argparse.SUPPRESS)
    parser.add_argument("--larger", metavar="SIZE", type=size, default=0, help="files larger than, say, 10M")
    parser.add_argument(
        "--newer", metavar="WHEN", help="changed since, say, 2026-11-01, '2026-11-01 18:00', 30m, 12h or 7d"
    )
    parser.add_argument("--json", action="store_true", help="print as JSON, for programs")
    return parser


def _du_parser() -> Parser:
    parser = Parser(
        "du",
        """
        Show how much folders hold, the largest first, and all together in the last
        line. Only the newest contents count; what older versions and the trash use
        is told by storage.
        """,
        """
        du                      the folders of this folder
        du -d 2 /photos         and theirs
        du -d 0 /photos /music  one line each
        """,
    )
    REMOTE.on(parser.add_argument("paths", metavar="PATH", nargs="*", help="folders and files (default: this folder)"))
    parser.add_argument(
        "-d", "--depth", metavar="DEPTH", type=whole_number, default=1, help="levels of folders to show (default: 1)"
    )
    parser.add_argument("--json", action="store_true", help="print as JSON, for programs")
    return parser


class FindCommands:
    def __init__(self, session: Callable[[], Session], places: Callable[[], Places]) -> None:
        """Both for who is signed in at the moment a command runs; both raise SessionEnded."""
        self._session = session
        self._places = places

    def commands(self) -> list[Command]:
        return [
            Command("Find files and folders.", _find_parser(), self._find),
            Command("Show how much folders hold.", _du_parser(), self._du),
        ]

    def _find(self, args: argparse.Namespace) -> None:
        from cloudgrpc.clients.search import search

        where, name = split_words(args.words, args.name)
        request = wanted(name, args.type or "", args.larger, args.newer, datetime.now(UTC))
        places = self._places()
        pages = search(self._session(), places.folder(where), request)
        if args.json:
            render.print_json_list(_found_facts(pages))
        elif sys.stdout.isatty():
            _print_table(pages, places)
        else:
            for page in pages:
                for place in page:
                    print(render.shown(places.near(place)))

    def _du(self, args: argparse.Namespace) -> None:
        places, attempts = self._places(), Attempts()
        told: list[Sums] = []
        for place in attempts.named(places, args.paths or ["."]):
            with attempts.one():
                told.append(self._sums(place, args.depth))
        lines = [line for sums in told for line in sums.largest_first()]
        if args.json:
            render.print_json([{"path": path, "size": total.size, "files": total.files} for path, total in lines])
        elif lines:
            rows = [
                (size_words(total.size), render.count(total.files, "file"), render.shown(path)) for path, total in lines
            ]
            render.print_table(["Size", "Files", "Path"], rows, right=["Size", "Files"])
        attempts.finish("summed up")

    def _sums(self, place: Place, depth: int) -> Sums:
        from cloudgrpc.clients.search import search
        from cloudgrpc.shell.usage import Sums

        sums = Sums(place.path, depth)
        if place.file:
            sums.add(place)
            return sums
        if place.is_shared_list:
            raise UsageWrong(reason=f"{place.path} lists what others share; name a folder in it")
        for page in search(self._session(), place, pb.SearchFilesRequest()):
            for inner in page:
                sums.add(inner)
        return sums


def split_words(words: Sequence[str], name: str | None) -> tuple[str, str]:
    """Where to search, and for which name ("" for any). Raises: UsageWrong."""
    if len(words) > 2 or (len(words) == 2 and name is not None):
        raise UsageWrong(reason="find takes one folder and one name; put quotes around a name with spaces")
    if len(words) == 2:
        return words[0], words[1]
    if words and (name is not None or _is_folder_word(words[0])):
        return words[0], name or ""
    return ".", words[0] if words else name or ""


def wanted(name: str, kind: str, larger_than: int, newer: str | None, now: datetime) -> pb.SearchFilesRequest:
    """Raises: UsageWrong."""
    request = pb.SearchFilesRequest(name=name, larger_than=larger_than)
    if kind in KINDS:
        request.kind = KINDS[kind]
    elif kind in TYPES or "/" in kind:
        request.mime_type = TYPES.get(kind, kind)
    elif kind:
        raise UsageWrong(reason=f"{kind} is no type; name one of file, folder, {', '.join(TYPES)}, or one as image/png")
    if newer is not None:
        request.newer_than = dates.start(newer, now)
    return request


def _is_folder_word(word: str) -> bool:
    return word.startswith(("/", SHARED)) or word in {".", ".."} or word.endswith("/") or ID.fullmatch(word) is not None


def _found_facts(pages: Iterator[list[Place]]) -> Iterator[dict[str, object]]:
    from cloudgrpc.shell.entries import facts

    return (facts(place) for page in pages for place in page)


def _print_table(pages: Iterator[list[Place]], places: Places) -> None:
    from cloudgrpc.shell.entries import modified_cell, name_cell, name_style, size_cell
    from cloudgrpc.shell.stream_table import StreamTable

    table, count = StreamTable(["Size", "Modified", "Path"], right=["Size"]), 0
    for page in pages:
        count += len(page)
        rows = [(size_cell(place), modified_cell(place), name_cell(place, places.near(place))) for place in page]
        table.add(rows, [name_style(place) for place in page])
    if not count:
        print("Nothing found.")
