"""Uploading many files at once: whole folders, and several paths side by side.

What cannot be uploaded is reported and the rest goes on. Links are never followed: they could lead out of the folder.
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cloudgrpc.clients.transfer import Transfers, check_local_name
from cloudgrpc.core.paths import name_key
from cloudgrpc.errors import CloudError, GatewayUnreachable, LocalFile, NameTaken, NotSignedIn, UsageWrong
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.rpc import PIECE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from cloudgrpc.clients.render import Meter
    from cloudgrpc.clients.session import Session

WORKERS = 32  # a small file is mostly waiting; 16 gave about 163 of them a second, 32 177
LARGE_WORKERS = 4  # of them; a large file takes some 16 MiB while it is sent, and fewer than four fill most lines
# After these every further file would fail the same way, each after its own long wait.
HOPELESS = (GatewayUnreachable, NotSignedIn)


@dataclass(frozen=True)
class LocalEntry:
    """A file to upload, and the folder it belongs into."""

    path: Path
    size: int
    folder: LocalFolder


@dataclass(eq=False)
class LocalFolder:
    """A folder to make in the drive. `folder_id` is known once it was made; the root of all has it from the start."""

    path: Path
    name: str
    parent: LocalFolder | None
    drive_path: str  # without a slash at its end; "" is the drive's root
    folder_id: str = ""


@dataclass
class Plan:
    """What is to be uploaded. Folders come after the folder that holds them."""

    folders: list[LocalFolder] = field(default_factory=list)
    files: list[LocalEntry] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what was left out on purpose
    failures: list[CloudError] = field(default_factory=list)

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


@dataclass
class Outcome:
    files: int = 0
    size: int = 0
    folders: int = 0
    failures: list[CloudError] = field(default_factory=list)


def plan(paths: Sequence[Path], drive_path: str, folder_id: str, is_recursive: bool) -> Plan:
    """Look at everything below `paths`, without uploading.

    Raises: UsageWrong for paths that do not go together, LocalFile for one that is not there.
    """
    target = LocalFolder(Path(), "", None, drive_path.rstrip("/"), folder_id)
    found = Plan()
    names: set[str] = set()
    for path in paths:
        name = Path(os.path.abspath(path)).name  # noqa: PTH100 - resolve() would follow the link a person named
        if name_key(name) in names:
            raise UsageWrong(reason=f"two of the paths are called {name}, and one would replace the other")
        names.add(name_key(name))
        if not path.is_dir():
            found.files.append(LocalEntry(path, _size(path), target))
        elif is_recursive:
            _walk(LocalFolder(path, name, target, f"{target.drive_path}/{name}"), found)
        else:
            raise UsageWrong(reason=f"{path} is a folder; add -r to upload it with all it holds")
    return found


class TreeUpload:
    """One upload of many files, by several threads: a small file is mostly waiting for the answer."""

    def __init__(self, session: Session, transfers: Transfers, meter: Meter) -> None:
        self._session = session
        self._transfers = transfers
        self._meter = meter
        self._outcome = Outcome()
        self._is_stopped = False

    def run(self, found: Plan) -> Outcome:
        """Failures are in the outcome, in the order they happened. Ctrl-C ends all transfers and is raised."""
        self._outcome.failures += found.failures
        lost = self._make_folders(found.folders)
        files = [file for file in found.files if file.folder not in lost]
        small = deque(file for file in files if file.size <= PIECE_BYTES)
        large = deque(file for file in files if file.size > PIECE_BYTES)
        queues = [[large, small]] * LARGE_WORKERS + [[small]] * (WORKERS - LARGE_WORKERS)
        pool = ThreadPoolExecutor(WORKERS)
        try:
            for worker in [pool.submit(self._work, each) for each in queues]:
                worker.result()
        except BaseException:
            self._is_stopped = True
            self._transfers.cancel()
            raise
        finally:
            # After Ctrl-C nobody waits for the small files under way.
            pool.shutdown(wait=False)
        return self._outcome

    def _make_folders(self, folders: Iterable[LocalFolder]) -> set[LocalFolder]:
        """Returns those that could not be made, with all below them."""
        lost: set[LocalFolder] = set()
        for folder in folders:
            if folder.parent in lost or self._is_stopped:
                lost.add(folder)
                continue
            try:
                folder.folder_id = self._make_folder(folder)
                self._outcome.folders += 1
            except CloudError as error:
                self._failed(error)
                lost.add(folder)
        return lost

    def _make_folder(self, folder: LocalFolder) -> str:
        check_local_name(folder.path, folder.name)
        request = pb.CreateFolderRequest(
            session_token=self._session.token,
            folder_name=folder.name,
            parent_folder_id=folder.parent.folder_id if folder.parent else "",
        )
        try:
            return self._session.call(self._session.gateway.files.CreateFolder, request).folder_id
        except NameTaken:
            return self._existing(folder)

    def _existing(self, folder: LocalFolder) -> str:
        request = pb.ResolvePathRequest(session_token=self._session.token, path=folder.drive_path)
        reply = self._session.call(self._session.gateway.files.ResolvePath, request)
        if reply.HasField("file"):
            raise NameTaken(name=f"{folder.drive_path} (a file, in the place of a folder)")
        return reply.folder.folder_id

    def _work(self, queues: Sequence[deque[LocalEntry]]) -> None:
        """Upload what is in the queues, one after the other, which others empty too."""
        for file in itertools.chain.from_iterable(map(_emptying, queues)):
            if self._is_stopped:
                return
            try:
                uploaded = self._transfers.upload_file(file.path, file.folder.folder_id, self._meter.moved)
            except CloudError as error:
                self._failed(error, file.path)
                continue
            self._outcome.files += 1
            self._outcome.size += uploaded.size
            self._meter.file_done()

    def _failed(self, error: CloudError, path: Path | None = None) -> None:
        if self._is_stopped:
            return
        self._is_stopped = isinstance(error, HOPELESS)
        # Words of the gateway need not name the file.
        is_named = path is None or isinstance(error, LocalFile) or str(path) in str(error)
        self._outcome.failures.append(error if is_named else type(error).told(f"{path}: {error}"))


def _emptying(queue: deque[LocalEntry]) -> Iterator[LocalEntry]:
    with suppress(IndexError):
        while True:
            yield queue.popleft()


def _walk(top: LocalFolder, found: Plan) -> None:
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        found.folders.append(folder)
        waiting += reversed([inner for entry in _listed(folder, found) if (inner := _take(entry, folder, found))])


def _listed(folder: LocalFolder, found: Plan) -> list[os.DirEntry[str]]:
    """By name; of names that Unicode counts as one, the first: the drive would take the second for its new version."""
    try:
        with os.scandir(folder.path) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        found.failures.append(LocalFile(path=folder.path, reason=error.strerror or error))
        return []
    kept: dict[str, os.DirEntry[str]] = {}
    for entry in listed:
        if kept.setdefault(name_key(entry.name), entry) is not entry:
            found.failures.append(LocalFile(path=entry.path, reason="in Unicode's eyes another file has this name"))
    return list(kept.values())


def _take(entry: os.DirEntry[str], folder: LocalFolder, found: Plan) -> LocalFolder | None:
    """Note one entry; the folder it is, if it is one that wants to be walked."""
    path = Path(entry.path)
    if entry.is_symlink():
        found.notes.append(f"{path} is a link; it was left out")
    elif entry.is_dir(follow_symlinks=False):
        return LocalFolder(path, entry.name, folder, f"{folder.drive_path}/{entry.name}")
    elif not entry.is_file(follow_symlinks=False):
        found.notes.append(f"{path} is not a regular file; it was left out")
    else:
        try:
            found.files.append(LocalEntry(path, entry.stat(follow_symlinks=False).st_size, folder))
        except OSError as error:
            found.failures.append(LocalFile(path=path, reason=error.strerror or error))
    return None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise LocalFile(path=path, reason=error.strerror or error) from error
