"""What lies in a person's trash: showing it, bringing it back, deleting it for good."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cloudgrpc.clients import render
from cloudgrpc.clients.session import TREE_TIMEOUT_S
from cloudgrpc.core.paths import name_key
from cloudgrpc.core.units import size_words
from cloudgrpc.errors import NotInTrash, SeveralInTrash
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.shell import at_terminal
from cloudgrpc.shell.attempts import Attempts
from cloudgrpc.shell.removal import agreed_to_delete
from cloudgrpc.shell.stream_table import StreamTable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cloudgrpc.clients.places import Places
    from cloudgrpc.clients.session import Session
    from cloudgrpc.errors import CloudError

SHOWN_ID = 8  # digits, enough to tell the things in a person's trash apart
SOME_OF_ID = re.compile(r"[0-9a-fA-F]{8,32}")
MOST_CHOICES = 9


class Trash:
    def __init__(self, session: Session, places: Places) -> None:
        self._session = session
        self._history = session.gateway.history
        self._places = places

    def print(self) -> None:
        table = StreamTable(["ID", "Size", "Deleted", "Goes", "Was"], right=["Size"])
        is_empty = True
        for page in self._pages():
            table.add([_row(entry) for entry in page])
            is_empty = is_empty and not page
        if is_empty:
            print("The trash is empty.")
            return
        if at_terminal.can_hint():
            at_terminal.hint(
                "Bring something back with: restore NAME_OR_ID",
                f"Delete all of it for good, {size_words(self._bytes())}, with: trash empty",
            )

    def print_json(self) -> None:
        render.print_json_list(facts(entry) for entry in self.entries())

    def empty(self, is_sure: bool) -> None:
        if not is_sure and at_terminal.can_ask():
            number = sum(1 for _ in self.entries())
            if number and not at_terminal.agreed(f"Delete {_things(number)} ({size_words(self._bytes())}) for good?"):
                print("Nothing was deleted.")
                return
        request = pb.EmptyTrashRequest(session_token=self._session.token)
        emptied = self._session.call(self._history.EmptyTrash, request, TREE_TIMEOUT_S)
        if emptied.entries:
            print(f"Deleted {_things(emptied.entries)} for good; {size_words(emptied.bytes)} are free again.")
        else:
            print("The trash is empty.")

    def remove(self, words: Sequence[str], is_sure: bool) -> None:
        """Delete some of it for good. Raises: as `Attempts.finish`."""
        attempts = Attempts()
        found = self.named(words, attempts)
        if not is_sure and not agreed_to_delete([words_of(entry) for entry in found]):
            print("Nothing was deleted.")
            return
        # The person may have taken long to answer, and what was restored meanwhile is not to be deleted.
        still = {entry.file_id for entry in self.entries()}
        for entry in found:
            with attempts.one():
                if entry.file_id not in still:
                    raise NotInTrash(name=entry.path)
                request = pb.DeleteFileRequest(session_token=self._session.token, file_id=entry.file_id, permanent=True)
                self._session.call(self._session.gateway.files.DeleteFile, request, TREE_TIMEOUT_S)
                print(f"Deleted {words_of(entry)} for good.")
        attempts.finish("deleted")

    def named(self, words: Sequence[str], attempts: Attempts) -> list[pb.TrashEntry]:
        """What the words name, each thing once; a word that names nothing is a failed attempt."""
        entries = list(self.entries())
        found: dict[str, pb.TrashEntry] = {}
        for word in words:
            with attempts.naming():
                entry = self._named(word, entries)
                if entry is not None:
                    found[entry.file_id] = entry
        return list(found.values())

    def entries(self) -> Iterator[pb.TrashEntry]:
        """The newest first."""
        return (entry for page in self._pages() for entry in page)

    def _pages(self) -> Iterator[Sequence[pb.TrashEntry]]:
        request = pb.ListTrashRequest(session_token=self._session.token)
        while True:
            page = self._session.call(self._history.ListTrash, request)
            yield page.entries
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def _named(self, word: str, entries: Sequence[pb.TrashEntry]) -> pb.TrashEntry | None:
        """None: the person at the terminal chose none of several. Raises: NotInTrash, SeveralInTrash."""
        found = self._matching(word, entries)
        if not found:
            raise self._missing(word, entries)
        if len(found) == 1:
            return found[0]
        newest = [_told(entry) for entry in found[:MOST_CHOICES]]
        if not at_terminal.can_ask():
            raise SeveralInTrash(count=len(found), name=word, which="; ".join(newest))
        title = f"{len(found)} things in the trash are called {word}; the newest first:"
        choice = at_terminal.chosen(title, [*newest, "none of these"])
        return found[choice] if choice is not None and choice < len(newest) else None

    def _matching(self, word: str, entries: Sequence[pb.TrashEntry]) -> list[pb.TrashEntry]:
        """By the path where it was; by its name; by its ID, or how that begins."""
        if "/" in word:
            path = name_key(str(self._places.address(word)))
            return [entry for entry in entries if name_key(entry.path) == path]
        found = [entry for entry in entries if name_key(entry.name) == name_key(word)]
        if found or not SOME_OF_ID.fullmatch(word):
            return found
        return [entry for entry in entries if entry.file_id.startswith(word.lower())]

    def _missing(self, word: str, entries: Sequence[pb.TrashEntry]) -> CloudError:
        path = f"{name_key(str(self._places.address(word)))}/" if "/" in word else ""
        around = next((entry.path for entry in entries if path.startswith(f"{name_key(entry.path)}/")), None)
        if around is None:
            return NotInTrash(name=word)
        return NotInTrash.told(f"{word} may have been in {around}, which is in the trash as a whole.")

    def _bytes(self) -> int:
        request = pb.StorageUsageRequest(session_token=self._session.token)
        return self._session.call(self._session.gateway.storage.GetStorageUsage, request).trash_bytes


def facts(entry: pb.TrashEntry) -> dict[str, object]:
    """`trash --json` is a list of these, the newest first.

    path name   where it was
    kind        "file" or "folder"
    id
    size        bytes of a file's newest content; null for a folder
    deleted_at
    ends_at     when it goes for good
    """
    return {
        "path": entry.path,
        "name": entry.name,
        "kind": "folder" if entry.is_folder else "file",
        "id": entry.file_id,
        "size": None if entry.is_folder else entry.file_size,
        "deleted_at": entry.deleted_at,
        "ends_at": entry.ends_at or None,
    }


def words_of(entry: pb.TrashEntry) -> str:
    return render.path_words(entry.path, entry.is_folder)


def _row(entry: pb.TrashEntry) -> tuple[str, str, str, str, str]:
    size = "" if entry.is_folder else size_words(entry.file_size)
    goes = render.when(entry.ends_at)[: len("2026-12-31")]
    return _short_id(entry), size, render.when(entry.deleted_at), goes, words_of(entry)


def _told(entry: pb.TrashEntry) -> str:
    return f"{_short_id(entry)}  {words_of(entry)}, deleted {render.when(entry.deleted_at)}"


def _short_id(entry: pb.TrashEntry) -> str:
    return render.shown(entry.file_id[:SHOWN_ID])


def _things(number: int) -> str:
    return "1 file or folder" if number == 1 else f"{number:,} files and folders"
