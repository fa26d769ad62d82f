"""The shell's commands about what was and can be again: trash, restore, versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudgrpc.shell.actions import Actions, run_action
from cloudgrpc.shell.commands_change import add_if_version, add_yes
from cloudgrpc.shell.completion import REMOTE, REMOTE_FOLDER, TRASH
from cloudgrpc.shell.parser import Command, Parser, version_number
from cloudgrpc.shell.restoring import Restoring, Wish
from cloudgrpc.shell.trash import Trash
from cloudgrpc.shell.versions import Versions

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from cloudgrpc.clients.places import Places
    from cloudgrpc.clients.session import Session

FROM_TRASH = "its name, the path where it was, or its ID or how that begins"


def _restore_parser() -> Parser:
    parser = Parser(
        "restore",
        """
        Bring files and folders back from the trash, to where they were. When that place
        is taken or gone, you are asked what to do; a script fails, unless it says
        --anyway.
        """,
        """
        restore cat.jpg
        restore /photos/cat.jpg /photos/dog.jpg
        restore 3f9c2a17                   by an ID that trash shows
        restore cat.jpg --to /animals --as tom.jpg
        restore cat.jpg --anyway           as "cat (2).jpg", if there is a new cat.jpg
        """,
    )
    TRASH.on(parser.add_argument("names", metavar="NAME", nargs="+", help=FROM_TRASH))
    REMOTE_FOLDER.on(parser.add_argument("--to", metavar="FOLDER", help="another folder, which must exist"))
    parser.add_argument("--as", metavar="NAME", dest="name", default="", help="another name")
    parser.add_argument(
        "--anyway",
        action="store_true",
        help="under a free name if its name is taken, in the root folder if its folder is gone",
    )
    return parser


class _VersionsParser(Parser):
    """Reads `versions PATH` as `versions list PATH`."""

    ACTIONS = ("list", "restore", "rm")

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]  # argparse tells its types by overloads
        words = list(args or ())
        if not words or words[0] not in {*self.ACTIONS, "-h", "--help"}:
            words.insert(0, "list")
        return super().parse_known_args(words, namespace)


class HistoryCommands:
    def __init__(self, session: Callable[[], Session], places: Callable[[], Places]) -> None:
        """Both for who is signed in at the moment a command runs; both raise SessionEnded."""
        self._session = session
        self._places = places

    def commands(self) -> list[Command]:
        return [
            Command("Show what was deleted, or empty the trash.", self._trash_parser(), run_action),
            Command("Bring something back from the trash.", _restore_parser(), self._restore),
            Command("Show the older contents of a file, or bring one back.", self._versions_parser(), run_action),
        ]

    def _trash_parser(self) -> Parser:
        parser = Parser(
            "trash",
            """
            Show what was deleted and can be restored, the newest first, and when it goes
            for good. What lies in the trash counts as storage you use.
            """,
            """
            trash
            trash --json
            trash rm old.iso               one thing, for good
            trash empty                    all of it, for good
            """,
        )
        parser.add_argument("--json", action="store_true", help="as JSON, with whole IDs")
        actions = Actions(parser, self._trash)
        empty = actions.add("empty", self._empty, "Delete all of it for good.", "trash empty\ntrash empty --yes")
        add_yes(empty)
        remove = actions.add("rm", self._remove, "Delete some of it for good.", "trash rm old.iso\ntrash rm 3f9c2a17")
        TRASH.on(remove.add_argument("names", metavar="NAME", nargs="+", help=FROM_TRASH))
        add_yes(remove)
        return parser

    def _versions_parser(self) -> Parser:
        parser = _VersionsParser(
            "versions",
            """
            Show the contents that a file had, the newest first: every upload to a name
            that exists adds one. Older ones count as storage you use, and all but the
            newest few go by themselves.
            """,
            """
            versions plan.odt              the same as: versions list plan.odt
            versions restore plan.odt 3    the third again, as one more version
            versions rm plan.odt 1 2       for good
            versions ./rm                  a file whose name is rm
            """,
        )
        parser.usage = (
            "versions PATH [--json]\n       versions restore PATH N [--if-version N]\n       versions rm PATH N [N ...]"
        )
        parser.add_argument("--json", action="store_true", help="as JSON")
        actions = Actions(parser, self._versions)
        REMOTE.on(actions.added)
        listing = actions.add("list", self._versions, "Show the contents a file had.", "versions list plan.odt")
        REMOTE.on(listing.add_argument("path", metavar="PATH", help="a file"))
        listing.add_argument("--json", action="store_true", help="as JSON")
        restore = actions.add(
            "restore",
            self._restore_version,
            "Make an older content the newest, as one more version; nothing is lost.",
            "versions restore plan.odt 3",
        )
        REMOTE.on(restore.add_argument("path", metavar="PATH", help="a file"))
        restore.add_argument("number", metavar="N", type=version_number, help="which version")
        add_if_version(restore, "only if this is the file's newest version")
        remove = actions.add("rm", self._remove_versions, "Delete older contents for good.", "versions rm plan.odt 1 2")
        REMOTE.on(remove.add_argument("path", metavar="PATH", help="a file"))
        remove.add_argument("numbers", metavar="N", nargs="+", type=version_number, help="which versions")
        return parser

    def _trash(self, args: argparse.Namespace) -> None:
        trash = Trash(self._session(), self._places())
        if args.json:
            trash.print_json()
        else:
            trash.print()

    def _empty(self, args: argparse.Namespace) -> None:
        Trash(self._session(), self._places()).empty(args.yes)

    def _remove(self, args: argparse.Namespace) -> None:
        Trash(self._session(), self._places()).remove(args.names, args.yes)

    def _restore(self, args: argparse.Namespace) -> None:
        places = self._places()
        folder = None if args.to is None else places.folder(args.to)
        Restoring(self._session(), places).restore(args.names, Wish(folder, args.name, args.anyway))

    def _versions(self, args: argparse.Namespace) -> None:
        versions = Versions(self._session(), self._places())
        if args.json:
            versions.print_json(args.path)
        else:
            versions.print(args.path)

    def _restore_version(self, args: argparse.Namespace) -> None:
        Versions(self._session(), self._places()).restore(args.path, args.number, args.if_version)

    def _remove_versions(self, args: argparse.Namespace) -> None:
        Versions(self._session(), self._places()).remove(args.path, args.numbers)
