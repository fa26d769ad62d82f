"""The shell's commands about files: upload, download, ls, mkdir, delete, storage.

A file or folder is named by its path in the drive (a name without / is in the root folder) or by its ID, which is 32
hexadecimal digits.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cloudgrpc.clients.shell_parser import Command, Parser

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from cloudgrpc.clients.drive import Drive
    from cloudgrpc.clients.session import Session


def _upload_parser() -> Parser:
    parser = Parser(
        "upload",
        """
        Upload files and folders into your drive. A file whose name is there already
        replaces the older content. Links inside a folder are left out.

        Of exactly two words without --to, the second is the FOLDER of the drive when
        nothing on this computer has that name, or when it starts with / and is a
        folder of your drive. Otherwise every word is a PATH.
        """,
        """
        upload cat.jpg                     into the drive's root folder
        upload cat.jpg /photos
        upload a.pdf b.pdf c.pdf --to /papers
        upload -r ~/photos /backup         becomes /backup/photos with all it holds
        """,
    )
    parser.add_argument("paths", metavar="PATH", nargs="+", help="on this computer")
    parser.add_argument("--to", metavar="FOLDER", help="folder of your drive, which must exist (default: /)")
    parser.add_argument("-r", "--recursive", action="store_true", help="upload folders with all they hold")
    return parser


def _download_parser() -> Parser:
    parser = Parser(
        "download",
        "Download a file. Every byte is verified before the file appears; an existing file is replaced only then.",
        """
        download /photos/cat.jpg
        download /photos/cat.jpg ~/Pictures/
        download 8c0e5f2d4b1a49d3a1f0c2b3d4e5f607 tom.jpg
        """,
    )
    parser.add_argument("file", metavar="ID_OR_PATH", help="the file in your drive")
    parser.add_argument(
        "output",
        metavar="OUTPUT",
        nargs="?",
        default=".",
        help="file, or folder to put it in (default: this folder)",
    )
    return parser


def _list_parser(name: str) -> Parser:
    parser = Parser(name, "List a folder of your drive.", "ls\nls /photos\nls / --deleted")
    parser.add_argument("path", metavar="PATH", nargs="?", default="/", help="folder or file (default: /)")
    parser.add_argument("--deleted", action="store_true", help="show what lies in the trash, too")
    return parser


def _mkdir_parser() -> Parser:
    parser = Parser("mkdir", "Make a folder in your drive.", "mkdir /photos\nmkdir /photos/2026")
    parser.add_argument("path", metavar="PATH", help="the new folder; the folder that holds it must exist")
    return parser


def _delete_parser() -> Parser:
    parser = Parser(
        "delete",
        "Move a file or a folder with all it holds to the trash, or delete it for good.",
        """
        delete /photos/cat.jpg
        delete --permanent 8c0e5f2d4b1a49d3a1f0c2b3d4e5f607     also what is in the trash (IDs: ls --deleted)
        """,
    )
    parser.add_argument("file", metavar="PATH_OR_ID", help="what to delete")
    parser.add_argument(
        "--permanent", action="store_true", help="for good: it cannot be restored, and frees room at once"
    )
    return parser


def _storage_parser() -> Parser:
    return Parser("storage", "Show how much room you have and what uses it.", "storage")


class FileCommands:
    def __init__(self, session: Callable[[], Session]) -> None:
        """`session`: who is signed in at the moment a command runs; raises SessionEnded."""
        self._session = session

    def commands(self) -> list[Command]:
        return [
            Command("Upload files and folders.", _upload_parser(), self._upload, takes_local_paths=True),
            Command("Download a file.", _download_parser(), self._download, takes_local_paths=True),
            Command("List a folder.", _list_parser("ls"), self._ls),
            Command("The same as ls.", _list_parser("list"), self._ls),
            Command("Make a folder.", _mkdir_parser(), self._mkdir),
            Command("Move to the trash, or delete for good.", _delete_parser(), self._delete),
            Command("Show used and free room.", _storage_parser(), self._storage),
        ]

    def _upload(self, args: argparse.Namespace) -> None:
        drive = self._drive()
        paths, folder = drive.upload_target(args.paths, args.to)
        local = [Path(path).expanduser() for path in paths]
        if len(local) == 1 and not local[0].is_dir():
            drive.upload_one(local[0], folder)
        else:
            drive.upload_many(local, folder, args.recursive)

    def _download(self, args: argparse.Namespace) -> None:
        self._drive().download(args.file, args.output)

    def _ls(self, args: argparse.Namespace) -> None:
        self._drive().print_list(args.path, args.deleted)

    def _mkdir(self, args: argparse.Namespace) -> None:
        self._drive().make_folder(args.path)

    def _delete(self, args: argparse.Namespace) -> None:
        self._drive().delete(args.file, args.permanent)

    def _storage(self, _: argparse.Namespace) -> None:
        self._drive().print_storage()

    def _drive(self) -> Drive:
        # What moves bytes and hashes them is loaded by the first command that needs it, not by `help`.
        from cloudgrpc.clients.drive import Drive

        return Drive(self._session())
