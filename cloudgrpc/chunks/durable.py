"""The file-system effects that durable writing is made of, as one small class a test can replace, and their order.

Write aside -> flush the bytes -> rename -> flush the folder. Only then may anyone be told that the file is there.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import sys
import threading
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

T = TypeVar("T")

# No room, or no room for this user: the disk is full, not broken.
FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT})

# Larger files pass by the kernel's file cache, as what is stored is mostly stored, and seldom read twice in a row.
# Measured on a virtual machine, in CPU-seconds a GiB: writing 0.4 (into the cache 0.5 to 3.7), reading 0.25 (1.5).
DIRECT_FROM = 256 << 10
DIRECT_MOST = 5 << 20
BLOCK = 4096
# For one such file, in whole huge pages: the kernel then finds three pages to read into instead of a thousand, which
# takes a fifth off writing and two thirds off reading.
MEMORY_BYTES = 6 << 20


class Spread(Protocol):
    def __call__(self, work: Callable[[T], None], items: Sequence[T]) -> None: ...


class Os:
    """Every effect on a node's disk, one method each."""

    def create(self, path: Path) -> int:
        """A descriptor of a new file that nobody else may read; it must not exist."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def write(self, descriptor: int, pieces: Sequence[bytes | memoryview]) -> None:
        """Write the pieces one after the other into the new file."""
        length = sum(map(len, pieces))
        if DIRECT_FROM <= length <= DIRECT_MOST and _turn_direct(descriptor):
            _write_directly(descriptor, pieces, length)
        else:
            _write_all(descriptor, [memoryview(piece) for piece in pieces if piece])

    def fdatasync(self, descriptor: int) -> None:
        """Wait until the file's bytes and its length are on the disk."""
        if sys.platform == "darwin":
            _full_sync(descriptor)
        else:
            os.fdatasync(descriptor)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        source.rename(target)

    def fsync_folder(self, folder: Path) -> None:
        """Wait until the names in this folder are on the disk."""
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if sys.platform == "darwin":
                _full_sync(descriptor)
            else:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def unlink(self, path: Path) -> None:
        path.unlink()

    def make_folder(self, folder: Path) -> None:
        folder.mkdir(mode=0o700)

    def read(self, path: Path, head_bytes: int) -> tuple[bytes, bytes | memoryview]:
        """The file's first `head_bytes` and the rest, which may lie in memory that this thread uses again for the next
        file."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            length = os.fstat(descriptor).st_size
            if DIRECT_FROM <= length <= DIRECT_MOST and _turn_direct(descriptor):
                return _read_directly(descriptor, head_bytes, length)
            return _read_exactly(descriptor, head_bytes), _read_exactly(descriptor, max(length - head_bytes, 0))
        finally:
            os.close(descriptor)

    def open_lock(self, path: Path) -> int:
        """A descriptor to hold a lock by; the file is made when it is missing."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def is_read_only(self, folder: Path) -> bool:
        """Whether its file system is mounted so; Linux does it by itself when a disk fails."""
        return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)

    def free_bytes(self, folder: Path) -> int:
        """Room for those who are not root."""
        volume = os.statvfs(folder)
        return volume.f_bavail * volume.f_frsize


@dataclass(frozen=True)
class NewFile:
    """What is to be in the file `target`; `aside` is where it is written first."""

    aside: Path
    target: Path
    pieces: Sequence[bytes | memoryview]


def write_durably(disk: Os, file: NewFile) -> None:
    """Make the target hold the pieces, whole or not at all, whenever the power fails.

    Raises: OSError; then neither `aside` nor a new `target` is left.
    """
    (failure,) = write_together(disk, [file])
    if failure is not None:
        raise failure


def in_turn(work: Callable[[T], None], items: Sequence[T]) -> None:
    for item in items:
        work(item)


def write_together(disk: Os, files: Sequence[NewFile], spread: Spread = in_turn) -> list[OSError | None]:
    """`write_durably` for several files; what became of each. `spread(work, items)` does work for each item, and
    returns when all of it is done: each step is over for all files before the next begins.

    They share their flushes: the first has the file system write down what the others wait for. Measured with 4 KiB:
    0.7 ms of CPU a file with sixteen together, 1.2 ms singly; on a busy disk 48 of them took 12 ms each in turn, and 5
    with eight flushes at a time.
    """
    writings = [_Writing(disk, file) for file in files]
    for step in (_Writing.write, _Writing.flush, _Writing.rename):
        spread(partial(_Writing.attempt, step=step), writings)
    folders: dict[Path, list[_Writing]] = {}
    for writing in writings:
        if writing.failure is None:
            folders.setdefault(writing.file.target.parent, []).append(writing)
    spread(partial(_flush_folder, disk), list(folders.items()))
    return [writing.failure for writing in writings]


