"""A store made of stores while some of them fail."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from chunk_stores import KNOWN, random_chunk
from cloudgrpc.chunks.base import Chunk, check_id
from cloudgrpc.chunks.memory import MemoryStore
from cloudgrpc.chunks.remote import RemoteStore
from cloudgrpc.chunks.replicated import ReplicatedStore
from cloudgrpc.errors import (
    ChunkCorrupt,
    ChunkMissing,
    ChunkRefused,
    CloudError,
    DiskFailed,
    DiskFull,
    Internal,
    NodeUnavailable,
    QuorumMissed,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


class FailingStore(MemoryStore):
    """Every operation fails with this error."""

    def __init__(self, name: str, error: CloudError) -> None:
        super().__init__(name)
        self.error = error

    async def put(self, chunk: Chunk) -> tuple[str, ...]:
        raise self.error

    async def get(self, chunk_id: str) -> Chunk:
        check_id(chunk_id)
        raise self.error

    async def delete(self, chunk_ids: Sequence[str]) -> list[str]:
        raise self.error

    async def page(self, after: str, limit: int) -> list[str]:
        raise self.error


class SlowStore(MemoryStore):
    """Puts wait until they are released; knows how many wait and whether they were cancelled."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.release = asyncio.Event()
        self.waiting = 0
        self.cancelled = False

    async def put(self, chunk: Chunk) -> tuple[str, ...]:
        self.waiting += 1
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)  # tidying up takes a moment
            self.cancelled = True
            raise
        return await super().put(chunk)


class Troubles:
    def __init__(self) -> None:
        self.heard: list[tuple[str, str, CloudError]] = []

    def __call__(self, name: str, chunk_id: str, error: CloudError) -> None:
        self.heard.append((name, chunk_id, error))

    @property
    def names(self) -> list[str]:
        return [name for name, _, _ in self.heard]


@pytest.fixture
def troubles() -> Troubles:
    return Troubles()


def down(name: str) -> FailingStore:
    return FailingStore(name, NodeUnavailable(node_id=name, reason="it is down"))


def full(name: str) -> FailingStore:
    return FailingStore(name, DiskFull(node_id=name))


def put(stores: Sequence[Any], troubles: Troubles, *, wanted: int = 2, quorum: int = 2) -> tuple[str, ...]:
    return asyncio.run(ReplicatedStore(stores, wanted, quorum, troubles).put(random_chunk()))


def get(stores: Sequence[Any], troubles: Troubles, chunk_id: str) -> Chunk:
    return asyncio.run(ReplicatedStore(stores, 2, 2, troubles).get(chunk_id))


def holding(name: str, *chunks: Chunk) -> MemoryStore:
    store = MemoryStore(name)
    store.chunks = {chunk.chunk_id: chunk for chunk in chunks}
    return store


def test_a_chunk_goes_to_the_best_candidates_only(troubles: Troubles) -> None:
    stores = [MemoryStore(name) for name in "abcd"]
    assert put(stores, troubles) == ("a", "b")
    assert [len(store.chunks) for store in stores] == [1, 1, 0, 0]
    assert troubles.heard == []


def test_a_failing_store_is_replaced_by_the_next_candidate_and_told_of(troubles: Troubles) -> None:
    stores = [down("a"), MemoryStore("b"), full("c"), MemoryStore("d")]
    assert sorted(put(stores, troubles)) == ["b", "d"]
    assert troubles.names == ["a", "c"]


def test_fewer_copies_than_wanted_suffice_when_they_are_the_quorum(troubles: Troubles) -> None:
    stores = [MemoryStore("a"), down("b"), MemoryStore("c")]
    assert sorted(put(stores, troubles, wanted=3, quorum=2)) == ["a", "c"]


@pytest.mark.parametrize("stores", [[], [MemoryStore("a")], [down("a"), MemoryStore("b"), full("c")]])
def test_fewer_copies_than_the_quorum_are_a_failure(stores: list[Any], troubles: Troubles) -> None:
    with pytest.raises(QuorumMissed):
        put(stores, troubles)


def test_no_store_gets_the_same_chunk_twice(troubles: Troubles) -> None:
    assert put([MemoryStore("a")], troubles, wanted=3, quorum=1) == ("a",)


def test_copies_are_written_at_the_same_time(troubles: Troubles) -> None:
    async def main() -> tuple[str, ...]:
        stores = [SlowStore("a"), SlowStore("b")]
        putting = asyncio.create_task(ReplicatedStore(stores, 2, 2, troubles).put(random_chunk()))
        while sum(store.waiting for store in stores) < 2:
            await asyncio.sleep(0)
        for store in stores:
            store.release.set()
        return await putting

    assert sorted(asyncio.run(main())) == ["a", "b"]


def test_bytes_that_are_wrong_in_themselves_are_refused_without_asking_everyone(troubles: Troubles) -> None:
    refusing = FailingStore("a", ChunkRefused(chunk_id="a" * 32))
    last = MemoryStore("c")
    with pytest.raises(ChunkRefused):
        put([refusing, MemoryStore("b"), last], troubles)
    assert last.chunks == {}


