"""The data folder, held by the one process that may use its database."""

from __future__ import annotations

import contextlib
import fcntl
from typing import TYPE_CHECKING

from cloudgrpc.errors import FolderInUse, LocalFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK_FILE = "gateway.lock"


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Against a second gateway, for two on one SQLite file would each lead its own upkeep, and against whoever copies
    or empties that file. Made when it is not there. Raises: FolderInUse, LocalFile."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (folder / LOCK_FILE).open("w")
    except OSError as error:
        raise LocalFile(path=folder, reason=error.strerror or error) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FolderInUse(folder=folder) from error
        yield


def check_database(path: Path, without: str) -> None:
    """`without`: what is told where there is none. Raises: LocalFile."""
    try:
        is_there = path.is_file()
    except OSError as error:  # a folder of another account's
        raise LocalFile(path=path, reason=error.strerror or error) from error
    if not is_there:
        raise LocalFile(path=path, reason=without)
