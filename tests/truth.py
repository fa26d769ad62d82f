"""What people were promised, whatever becomes of the nodes meanwhile, and whether all of it still holds."""

from __future__ import annotations

import hashlib
import os
import random
import secrets
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import grpc

from cloudgrpc.chunks.base import checksum_of
from operating import admin
from program import PATIENCE_S
from user import refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from cluster_harness import Cluster
    from user import User

GOOD_COPIES = """
    SELECT chunk.chunk_id, chunk.length, chunk.checksum, copy.node_id
    FROM chunk LEFT JOIN copy ON copy.chunk_id = chunk.chunk_id AND copy.state = 'good'
    WHERE EXISTS (SELECT 1 FROM extent WHERE extent.chunk_id = chunk.chunk_id)"""
# What can still be restored counts: all that hangs below a root folder or lies in the trash.
RECOUNT = """
    WITH RECURSIVE kept(entry_id) AS (
        SELECT entry_id FROM entry WHERE parent_id IS NULL AND purged_at IS NULL
        UNION ALL SELECT entry.entry_id FROM entry JOIN kept ON entry.parent_id = kept.entry_id)
    SELECT account.email, account.used_bytes, account.reserved_bytes, (
        SELECT COALESCE(SUM(version.size_bytes), 0) FROM version JOIN entry ON entry.entry_id = version.entry_id
        WHERE entry.account_id = account.account_id AND entry.entry_id IN (SELECT entry_id FROM kept)), (
        SELECT COALESCE(SUM(upload.size_bytes), 0) FROM upload
        WHERE upload.account_id = account.account_id AND upload.state = 'open')
    FROM account"""


def dice(seed: int | None = None) -> random.Random:
    """Every random choice of a test; what it threw is shown when the test fails. SEED repeats it."""
    thrown = seed or int(os.environ.get("SEED") or secrets.randbits(32))
    print(f"SEED={thrown}")
    return random.Random(thrown)


class Truth:
    """One person's files by path: written down only after the reply that promised them."""

    def __init__(self, user: User) -> None:
        self.user = user
        self.files: dict[str, tuple[str, str]] = {}  # path -> id and digest
        self.deleted: dict[str, str] = {}  # path -> id

    def upload(self, path: str, data: bytes) -> str:
        """The file's id."""
        file_id = self.user.upload(path, data).file_id
        self.files[path] = (file_id, digest(data))
        return file_id

    def can_upload(self, path: str, data: bytes) -> bool:
        """Uploads it, unless the cluster has no room."""
        try:
            self.upload(path, data)
        except grpc.RpcError as failure:
            if failure.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise
            return False
        return True

    def fill(self, rng: random.Random, count: int, size: int, prefix: str = "file") -> list[str]:
        """Upload so many files; their paths."""
        paths = [f"{prefix}{number:03}.bin" for number in range(count)]
        for path in paths:
            self.upload(path, rng.randbytes(size))
        return paths

    def delete(self, path: str) -> None:
        """For good."""
        file_id, _ = self.files[path]
        # From the moment it is asked for it may be gone, so nothing is promised of it any more.
        del self.files[path]
        self.user.delete(file_id, permanent=True)
        self.deleted[path] = file_id

    def read(self, path: str) -> None:
        file_id, told = self.files[path]
        assert digest(self.user.download(file_id)) == told, f"{path} came back different"

    def check(self) -> None:
        """Every file is there and identical, and what was deleted is not."""
        names = set(self.user.names())
        assert names == set(self.files), f"missing or too many: {names ^ set(self.files)}"
        for path in sorted(self.files):
            self.read(path)
        for file_id in self.deleted.values():
            with refused("NOT_FOUND"):
                self.user.metadata(file_id)


class Traffic:
    """People who read and write for as long as it lasts."""

    def __init__(self, truth: Truth, rng: random.Random, size: int = 30_000) -> None:
        self._truth = truth
        self._seeds = [rng.getrandbits(32) for _ in range(3)]
        self._size = size
        self._over = threading.Event()
        self.reads = self.writes = 0
        self.failures: list[str] = []

    @contextmanager
    def going_on(self) -> Iterator[Traffic]:
        """No call may fail while the block runs, and at the end some of each must have been made."""
        threads = [
            threading.Thread(target=self._go_on, args=(work, random.Random(seed)))
            for work, seed in zip((self._read, self._read, self._write), self._seeds, strict=True)
        ]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._over.set()
            for thread in threads:
                thread.join()
        assert not self.failures, self.failures
        assert self.reads
        assert self.writes

    def _go_on(self, work: Callable[[random.Random], None], rng: random.Random) -> None:
        while not self._over.is_set():
            try:
                work(rng)
            except (grpc.RpcError, AssertionError) as error:
                self.failures.append(repr(error))
            time.sleep(0.02)

    def _read(self, rng: random.Random) -> None:
        self._truth.read(rng.choice(sorted(self._truth.files)))
        self.reads += 1

    def _write(self, rng: random.Random) -> None:
        self._truth.upload(f"traffic{self._seeds[0]}-{self.writes:04}.bin", rng.randbytes(self._size))
        self.writes += 1


