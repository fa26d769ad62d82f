"""A node's folder: whose it is, the lock that lets one process in, and the folders its chunks lie in.

node_storage_<id>/
  identity.json    node id, random instance id, cluster id; a folder of another node or cluster is refused
  lock             held by the process that uses the folder
  00/ … ff/        chunks, by the first two digits of their ids
  tmp/             being written; swept at start
  quarantine/      failed their checksum; kept for a person to look at
"""

from __future__ import annotations

import fcntl
import os
import secrets
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from cloudgrpc.chunks.durable import NewFile, write_durably
from cloudgrpc.errors import FolderForeign, FolderInUse, LocalFile, NodeForeign

if TYPE_CHECKING:
    from pathlib import Path

    from cloudgrpc.chunks.durable import Os

PREFIXES = tuple(f"{number:02x}" for number in range(256))
# What a crash during the very first start can leave behind; a folder with anything else in it is somebody's.
BEFORE_IDENTITY = frozenset({"lock", "identity.json.new"})


class Identity(Struct, frozen=True):
    node_id: str
    instance_id: str
    cluster_id: str | None = None


class NodeFolder:
    """A node's folder in use by this process, from `open` to `close`. `trouble`: why it could not be made ready for
    writing; it can be read all the same."""

    def __init__(self, path: Path, disk: Os, lock: int, identity: Identity) -> None:
        self.path = path
        self.identity = identity
        self.tmp = path / "tmp"
        self.quarantine = path / "quarantine"
        self.trouble: OSError | None = None
        self._disk = disk
        self._lock: int | None = lock

    @classmethod
    def open(cls, path: Path, node_id: str, disk: Os) -> NodeFolder:
        """Lock the folder and make what it lacks. One that has chunks is opened for reading when it cannot be written.

        Raises: FolderForeign (nothing was touched), FolderInUse, LocalFile.
        """
        try:
            _refuse_foreign(path, node_id)
            _make_root(path, disk)
            lock = _lock(path, disk)
            try:
                # Read again: another process may have been here between the first look and the lock.
                standing = _refuse_foreign(path, node_id)
                folder = cls(path, disk, lock, standing or Identity(node_id, secrets.token_hex(16)))
                try:
                    folder._furnish()
                except OSError as error:
                    if standing is None:
                        raise
                    folder.trouble = error
            except BaseException:
                os.close(lock)
                raise
        except OSError as error:
            raise LocalFile(path=path, reason=error.strerror or error) from error
        return folder

    def adopt(self, cluster_id: str) -> None:
        """Belong to this cluster from now on.

        Raises: NodeForeign when the folder belongs to another one; OSError.
        """
        ours = self.identity.cluster_id
        if ours is None:
            self._write(Identity(self.identity.node_id, self.identity.instance_id, cluster_id))
        elif ours != cluster_id:
            raise NodeForeign(node_id=self.identity.node_id, theirs=ours, ours=cluster_id)

    def of(self, chunk_id: str) -> Path:
        return self.path.joinpath(chunk_id[:2], chunk_id)

    def close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _furnish(self) -> None:
        if not _identity_path(self.path).exists():
            self._write(self.identity)
        missing = [self.path / name for name in (*PREFIXES, "tmp", "quarantine") if not (self.path / name).is_dir()]
        for folder in missing:
            self._disk.make_folder(folder)
        if missing:
            self._disk.fsync_folder(self.path)
        for leftover in self.tmp.iterdir():
            self._disk.unlink(leftover)

    def _write(self, identity: Identity) -> None:
        target = _identity_path(self.path)
        aside = target.with_suffix(".json.new")
        aside.unlink(missing_ok=True)
        write_durably(self._disk, NewFile(aside, target, [msgspec.json.encode(identity) + b"\n"]))
        self.identity = identity


def _identity_path(path: Path) -> Path:
    return path / "identity.json"


def _refuse_foreign(path: Path, node_id: str) -> Identity | None:
    """Whose folder this is; None for one that is new. Raises: FolderForeign unless it is this node's or new."""
    try:
        identity = msgspec.json.decode(_identity_path(path).read_bytes(), type=Identity)
    except FileNotFoundError:
        # An identity that was lost must not be replaced by a new one: the chunks would count as strangers.
        if path.is_dir() and any(entry.name not in BEFORE_IDENTITY for entry in path.iterdir()):
            raise FolderForeign(folder=path, owner="something else: it has files, but no identity.json") from None
        return None
    except msgspec.DecodeError as error:
        raise FolderForeign(folder=path, owner=f"a node whose identity.json is damaged ({error})") from error
    if identity.node_id != node_id:
        raise FolderForeign(folder=path, owner=f"node {identity.node_id}")
    return identity


def _make_root(path: Path, disk: Os) -> None:
    if not path.is_dir():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # the gateway's folder, too, if it comes later
        path.mkdir(mode=0o700, exist_ok=True)
        disk.fsync_folder(path.parent)


def _lock(path: Path, disk: Os) -> int:
    # A file, since NFS locks no folders. It ends with the process, however that ends.
    lock = path / "lock"
    try:
        descriptor = disk.open_lock(lock)
    except OSError as error:
        try:
            descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)  # enough to lock it, but for NFS
        except OSError:
            raise error from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise FolderInUse(folder=path) from error
    return descriptor
