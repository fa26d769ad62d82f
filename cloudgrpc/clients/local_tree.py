"""What lies below folders of this computer, and where in a drive it belongs.

Links are never followed: they could lead out of the folder.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cloudgrpc.clients.local_files import local_fault
from cloudgrpc.clients.parts import is_part
from cloudgrpc.core.paths import name_key
from cloudgrpc.errors import CloudError, LocalFile, UsageWrong

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class LocalEntry:
    """A file, and the folder it belongs into."""

    path: Path
    size: int
    modified_ns: int
    folder: LocalFolder


@dataclass(eq=False)
class LocalFolder:
    """A folder, and its like in the drive."""

    path: Path
    name: str
    parent: LocalFolder | None
    drive_path: str  # without a slash at its end; "" is the drive's root
    folder_id: str | None = None  # None: it is still to be made; "" is the drive's root


@dataclass
class LocalTree:
    """Folders come after the folder that holds them."""

    folders: list[LocalFolder] = field(default_factory=list)
    files: list[LocalEntry] = field(default_factory=list)
    left_out: list[Path] = field(default_factory=list)  # links, what is no regular file, and our own unfinished ones
    failures: list[CloudError] = field(default_factory=list)

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


def plan(paths: Sequence[Path], drive_path: str, folder_id: str, is_recursive: bool) -> LocalTree:
    """What is to be uploaded into a folder of the drive.

    Raises: UsageWrong for paths that do not go together, LocalFile for one that is not there.
    """
    target = LocalFolder(Path(), "", None, drive_path.rstrip("/"), folder_id)
    found = LocalTree()
    names: set[str] = set()
    for path in paths:
        name = Path(os.path.abspath(path)).name  # noqa: PTH100 - resolve() would follow the link a person named
        if name_key(name) in names:
            raise UsageWrong(reason=f"two of the paths are called {name}, and one would replace the other")
        names.add(name_key(name))
        if not path.is_dir():
            found.files.append(_file(path, _state(path), target))
        elif is_recursive:
            walk(LocalFolder(path, name, target, f"{target.drive_path}/{name}"), found)
        else:
            raise UsageWrong(reason=f"{path} is a folder; add -r to upload it with all it holds")
    return found


def left_out_words(path: Path) -> str:
    if is_part(path.name):
        return f"{path} is the beginning of a download; it was left out"
    return f"{path} is {'a link' if path.is_symlink() else 'not a regular file'}; it was left out"


def walk(top: LocalFolder, found: LocalTree) -> None:
    """Add `top` and everything below it."""
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        found.folders.append(folder)
        waiting += reversed([inner for entry in _listed(folder, found) if (inner := _take(entry, folder, found))])


def _listed(folder: LocalFolder, found: LocalTree) -> list[os.DirEntry[str]]:
    """By name; of names that Unicode counts as one, the first: the drive would take the second for its new version."""
    try:
        with os.scandir(folder.path) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        found.failures.append(local_fault(error, folder.path))
        return []
    kept: dict[str, os.DirEntry[str]] = {}
    for entry in listed:
        if kept.setdefault(name_key(entry.name), entry) is not entry:
            found.failures.append(LocalFile(path=entry.path, reason="in Unicode's eyes another file has this name"))
    return list(kept.values())


def _take(entry: os.DirEntry[str], folder: LocalFolder, found: LocalTree) -> LocalFolder | None:
    """Note one entry; the folder it is, if it is one that wants to be walked."""
    path = Path(entry.path)
    if entry.is_dir(follow_symlinks=False):
        return LocalFolder(path, entry.name, folder, f"{folder.drive_path}/{entry.name}")
    if not entry.is_file(follow_symlinks=False) or is_part(entry.name):
        found.left_out.append(path)
        return None
    try:
        found.files.append(_file(path, entry.stat(follow_symlinks=False), folder))
    except OSError as error:
        found.failures.append(local_fault(error, path))
    return None


def _state(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise local_fault(error, path) from error


def _file(path: Path, state: os.stat_result, folder: LocalFolder) -> LocalEntry:
    return LocalEntry(path, state.st_size, state.st_mtime_ns, folder)
