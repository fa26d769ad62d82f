"""The beginning of a file that is being downloaded, beside the file that it will become.

    .NAME.<file id, shortened>v<version>.part

It outlives an interrupted download, and the next one of the same version goes on from its end. Whoever writes it holds
a lock on it; a second one that downloads the same at the same time takes a file of its own.
"""

from __future__ import annotations

import errno
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
    from typing import BinaryIO

NAME = re.compile(r"\..*\.[0-9a-f]{8}(v\d+)?\.part\Z", re.DOTALL)
# Cut to that, since with the marks around it a name of 255 bytes would be too long.
MOST_BYTES = 200
FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Part:
    """What is here so far, and its digest."""

    def __init__(self, path: Path, handle: int, *, is_lasting: bool) -> None:
        """`is_lasting`: whether it outlives this process. Raises: OSError."""
        self.path = path
        self.is_lasting = is_lasting
        self.size = 0  # bytes, all of which are in the digest
        self.unread = os.fstat(handle).st_size  # bytes that an earlier process left, and that are not
        self._handle = handle
        self._digest = blake3()

    @property
    def checksum(self) -> str:
        return f"blake3:{self._digest.hexdigest()}"

    def read_again(self, on_read: Callable[[int], None]) -> None:
        """Hash what an earlier process left. Raises: OSError."""
        while piece := os.read(self._handle, CHUNK_BYTES):
            self._digest.update(piece)
            self.size += len(piece)
            on_read(len(piece))
        self.unread = 0

    def write(self, piece: memoryview) -> None:
        self._digest.update(piece)
        while piece:
            written = os.write(self._handle, piece)
            self.size += written
            piece = piece[written:]

    def start_over(self) -> None:
        os.ftruncate(self._handle, 0)
        os.lseek(self._handle, 0, os.SEEK_SET)
        self.size = self.unread = 0
        self._digest = blake3()

    def become(self, target: Path) -> None:
        """All of it is on disk, and then it is `target`."""
        os.fsync(self._handle)
        self.path.replace(target)
        flush_folder(target.parent)


@contextmanager
def part_of(target: Path, file_id: str, version: int) -> Iterator[Part]:
    """Locked while the block runs; it stays, unless it is empty, nobody could find it, or it became the target.

    Raises: LocalFile.
    """
    try:
        named = _beside(target, _mark(file_id, version))
        path, handle = _locked(target, named)
        is_lasting = path == named
        try:
            yield Part(path, handle, is_lasting=is_lasting)
        finally:
            if not (is_lasting and os.fstat(handle).st_size) and _is_at(path, handle):
                path.unlink()
            os.close(handle)
    except OSError as error:
        raise local_fault(error, target) from error


@contextmanager
def aside(target: Path) -> Iterator[BinaryIO]:
    """A file that becomes `target`, on disk, if the block ends well; else nothing is left of it. Raises: LocalFile."""
    path = _beside(target, secrets.token_hex(4))
    try:
        with path.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        path.replace(target)
        flush_folder(target.parent)
    except OSError as error:
        raise local_fault(error, target) from error
    finally:
        path.unlink(missing_ok=True)


def forget_others(target: Path, file_id: str) -> None:
    """Remove what is left of other versions of the file, unless somebody is downloading them."""
    start, end = _beside(target, _mark(file_id, "#")).name.rsplit("#", 1)
    with suppress(OSError):
        names = [path.name for path in target.parent.iterdir()]
        for name in names:
            if name.startswith(start) and name.endswith(end) and name[len(start) : -len(end)].isdecimal():
                _forget(target.with_name(name))


def is_part(name: str) -> bool:
    """Whether a file of this name is one of ours."""
    return NAME.match(name) is not None


def _locked(target: Path, named: Path) -> tuple[Path, int]:
    """`named`, or another where that cannot be had. Raises: OSError."""
    while (handle := _opened(named)) is not None:
        if not _is_lockable(handle):
            os.close(handle)
            break
        if _is_at(named, handle):
            return named, handle
        os.close(handle)  # whoever held it was done with it a moment ago
    path = _beside(target, secrets.token_hex(4))
    return path, os.open(path, FLAGS | os.O_EXCL, 0o666)


def _forget(path: Path) -> None:
    """Raises: OSError."""
    handle = os.open(path, FLAGS & ~os.O_CREAT)
    try:
        if _is_lockable(handle):
            path.unlink()
    finally:
        os.close(handle)


def _opened(path: Path) -> int | None:
    """None: what has this name is no file of ours. Raises: OSError."""
    try:
        handle = os.open(path, FLAGS, 0o666)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.EACCES} and os.path.lexists(path):
            return None
        raise
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return handle
    os.close(handle)
    return None


def _is_lockable(handle: int) -> bool:
    """Not when another one holds it, nor where the file system knows no locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_at(path: Path, handle: int) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(path.lstat(), os.fstat(handle))
    return False


def _mark(file_id: str, version: object) -> str:
    # An ID is the gateway's word, too, and must not lead elsewhere.
    return f"{''.join(letter for letter in file_id[:8] if letter.isalnum())}v{version}"


def _beside(target: Path, mark: str) -> Path:
    short = os.fsencode(target.name)[:MOST_BYTES].decode(errors="ignore")
    return target.with_name(f".{short}.{mark}.part")
