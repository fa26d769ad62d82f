"""A node's folder when things go wrong: damage, a full or failing disk, strangers, restarts."""

from __future__ import annotations

import asyncio
import errno
import os
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

    def write(self, descriptor: int, pieces: Sequence[bytes]) -> None:
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


def test_an_unreadable_file_is_a_failing_disk_and_stays_where_it_is(store: Any, disk: MoodyDisk) -> None:
    chunk = random_chunk()
    store.put(chunk)
    disk.failing = {"read": errno.EIO}
    with pytest.raises(DiskFailed):
        store.get(chunk.chunk_id)
    with pytest.raises(DiskFailed):
        store.put(chunk)
    disk.failing = {}
    assert store.get(chunk.chunk_id) == chunk


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


def test_after_a_failed_write_the_node_calls_itself_read_only_for_a_while(
    store: Any, disk: MoodyDisk, clock: Clock
) -> None:
    assert not store.usage().read_only
    disk.failing = {"fdatasync": errno.EIO}
    with pytest.raises(DiskFailed):
        store.put(random_chunk())
    assert store.usage().read_only
    clock.now += 31
    assert not store.usage().read_only


def test_a_disk_without_an_answer_about_its_room_is_read_only(store: Any, disk: MoodyDisk) -> None:
    disk.failing = {"free_bytes": errno.EIO}
    assert store.usage().read_only


def test_below_its_reserve_a_disk_is_read_only_but_reads_and_deletes(
    run: Callable[..., Any], tmp_path: Path, disk: MoodyDisk
) -> None:
    store = run(tmp_path / "node", disk=disk, reserve_bytes=1 << 20)
    chunk = random_chunk()
    store.put(chunk)
    disk.free = (1 << 20) + 999
    with pytest.raises(DiskFull):
        store.put(random_chunk(1000))
    disk.free = (1 << 20) - 1
    assert store.usage().read_only
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
    assert store.usage().read_only
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
