"""Files that are for their owner alone: written whole or not at all, and refused when somebody else could read them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import stat
import sys
from typing import TYPE_CHECKING

from cloudgrpc.errors import LocalFile, SettingsWrong

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK = ".lock"


def read(path: Path, *, is_secret: bool = True) -> bytes | None:
    """None: there is no such file. Raises: SettingsWrong when others may read a secret or own it; LocalFile."""
    try:
        with path.open("rb") as file:
            if is_secret:
                _check(path, os.fstat(file.fileno()), f"others may read this secret; close it with: chmod 600 {path}")
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise LocalFile(path=path, reason=error.strerror or error) from error


def write(path: Path, content: bytes) -> None:
    """Make or replace the file; its folder is there. When this returns, it outlives a power failure.

    Raises: LocalFile; then the file is as it was.
    """
    aside = path.parent / f".{path.name}.{secrets.token_hex(4)}"
    try:
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                _sync(file.fileno())
            aside.replace(path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
    except OSError as error:
        raise LocalFile(path=path, reason=error.strerror or error) from error


def write_new(path: Path, content: bytes) -> None:
    """As `write`, where nothing may be replaced. Raises: FileExistsError, LocalFile; then nothing is there of it."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise
    except OSError as error:
        raise LocalFile(path=path, reason=error.strerror or error) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            _sync(file.fileno())
        sync_folder(path.absolute().parent)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise LocalFile(path=path, reason=error.strerror or error) from error


def rename(source: Path, target: Path) -> None:
    """Raises: LocalFile."""
    try:
        source.replace(target)
        sync_folder(target.parent)
    except OSError as error:
        raise LocalFile(path=source, reason=error.strerror or error) from error


def forget(path: Path) -> None:
    """Raises: LocalFile."""
    try:
        path.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as error:
        raise LocalFile(path=path, reason=error.strerror or error) from error


def mark_of(path: Path) -> tuple[int, int, int] | None:
    """What changes whenever the file does; None: there is none."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_mtime_ns, facts.st_ino, facts.st_size


def make_folder(folder: Path) -> None:
    """It is there, and its owner's alone. Raises: SettingsWrong, LocalFile."""
    try:
        if not folder.is_dir():
            # Of several that are made only the last would get the mode.
            folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
            sync_folder(folder.parent)
    except OSError as error:
        raise LocalFile(path=folder, reason=error.strerror or error) from error
    check_folder(folder)


def check_folder(folder: Path) -> None:
    """One that is not there is nobody's. Raises: SettingsWrong when others can look into it; LocalFile."""
    try:
        facts = folder.stat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise LocalFile(path=folder, reason=error.strerror or error) from error
    _check(folder, facts, f"others may look into this folder of secrets; close it with: chmod 700 {folder}")


@contextlib.contextmanager
def changing(folder: Path) -> Iterator[None]:
    """The folder, made if it must be, for one at a time: a running role and a command may both want to change it.

    Raises: SettingsWrong, LocalFile.
    """
    make_folder(folder)
    try:
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LocalFile(path=folder, reason=error.strerror or error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Wait until the names in it are on the disk. Raises: OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _sync(descriptor)
    finally:
        os.close(descriptor)


def _check(path: Path, facts: os.stat_result, open_words: str) -> None:
    if facts.st_uid not in {os.geteuid(), 0}:  # root reads and writes all there is anyway
        raise SettingsWrong(
            faults=f"{path}: belongs to another user; run this as that one, or take it: chown {os.geteuid()} {path}"
        )
    if stat.S_IMODE(facts.st_mode) & 0o077:
        raise SettingsWrong(faults=f"{path}: {open_words}")


def _sync(descriptor: int) -> None:
    if sys.platform == "darwin":
        # fsync there leaves the bytes in the disk's own cache.
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)
