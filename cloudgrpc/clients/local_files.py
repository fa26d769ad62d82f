"""Files of this computer as transfers meet them: what can be read, where something may be written, under which name."""

from __future__ import annotations

import mimetypes
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from blake3 import blake3

from cloudgrpc.core.chunking import CHUNK_BYTES
from cloudgrpc.core.paths import check_name
from cloudgrpc.errors import InvalidField, LocalFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """The handle of a regular file. Raises: LocalFile."""
    try:
        # Without O_NONBLOCK, opening a FIFO would wait for someone to write into it.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise local_fault(error, path) from error
    try:
        check_regular(os.fstat(handle).st_mode, path)
        yield handle
    finally:
        os.close(handle)


def checksum_of(path: Path, on_read: Callable[[int], None] = lambda _: None) -> str:
    """As the drive tells it, "blake3:<hex>". Raises: LocalFile."""
    digest = blake3()
    with opened(path) as handle:
        try:
            while piece := os.read(handle, CHUNK_BYTES):
                digest.update(piece)
                on_read(len(piece))
        except OSError as error:
            raise local_fault(error, path) from error
    return f"blake3:{digest.hexdigest()}"


def has_content(path: Path, size: int, checksum: str, on_read: Callable[[int], None]) -> bool:
    """Whether the file at `path` is there and has this content; `on_read` is told how far it was looked at, and takes
    it back when it has not."""
    read = 0

    def note(count: int) -> None:
        nonlocal read
        read += count
        on_read(count)

    try:
        if checksum and path.lstat().st_size == size and checksum_of(path, note) == checksum:
            return True
    except (OSError, LocalFile):
        pass  # whoever wants to read or replace it will be told why that cannot be
    on_read(-read)
    return False


def fingerprint(path: Path, state: os.stat_result, folder_id: str, name: str) -> str:
    """What tells after a restart that an unfinished upload is of this very file, unchanged, for this very place."""
    told = [os.uname().nodename, str(path.absolute()), state.st_size, state.st_mtime_ns, state.st_ino, folder_id, name]
    return blake3("\0".join(map(str, told)).encode(errors="surrogateescape")).hexdigest()


def destination(target: Path, name: str | None) -> Path:
    """Where a file called `name` by the gateway is to be written; without a name, exactly at `target`.

    Raises: LocalFile when nothing may be written there, InvalidField when the name is not a plain name.
    """
    path = target
    if name is not None and target.is_dir():
        try:
            path = target / check_name(name, "filename")
        except InvalidField as error:
            # A name such as "../x" must not lead out of the folder the person told us.
            reason = (
                f"the gateway calls this file {name!r}, which cannot be a file's name here; name the output yourself"
            )
            raise InvalidField(field="filename", reason=reason) from error
    with suppress(FileNotFoundError):
        _check_replaceable(path)
    return path


def mime_type(name: str) -> str:
    """Guessed by the name alone; a packed file is only bytes to us."""
    kind, packing = mimetypes.guess_type(name)
    return kind if kind and not packing else "application/octet-stream"


def check_local_name(path: Path, name: str) -> str:
    """The name itself. Raises: LocalFile when the drive could not hold a file or folder of that name."""
    try:
        return check_name(name, "name")
    except InvalidField as error:
        reason = f"cannot be kept under its name, which {error.facts['reason']}"
        raise LocalFile(path=path, reason=reason) from error


def check_regular(mode: int, path: Path) -> None:
    """Raises: LocalFile."""
    if not stat.S_ISREG(mode):
        raise LocalFile(path=path, reason="is a folder" if stat.S_ISDIR(mode) else "is not a regular file")


def local_fault(error: OSError | ValueError, path: Path) -> LocalFile:
    return LocalFile(path=path, reason=getattr(error, "strerror", None) or error)


def flush_folder(folder: Path) -> None:
    """Raises: OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _check_replaceable(path: Path) -> None:
    """Replacing /dev/null, say, would harm the whole computer. A link is replaced itself, not what it points to."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise local_fault(error, path) from error
    if not stat.S_ISLNK(mode):
        check_regular(mode, path)
