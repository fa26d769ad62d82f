"""The shell's commands that move bytes: upload, download, uploads, sync."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudgrpc.clients.ranges import read_range
from cloudgrpc.shell.actions import Actions, run_action
from cloudgrpc.shell.commands_change import add_if_version
from cloudgrpc.shell.completion import LOCAL, LOCAL_TO_REMOTE, REMOTE, REMOTE_TO_LOCAL, SIDE
from cloudgrpc.shell.parser import Command, Parser, version_number, version_or_none

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from cloudgrpc.clients.places import Places
    from cloudgrpc.clients.session import Session
    from cloudgrpc.shell.unfinished import Unfinished


def _upload_parser() -> Parser:
    parser = Parser(
        "upload",
        """
        Upload files and folders into your drive. Over a file whose name is there already
        goes a new version of it. Links inside a folder are left out.

        Of exactly two words without --to, the second is the FOLDER of the drive when
        nothing on this computer has that name, or when it starts with / and is a
        folder of your drive. Otherwise every word is a PATH. The FOLDER may also be a
        file, whose next content then comes from PATH.

        An upload that breaks off is kept for some days: --resume goes on with it.
        """,
        """
        upload cat.jpg                     into the current folder of your drive
        upload cat.jpg /photos
        upload a.pdf b.pdf c.pdf --to /papers
        upload -r ~/photos /backup         becomes /backup/photos with all it holds
        upload --resume film.mkv           what arrived before does not travel again
        upload -r --resume ~/photos /backup
        """,
    )
    LOCAL_TO_REMOTE.on(parser.add_argument("paths", metavar="PATH", nargs="+", help="on this computer"))
    REMOTE.on(parser.add_argument("--to", metavar="FOLDER", help="of your drive; it must exist"))
    parser.add_argument("-r", "--recursive", action="store_true", help="upload folders with all they hold")
    parser.add_argument(
        "--resume", action="store_true", help="go on with what broke off, and leave out what is there already"
    )
    add_if_version(parser, "one file, only if this is its newest version; 0: only if there is none", version_or_none)
    return parser


def _download_parser() -> Parser:
    parser = Parser(
        "download",
        """
        Download files, and folders with -r. Of several words the last is the OUTPUT,
        unless -o names it. Every byte is verified before a file appears; an existing
        file is replaced only then. A download that breaks off goes on where it was
        when you type the same again.
        """,
        """
        download /photos/cat.jpg
        download /photos/cat.jpg tom.jpg
        download *.jpg ~/Pictures/
        download -r /photos ~/Pictures     becomes ~/Pictures/photos
        download film.mkv --range 0-1023   into film.mkv.0-1023
        download notes.txt --version 2 -   to stdout
        """,
    )
    REMOTE_TO_LOCAL.on(parser.add_argument("words", metavar="PATH", nargs="+", help="in your drive; * ? [abc] work"))
    LOCAL.on(
        parser.add_argument(
            "-o", "--output", metavar="OUTPUT", help="file, folder, or - for stdout (default: this folder)"
        )
    )
    parser.add_argument("-r", "--recursive", action="store_true", help="download folders with all they hold")
    parser.add_argument("--version", metavar="N", type=version_number, default=0, help="an older content")
    parser.add_argument(
        "--range",
        metavar="A-B",
        type=read_range,
        help="only these bytes: the first is 0, and B belongs to it; A- to the end, -N for the last N",
    )
    return parser


def _sync_parser() -> Parser:
    parser = Parser(
        "sync",
        """
        Make the folder TARGET hold what the folder SOURCE holds. Write drive: before the
        side that is in your drive (shared:OWNER/NAME needs nothing more); the other side
        is on this computer. Only what differs travels: files of another size, or of
        other content. What only TARGET has stays, unless --delete. Links are left out.
        Over a file of the drive goes a new version, and what is deleted there goes to
        the trash; on this computer there are neither. What stands in the way, such as a
        file where a folder is to come, is left alone, and sync then fails; --delete
        replaces it, unless it is a link.
        """,
        """
        sync ~/photos drive:/photos
        sync drive:/photos ~/photos
        sync --dry-run --delete ~/photos drive:/photos     show what would happen
        sync shared:alice@example.org/trip trip
        sync ./drive:odd drive:/odd       a folder here that is called so
        """,
    )
    SIDE.on(parser.add_argument("source", metavar="SOURCE", help="a folder, as drive:/photos if it is in your drive"))
    SIDE.on(parser.add_argument("target", metavar="TARGET", help="a folder, which is made if it is not there"))
    parser.add_argument("--delete", action="store_true", help="delete what only TARGET has")
    parser.add_argument("--dry-run", action="store_true", help="show what would be done, and do nothing")
    parser.add_argument("--checksum", action="store_true", help="look into files even where size and time agree")
    parser.add_argument("--yes", action="store_true", help="with --delete: also when SOURCE is empty")
    parser.add_argument("--json", action="store_true", help="what differs and what was done, as JSON")
    return parser


class TransferCommands:
    def __init__(self, session: Callable[[], Session], places: Callable[[], Places]) -> None:
        """Both for who is signed in at the moment a command runs; both raise SessionEnded."""
        self._session = session
        self._places = places

    def commands(self) -> list[Command]:
        return [
            Command("Upload files and folders.", _upload_parser(), self._upload),
            Command("Download files and folders.", _download_parser(), self._download),
            Command("Show unfinished uploads, or drop them.", self._uploads_parser(), run_action),
            Command("Make one folder hold what another holds.", _sync_parser(), self._sync),
        ]

    def _uploads_parser(self) -> Parser:
        parser = Parser(
            "uploads",
            """
            Show uploads that broke off. What arrived of them is kept for some days and counts
            as storage you use; upload --resume goes on with one.
            """,
            """
            uploads
            uploads --json
            uploads drop 8c0e5f2d4b1a49d3a1f0c2b3d4e5f607
            uploads drop --all
            """,
        )
        parser.add_argument("--json", action="store_true", help="as JSON")
        actions = Actions(parser, self._show_uploads)
        drop = actions.add("drop", self._drop_uploads, "Drop unfinished uploads.", "uploads drop --all")
        drop.add_argument("ids", metavar="ID", nargs="*", help="as uploads shows it")
        drop.add_argument("--all", action="store_true", help="every one")
        return parser

    # What moves bytes and hashes them is loaded by the first command that needs it, not by `help`.

    def _upload(self, args: argparse.Namespace) -> None:
        from cloudgrpc.shell.uploading import Uploading, Wish

        wish = Wish(args.recursive, args.resume, args.if_version)
        Uploading(self._session(), self._places(), wish).upload(args.paths, args.to)

    def _download(self, args: argparse.Namespace) -> None:
        from cloudgrpc.shell.downloading import Downloading, Wish

        wish = Wish(args.recursive, args.version, args.range)
        Downloading(self._session(), self._places(), wish).download(args.words, args.output)

    def _sync(self, args: argparse.Namespace) -> None:
        from cloudgrpc.shell.syncing import Syncing, Wish

        wish = Wish(args.delete, args.dry_run, args.checksum, args.yes, args.json)
        Syncing(self._session(), self._places(), wish).sync(args.source, args.target)

    def _show_uploads(self, args: argparse.Namespace) -> None:
        self._unfinished().show(args.json)

    def _drop_uploads(self, args: argparse.Namespace) -> None:
        self._unfinished().drop(args.ids, args.all)

    def _unfinished(self) -> Unfinished:
        from cloudgrpc.shell.unfinished import Unfinished

        return Unfinished(self._session())
