"""A backup as a file on the operator's computer: written whole or not at all, and looked through before it is used."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudgrpc.clients.session import write_private
from cloudgrpc.core import backup_format
from cloudgrpc.core.units import rfc3339
from cloudgrpc.errors import BackupUnreadable, LocalFile, NameTaken

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from cloudgrpc.clients.progress import Meter

PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class Content:
    made_at: str  # as the wire tells times
    cluster_id: str
    program: str  # the version that made it
    engine: str
    size: int
    rows: dict[str, int]  # by table


def check_target(path: Path, may_replace: bool) -> None:
    """Raises: NameTaken, LocalFile when what stands there is no file."""
    if not os.path.lexists(path):
        return
    if not may_replace:
        raise NameTaken.told(f"{path} exists already; --force replaces it.")
    # Replacing /dev/null, say, would harm the whole computer.
    if not (path.is_file() or path.is_symlink()):
        raise LocalFile(path=path, reason="is not a regular file")


def write(path: Path, pieces: Iterable[bytes]) -> Content:
    """Until all is there and whole, `path` stays what it was. Raises: BackupUnreadable, LocalFile."""
    with _local(path):
        write_private(path, _sealed(pieces))
        _flush_folder(path)
    return read(path)


def read(path: Path) -> Content:
    """Looks at every row. Raises: BackupUnreadable, LocalFile."""
    with _local(path):
        size = path.stat().st_size
        for _ in _sealed(_pieces(path, size)):
            pass
        parts = backup_format.read(_pieces(path, size - backup_format.SEAL_BYTES))
        header = next(parts, None)
        if not isinstance(header, backup_format.Header):
            raise BackupUnreadable(reason="it has no beginning")
        rows: Counter[str] = Counter()
        for part in parts:
            if isinstance(part, backup_format.Part):
                rows[part.heading.table] += len(part.rows)
    return Content(rfc3339(header.made_at), header.cluster_id, header.program, header.engine, size, dict(rows))


def pieces(path: Path, meter: Meter) -> Iterator[bytes]:
    """Raises: LocalFile."""
    with _local(path):
        for piece in _pieces(path, path.stat().st_size):
            yield piece
            meter.moved(len(piece))


def _sealed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same, that must end with their checksum. Raises: BackupUnreadable."""
    seal = backup_format.Seal()
    for piece in pieces:
        seal.update(piece)
        yield piece
    seal.check()


def _pieces(path: Path, size: int) -> Iterator[bytes]:
    """The first `size` bytes of it."""
    with path.open("rb") as file:
        while size > 0 and (piece := file.read(min(size, PIECE_BYTES))):
            size -= len(piece)
            yield piece


def _flush_folder(path: Path) -> None:
    """Else a power cut could take the new name back."""
    handle = os.open(path.absolute().parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _local(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LocalFile(path=path, reason=error.strerror or error) from error
