"""The data folder and the disk under it: whether what is written there stays there."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from cloudgrpc.about.findings import Finding, note, ok, wrong
from cloudgrpc.config import MIB
from cloudgrpc.core.units import size_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloudgrpc.config import Config

FOLDER, DISK = "data folder", "disk"
IN_MEMORY = {"tmpfs", "ramfs"}
ACROSS_A_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "afs", "fuse.s3fs", "fuse.rclone"}
SLOW_FLUSH_S = 0.5
FILE_SKEW_S = 5.0
BLOCK = 4096
FEW_NAMES = 10_000  # a chunk of 4 MiB is a file


def look(config: Config) -> Iterator[Finding]:
    folder = config.data_folder
    if not folder.exists():
        above = next(parent for parent in folder.parents if parent.exists())
        yield _not_there(folder, above)
        yield from _disk(above, config)
        return
    if not folder.is_dir():
        yield wrong(FOLDER, f"{folder} is no folder", "Name another one: --data-dir DIR, or [data] folder")
        return
    yield from _access(folder)
    yield from _disk(folder, config)
    for node in sorted(folder.glob("node_storage_*")):
        yield from _node(node)


def _not_there(folder: Path, above: Path) -> Finding:
    if not os.access(above, os.W_OK | os.X_OK):
        return wrong(
            FOLDER, f"{folder} cannot be made: {above} is not ours to write", "Name another one: --data-dir DIR"
        )
    return note(FOLDER, f"{folder} is not there yet; the first start of a gateway or a node makes it")


def _access(folder: Path) -> Iterator[Finding]:
    facts = folder.stat()
    if facts.st_uid != os.geteuid():
        words = f"{folder} belongs to another user (uid {facts.st_uid}); this looks at it as uid {os.geteuid()}"
        yield note(FOLDER, words, "Run doctor as the user that the gateway or the node runs as.")
    if stat.S_IMODE(facts.st_mode) & 0o077:
        yield note(FOLDER, f"{folder} can be entered by others on this machine", f"Close it: chmod 700 {folder}")
    yield _written(folder)


def _written(folder: Path) -> Finding:
    """A file without a name, which nobody sees, is written, flushed, and gone."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0" * BLOCK)
            began = time.monotonic()
            file.flush()
            os.fsync(file.fileno())
            took_s, file_time = time.monotonic() - began, os.fstat(file.fileno()).st_mtime
    except OSError as error:
        is_full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        way_out = "Make room there." if is_full else "Let the user of the gateway or the node write there."
        return wrong(FOLDER, f"{folder} cannot be written: {error.strerror or error}", way_out)
    if abs(file_time - time.time()) > FILE_SKEW_S:
        words = f"{folder} goes by another clock than this machine: {file_time - time.time():+.0f} s"
        return note(FOLDER, words, "It lies on another machine, whose clock is to be set as this one's.")
    if took_s > SLOW_FLUSH_S:
        return note(FOLDER, f"{folder} took {took_s:.1f} s to flush {BLOCK} bytes", "Every upload waits for that.")
    return ok(FOLDER, f"{folder} is written and flushed in {took_s * 1000:.1f} ms")


def _disk(folder: Path, config: Config) -> Iterator[Finding]:
    free, reserve = shutil.disk_usage(folder).free, config.node.disk_reserve_mb * MIB
    words = f"{size_words(free)} are free where {folder} is"
    if free < reserve or free < MIB:
        yield wrong(DISK, f"{words}, less than the {size_words(reserve)} that nodes leave free", "Make room there.")
    elif free < 4 * reserve:
        yield note(DISK, f"{words}; below {size_words(reserve)} nodes take no more", "Make room before that.")
    else:
        yield ok(DISK, words)
    names = os.statvfs(folder)
    if names.f_files and names.f_favail < FEW_NAMES:
        yield wrong(
            DISK, f"only {names.f_favail} more files fit there (inodes)", "Use a file system with room for more."
        )
    yield from _kind(folder, config)


def _kind(folder: Path, config: Config) -> Iterator[Finding]:
    """File systems that forget, or that say they flushed and did not."""
    kind = file_system(folder)
    if kind in IN_MEMORY:
        yield wrong(
            DISK, f"{folder} is in memory ({kind}): all of it is gone at the next start", "Name a folder on a disk."
        )
    elif kind in ACROSS_A_NETWORK:
        words = f"{folder} is on another machine ({kind}), where a flush may not reach the disk"
        if config.database.host:
            yield note(DISK, words, "A disk of this machine is safer.")
        else:
            yield wrong(
                DISK, f"{words}, and SQLite needs locks that work", "Use a disk of this machine, or PostgreSQL."
            )
    elif kind == "overlay":
        yield note(DISK, f"{folder} is a container's own layer: it goes with the container", "Mount a volume there.")


def file_system(folder: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """Its type, such as ext4; "" where it is not told."""
    place, best, kind = str(folder.resolve()), "", ""
    with contextlib.suppress(OSError):
        for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines():
            _, point, told, *_ = line.split(" ")
            point = point.replace("\\040", " ")
            is_above = place == point or place.startswith(f"{point.rstrip('/')}/")
            if is_above and len(point) >= len(best):  # of two at one point the later lies on top
                best, kind = point, told
    return kind


def _node(folder: Path) -> Iterator[Finding]:
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        yield wrong(
            "node", f"{folder} cannot be read and written", f"Give it to the node's user: chown -R USER {folder}"
        )
        return
    bad = sum(1 for _ in folder.glob("quarantine/*"))
    if bad:
        words = f"{folder}: {bad} files in quarantine failed their checksum"
        yield note("node", words, "Good copies were made elsewhere; should more come, look at the disk.")
    else:
        yield ok("node", f"{folder} can be read and written")
