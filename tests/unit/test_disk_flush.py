"""What a node confirmed survives a power cut: proven on a disk that forgets whatever was not flushed."""

from __future__ import annotations

import asyncio
import errno
import threading
from typing import TYPE_CHECKING

import pytest

from chunk_stores import GIB, random_chunk
from cloudgrpc.chunks.disk import FLUSHES, DiskStore
from cloudgrpc.chunks.durable import Os
from cloudgrpc.errors import ChunkCorrupt

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cloudgrpc.chunks.base import Chunk

STEPS = ("create", "write", "fdatasync", "close", "rename", "fsync_folder")
NEEDED = ("write", "fdatasync", "rename", "fsync_folder")


class PowerGone(BaseException):
    """Not an OSError: nobody tidies up after a power cut."""


class ForgetfulDisk(Os):
    """Does the steps of a write for real, records them, and can undo all that was not flushed.

    `without`: a step that is left out, as if the code forgot it. `cut_after`: the power goes after this step.
    """

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.without = ""
        self.cut_after = ""
        self._paths: dict[int, Path] = {}
        self._dirty_files: set[Path] = set()
        self._dirty_names: list[tuple[Path, Path]] = []
        self._lock = threading.RLock()  # chunks that come together are flushed by several threads

    def create(self, path: Path) -> int:
        descriptor = super().create(path)
        with self._lock:
            self._paths[descriptor] = path
            self._dirty_files.add(path)
            self._done("create")
        return descriptor

    def write(self, descriptor: int, pieces: Sequence[bytes]) -> None:
        if self.without != "write":
            super().write(descriptor, pieces)
            self._done("write")

    def fdatasync(self, descriptor: int) -> None:
        if self.without != "fdatasync":
            with self._lock:
                self._dirty_files.discard(self._paths[descriptor])
                self._done("fdatasync")

    def close(self, descriptor: int) -> None:
        super().close(descriptor)
        self._done("close")

    def rename(self, source: Path, target: Path) -> None:
        if self.without != "rename":
            super().rename(source, target)
            with self._lock:
                self._dirty_names.append((source, target))
                if source in self._dirty_files:
                    self._dirty_files = self._dirty_files - {source} | {target}
                self._done("rename")

    def fsync_folder(self, folder: Path) -> None:
        if self.without != "fsync_folder":
            with self._lock:
                self._dirty_names = [names for names in self._dirty_names if names[1].parent != folder]
                self._done("fsync_folder")

    def cut_power(self, *, names_survive: bool) -> None:
        """Unflushed bytes are lost; unflushed names may or may not have reached the disk."""
        for path in self._dirty_files:
            if path.exists():
                path.write_bytes(bytes(path.stat().st_size))
        for source, target in [] if names_survive else reversed(self._dirty_names):
            target.rename(source)

    def _done(self, step: str) -> None:
        self.steps.append(step)
        if step == self.cut_after:
            raise PowerGone


@pytest.fixture
def disk() -> ForgetfulDisk:
    return ForgetfulDisk()


@pytest.fixture
def store(tmp_path: Path, disk: ForgetfulDisk) -> DiskStore:
    store = DiskStore.open(tmp_path / "node", "node1", capacity_bytes=GIB, disk=disk)
    disk.steps.clear()
    return store


def reopen(store: DiskStore) -> DiskStore:
    store.close()
    return DiskStore.open(store.path, "node1", capacity_bytes=GIB)


def survives(store: DiskStore, disk: ForgetfulDisk, *, names_survive: bool) -> bool:
    """Whether a chunk whose receipt was given is there after a power cut."""
    chunk = random_chunk(10_000)
    try:
        asyncio.run(store.put(chunk))
    finally:
        disk.cut_power(names_survive=names_survive)
        reopened = reopen(store)
    try:
        ids = asyncio.run(reopened.page("", 10))
        return ids == [chunk.chunk_id] and reopened._read(reopened._folder.of(chunk.chunk_id)).data == chunk.data
    except Exception:  # noqa: BLE001 - whatever is wrong with it, it did not survive
        return False
    finally:
        reopened.close()


def test_a_receipt_comes_only_after_every_flush_in_order(store: DiskStore, disk: ForgetfulDisk) -> None:
    asyncio.run(store.put(random_chunk()))
    assert disk.steps == list(STEPS)
    store.close()


@pytest.mark.parametrize("names_survive", [True, False])
def test_a_chunk_with_a_receipt_survives_a_power_cut(
    store: DiskStore, disk: ForgetfulDisk, names_survive: bool
) -> None:
    assert survives(store, disk, names_survive=names_survive)


@pytest.mark.parametrize("step", NEEDED)
def test_no_step_of_a_write_can_be_left_out(store: DiskStore, disk: ForgetfulDisk, step: str) -> None:
    """Tests the tests above as well: they would notice a step that is gone."""
    disk.without = step
    assert not survives(store, disk, names_survive=step == "fdatasync")
    assert disk.steps != list(STEPS)


