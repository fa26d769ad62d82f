"""A store of sealed chunks: plain on this side, ciphertext on the other, and damage where it does not open."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import pytest

from chunk_stores import Driven, chunk_of, driving
from cloudgrpc.chunks.base import Chunk, checksum_of
from cloudgrpc.chunks.memory import MemoryStore
from cloudgrpc.chunks.replicated import ReplicatedStore
from cloudgrpc.chunks.sealed import INLINE_BYTES, SealedStore
from cloudgrpc.core.sealing import KEY_BYTES, TAG_BYTES, Seal
from cloudgrpc.errors import ChunkCorrupt, ChunkMissing, InvalidField

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloudgrpc.errors import CloudError

ONE, OTHER = (os.urandom(16).hex() for _ in range(2))
PLACES = {ONE: 1, OTHER: 2}
SEAL = Seal(bytes(KEY_BYTES))


@pytest.fixture
def inner() -> MemoryStore:
    return MemoryStore("inner")


@pytest.fixture
def sealed(inner: MemoryStore) -> Iterator[Any]:
    with driving() as (runner, _):
        yield Driven(runner, SealedStore(inner, SEAL, PLACES))


def stored(store: MemoryStore, chunk_id: str = ONE) -> Chunk:
    return asyncio.run(store.get(chunk_id))


@pytest.mark.parametrize("size", [0, 1, INLINE_BYTES - 1, INLINE_BYTES, 4 << 20])
def test_what_is_put_can_be_got_and_the_inner_store_sees_none_of_it(sealed: Any, inner: MemoryStore, size: int) -> None:
    data = os.urandom(size)
    assert sealed.put(chunk_of(data, ONE)) == ("inner",)
    assert bytes(sealed.get(ONE).data) == data
    there = stored(inner)
    assert len(there.data) == size + TAG_BYTES
    assert size < 8 or data[:8] not in bytes(there.data)
    assert sealed.get(ONE).checksum == there.checksum == checksum_of(there.data)


def test_chunks_that_changed_places_are_corrupt(sealed: Any, inner: MemoryStore) -> None:
    for chunk_id in (ONE, OTHER):
        sealed.put(chunk_of(chunk_id.encode(), chunk_id))
    one, other = stored(inner, ONE).data, stored(inner, OTHER).data
    asyncio.run(inner.delete([ONE, OTHER]))
    asyncio.run(inner.put(chunk_of(bytes(other), ONE)))
    asyncio.run(inner.put(chunk_of(bytes(one), OTHER)))
    for chunk_id in (ONE, OTHER):
        with pytest.raises(ChunkCorrupt):
            sealed.get(chunk_id)


def test_a_copy_that_does_not_open_is_damaged_and_the_next_is_tried() -> None:
    bad, good = MemoryStore("bad"), MemoryStore("good")
    asyncio.run(SealedStore(good, SEAL, PLACES).put(chunk_of(b"data", ONE)))
    asyncio.run(bad.put(chunk_of(b"something else, verified", ONE)))
    heard: list[tuple[str, str, CloudError]] = []
    stores = [SealedStore(store, SEAL, PLACES) for store in (bad, good)]
    both = ReplicatedStore(stores, 2, 1, lambda *trouble: heard.append(trouble))
    assert asyncio.run(both.get(ONE)).data == b"data"
    assert [(name, chunk_id, type(error)) for name, chunk_id, error in heard] == [("bad", ONE, ChunkCorrupt)]


def test_the_rest_is_as_the_inner_store_does_it(sealed: Any) -> None:
    sealed.put(chunk_of(b"data", ONE))
    assert sealed.name == "inner"
    assert sealed.page("", 10) == [ONE]
    assert sealed.delete([ONE]) == []
    with pytest.raises(ChunkMissing):
        sealed.get(ONE)
    with pytest.raises(InvalidField):
        sealed.put(chunk_of(b"data", "../x"))