def test_a_refusal_ends_the_other_writes_before_it_is_told(troubles: Troubles) -> None:
    async def main() -> None:
        slow = SlowStore("b")
        refusing = FailingStore("a", ChunkRefused(chunk_id="a" * 32))
        with pytest.raises(ChunkRefused):
            await ReplicatedStore([slow, refusing], 2, 2, troubles).put(random_chunk())
        assert slow.cancelled

    asyncio.run(main())


def test_a_cancelled_put_ends_its_writes_before_it_ends_itself(troubles: Troubles) -> None:
    async def main() -> None:
        stores = [SlowStore("a"), SlowStore("b")]
        putting = asyncio.create_task(ReplicatedStore(stores, 2, 2, troubles).put(random_chunk()))
        while sum(store.waiting for store in stores) < 2:
            await asyncio.sleep(0)
        putting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await putting
        assert all(store.cancelled for store in stores)

    asyncio.run(main())


def test_a_hung_node_costs_its_deadline_and_no_more(troubles: Troubles) -> None:
    async def main(port: int) -> tuple[str, ...]:
        hung = RemoteStore("hung", "127.0.0.1", port, KNOWN, 0.5)
        stores = [hung, MemoryStore("b"), MemoryStore("c")]
        try:
            return await ReplicatedStore(stores, 2, 2, troubles).put(random_chunk())
        finally:
            await hung.close()

    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never says a word
        began = time.monotonic()
        holders = asyncio.run(main(silent.getsockname()[1]))
        took_s = time.monotonic() - began
    assert sorted(holders) == ["b", "c"]
    assert troubles.names == ["hung"]
    assert isinstance(troubles.heard[0][2], NodeUnavailable)
    assert 0.4 < took_s < 15


def test_a_chunk_is_read_from_the_first_store_that_has_it_whole(troubles: Troubles) -> None:
    chunk = random_chunk()
    damaged = holding("b", Chunk(chunk.chunk_id, b"other", chunk.checksum))
    stores = [down("a"), damaged, MemoryStore("c"), holding("d", chunk), down("e")]
    assert get(stores, troubles, chunk.chunk_id) == chunk
    assert [(name, type(error)) for name, _, error in troubles.heard] == [
        ("a", NodeUnavailable),
        ("b", ChunkCorrupt),
        ("c", ChunkMissing),
    ]
    assert {chunk_id for _, chunk_id, _ in troubles.heard} == {chunk.chunk_id}


@pytest.mark.parametrize(
    "error",
    [
        NodeUnavailable(node_id="b", reason="it is down"),
        DiskFailed(node_id="b", reason="it fails"),
        Internal(reference="b"),
    ],
)
def test_while_a_store_cannot_say_the_chunk_is_not_lost(error: CloudError, troubles: Troubles) -> None:
    chunk = random_chunk()
    damaged = holding("a", Chunk(chunk.chunk_id, b"other", chunk.checksum))
    with pytest.raises(NodeUnavailable, match="b"):
        get([damaged, FailingStore("b", error), MemoryStore("c")], troubles, chunk.chunk_id)
    assert troubles.names == ["a", "b", "c"]


def test_a_chunk_with_damaged_copies_only_is_corrupt(troubles: Troubles) -> None:
    chunk = random_chunk()
    damaged = holding("b", Chunk(chunk.chunk_id, b"other", chunk.checksum))
    with pytest.raises(ChunkCorrupt):
        get([MemoryStore("a"), damaged], troubles, chunk.chunk_id)


@pytest.mark.parametrize("stores", [[], [MemoryStore("a"), MemoryStore("b")]])
def test_a_chunk_that_no_store_has_is_missing(stores: list[Any], troubles: Troubles) -> None:
    with pytest.raises(ChunkMissing):
        get(stores, troubles, "a" * 32)


def test_what_a_store_out_of_reach_may_hold_counts_as_still_here(troubles: Troubles) -> None:
    chunk = random_chunk()
    whole = holding("a", chunk)
    store = ReplicatedStore([whole, down("b")], 2, 2, troubles)
    assert asyncio.run(store.delete([chunk.chunk_id])) == [chunk.chunk_id]
    assert whole.chunks == {}
    assert troubles.names == ["b"]


def test_a_list_without_one_store_is_no_list(troubles: Troubles) -> None:
    store = ReplicatedStore([holding("a", random_chunk()), down("b")], 2, 2, troubles)
    with pytest.raises(NodeUnavailable):
        asyncio.run(store.page("", 10))


def test_pages_merge_what_the_stores_hold(troubles: Troubles) -> None:
    one, two, both = sorted((random_chunk() for _ in range(3)), key=lambda chunk: chunk.chunk_id)
    store = ReplicatedStore([holding("a", one, both), holding("b", two, both)], 2, 2, troubles)
    ids = [one.chunk_id, two.chunk_id, both.chunk_id]
    assert asyncio.run(store.page("", 10)) == ids
    assert asyncio.run(store.page("", 2)) == ids[:2]
    assert asyncio.run(store.page(ids[1], 2)) == ids[2:]