@pytest.mark.parametrize("names_survive", [True, False])
@pytest.mark.parametrize("step", STEPS)
def test_a_crash_at_any_step_leaves_a_whole_chunk_or_none(
    store: DiskStore, disk: ForgetfulDisk, step: str, names_survive: bool
) -> None:
    chunk = random_chunk(10_000)
    disk.cut_after = step
    with pytest.raises(PowerGone):
        asyncio.run(store.put(chunk))
    disk.cut_power(names_survive=names_survive)
    reopened = reopen(store)
    for chunk_id in asyncio.run(reopened.page("", 10)):
        assert asyncio.run(reopened.get(chunk_id)) == chunk
    assert not any((store.path / "tmp").iterdir())
    assert not any((store.path / "quarantine").iterdir())
    assert asyncio.run(reopened.put(chunk)) == ("node1",)
    assert asyncio.run(reopened.get(chunk.chunk_id)) == chunk
    reopened.close()


def test_a_repeated_put_flushes_the_name_that_an_earlier_try_may_not_have(
    store: DiskStore, disk: ForgetfulDisk
) -> None:
    chunk = random_chunk()
    disk.cut_after = "rename"
    with pytest.raises(PowerGone):
        asyncio.run(store.put(chunk))
    disk.cut_after = ""
    asyncio.run(store.put(chunk))
    disk.cut_power(names_survive=False)
    assert asyncio.run(store.get(chunk.chunk_id)) == chunk
    store.close()


def kept_of_a_batch(store: DiskStore, disk: ForgetfulDisk, chunks: Sequence[Chunk], *, names_survive: bool) -> int:
    """How many chunks that came together, all of them acknowledged, are there and whole after a power cut."""
    assert asyncio.run(store.put_each(chunks)) == [None] * len(chunks)
    disk.cut_power(names_survive=names_survive)
    reopened = reopen(store)
    try:
        there = set(asyncio.run(reopened.page("", 100)))
        whole = [one for one in chunks if one.chunk_id in there and is_whole(reopened, one)]
        return len(whole)
    finally:
        reopened.close()


def is_whole(store: DiskStore, chunk: Chunk) -> bool:
    try:
        return store._read(store._folder.of(chunk.chunk_id)).data == chunk.data
    except ChunkCorrupt:
        return False


@pytest.mark.parametrize("names_survive", [True, False])
def test_chunks_that_come_together_survive_a_power_cut_like_one(
    store: DiskStore, disk: ForgetfulDisk, names_survive: bool
) -> None:
    chunks = [random_chunk(1000) for _ in range(40)]
    assert kept_of_a_batch(store, disk, chunks, names_survive=names_survive) == 40
    order = [disk.steps.index(step) for step in NEEDED]
    last = [len(disk.steps) - disk.steps[::-1].index(step) for step in NEEDED]
    assert all(end <= begin for end, begin in pairwise_of(last, order)), "no step begins before the one before is over"


@pytest.mark.parametrize("step", ["fdatasync", "fsync_folder"])
def test_no_flush_of_chunks_that_come_together_can_be_left_out(
    store: DiskStore, disk: ForgetfulDisk, step: str
) -> None:
    disk.without = step
    chunks = [random_chunk(1000) for _ in range(40)]
    assert kept_of_a_batch(store, disk, chunks, names_survive=step == "fdatasync") == 0


def pairwise_of(ends: Sequence[int], begins: Sequence[int]) -> Sequence[tuple[int, int]]:
    """The end of each step, and the beginning of the next."""
    return list(zip(ends[:-1], begins[1:], strict=True))


def test_the_flushes_of_chunks_that_come_together_do_not_wait_for_each_other(tmp_path: Path) -> None:
    """As long as it takes eight of them to meet: in turn they never would."""
    meeting = threading.Barrier(FLUSHES, timeout=20)

    class Meeting(Os):
        def fdatasync(self, descriptor: int) -> None:
            meeting.wait()

    store = DiskStore.open(tmp_path / "node", "node1", capacity_bytes=GIB)
    store._disk = Meeting()
    assert asyncio.run(store.put_each([random_chunk(10) for _ in range(FLUSHES)])) == [None] * FLUSHES
    store.close()


def test_one_flush_that_fails_costs_its_own_chunks_only(tmp_path: Path) -> None:
    chunks = [random_chunk(10) for _ in range(20)]
    bad = min(chunk.chunk_id[:2] for chunk in chunks)

    class Failing(Os):
        def fsync_folder(self, folder: Path) -> None:
            if folder.name == bad:
                raise OSError(errno.EIO, "Input/output error")
            super().fsync_folder(folder)

    store = DiskStore.open(tmp_path / "node", "node1", capacity_bytes=GIB, disk=Failing())
    outcomes = asyncio.run(store.put_each(chunks))
    failed = [chunk.chunk_id for chunk, outcome in zip(chunks, outcomes, strict=True) if outcome]
    assert failed == [chunk.chunk_id for chunk in chunks if chunk.chunk_id.startswith(bad)]
    assert asyncio.run(store.page("", 100)) == sorted({chunk.chunk_id for chunk in chunks} - {*failed})
    assert store.chunk_count == 20 - len(failed)
    store.close()


def test_the_identity_of_a_new_folder_is_flushed_before_it_is_used(tmp_path: Path) -> None:
    disk = ForgetfulDisk()
    DiskStore.open(tmp_path / "node", "node1", capacity_bytes=GIB, disk=disk).close()
    # The folder's own name, the identity, and the folders for chunks.
    assert disk.steps == ["fsync_folder", *STEPS, "fsync_folder"]
