"""Downloading many files at once: whole folders of the drive, and several files side by side.

Nothing is ever written outside the folder that was told: a name of the gateway's must be a plain name, and a link of
this computer is never gone through. What cannot be downloaded is reported and the rest goes on.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cloudgrpc.clients.local_files import has_content, local_fault
from cloudgrpc.clients.many import Crew
from cloudgrpc.core.paths import check_name, name_key
from cloudgrpc.core.units import unix_ms
from cloudgrpc.errors import CloudError, InvalidField, LocalFile, Missing, UsageWrong
from cloudgrpc.pb import cloud_storage_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cloudgrpc.clients.many import Outcome
    from cloudgrpc.clients.places import Place, Places
    from cloudgrpc.clients.progress import Meter
    from cloudgrpc.clients.transfer import Transfers


@dataclass(frozen=True)
class RemoteEntry:
    """A file or folder of the drive, and its like on this computer."""

    place: Place
    path: Path

    @property
    def size(self) -> int:
        return self.place.file.file_size if self.place.file else 0


@dataclass
class RemoteTree:
    """Folders come after the folder that holds them."""

    top: Path | None = None  # the folder that a person told; None: the files' folders are there
    folders: list[RemoteEntry] = field(default_factory=list)
    files: list[RemoteEntry] = field(default_factory=list)
    failures: list[CloudError] = field(default_factory=list)

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


def tree_into(places: Places, found: Sequence[Place], folder: Path) -> RemoteTree:
    """Files and folders, which all become a part of one folder of this computer; the root folder becomes that folder.

    Raises: UsageWrong for names that do not go together, InvalidField for one that is none, and what the gateway tells.
    """
    tree = RemoteTree(top=folder)
    names: set[str] = set()
    for place in found:
        if _key(place.name) in names:
            raise UsageWrong(reason=f"two of them are called {place.name}, and one would replace the other")
        names.add(_key(place.name))
        path = folder / check_name(place.name, "name") if place.name else folder
        if place.is_folder:
            walk(places, place, path, tree)
        else:
            tree.files.append(RemoteEntry(place, path))
    return tree


def walk(places: Places, top: Place, path: Path, found: RemoteTree) -> None:
    """Add `top`, which is to become `path`, and everything below it. Raises: what the gateway tells."""
    waiting = [RemoteEntry(top, path)]
    while waiting:
        folder = waiting.pop()
        found.folders.append(folder)
        inner = _listed(places, folder, found)
        found.files += [entry for entry in inner if not entry.place.is_folder]
        waiting += reversed([entry for entry in inner if entry.place.is_folder])


class TreeDownload:
    def __init__(self, transfers: Transfers, meter: Meter, is_keeping_times: bool = False) -> None:
        """`is_keeping_times`: files are as old here as in the drive."""
        self._transfers = transfers
        self._meter = meter
        self._is_keeping_times = is_keeping_times
        self._crew = Crew(transfers)

    def run(self, found: RemoteTree) -> Outcome:
        """Failures are in the outcome. Ctrl-C ends all transfers and is raised."""
        for failure in found.failures:
            self._crew.failed(failure)
        lost = self._make_folders(found)
        self._crew.move((file for file in found.files if file.path.parent not in lost), self._download)
        return self._crew.outcome

    def _make_folders(self, found: RemoteTree) -> set[Path]:
        """Returns those that could not be made, with all below them."""
        lost: set[Path] = set()
        for folder in found.folders:
            if folder.path.parent in lost or self._crew.is_stopped:
                lost.add(folder.path)
                continue
            try:
                self._crew.outcome.folders += _make_folder(folder.path, is_told=folder.path == found.top)
            except CloudError as error:
                self._crew.failed(error)
                lost.add(folder.path)
        return lost

    def _download(self, entry: RemoteEntry) -> bool:
        file = entry.place.file or pb.FileEntry()
        is_there = has_content(entry.path, file.file_size, file.checksum, self._meter.kept)
        if not is_there:
            self._transfers.download_file(file.file_id, entry.path, self._meter, is_exact=True)
        if self._is_keeping_times:
            _date(entry.path, file.modified_at)
        self._meter.file_done()
        return not is_there


def _make_folder(path: Path, is_told: bool) -> bool:
    """Whether it was made now. Raises: LocalFile when something else is there."""
    try:
        path.mkdir(parents=is_told)
    except FileExistsError as error:
        # Only the folder that a person told may be a link.
        if path.is_symlink() and not is_told:
            raise LocalFile(path=path, reason="is a link, and nothing is written through it") from error
        if not path.is_dir():
            raise LocalFile(path=path, reason="is a file, in the place of a folder") from error
        return False
    except OSError as error:
        raise local_fault(error, path) from error
    return True


def _date(path: Path, modified_at: str) -> None:
    with suppress(OSError, ValueError):
        moment = unix_ms(modified_at) * 1_000_000
        os.utime(path, ns=(moment, moment), follow_symlinks=False)


def _listed(places: Places, folder: RemoteEntry, found: RemoteTree) -> list[RemoteEntry]:
    kept: dict[str, RemoteEntry] = {}
    try:
        for place in places.children(folder.place):
            try:
                path = folder.path / check_name(place.name, "name")
            except InvalidField as error:
                found.failures.append(InvalidField.told(f"{place.path}: {error}"))
                continue
            if kept.setdefault(_key(place.name), entry := RemoteEntry(place, path)) is not entry:
                found.failures.append(LocalFile(path=path, reason="another file has this name on this computer"))
    except Missing as error:
        found.failures.append(error)  # it was deleted a moment ago
    return list(kept.values())


def _key(name: str) -> str:
    """What makes two names one on this computer: file systems of a Mac mind neither case nor composition."""
    return name_key(name).casefold() if sys.platform == "darwin" else name_key(name)
