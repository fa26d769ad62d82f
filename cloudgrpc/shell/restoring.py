"""Bringing things back from the trash: to where they were, or elsewhere when that place is taken or gone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cloudgrpc.clients import render
from cloudgrpc.clients.session import TREE_TIMEOUT_S
from cloudgrpc.errors import NameTaken, PlaceGone, UsageWrong
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.shell import at_terminal
from cloudgrpc.shell.attempts import Attempts
from cloudgrpc.shell.trash import Trash, words_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudgrpc.clients.places import Place, Places
    from cloudgrpc.clients.session import Session
    from cloudgrpc.errors import CloudError


@dataclass(frozen=True)
class Wish:
    """Where something is wanted back."""

    folder: Place | None = None  # None: where it was
    name: str = ""  # "" keeps the name
    is_anyway: bool = False  # under a free name, or in the root folder, when its place is taken or gone


class Restoring:
    def __init__(self, session: Session, places: Places) -> None:
        self._session = session
        self._places = places

    def restore(self, words: Sequence[str], wish: Wish) -> None:
        """Raises: UsageWrong, or as `Attempts.finish`."""
        if wish.name and len(words) > 1:
            raise UsageWrong(reason="--as is for one thing only")
        attempts = Attempts()
        for entry in Trash(self._session, self._places).named(words, attempts):
            with attempts.one():
                self._restore(entry, wish)
        attempts.finish("restored")

    def _restore(self, entry: pb.TrashEntry, wish: Wish) -> None:
        """Until it is back, or the person at the terminal leaves it where it is. Raises: NameTaken, PlaceGone."""
        while True:
            try:
                path = self._call(entry, wish)
            except (NameTaken, PlaceGone) as error:
                other = self._other(entry, wish, error)
            else:
                _print(entry, path)
                return
            if other is None:
                print(f"{words_of(entry)} stays in the trash.")
                return
            wish = other

    def _call(self, entry: pb.TrashEntry, wish: Wish) -> str:
        """The path where it is again. Raises: NameTaken, PlaceGone."""
        request = pb.RestoreFileRequest(
            session_token=self._session.token,
            file_id=entry.file_id,
            target_folder_id=wish.folder.entry_id if wish.folder else None,
            new_name=wish.name,
            make_room=wish.is_anyway,
        )
        return self._session.call(self._session.gateway.history.RestoreFile, request, TREE_TIMEOUT_S).path

    def _other(self, entry: pb.TrashEntry, wish: Wish, error: CloudError) -> Wish | None:
        """What the person wants instead; None: nothing. Raises: `error` when nobody can be asked."""
        is_taken = isinstance(error, NameTaken)
        if not at_terminal.can_ask():
            raise _taken(wish.name or entry.name) if is_taken else error
        usual = "restore it under a free name, with a number" if is_taken else "restore it to the root folder"
        another = "restore it under another name" if is_taken else "restore it to another folder"
        choice = at_terminal.chosen(str(error), [usual, another, "leave it in the trash"])
        if choice == 0:
            return replace(wish, is_anyway=True)
        word = at_terminal.typed("New name: " if is_taken else "Folder: ") if choice == 1 else ""
        if not word:
            return None
        return replace(wish, name=word) if is_taken else replace(wish, folder=self._places.folder(word))


def _taken(name: str) -> CloudError:
    return NameTaken.told(f"{name} exists already; --anyway restores under a free name, --as NAME under that.")


def _print(entry: pb.TrashEntry, path: str) -> None:
    now = render.path_words(path, entry.is_folder)
    print(f"Restored {now}" if path == entry.path else f"Restored {words_of(entry)} as {now}")
