"""The promises that every chunk store keeps, tried on each of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from chunk_stores import KNOWN, Driven, chunk_of, driving, open_disk, random_chunk, serving, tree
from cloudgrpc.chunks.base import Chunk, ChunkStore, checksum_of
from cloudgrpc.chunks.memory import MemoryStore
from cloudgrpc.chunks.remote import RemoteStore
from cloudgrpc.chunks.replicated import ReplicatedStore
from cloudgrpc.errors import ChunkMissing, ChunkRefused, InvalidField

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Iterator
    from pathlib import Path

NOT_IDS = [
    "",
    "../../x",
    "../" * 10 + "etc/passwd",
    "a" * 31,
    "a" * 33,
    "A" * 32,
    "g" * 32,
    "a" * 32 + "\n",
    "a" * 31 + "/",
    "." * 32,
    "\u0661" * 32,
]


def no_trouble(store: str, chunk_id: str, error: object) -> None:
    """A chunk that is nowhere is trouble in every store; nothing to check here."""


async def open_store(kind: str, folder: Path, stack: contextlib.AsyncExitStack) -> ChunkStore:
    if kind == "memory":
        return MemoryStore()
    disks = [
        open_disk(folder / f"node{number}", f"node{number}") for number in range(1, 4 if kind == "replicated" else 2)
    ]
    for disk in disks:
        stack.callback(disk.close)
    if kind == "disk":
        return disks[0]
    if kind == "replicated":
        return ReplicatedStore(disks, 2, 2, no_trouble)
    port = await stack.enter_async_context(serving(disks[0]))
    remote = RemoteStore("node1", "127.0.0.1", port, KNOWN, 10)
    stack.push_async_callback(remote.close)
    return remote


@pytest.fixture(params=["memory", "disk", "remote", "replicated"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    with driving() as (runner, stack):
        yield Driven(runner, runner.run(open_store(request.param, tmp_path, stack)))


@pytest.mark.parametrize("size", [0, 1, 127, 128, 70_000, 4 << 20])
def test_what_is_put_can_be_got(store: Any, size: int) -> None:
    chunk = random_chunk(size)
    assert store.put(chunk)
    assert store.get(chunk.chunk_id) == chunk


def test_receipts_name_every_holder_once(store: Any) -> None:
    receipts = store.put(random_chunk())
    assert len(set(receipts)) == len(receipts)
    assert set(receipts) <= set(store.name.split("+"))


def test_putting_a_chunk_again_is_no_error_and_changes_nothing(store: Any) -> None:
    chunk = random_chunk()
    first = store.put(chunk)
    assert store.put(Chunk(chunk.chunk_id, chunk.data, chunk.checksum)) == first
    assert store.get(chunk.chunk_id) == chunk
    assert store.page("", 10) == [chunk.chunk_id]


def test_many_puts_of_one_chunk_at_once_keep_it_whole(store: Any) -> None:
    chunk = random_chunk(100_000)

    async def put_all() -> None:
        await asyncio.gather(*(store.inner.put(chunk) for _ in range(20)))

    store._runner.run(put_all())
    assert store.get(chunk.chunk_id) == chunk
    assert store.page("", 10) == [chunk.chunk_id]


def test_of_many_small_puts_at_once_each_has_its_own_outcome(store: Any) -> None:
    good, wrong = [random_chunk(4096) for _ in range(40)], random_chunk(4096)
    wrong = Chunk(wrong.chunk_id, b"other bytes", wrong.checksum)

    async def put_all() -> list[Any]:
        puts = [store.inner.put(chunk) for chunk in [*good[:20], wrong, *good[20:]]]
        return await asyncio.gather(*puts, return_exceptions=True)

    outcomes = store._runner.run(put_all())
    assert isinstance(outcomes.pop(20), ChunkRefused)
    assert all(isinstance(outcome, tuple) and outcome for outcome in outcomes)
    assert store.page("", 100) == sorted(chunk.chunk_id for chunk in good)
    assert [store.get(chunk.chunk_id) for chunk in good] == good


def test_bytes_that_do_not_match_their_checksum_are_refused(store: Any) -> None:
    chunk = random_chunk()
    with pytest.raises(ChunkRefused):
        store.put(Chunk(chunk.chunk_id, chunk.data + b"!", chunk.checksum))
    with pytest.raises(ChunkMissing):
        store.get(chunk.chunk_id)


def test_a_refused_put_leaves_the_chunk_of_that_id_alone(store: Any) -> None:
    chunk = random_chunk()
    store.put(chunk)
    with pytest.raises(ChunkRefused):
        store.put(Chunk(chunk.chunk_id, b"other", chunk.checksum))
    assert store.get(chunk.chunk_id) == chunk


def test_a_checksum_that_is_none_is_refused(store: Any) -> None:
    for checksum in ("", "0" * 31, "0" * 33, "G" * 32, "../" * 11):
        with pytest.raises(InvalidField, match="checksum"):
            store.put(Chunk("a" * 32, b"x", checksum))


def test_what_is_not_an_id_is_refused_and_touches_nothing(store: Any, tmp_path: Path) -> None:
    kept = random_chunk()
    store.put(kept)
    (tmp_path / "x").write_bytes(b"a file that ../../x would name")
    before = tree(tmp_path)
    for chunk_id in NOT_IDS:
        with pytest.raises(InvalidField, match="chunk_id"):
            store.put(Chunk(chunk_id, b"x", checksum_of(b"x")))
        with pytest.raises(InvalidField, match="chunk_id"):
            store.get(chunk_id)
        with pytest.raises(InvalidField, match="chunk_id"):
            store.delete([kept.chunk_id, chunk_id])
    for token in filter(None, NOT_IDS):
        with pytest.raises(InvalidField, match="page_token"):
            store.page(token, 10)
    assert tree(tmp_path) == before
    assert store.get(kept.chunk_id) == kept


def test_a_chunk_that_was_never_put_is_missing(store: Any) -> None:
    with pytest.raises(ChunkMissing):
        store.get("0" * 32)


def test_deleting_twice_is_no_error(store: Any) -> None:
    gone, kept = random_chunk(), random_chunk()
    store.put(gone)
    store.put(kept)
    assert store.delete([gone.chunk_id, "0" * 32]) == []
    assert store.delete([gone.chunk_id]) == []
    with pytest.raises(ChunkMissing):
        store.get(gone.chunk_id)
    assert store.get(kept.chunk_id) == kept


def test_nothing_can_be_deleted(store: Any) -> None:
    assert store.delete([]) == []


def test_a_deleted_chunk_can_be_put_again(store: Any) -> None:
    chunk = random_chunk()
    store.put(chunk)
    store.delete([chunk.chunk_id])
    assert store.put(chunk)
    assert store.get(chunk.chunk_id) == chunk


@pytest.mark.parametrize("limit", [1, 2, 7, 25, 100])
def test_pages_hold_every_id_once_and_in_order(store: Any, limit: int) -> None:
    ids = {chunk.chunk_id for chunk in [random_chunk(10) for _ in range(20)]}
    ids |= {f"ab{number:030x}" for number in range(5)}  # several in one folder
    for chunk_id in ids:
        store.put(chunk_of(b"x", chunk_id))
    seen: list[str] = []
    while page := store.page(seen[-1] if seen else "", limit):
        assert len(page) <= limit
        seen += page
    assert seen == sorted(ids)


def test_a_page_may_begin_after_an_id_that_is_not_here(store: Any) -> None:
    for prefix in ("00", "7f", "ff"):
        store.put(chunk_of(b"x", prefix + "5" * 30))
    assert store.page("7f" + "4" * 30, 10) == ["7f" + "5" * 30, "ff" + "5" * 30]
    assert store.page("7f" + "6" * 30, 10) == ["ff" + "5" * 30]
    assert store.page("f" * 32, 10) == []
