"""Making, moving and copying files and folders of a drive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudgrpc.clients import render
from cloudgrpc.clients.address import ID
from cloudgrpc.clients.session import TREE_TIMEOUT_S
from cloudgrpc.core.units import size_words
from cloudgrpc.errors import Missing, NameTaken, UsageWrong
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.shell.attempts import Attempts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cloudgrpc.clients.places import Place, Places
    from cloudgrpc.clients.session import Session
    from cloudgrpc.errors import CloudError


@dataclass(frozen=True)
class Target:
    """Where something is to go."""

    folder: Place
    name: str  # "" keeps the name

    def path(self, source: Place) -> str:
        return inside(self.folder, self.name or source.name)


class Changes:
    """What a person who is signed in does with their drive."""

    def __init__(self, session: Session, places: Places) -> None:
        self._session = session
        self._files = session.gateway.files
        self._places = places

    def make_folders(self, words: Sequence[str], with_parents: bool) -> None:
        """Raises: as `Attempts.finish`."""
        attempts = Attempts()
        for word in words:
            with attempts.one():
                if with_parents:
                    self._make_all(word)
                else:
                    self._make(word)
        attempts.finish("made")

    def move(self, words: Sequence[str], to: str, if_version: int | None) -> None:
        """Raises: UsageWrong, Missing when there is nowhere to go; else as `Attempts.finish`."""

        def move(source: Place, target: Target) -> None:
            request = pb.MoveFileRequest(
                session_token=self._session.token,
                file_id=changeable(source),
                target_folder_id=target.folder.entry_id,
                new_name=target.name,
                expected_version=if_version,
            )
            try:
                self._session.call(self._files.MoveFile, request, TREE_TIMEOUT_S)
            except NameTaken as error:
                raise NameTaken(name=target.path(source)) from error
            print(f"Moved {words_of(source)} to {render.path_words(target.path(source), source.is_folder)}")

        self._each(words, to, if_version, move, "moved")

    def copy(
        self, words: Sequence[str], to: str, is_recursive: bool, may_replace: bool, if_version: int | None
    ) -> None:
        """Raises: as `move`."""
        if if_version is not None and not may_replace:
            raise UsageWrong(reason="--if-version is about the file that is replaced, and needs --replace")

        def copy(source: Place, target: Target) -> None:
            if source.is_folder and not is_recursive:
                raise UsageWrong(reason=f"{source.path} is a folder; add -r to copy it with all it holds")
            request = pb.CopyFileRequest(
                session_token=self._session.token,
                file_id=changeable(source),
                target_folder_id=target.folder.entry_id,
                new_name=target.name or source.name,
                replace=may_replace,
                expected_version=if_version,
            )
            try:
                copied = self._session.call(self._files.CopyFile, request, TREE_TIMEOUT_S)
            except NameTaken as error:
                raise _taken(target.path(source), source.is_folder or may_replace) from error
            there = render.path_words(target.path(source), source.is_folder)
            print(f"Copied {words_of(source)} to {there} ({_what(copied)})")

        self._each(words, to, if_version, copy, "copied")

    def _each(
        self,
        words: Sequence[str],
        to: str,
        if_version: int | None,
        act: Callable[[Place, Target], None],
        done: str,
    ) -> None:
        attempts = Attempts()
        sources = attempts.named(self._places, words)
        if sources:
            is_one = len(words) == len(sources) == 1
            target = self._target(to, sources[0]) if is_one else Target(self._places.folder(to), "")
            check_if_version(if_version, sources)
        for source in sources:
            with attempts.one():
                act(source, target)
        attempts.finish(done)

    def _target(self, word: str, source: Place) -> Target:
        """Where one thing goes: into a folder that exists, or to a name."""
        try:
            found = self._places.find(word)
        except Missing:
            # Only a folder may get a new name that ends with a slash.
            if ID.fullmatch(word) or (word.endswith("/") and not source.is_folder):
                raise
            return Target(*self._places.new(word))
        # Its own name is no place to go into: it may be that name spelled otherwise, in another Unicode form.
        if found.is_folder and found.entry_id != source.entry_id:
            return Target(self._places.folder(word), "")
        if self._places.address(found.path).parent.is_shared_list:
            raise UsageWrong(reason=f"{found.path} is shared without its folder; nothing can be put in its place")
        return Target(*self._places.new(found.path))

    def _make(self, word: str) -> None:
        folder, name = self._places.new(word)
        request = pb.CreateFolderRequest(
            session_token=self._session.token, folder_name=name, parent_folder_id=folder.entry_id
        )
        path = inside(folder, name)
        try:
            made = self._session.call(self._files.CreateFolder, request)
        except NameTaken as error:
            raise NameTaken(name=path) from error
        print(f"Made {render.path_words(path, True)}, ID {made.folder_id}")

    def _make_all(self, word: str) -> None:
        """Raises: as `Places.new`, and UsageWrong where a file is in the way."""
        try:
            self._places.folder(word)
        except Missing:
            holder, slash, _ = word.rstrip("/").rpartition("/")
            if slash and holder:
                self._make_all(holder)
            try:
                self._make(word)
            except NameTaken:
                self._places.folder(word)  # which somebody else may have made at this moment


def check_if_version(number: int | None, places: Sequence[Place]) -> None:
    """Raises: UsageWrong unless it is about one file."""
    if number is not None and (len(places) != 1 or places[0].is_folder):
        raise UsageWrong(reason="--if-version is about one file")


def inside(folder: Place, name: str) -> str:
    return f"{folder.path.rstrip('/')}/{name}"


def words_of(place: Place) -> str:
    return render.path_words(place.path, place.is_folder)


def changeable(place: Place) -> str:
    """Its ID. Raises: UsageWrong for what is no file or folder to be moved, copied or deleted."""
    if not place.entry_id:
        raise UsageWrong(reason="the root folder cannot be moved, copied or deleted")
    if place.is_shared_list:
        raise UsageWrong(reason=f"{place.path} lists what others share; it cannot be moved, copied or deleted")
    return place.entry_id


def _taken(path: str, is_final: bool) -> CloudError:
    """`is_final`: not even --replace would help."""
    if is_final:
        return NameTaken(name=path)
    return NameTaken.told(f"{path} exists already; --replace makes the copy its next version.")


def _what(copied: pb.CopyFileResponse) -> str:
    counts = [render.count(copied.files, "file")] if copied.files != 1 or copied.folders else []
    if copied.folders:
        counts.append(render.count(copied.folders, "folder"))
    return ", ".join([*counts, size_words(copied.bytes)])
