"""The beginning of a file that is being downloaded, beside the file that it will become.

    .NAME.<file id, shortened>v<version>.part

It outlives an interrupted download, and the next one of the same version goes on from its end. Whoever writes it holds
a lock on it; a second one that downloads the same at the same time takes a file of its own.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from blake3 import blake3

from cloudgrpc.clients.local_files import flush_folder, local_fault
from cloudgrpc.core.chunking import CHUNK_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NAME = re.compile(r"\..*\.[0-9a-f]{8}(v\d+)?\.part\Z", re.DOTALL)
# Cut to that, since with the marks around it a name of 255 bytes would be too long.
MOST_BYTES = 200
FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Part:
    """What is here so far, and its digest."""

    def __init__(self, path: Path, handle: int) -> None:
        self.path = path
        self.size = 0  # bytes that were written, or read again, by this process
        self._handle = handle
        self._digest = blake3()

    @property
    def checksum(self) -> str:
        return f"blake3:{self._digest.hexdigest()}"

    def read_again(self, on_read: Callable[[int], None]) -> None:
        """Hash what an earlier process left."""
        while piece := os.read(self._handle, CHUNK_BYTES):
            self._digest.update(piece)
            self.size += len(piece)
            on_read(len(piece))

    def write(self, piece: memoryview) -> None:
        self._digest.update(piece)
        while piece:
            written = os.write(self._handle, piece)
            self.size += written
            piece = piece[written:]

    def start_over(self) -> None:
        os.ftruncate(self._handle, 0)
        os.lseek(self._handle, 0, os.SEEK_SET)
        self.size = 0
        self._digest = blake3()

    def become(self, target: Path) -> None:
        """All of it is on disk, and then it is `target`."""
        os.fsync(self._handle)
        self.path.replace(target)
        flush_folder(target.parent)

    def forget(self) -> None:
        self.path.unlink(missing_ok=True)


@contextmanager
def part_of(target: Path, file_id: str, version: int) -> Iterator[Part]:
    """Locked while the block runs; it stays unless it is empty, was forgotten or became the target. Raises: LocalFile."""
    try:
        path, handle = _locked(target, f"{file_id[:8]}v{version}")
        try:
            yield Part(path, handle)
        finally:
            if not os.fstat(handle).st_size and _is_at(path, handle):
                path.unlink()
            os.close(handle)
    except OSError as error:
        raise local_fault(error, target) from error


def forget_others(target: Path, file_id: str) -> None:
    """Remove what is left of other versions of the file, which nobody is downloading now."""
    mark = re.compile(re.escape(_beside(target, f"{file_id[:8]}v#").name).replace(r"\#", r"\d+"))
    with suppress(OSError):
        for path in [path for path in target.parent.iterdir() if mark.fullmatch(path.name)]:
            with suppress(OSError):
                handle = os.open(path, FLAGS & ~os.O_CREAT)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()
                finally:
                    os.close(handle)


def is_part(name: str) -> bool:
    """Whether a file of this name is one of ours."""
    return NAME.match(name) is not None


def _locked(target: Path, mark: str) -> tuple[Path, int]:
    """Raises: OSError."""
    path = _beside(target, mark)
    while True:
        try:
            handle = os.open(path, FLAGS, 0o666)
        except OSError:
            if not path.parent.is_dir():
                raise
            return _own(target)  # something else has that name
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if stat.S_ISREG(os.fstat(handle).st_mode) and _is_at(path, handle):
                return path, handle
        ...
'''
