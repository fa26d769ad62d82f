"""A folder on a disk as a chunk store: what it confirms survives a power cut, and what it hands out was verified.

<chunk id>    header: magic, version, flags, length, BLAKE3 of the bytes; then the bytes
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import secrets
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from cloudgrpc.chunks.base import CHUNK_ID, Chunk, check_after, check_chunk, check_id, checksum_of
from cloudgrpc.chunks.durable import FULL_ERRNOS, NewFile, Os, in_turn, write_together
from cloudgrpc.chunks.folder import PREFIXES, Identity, NodeFolder
from cloudgrpc.chunks.read_only import ReadOnly
from cloudgrpc.errors import ChunkCorrupt, ChunkMissing, ChunkRefused, CloudError, DiskFailed, DiskFull

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from typing import TypeVar

    Answer = TypeVar("Answer")

log = logging.getLogger(__name__)

HEADER = struct.Struct(">6sBBQ16s")
MAGIC, VERSION, FLAGS = b"CGCHNK", 1, 0
THREADS = 8  # most of them wait for a flush
FLUSHES = 8  # at a time, of chunks that came together


@dataclass(frozen=True)
class DiskUsage:
    """What a heartbeat says. `used_bytes` are the chunks' own, without headers; `read_only_reason`: "" while it takes
    new chunks."""

    used_bytes: int
    chunk_count: int
    read_only_reason: str

    @property
    def read_only(self) -> bool:
        return bool(self.read_only_reason)


@dataclass(frozen=True)
class DiskRoom:
    """What is free on the disk itself, and how many damaged chunks were put aside."""

    free_bytes: int
    quarantined: int


class DiskStore:
    """The `ChunkStore` of one node. Made with `open`, since it locks and reads the folder."""

    def __init__(
        self,
        folder: NodeFolder,
        *,
        capacity_bytes: int,
        reserve_bytes: int = 0,
        disk: Os | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.capacity_bytes = capacity_bytes
        self.used_bytes = 0
        self.chunk_count = 0
        self._folder = folder
        self._reserve_bytes = reserve_bytes
        self._disk = disk or Os()
        self._read_only = ReadOnly(folder, self._disk, reserve_bytes, clock)
        if folder.trouble is not None:
            self._read_only.note_failure(folder.trouble)
        self._counting = threading.Lock()
        # One writer a folder at a time: what is looked at before a rename is still true after it.
        self._writing = {prefix: threading.Lock() for prefix in PREFIXES}
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="disk")
        # Threads of their own, as they are waited for by those above.
        self._flushing = ThreadPoolExecutor(FLUSHES, thread_name_prefix="flush")

    @classmethod
    def open(
        cls,
        path: Path,
        node_id: str,
        *,
        capacity_bytes: int,
        reserve_bytes: int = 0,
        disk: Os | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> DiskStore:
        """Blocks while it counts what is there. Raises: FolderForeign, FolderInUse, LocalFile, DiskFailed."""
        disk = disk or Os()
        folder = NodeFolder.open(path, node_id, disk)
        store = cls(folder, capacity_bytes=capacity_bytes, reserve_bytes=reserve_bytes, disk=disk, clock=clock)
        try:
            with store._failures():
                store._count_all()
        except DiskFailed:
            store.close()
            raise
        return store

    @property
    def name(self) -> str:
        return self._folder.identity.node_id

    @property
    def identity(self) -> Identity:
        return self._folder.identity

    @property
    def path(self) -> Path:
        return self._folder.path

    async def put(self, chunk: Chunk) -> tuple[str, ...]:
        (outcome,) = await self.put_each([chunk])
        if outcome is not None:
            raise outcome
        return (self.name,)

    async def put_each(self, chunks: Sequence[Chunk]) -> list[CloudError | None]:
        """Keep chunks of different ids, each for itself; what became of each: None, or why it is not kept.

        Raises: InvalidField; then none is kept.
        """
        for chunk in chunks:
            check_chunk(chunk)
        return await self._threaded(lambda: self._put_each(chunks))

    async def get(self, chunk_id: str) -> Chunk:
        return await self.get_as(chunk_id, lambda chunk: replace(chunk, data=bytes(chunk.data)))

    async def get_as(self, chunk_id: str, make: Callable[[Chunk], Answer]) -> Answer:
        """What `make` makes of the chunk, in a thread of the disk's. The chunk's bytes are there until it returns.

        Raises: as `get`.
        """
        check_id(chunk_id)
        return await self._threaded(lambda: self._get(chunk_id, make))

    async def delete(self, chunk_ids: Sequence[str]) -> list[str]:
        for chunk_id in chunk_ids:
            check_id(chunk_id)
        return await self._threaded(lambda: [one for one in chunk_ids if not self._delete(one)])

    async def page(self, after: str, limit: int) -> list[str]:
        check_after(after)
        return await self._threaded(lambda: self._page(after, limit))

    async def adopt(self, cluster_id: str) -> None:
        """Belong to this cluster from now on. Raises: NodeForeign, DiskFailed."""
        await self._threaded(lambda: self._adopt(cluster_id))

    async def usage(self) -> DiskUsage:
        return await self._threaded(self._usage)

    async def room(self) -> DiskRoom:
        """Raises: DiskFailed."""
        return await self._threaded(self._room)

    def close(self) -> None:
        """Finish what was begun, then let another process use the folder."""
        self._threads.shutdown()
        self._flushing.shutdown()
        self._folder.close()

    async def _threaded(self, work: Callable[[], Answer]) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _put_each(self, chunks: Sequence[Chunk]) -> list[CloudError | None]:
        outcomes: dict[int, CloudError | None] = {}
        files: dict[int, NewFile] = {}
        with contextlib.ExitStack() as locks:
            for prefix in sorted({chunk.chunk_id[:2] for chunk in chunks}):  # in one order, or two could wait in a ring
                locks.enter_context(self._writing[prefix])
            for number, chunk in enumerate(chunks):
                try:
                    file = self._prepare(chunk)
                except CloudError as error:
                    outcomes[number] = error
                else:
                    if file is not None:
                        files[number] = file
            for number, failure in zip(
                files, write_together(self._disk, list(files.values()), self._spread), strict=True
            ):
                if failure is not None:
                    self._count(-1, -len(chunks[number].data))
                    outcomes[number] = self._failure(failure, writing=True)
        return [outcomes.get(number) for number in range(len(chunks))]

    def _spread(self, work: Callable[[Answer], None], items: Sequence[Answer]) -> None:
        """Work for each item, several at a time."""
        if len(items) <= 1:
            in_turn(work, items)
        else:
            shares = [items[number::FLUSHES] for number in range(min(FLUSHES, len(items)))]
            list(self._flushing.map(partial(in_turn, work), shares))

    def _prepare(self, chunk: Chunk) -> NewFile | None:
        """What to write, for which room is taken; None when the chunk is here. Raises: ChunkRefused, and the disk's."""
        if checksum_of(chunk.data) != chunk.checksum:
            raise ChunkRefused(chunk_id=chunk.chunk_id)
        path = self._folder.of(chunk.chunk_id)
        with self._failures(writing=True):
            if self._keeps_already(path, chunk.checksum):
                # The rename may have been an earlier try's, which ended before its flush.
                self._disk.fsync_folder(path.parent)
                return None
            self._reserve(len(chunk.data))
        aside = self._folder.tmp / f"{chunk.chunk_id}.{secrets.token_hex(4)}"
        return NewFile(aside, path, [_header(chunk), chunk.data])

    def _keeps_already(self, path: Path, checksum: str) -> bool:
        """Whether this very chunk is here and whole; a file that is anything else is put out of the way."""
        if not path.exists():
            return False
        try:
            if self._read(path).checksum == checksum:
                return True
        except ChunkMissing:
            return False
        except ChunkCorrupt:
            pass
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            log.warning("chunk %s cannot be read any more: %s", path.name, error)
        self._quarantine(path)
        return False

    def _get(self, chunk_id: str, make: Callable[[Chunk], Answer]) -> Answer:
        path = self._folder.of(chunk_id)
        with self._failures():
            try:
                return make(self._read(path))
            except ChunkCorrupt:
                with self._writing[path.parent.name]:
                    # Read again under the lock: a writer may have put a whole one there meanwhile.
                    try:
                        return make(self._read(path))
                    except ChunkCorrupt:
                        self._quarantine(path)
                        raise

    def _read(self, path: Path) -> Chunk:
        """The chunk, its bytes where `Os.read` left them. Raises: ChunkMissing, ChunkCorrupt, OSError."""
        try:
            head, data = self._disk.read(path, HEADER.size)
        except FileNotFoundError:
            if not path.parent.is_dir():
                raise  # not the chunk is gone but the folder: a disk that is not mounted looks like this
            raise ChunkMissing(chunk_id=path.name) from None
        checksum = checksum_of(data)
        if head != HEADER.pack(MAGIC, VERSION, FLAGS, len(data), bytes.fromhex(checksum)):
            raise ChunkCorrupt(chunk_id=path.name)
        return Chunk(path.name, data, checksum)

    def _quarantine(self, path: Path) -> None:
        place = self._folder.quarantine / f"{path.name}.{secrets.token_hex(4)}"
        stored_bytes = _stored_bytes(path.stat().st_size)
        self._disk.rename(path, place)
        self._count(-1, -stored_bytes)
        log.error("chunk %s is damaged; it was moved to %s", path.name, place)

    def _delete(self, chunk_id: str) -> bool:
        """Whether the chunk is gone. No flush: a name that comes back after a power cut is collected again."""
        path = self._folder.of(chunk_id)
        with self._writing[path.parent.name]:
            try:
                stored_bytes = _stored_bytes(path.stat().st_size)
                self._disk.unlink(path)
            except FileNotFoundError:
                return path.parent.is_dir()
            except OSError as error:
                log.warning("chunk %s cannot be deleted: %s", chunk_id, error)
                return False
        self._count(-1, -stored_bytes)
        self._read_only.note_room_made()
        return True

    def _page(self, after: str, limit: int) -> list[str]:
        ids: list[str] = []
        with self._failures():
            for prefix in PREFIXES:
                if len(ids) >= limit:
                    break
                if prefix >= after[:2]:
                    ids += sorted(entry.name for entry in self._chunks_in(prefix) if entry.name > after)
        return ids[:limit]

    def _chunks_in(self, prefix: str) -> Iterator[os.DirEntry[str]]:
        with os.scandir(self._folder.path / prefix) as entries:
            for entry in entries:
                if CHUNK_ID.match(entry.name) and entry.name.startswith(prefix):
                    yield entry

    def _adopt(self, cluster_id: str) -> None:
        with self._failures():
            self._folder.adopt(cluster_id)

    def _usage(self) -> DiskUsage:
        if trial := self._read_only.trial():
            self._threads.submit(trial)  # not waited for: heartbeats go on while a disk hangs
        reason = self._read_only.reason(self.used_bytes, self.capacity_bytes)
        return DiskUsage(self.used_bytes, self.chunk_count, reason)

    def _room(self) -> DiskRoom:
        with self._failures():
            quarantined = sum(1 for _ in self._folder.quarantine.iterdir())
            return DiskRoom(self._disk.free_bytes(self._folder.path), quarantined)

    def _count_all(self) -> None:
        for prefix in PREFIXES:
            for entry in self._chunks_in(prefix):
                self._count(1, _stored_bytes(entry.stat(follow_symlinks=False).st_size))

    def _reserve(self, length: int) -> None:
        """Count a chunk before it is written, so that writers at the same time cannot overfill the node together."""
        if self._disk.free_bytes(self._folder.path) - length < self._reserve_bytes:
            self._read_only.note_no_room(length)
            raise DiskFull(node_id=self.name)
        with self._counting:
            if self.used_bytes + length > self.capacity_bytes:
                self._read_only.note_no_room(length)
                raise DiskFull(node_id=self.name)
            self.used_bytes += length
            self.chunk_count += 1

    def _count(self, chunks: int, length: int) -> None:
        with self._counting:
            self.chunk_count += chunks
            # A file that was cut after it was counted gives back less than it took.
            self.used_bytes = max(self.used_bytes + length, 0)

    @contextlib.contextmanager
    def _failures(self, *, writing: bool = False) -> Iterator[None]:
        """The disk's own errors become ours. A failed write makes the node read-only for a while."""
        try:
            yield
        except OSError as error:
            raise self._failure(error, writing=writing) from error

    def _failure(self, error: OSError, *, writing: bool) -> CloudError:
        if writing:
            self._read_only.note_failure(error)
        log.error("%s: %s", self._folder.path, error)
        if error.errno in FULL_ERRNOS:
            return DiskFull(node_id=self.name)
        return DiskFailed(node_id=self.name, reason=error.strerror or error)


def _header(chunk: Chunk) -> bytes:
    return HEADER.pack(MAGIC, VERSION, FLAGS, len(chunk.data), bytes.fromhex(chunk.checksum))


def _stored_bytes(file_bytes: int) -> int:
    return max(file_bytes - HEADER.size, 0)
