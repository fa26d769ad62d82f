"""What the shell's file commands do with a person's drive, and what they print of it.

A file or folder is named by its path in the drive (a name without / is in the root folder) or by its ID, which is 32
hexadecimal digits.
"""

from __future__ import annotations

import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cloudgrpc.clients import render
from cloudgrpc.clients.transfer import Transfers
from cloudgrpc.clients.tree import TreeUpload, plan
from cloudgrpc.core.units import size_words
from cloudgrpc.errors import InvalidField, Missing, UsageWrong
from cloudgrpc.pb import cloud_storage_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cloudgrpc.clients.session import Session
    from cloudgrpc.clients.tree import Outcome, Plan

ID = re.compile("[0-9a-fA-F]{32}")
PAGE = 1000


@dataclass(frozen=True)
class Found:
    """What stands at a path or behind an ID."""

    entry_id: str  # "" is the root folder
    name: str
    path: str  # the ID, when it was named by that
    file: pb.FileEntry | None = None

    @property
    def is_folder(self) -> bool:
        return self.file is None


ROOT = Found("", "", "/")


class Drive:
    """The drive of the person who is signed in."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._files = session.gateway.files

    def upload_target(self, words: Sequence[str], to: str | None) -> tuple[Sequence[str], Found]:
        """Which words are paths on this computer, and the folder they go to.

        Raises: Missing, UsageWrong when the folder is not one.
        """
        if to is not None:
            return words, self._folder(to)
        if len(words) == 2 and (folder := self._second_word(words[1])):
            return words[:1], folder
        return words, ROOT

    def upload_one(self, path: Path, folder: Found) -> None:
        started = time.monotonic()
        size = path.stat().st_size if path.is_file() else 0
        with render.metered(path.name, size) as meter:
            uploaded = Transfers(self._session).upload_file(path, folder.entry_id, meter.moved)
        took = render.pace(uploaded.size, time.monotonic() - started)
        target = render.shown(f"{folder.path.rstrip('/')}/{path.name}")
        print(f"Uploaded {target} ({took}), ID {uploaded.file_id}")

    def upload_many(self, paths: Sequence[Path], folder: Found, is_recursive: bool) -> None:
        """Raises: the first failure, in the words of the whole, after everything else was uploaded."""
        found = plan(paths, folder.path, folder.entry_id, is_recursive)
        for note in found.notes:
            print(render.shown(note), file=sys.stderr)
        started = time.monotonic()
        with render.metered("Uploading", found.size, len(found.files)) as meter:
            outcome = TreeUpload(self._session, Transfers(self._session), meter).run(found)
        self._print_outcome(found, outcome, folder, time.monotonic() - started)

    def download(self, word: str, output: str) -> None:
        found = self._find(word)
        if found.file is None:
            raise UsageWrong(reason=f"{found.path} is a folder; download takes a file")
        target = Path(output).expanduser()
        if output.endswith("/") and not target.is_dir():
            raise UsageWrong(reason=f"{output} is not a folder on this computer")
        started = time.monotonic()
        with render.metered(found.name, found.file.file_size) as meter:
            downloaded = Transfers(self._session).download_file(found.entry_id, target, meter.moved)
        took = render.pace(downloaded.size, time.monotonic() - started)
        print(f"Downloaded {render.shown(str(downloaded.path))} ({took})")

    def print_list(self, word: str, is_trash_shown: bool) -> None:
        found = self._find(word)
        files, folders = ([found.file], []) if found.file else self._listed(found.entry_id, is_trash_shown)
        if not files and not folders:
            print("Nothing here.")
            return
        rows = [_folder_row(folder) for folder in folders] + [_file_row(file) for file in files]
        render.print_table(["Size", "Modified", "ID", "Name"], rows, right=["Size"])

    def make_folder(self, word: str) -> None:
        parent, _, name = _absolute(word).rstrip("/").rpartition("/")
        if not name:
            raise InvalidField(field="path", reason="names no new folder")
        request = pb.CreateFolderRequest(
            session_token=self._session.token, folder_name=name, parent_folder_id=self._folder(parent or "/").entry_id
        )
        reply = self._session.call(self._files.CreateFolder, request)
        print(f"Made {render.shown(f'{parent}/{name}')}/, ID {reply.folder_id}")

    def delete(self, word: str, is_permanent: bool) -> None:
        # By ID nothing is looked up first: what lies in the trash has no path any more.
        found = Found(word.lower(), word, word) if ID.fullmatch(word) else self._find(word)
        if not found.entry_id:
            raise UsageWrong(reason="the root folder cannot be deleted")
        request = pb.DeleteFileRequest(
            session_token=self._session.token, file_id=found.entry_id, permanent=is_permanent
        )
        self._session.call(self._files.DeleteFile, request)
        shown = render.shown(found.path)
        print(f"Deleted {shown} for good." if is_permanent else f"Moved {shown} to the trash, ID {found.entry_id}")

    def print_storage(self) -> None:
        token, storage = self._session.token, self._session.gateway.storage
        info = self._session.call(storage.GetStorageInfo, pb.StorageInfoRequest(session_token=token))
        usage = self._session.call(storage.GetStorageUsage, pb.StorageUsageRequest(session_token=token))
        print(f"{render.share_bar(info.used_bytes, info.allocated_bytes)} of {size_words(info.allocated_bytes)}")
        print(f"{size_words(info.used_bytes)} used, {size_words(info.available_bytes)} free")
        print(f"{render.count(usage.total_files, 'file')}, {render.count(usage.total_folders, 'folder')}")
        if usage.usage_by_type:
            print()
            kinds = sorted(usage.usage_by_type.items(), key=lambda kind: (-kind[1], kind[0]))
            rows = [(size_words(size), render.shown(name)) for name, size in kinds]
            render.print_table(["Size", "Type"], rows, right=["Size"])

    def _second_word(self, word: str) -> Found | None:
        """The folder meant by the second of two words; None: it is another path on this computer."""
        is_here = Path(word).expanduser().exists()
        if is_here and not word.startswith("/"):
            return None
        try:
            found = self._find(word)
        except Missing as error:
            if is_here:
                return None
            raise Missing.told(f"{word} is neither a folder of your drive nor anything on this computer.") from error
        if is_here and not found.is_folder:
            return None
        return _must_be_folder(found)

    def _folder(self, word: str) -> Found:
        return _must_be_folder(self._find(word))

    def _find(self, word: str) -> Found:
        """Raises: Missing."""
        token = self._session.token
        if ID.fullmatch(word):
            request = pb.FileMetadataRequest(session_token=token, file_id=word.lower())
            file = self._session.call(self._files.GetFileMetadata, request).file
            return Found(file.file_id, file.filename, word, file)
        path = _absolute(word)
        if not path.strip("/"):
            return ROOT
        reply = self._session.call(self._files.ResolvePath, pb.ResolvePathRequest(session_token=token, path=path))
        if reply.HasField("file"):
            return Found(reply.file.file_id, reply.file.filename, path, reply.file)
        return Found(reply.folder.folder_id, reply.folder.folder_name, path)

    def _listed(self, folder_id: str, is_trash_shown: bool) -> tuple[list[pb.FileEntry], list[pb.FolderEntry]]:
        files: list[pb.FileEntry] = []
        folders: list[pb.FolderEntry] = []
        for page in self._pages(folder_id, is_trash_shown):
            files += page.files
            folders += page.folders
        return files, folders

    def _pages(self, folder_id: str, is_trash_shown: bool) -> Iterator[pb.ListFilesResponse]:
        request = pb.ListFilesRequest(
            session_token=self._session.token, folder_id=folder_id, include_deleted=is_trash_shown, page_size=PAGE
        )
        while True:
            page = self._session.call(self._files.ListFiles, request)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def _print_outcome(self, found: Plan, outcome: Outcome, folder: Found, seconds: float) -> None:
        files = render.count(outcome.files, "file")
        rate = f"{outcome.files / max(seconds, 0.001):,.0f} files/s"
        print(f"Uploaded {files} ({render.pace(outcome.size, seconds)}, {rate}) to {render.shown(folder.path)}")
        if outcome.failures:
            for failure in outcome.failures:
                print(render.shown(str(failure)), file=sys.stderr)
            missing = len(found.files) - outcome.files + len(found.failures)
            words = "1 file or folder is missing" if missing == 1 else f"{missing:,} files or folders are missing"
            # Of the first failure's kind: its exit code and its advice.
            raise type(outcome.failures[0]).told(f"Not everything was uploaded: {words}.")


def _must_be_folder(found: Found) -> Found:
    if not found.is_folder:
        raise UsageWrong(reason=f"{found.path} is a file; a folder is needed here")
    return found


def _absolute(word: str) -> str:
    return word if word.startswith("/") else f"/{word}"


def _file_row(file: pb.FileEntry) -> tuple[str, str, str, str]:
    mark = "  (in the trash)" if file.is_deleted else ""
    modified = render.when(file.modified_at or file.created_at)
    return size_words(file.file_size), modified, render.shown(file.file_id), render.shown(file.filename) + mark


def _folder_row(folder: pb.FolderEntry) -> tuple[str, str, str, str]:
    count, name = render.count(folder.file_count, "file"), f"{render.shown(folder.folder_name)}/"
    return count, render.when(folder.created_at), render.shown(folder.folder_id), name
