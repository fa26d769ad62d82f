"""A node's folder when things go wrong: damage, a full or failing disk, strangers, restarts."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from chunk_stores import Driven, driving, open_disk, random_chunk, tree
from cloudgrpc.chunks.disk import HEADER
from cloudgrpc.chunks.durable import Os
from cloudgrpc.errors import (
    ChunkCorrupt,
    ChunkMissing,
    CloudError,
    DiskFailed,
    DiskFull,
    FolderForeign,
    FolderInUse,
    LocalFile,
    NodeForeign,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cloudgrpc.chunks.base import Chunk


class MoodyDisk(Os):
    """A disk whose steps fail with the errno they are given, and whose room can be set."""

    def __init__(self) -> None:
        self.failing: dict[str, int] = {}
        self.free: int | None = None
        self.mounted_read_only = False

    def create(self, path: Path) -> int:
        self._mood("create")
        return super().create(path)

    def open_lock(self, path: Path) -> int:
        self._mood("open_lock")
        return super().open_lock(path)

    def make_folder(self, folder: Path) -> None:
        self._mood("make_folder")
        super().make_folder(folder)

    def is_read_only(self, folder: Path) -> bool:
        return self.mounted_read_only or super().is_read_only(folder)

    def write(self, descriptor: int, pieces: Sequence[bytes | memoryview]) -> None:
        super().write(descriptor, [pieces[0]])  # half of it, as when the disk fills up
        self._mood("write")
        super().write(descriptor, pieces[1:])

    def fdatasync(self, descriptor: int) -> None:
        self._mood("fdatasync")

    def rename(self, source: Path, target: Path) -> None:
        self._mood("rename")
        super().rename(source, target)

    def fsync_folder(self, folder: Path) -> None:
        self._mood("fsync_folder")

    def unlink(self, path: Path) -> None:
        self._mood("unlink")
        super().unlink(path)

    def read(self, path: Path, head_bytes: int) -> tuple[bytes, bytes | memoryview]:
        self._mood("read")
        return super().read(path, head_bytes)

    def free_bytes(self, folder: Path) -> int:
        self._mood("free_bytes")
        return super().free_bytes(folder) if self.free is None else self.free

    def _mood(self, step: str) -> None:
        if step in self.failing:
            raise OSError(self.failing[step], os.strerror(self.failing[step]))


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def disk() -> MoodyDisk:
    return MoodyDisk()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def run() -> Iterator[Callable[..., Any]]:
    with driving() as (runner, stack):

        def open_store(folder: Path, **settings: Any) -> Any:
            store = open_disk(folder, **settings)
            stack.callback(store.close)
            return Driven(runner, store)

        yield open_store


@pytest.fixture
def store(run: Callable[..., Any], tmp_path: Path, disk: MoodyDisk, clock: Clock) -> Any:
    return run(tmp_path / "node", disk=disk, clock=clock)


def file_of(store: Any, chunk: Chunk) -> Path:
    return Path(store.path / chunk.chunk_id[:2] / chunk.chunk_id)


def quarantined(store: Any) -> list[Path]:
    return list((store.path / "quarantine").iterdir())


def flip(place: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    **{f"a flipped bit at {place} of the header": flip(place) for place in range(HEADER.size)},
    "a flipped bit in the first byte": flip(HEADER.size),
    "a flipped bit in the last byte": lambda data: flip(len(data) - 1)(data),
    "the last byte cut off": lambda data: data[:-1],
    "only the header left": lambda data: data[: HEADER.size],
    "half a header left": lambda data: data[: HEADER.size // 2],
    "nothing left": lambda _data: b"",
    "a byte too many": lambda data: data + b"\0",
    "zeros instead": lambda data: bytes(len(data)),
}


def test_every_damage_is_noticed_and_the_file_kept_for_a_person(store: Any) -> None:
    for number, (what, damage) in enumerate(DAMAGES.items(), start=1):
        chunk = random_chunk()
        store.put(chunk)
        damaged = damage(file_of(store, chunk).read_bytes())
        file_of(store, chunk).write_bytes(damaged)
        with pytest.raises(ChunkCorrupt):
            pytest.fail(f"{what}: got {store.get(chunk.chunk_id)}")
        assert damaged in [path.read_bytes() for path in quarantined(store)], what
        assert len(quarantined(store)) == number
        with pytest.raises(ChunkMissing):
            store.get(chunk.chunk_id)
        assert store.page("", 10) == []
    assert store.chunk_count == 0


def test_a_chunk_damaged_twice_is_kept_twice(store: Any) -> None:
    chunk = random_chunk()
    for _ in range(2):
        store.put(chunk)
        file_of(store, chunk).write_bytes(b"damaged")
        with pytest.raises(ChunkCorrupt):
            store.get(chunk.chunk_id)
    assert len(quarantined(store)) == 2


def test_a_put_heals_a_damaged_file_of_the_same_chunk(store: Any) -> None:
    chunk = random_chunk()
    store.put(chunk)
    file_of(store, chunk).write_bytes(DAMAGES["a flipped bit in the last byte"](file_of(store, chunk).read_bytes()))
    store.put(chunk)
    assert store.get(chunk.chunk_id) == chunk
    assert len(quarantined(store)) == 1
    assert (store.chunk_count, store.used_bytes) == (1, len(chunk.data))


def test_a_put_of_other_bytes_under_the_same_id_puts_the_old_ones_aside(store: Any) -> None:
    old = random_chunk()
    new = random_chunk(chunk_id=old.chunk_id)
    store.put(old)
    store.put(new)
    assert store.get(old.chunk_id) == new
    assert len(quarantined(store)) == 1


def test_puts_of_different_bytes_under_one_id_at_once_leave_one_of_them_whole(store: Any) -> None:
    first = random_chunk(50_000)
    others = [random_chunk(50_000, first.chunk_id) for _ in range(8)]

    async def put_all() -> None:
        await asyncio.gather(*(store.inner.put(chunk) for chunk in [first, *others]))

    store._runner.run(put_all())
    assert store.get(first.chunk_id) in [first, *others]
    assert (store.chunk_count, store.used_bytes) == (1, 50_000)


def test_a_removed_file_is_missing(store: Any) -> None:
    chunk = random_chunk()
    store.put(chunk)
    file_of(store, chunk).unlink()
    with pytest.raises(ChunkMissing):
        store.get(chunk.chunk_id)
    assert quarantined(store) == []


def test_a_disk_that_is_not_there_is_a_failure_and_no_loss(store: Any) -> None:
    chunk = random_chunk()
    store.put(chunk)
    store.path.rename(store.path.with_name("unplugged"))
    with pytest.raises(DiskFailed):
        store.get(chunk.chunk_id)
    with pytest.raises(DiskFailed):
        store.page("", 10)
    with pytest.raises(DiskFailed):
        store.put(random_chunk())
    assert store.delete([chunk.chunk_id]) == [chunk.chunk_id]


def test_an_unreadable_file_is_a_failing_disk_and_stays_until_a_whole_one_comes(store: Any, disk: MoodyDisk) -> None:
    chunk = random_chunk()
    store.put(chunk)
    disk.failing = {"read": errno.EIO}
    with pytest.raises(DiskFailed):
        store.get(chunk.chunk_id)
    assert store.page("", 10) == [chunk.chunk_id]
    store.put(chunk)
    disk.failing = {}
    assert store.get(chunk.chunk_id) == chunk
    assert (store.used_bytes, store.chunk_count) == (len(chunk.data), 1)


@pytest.mark.parametrize("step", ["write", "fdatasync", "rename", "fsync_folder"])
@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOSPC, DiskFull), (errno.EDQUOT, DiskFull), (errno.EIO, DiskFailed)]
)
def test_a_write_that_fails_leaves_nothing_behind(
    store: Any, disk: MoodyDisk, step: str, number: int, kind: type[CloudError]
) -> None:
    before = tree(store.path)
    chunk = random_chunk()
    disk.failing = {step: number}
    with pytest.raises(kind, match="node1"):
        store.put(chunk)
    assert tree(store.path) == before
    assert (store.chunk_count, store.used_bytes) == (0, 0)
    disk.failing = {}
    store.put(chunk)
    assert store.get(chunk.chunk_id) == chunk


def reason(store: Any) -> str:
    usage = store.usage()
    assert usage.read_only == bool(usage.read_only_reason)
    return str(usage.read_only_reason)


def wait_for_reason(store: Any, wanted: str) -> None:
    """The trial whether it can write again is made beside the answer."""
    deadline = time.monotonic() + 20
    while reason(store) != wanted:
        assert time.monotonic() < deadline, reason(store)
        time.sleep(0.002)


def test_after_a_failed_write_the_node_is_read_only_until_it_can_write_again(
    store: Any, disk: MoodyDisk, clock: Clock
) -> None:
    assert reason(store) == ""
    disk.failing = {"fdatasync": errno.EIO}
    with pytest.raises(DiskFailed):
        store.put(random_chunk())
    clock.now += 12
    assert reason(store) == "a write failed 12 s ago: Input/output error"
    clock.now += 19
    wait_for_reason(store, "a write failed 0 s ago: Input/output error")  # tried again
    disk.failing = {}
    clock.now += 29
    assert reason(store) == "a write failed 29 s ago: Input/output error"
    clock.now += 2
    wait_for_reason(store, "")
    assert list((store.path / "tmp").iterdir()) == []


def test_heartbeats_go_on_while_a_disk_hangs(store: Any, disk: MoodyDisk, clock: Clock) -> None:
    disk.failing = {"fdatasync": errno.EIO}
    with pytest.raises(DiskFailed):
        store.put(random_chunk())
    wakes = threading.Event()
    disk.fdatasync = lambda _descriptor: wakes.wait(20)  # type: ignore[assignment, method-assign]
    for seconds in range(31, 43):  # more often than the disk has threads
        clock.now = seconds
        assert reason(store) == f"a write failed {seconds} s ago: Input/output error"
    wakes.set()
    wait_for_reason(store, "")


def test_deleting_makes_room_but_heals_no_disk(store: Any, disk: MoodyDisk) -> None:
    for number, still in ((errno.ENOSPC, False), (errno.EIO, True)):
        chunk = random_chunk()
        store.put(chunk)
        disk.failing = {"write": number}
        with pytest.raises(CloudError):
            store.put(random_chunk())
        assert reason(store) == f"a write failed 0 s ago: {os.strerror(number)}"
        assert store.delete([chunk.chunk_id]) == []
        assert store.usage().read_only is still
        disk.failing = {}


def test_a_disk_without_an_answer_about_its_room_is_read_only(store: Any, disk: MoodyDisk) -> None:
    disk.failing = {"free_bytes": errno.EIO}
    assert reason(store) == "its disk does not say how much is free: Input/output error"


def test_a_file_system_that_became_read_only_is_named_so_and_still_read(store: Any, disk: MoodyDisk) -> None:
    chunk = random_chunk()
    store.put(chunk)
    disk.mounted_read_only = True
    assert reason(store) == "its file system is mounted read-only"
    assert store.get(chunk.chunk_id) == chunk
    disk.mounted_read_only = False
    assert reason(store) == ""


@pytest.mark.parametrize(("step", "is_known_at_once"), [("open_lock", False), ("unlink", True), ("make_folder", True)])
def test_a_folder_that_cannot_be_written_any_more_is_opened_to_be_read(
    run: Callable[..., Any], tmp_path: Path, disk: MoodyDisk, clock: Clock, *, step: str, is_known_at_once: bool
) -> None:
    store = run(tmp_path / "node")
    chunk = random_chunk()
    store.put(chunk)
    store.close()
    (store.path / "tmp" / "half").write_bytes(b"half")
    (store.path / "quarantine").rmdir()
    disk.failing = dict.fromkeys([step, "create", "rename"], errno.EROFS)
    again = run(tmp_path / "node", disk=disk, clock=clock)
    assert (again.chunk_count, again.identity) == (1, store.identity)
    assert again.get(chunk.chunk_id) == chunk
    assert again.usage().read_only is is_known_at_once
    with pytest.raises(DiskFailed):
        again.put(random_chunk())
    assert reason(again) == "a write failed 0 s ago: Read-only file system"
    with pytest.raises(FolderInUse):
        open_disk(store.path, disk=disk)
    disk.failing = {}
    clock.now += 31
    wait_for_reason(again, "")


def test_a_new_folder_that_cannot_be_written_is_refused(tmp_path: Path, disk: MoodyDisk) -> None:
    disk.failing = {"create": errno.EROFS}
    with pytest.raises(LocalFile, match="Read-only file system"):
        open_disk(tmp_path / "node", disk=disk)
    (tmp_path / "file").touch()
    with pytest.raises(LocalFile):
        open_disk(tmp_path / "file")


def test_below_its_reserve_a_disk_is_read_only_but_reads_and_deletes(
    run: Callable[..., Any], tmp_path: Path, disk: MoodyDisk
) -> None:
    store = run(tmp_path / "node", disk=disk, reserve_bytes=1 << 20)
    chunk = random_chunk()
    store.put(chunk)
    disk.free = (1 << 20) + 999
    with pytest.raises(DiskFull):
        store.put(random_chunk(1000))
    assert reason(store) == "a chunk of 1000 B was refused 0 s ago: not enough room is left"
    disk.free = 1023 << 10
    assert reason(store) == "1023.0 KB free on its disk, 1.0 MB are kept free"
    with pytest.raises(DiskFull):
        store.put(random_chunk(0))
    assert store.put(chunk) == ("node1",)  # it is here already
    assert store.get(chunk.chunk_id) == chunk
    assert store.delete([chunk.chunk_id]) == []
    disk.free = 1 << 30
    assert not store.usage().read_only
    store.put(random_chunk())


def test_the_declared_capacity_is_the_limit_and_deleting_makes_room(run: Callable[..., Any], tmp_path: Path) -> None:
    store = run(tmp_path / "node", capacity_bytes=2500)
    first, second = random_chunk(1000), random_chunk(1000)
    store.put(first)
    store.put(second)
    with pytest.raises(DiskFull):
        store.put(random_chunk(501))
    store.put(random_chunk(500))
    assert reason(store) == "full: 2.4 KB of 2.4 KB used"
    assert store.delete([first.chunk_id]) == []
    assert not store.usage().read_only
    store.put(random_chunk(1000))


def test_puts_at_once_do_not_overfill_the_node_together(run: Callable[..., Any], tmp_path: Path) -> None:
    store = run(tmp_path / "node", capacity_bytes=3000)

    async def put_all() -> list[Any]:
        return await asyncio.gather(*(store.inner.put(random_chunk()) for _ in range(12)), return_exceptions=True)

    outcomes = store._runner.run(put_all())
    assert sum(outcome == ("node1",) for outcome in outcomes) == 3
    assert sum(isinstance(outcome, DiskFull) for outcome in outcomes) == 9
    assert len(store.page("", 100)) == 3


def test_a_chunk_that_cannot_be_deleted_is_named(store: Any, disk: MoodyDisk) -> None:
    chunk = random_chunk()
    store.put(chunk)
    disk.failing = {"unlink": errno.EROFS}
    assert store.delete([chunk.chunk_id, "0" * 32]) == [chunk.chunk_id]
    assert store.chunk_count == 1


def test_a_restart_keeps_chunks_counts_and_identity(run: Callable[..., Any], tmp_path: Path) -> None:
    store = run(tmp_path / "node")
    chunks = [random_chunk(size) for size in (0, 1, 5000)]
    for chunk in chunks:
        store.put(chunk)
    store.adopt("cluster1")
    identity = store.identity
    store.close()
    again = run(tmp_path / "node")
    assert (again.chunk_count, again.used_bytes) == (3, 5001)
    assert again.identity == identity
    assert again.identity.cluster_id == "cluster1"
    assert [again.get(chunk.chunk_id) for chunk in chunks] == chunks


def test_what_was_being_written_is_swept_at_start_and_strange_files_are_no_chunks(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    store = run(tmp_path / "node")
    store.close()
    (store.path / "tmp" / "half").write_bytes(b"half")
    (store.path / "00" / "notes.txt").write_bytes(b"mine")
    (store.path / "00" / ("f" * 32)).write_bytes(b"in another's folder")
    again = run(tmp_path / "node")
    assert list((store.path / "tmp").iterdir()) == []
    assert again.page("", 10) == []
    assert again.chunk_count == 0
    assert (store.path / "00" / "notes.txt").read_bytes() == b"mine"


def test_every_folder_has_its_own_instance(run: Callable[..., Any], tmp_path: Path) -> None:
    instances = {run(tmp_path / name).identity.instance_id for name in ("a", "b")}
    assert len(instances) == 2
    assert all(len(instance) == 32 for instance in instances)


@pytest.mark.parametrize(
    "make_foreign",
    [
        lambda folder: (folder / "identity.json").write_text('{"node_id": "other", "instance_id": "x"}'),
        lambda folder: (folder / "identity.json").write_text("{"),
        lambda folder: (folder / "identity.json").write_bytes(b"\xff"),
        lambda folder: (folder / "holiday.jpg").write_text("a person's"),
    ],
)
def test_a_folder_of_somebody_else_is_refused_and_left_alone(
    tmp_path: Path, make_foreign: Callable[[Path], object]
) -> None:
    make_foreign(tmp_path)
    before = tree(tmp_path)
    with pytest.raises(FolderForeign):
        open_disk(tmp_path)
    assert tree(tmp_path) == before


def test_a_lost_identity_is_not_replaced_by_a_new_one(run: Callable[..., Any], tmp_path: Path) -> None:
    store = run(tmp_path / "node")
    store.close()
    (store.path / "identity.json").unlink()
    with pytest.raises(FolderForeign, match=r"no identity\.json"):
        open_disk(store.path)


def test_a_first_start_that_broke_off_is_finished_by_the_next(run: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "node").mkdir()
    (tmp_path / "node" / "lock").touch()
    (tmp_path / "node" / "identity.json.new").write_text("{")
    store = run(tmp_path / "node")
    store.put(random_chunk())


def test_a_folder_serves_one_process_at_a_time(run: Callable[..., Any], tmp_path: Path) -> None:
    store = run(tmp_path / "node")
    with pytest.raises(FolderInUse):
        open_disk(store.path)
    store.close()
    open_disk(store.path).close()


def test_a_folder_belongs_to_the_first_cluster_that_took_it(store: Any) -> None:
    store.adopt("cluster1")
    store.adopt("cluster1")
    with pytest.raises(NodeForeign, match="cluster1"):
        store.adopt("cluster2")
    assert store.identity.cluster_id == "cluster1"