def _flush_folder(disk: Os, folder: tuple[Path, Sequence[_Writing]]) -> None:
    """And those that were written into it."""
    path, there = folder
    try:
        disk.fsync_folder(path)
    except OSError as error:
        for writing in there:
            writing.fail(error)


class _Writing:
    """One file on its way."""

    def __init__(self, disk: Os, file: NewFile) -> None:
        self.file = file
        self.failure: OSError | None = None
        self._disk = disk
        self._descriptor: int | None = None
        self._path = file.aside

    def attempt(self, step: Callable[[_Writing], None]) -> None:
        if self.failure is None:
            try:
                step(self)
            except OSError as error:
                self.fail(error)

    def write(self) -> None:
        self._descriptor = self._disk.create(self._path)
        self._disk.write(self._descriptor, self.file.pieces)

    def flush(self) -> None:
        if self._descriptor is not None:
            self._disk.fdatasync(self._descriptor)
        self._close()

    def rename(self) -> None:
        self._disk.rename(self._path, self.file.target)
        self._path = self.file.target

    def fail(self, error: OSError) -> None:
        """After a failed flush the kernel may call the next one a success: what was not flushed must not stay and be
        taken for kept later."""
        self.failure = error
        for tidy in (self._close, lambda: self._disk.unlink(self._path)):
            with contextlib.suppress(OSError):
                tidy()

    def _close(self) -> None:
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            self._disk.close(descriptor)


def _read_exactly(descriptor: int, length: int) -> bytes:
    """Up to `length` bytes; fewer only at the file's end."""
    data = os.read(descriptor, length) if length else b""
    if len(data) == length or not data:
        return data
    pieces = [data]
    missing = length - len(data)
    while missing and (data := os.read(descriptor, missing)):
        pieces.append(data)
        missing -= len(data)
    return b"".join(pieces)


def _turn_direct(descriptor: int) -> bool:
    """Whether reads and writes will pass the kernel's file cache; not every file system can do without it."""
    if not hasattr(os, "O_DIRECT"):
        return False
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, os.O_DIRECT)
    except OSError:
        return False
    return True


def _write_all(descriptor: int, left: list[memoryview]) -> None:
    while left:
        written = os.writev(descriptor, left)
        while left and written >= len(left[0]):
            written -= len(left.pop(0))
        if written:
            left[0] = left[0][written:]


def _write_directly(descriptor: int, pieces: Sequence[bytes | memoryview], length: int) -> None:
    """Whole blocks only, so the last is filled up, and what was filled in is cut off again."""
    memory = memoryview(_aligned.memory)
    at = 0
    for piece in pieces:
        memory[at : at + len(piece)] = piece
        at += len(piece)
    _write_all(descriptor, [memory[: -(-length // BLOCK) * BLOCK]])
    os.ftruncate(descriptor, length)


def _read_directly(descriptor: int, head_bytes: int, file_bytes: int) -> tuple[bytes, memoryview]:
    # No more room than the file needs: the kernel fills the rest with zeros, a fortieth of what a download costs nodes.
    memory = memoryview(_aligned.memory)[: -(-file_bytes // BLOCK) * BLOCK]
    length = 0
    # Only at the file's end does a direct read give something that is no whole number of blocks.
    while read := os.preadv(descriptor, [memory[length:]], length):
        length += read
        if length % BLOCK:
            break
    return bytes(memory[:head_bytes]), memory[head_bytes:length]


class _Aligned(threading.local):
    """Each thread's own memory for what passes by the file cache, which must begin at a page."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, MEMORY_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANON)
        with contextlib.suppress(AttributeError, OSError):  # not every system has them
            self.memory.madvise(mmap.MADV_HUGEPAGE)


_aligned = _Aligned()


def _full_sync(descriptor: int) -> None:
    """macOS's fsync stops at the drive's cache; F_FULLFSYNC does not, but not every volume has it."""
    if sys.platform == "darwin":
        try:
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        except OSError:
            os.fsync(descriptor)