class Watch:
    """Looks all the while at how many good copies the worst chunk has, by the metadata and, of those, on the disks."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._over = threading.Event()
        self.samples: list[int] = []

    @contextmanager
    def looking(self, least: int) -> Iterator[Watch]:
        """Fails when a chunk had fewer at any moment."""
        thread = threading.Thread(target=self._look)
        thread.start()
        try:
            yield self
        finally:
            self._over.set()
            thread.join()
        assert self.samples
        assert min(self.samples) >= least, f"a chunk had only {min(self.samples)} good copies"

    def _look(self) -> None:
        while not self._over.is_set():
            held = {chunk_id: len(nodes) for chunk_id, (_, _, nodes) in good_copies(self._cluster).items()}
            if held:
                self.samples.append(min(held.values()))
            time.sleep(0.05)


def check_whole(cluster: Cluster, *truths: Truth, lost: Iterable[str] = (), seconds: float = PATIENCE_S) -> None:
    """Once the cluster had time to mend itself: all that was promised holds. `lost`: nodes that are down for good."""
    wait_until_spread(cluster, lost, seconds)
    for truth in truths:
        truth.check()
    for wrong in (recount(cluster), damaged_copies(cluster, lost)):
        assert not wrong, wrong
    admin(cluster, "check")


def wait_until_spread(cluster: Cluster, lost: Iterable[str] = (), seconds: float = PATIENCE_S) -> None:
    """Until every chunk that a file needs has exactly the wanted copies, and these are on the nodes' disks."""
    wrong = [""]

    def is_spread() -> bool:
        wrong[:] = misplaced(cluster, lost)
        return not wrong

    try:
        cluster.wait(is_spread, seconds, "the wanted copies of every chunk")
    except AssertionError as error:
        raise AssertionError("\n".join([*wrong[:10], str(error)])) from None


def misplaced(cluster: Cluster, lost: Iterable[str] = ()) -> list[str]:
    """What is wrong with where copies are."""
    factor = int(str(cluster.settings.get("cluster_replication_factor", 2)))
    staying = [node for (node,) in cluster.rows("SELECT node_id FROM node WHERE draining_at IS NULL")]
    wanted = min(factor, len(staying))
    living = set(staying) - set(lost)
    copies = {chunk: set(nodes) & living for chunk, (_, _, nodes) in good_copies(cluster).items()}
    wrong = [f"{chunk} is on {nodes}, not on {wanted} nodes" for chunk, nodes in copies.items() if len(nodes) != wanted]
    if wrong:
        return wrong
    on_disk = holders(cluster, copies)
    return [f"{chunk} is on the disks of {on_disk[chunk]}" for chunk, nodes in copies.items() if nodes - on_disk[chunk]]


def holders(cluster: Cluster, chunks: Iterable[str]) -> dict[str, set[str]]:
    """The nodes on whose disks each chunk is; of many as quickly as of one."""
    nodes = [name for name in cluster.programs if name != "gateway"]
    files = {node: cluster.chunk_files(node).keys() for node in nodes}
    return {chunk: {node for node in nodes if chunk in files[node]} for chunk in chunks}


def good_copies(cluster: Cluster) -> dict[str, tuple[int, str, list[str]]]:
    """Every chunk that a file needs: its length, its checksum, and the nodes with a good copy, by the metadata."""
    found: dict[str, tuple[int, str, list[str]]] = {}
    for chunk_id, length, checksum, node in cluster.rows(GOOD_COPIES):
        nodes = found.setdefault(chunk_id, (length, checksum, []))[2]
        nodes += [node] if node else []
    return found


def damaged_copies(cluster: Cluster, lost: Iterable[str] = ()) -> list[str]:
    """Good ones, as the metadata says, whose bytes are not what was stored; so in two looks, for copies move."""
    seen_twice = _damaged(cluster, lost) and _damaged(cluster, lost)
    return sorted(f"{chunk_id} on {node}" for chunk_id, node in seen_twice)


def _damaged(cluster: Cluster, lost: Iterable[str]) -> set[tuple[str, str]]:
    damaged = set()
    for chunk_id, (length, checksum, nodes) in good_copies(cluster).items():
        for node in set(nodes) - set(lost):
            path = cluster.node_folder(node) / chunk_id[:2] / chunk_id
            stored = path.read_bytes() if path.exists() else b""
            if checksum_of(stored[max(0, len(stored) - length) :]) != checksum:
                damaged.add((chunk_id, node))
    return damaged


def recount(cluster: Cluster) -> list[str]:
    """Accounts whose figures are not what their files add up to."""
    return [
        f"{email}: uses {used} and reserves {reserved}, its files have {files} and its uploads {uploads}"
        for email, used, reserved, files, uploads in cluster.rows(RECOUNT)
        if (used, reserved) != (files, uploads)
    ]


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
