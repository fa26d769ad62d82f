"""The two sides of a sync: a folder of this computer and a folder of the drive, as lists to be compared."""

from __future__ import annotations

from bisect import bisect_left
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from cloudgrpc.clients.local_files import local_fault
from cloudgrpc.clients.local_tree import LocalFolder, LocalTree, walk
from cloudgrpc.clients.remote_tree import RemoteTree
from cloudgrpc.clients.remote_tree import walk as walk_drive
from cloudgrpc.clients.session import TREE_TIMEOUT_S
from cloudgrpc.core.sync import Item, Kind, key_of
from cloudgrpc.core.units import unix_ms
from cloudgrpc.errors import LocalFile, Missing, UsageWrong
from cloudgrpc.pb import cloud_storage_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloudgrpc.clients.local_tree import LocalEntry
    from cloudgrpc.clients.places import Place, Places
    from cloudgrpc.core.sync import Key
    from cloudgrpc.errors import CloudError


class LocalSide:
    """A folder of this computer, which need not exist yet."""

    def __init__(self, path: Path) -> None:
        """Raises: UsageWrong for what is no folder."""
        self.path = path
        self.folders: dict[Key, LocalFolder] = {}
        self.files: dict[Key, LocalEntry] = {}
        self._tree = LocalTree()
        if path.is_dir():
            walk(LocalFolder(path, "", None, ""), self._tree)
        elif path.exists() or path.is_symlink():
            raise UsageWrong(reason=f"{path} is not a folder; sync takes two folders")
        self.items = list(self._items())  # a folder before what it holds; none when there is no such folder
        self._sorted = sorted(self.items, key=lambda item: item.key)

    @property
    def failures(self) -> list[CloudError]:
        """What could not be looked at."""
        return self._tree.failures

    def shown(self, item: Item) -> str:
        return str(self.path.joinpath(*item.names))

    def path_of(self, names: tuple[str, ...]) -> Path:
        """Where something is, or would be: a name that is here already keeps the spelling that it has here."""
        if not names:
            return self.path
        key = key_of(names)
        known = self.files.get(key) or self.folders.get(key)
        return known.path if known else self.path_of(names[:-1]) / names[-1]

    def delete(self, item: Item) -> None:
        """With all it holds, as far as it is as it was when it was looked at. Raises: LocalFile."""
        first = bisect_left(self._sorted, item.key, key=lambda each: each.key)
        inner = takewhile(lambda each: each.key[: len(item.key)] == item.key, self._sorted[first:])
        for each in reversed(list(inner)):
            self._delete_one(each)

    def _delete_one(self, item: Item) -> None:
        path = self.path.joinpath(*item.names)
        try:
            if item.kind is Kind.FOLDER:
                path.rmdir()
                return
            state, known = path.lstat(), self.files[item.key]
            if (state.st_size, state.st_mtime_ns) != (known.size, known.modified_ns):
                raise LocalFile(path=path, reason="was changed meanwhile; it was left alone")
            path.unlink()
        except OSError as error:
            raise local_fault(error, path) from error

    def _items(self) -> Iterator[Item]:
        for folder in self._tree.folders:
            item = Item(self._names(folder.path), Kind.FOLDER)
            self.folders[item.key] = folder
            yield item
        for file in self._tree.files:
            item = Item(self._names(file.path), Kind.FILE, file.size, file.modified_ns // 1_000_000)
            self.files[item.key] = file
            yield item
        for path in self._tree.left_out:
            yield Item(self._names(path), Kind.OTHER)

    def _names(self, path: Path) -> tuple[str, ...]:
        return path.relative_to(self.path).parts


class DriveSide:
    """A folder of the drive, or of what others share; it need not exist yet."""

    def __init__(self, places: Places, word: str, *, is_target: bool) -> None:
        """Raises: UsageWrong for what is no folder; Missing when there is none, or none that could hold it."""
        self.parent: Place | None = None  # of a folder that is still to be made
        self.places: dict[Key, Place] = {}
        self._session = places.session
        self._tree = RemoteTree()
        try:
            top = places.folder(word)
        except Missing:
            if not is_target:
                raise
            self.parent, self.name = places.new(word)
            self.path = f"{self.parent.path.rstrip('/')}/{self.name}"
        else:
            self.path, self.name = top.path, top.name
            walk_drive(places, top, Path(), self._tree)
        self.items = list(self._items())  # a folder before what it holds; none when there is no such folder

    @property
    def failures(self) -> list[CloudError]:
        """What could not be looked at."""
        return self._tree.failures

    def shown(self, item: Item) -> str:
        return "/".join([self.path.rstrip("/"), *item.names])

    def delete(self, item: Item) -> None:
        """Into the trash, with all it holds; a file only if it is as it was when it was looked at."""
        place = self.places[item.key]
        request = pb.DeleteFileRequest(
            session_token=self._session.token,
            file_id=place.entry_id,
            expected_version=place.file.version or None if place.file else None,
        )
        self._session.call(self._session.gateway.files.DeleteFile, request, TREE_TIMEOUT_S)

    def _items(self) -> Iterator[Item]:
        for folder in self._tree.folders:
            yield self._noted(Item(folder.path.parts, Kind.FOLDER), folder.place)
        for entry in self._tree.files:
            file = entry.place.file or pb.FileEntry()
            item = Item(entry.path.parts, Kind.FILE, file.file_size, _milliseconds(file.modified_at))
            yield self._noted(item, entry.place)

    def _noted(self, item: Item, place: Place) -> Item:
        self.places[item.key] = place
        return item


def _milliseconds(modified_at: str) -> int | None:
    try:
        return unix_ms(modified_at)
    except ValueError:
        return None
