"""Deleting files and folders of a drive: into the trash, or for good."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudgrpc.clients import render
from cloudgrpc.clients.address import ID
from cloudgrpc.clients.places import Place
from cloudgrpc.clients.session import TREE_TIMEOUT_S
from cloudgrpc.errors import CloudError
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.shell import at_terminal
from cloudgrpc.shell.attempts import Attempts
from cloudgrpc.shell.changes import changeable, check_if_version, words_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudgrpc.clients.places import Places
    from cloudgrpc.clients.session import Session


@dataclass(frozen=True)
class Manner:
    is_recursive: bool
    is_permanent: bool
    is_sure: bool  # nobody is asked
    if_version: int | None


class Removal:
    def __init__(self, session: Session, places: Places) -> None:
        self._session = session
        self._files = session.gateway.files
        self._places = places

    def remove(self, words: Sequence[str], manner: Manner) -> None:
        """Raises: as `Attempts.finish`."""
        attempts = Attempts()
        found = attempts.named(self._places, words)
        if found:
            check_if_version(manner.if_version, found)
        if manner.is_permanent and not manner.is_sure and not agreed_to_delete([words_of(place) for place in found]):
            print("Nothing was deleted.")
            return
        gone = []
        for place in found:
            with attempts.one():
                self._remove(place, manner)
                gone.append(place)
        if not manner.is_permanent:
            self._hint(gone)
        attempts.finish("deleted")

    def delete(self, word: str, is_permanent: bool) -> None:
        """By ID nothing is looked up first: what lies in the trash has no path any more."""
        place = Place(word.lower(), word, word) if ID.fullmatch(word) else self._places.find(word)
        request = pb.DeleteFileRequest(
            session_token=self._session.token, file_id=changeable(place), permanent=is_permanent
        )
        self._session.call(self._files.DeleteFile, request, TREE_TIMEOUT_S)
        # What was named by its ID may be a folder, which only the gateway knows.
        words = words_of(place) if place.folder else render.shown(place.path)
        if is_permanent:
            print(f"Deleted {words} for good.")
        else:
            print(f"Moved {words} to the trash, ID {place.entry_id}")
            self._hint([place])

    def _remove(self, place: Place, manner: Manner) -> None:
        token, place_id = self._session.token, changeable(place)
        if place.is_folder:
            folder = pb.DeleteFolderRequest(
                session_token=token,
                folder_id=place_id,
                permanent=manner.is_permanent,
                recursive=manner.is_recursive,
            )
            self._session.call(self._files.DeleteFolder, folder, TREE_TIMEOUT_S)
        else:
            file = pb.DeleteFileRequest(
                session_token=token,
                file_id=place_id,
                permanent=manner.is_permanent,
                expected_version=manner.if_version,
            )
            self._session.call(self._files.DeleteFile, file, TREE_TIMEOUT_S)
        if manner.is_permanent:
            print(f"Deleted {words_of(place)} for good.")
        else:
            whose = "the" if place.permission == "own" else "its owner's"
            print(f"Moved {words_of(place)} to {whose} trash")

    def _hint(self, gone: Sequence[Place]) -> None:
        """Until when it can be restored, and how; a question to the gateway that only a person's hint is worth."""
        if not gone or not at_terminal.can_hint():
            return
        if gone[-1].permission != "own":
            at_terminal.hint("Only its owner can bring it back from there.")
            return
        request = pb.ListTrashRequest(session_token=self._session.token, page_size=1)
        # It is deleted, whatever comes of this.
        with suppress(CloudError, IndexError):
            newest = self._session.call(self._session.gateway.history.ListTrash, request).entries[0]
            name = at_terminal.typable(gone[-1].path) if len(gone) == 1 else "NAME"
            at_terminal.hint(f"Until {render.when(newest.ends_at)} it can be brought back with: restore {name}")


def agreed_to_delete(paths: Sequence[str]) -> bool:
    """Whether the person means it; `paths`: for people, those of folders with a slash at their end.

    One file is not worth a question, and a script is asked nothing.
    """
    folders = sum(path.endswith("/") for path in paths)
    if not (folders or len(paths) > 1) or not at_terminal.can_ask():
        return True
    files = len(paths) - folders
    counts = [render.count(number, noun) for number, noun in ((files, "file"), (folders, "folder")) if number]
    what = paths[0] if len(paths) == 1 else " and ".join(counts)
    contents = " with all that is in it" if folders == 1 else " with all that is in them" if folders else ""
    return at_terminal.agreed(f"Delete {what}{contents} for good? That cannot be undone.")
