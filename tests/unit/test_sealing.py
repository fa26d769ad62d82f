"""What is sealed opens again where it was closed, and nowhere else."""

from __future__ import annotations

import itertools
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudgrpc.core.sealing import KEY_BYTES, TAG_BYTES, Keyring, Seal, master_id
from cloudgrpc.errors import ChunkCorrupt, KeyDamaged, MasterKeyMissing

ONE, OTHER = "0123456789abcdef" * 2, "fedcba9876543210" * 2
KEY = bytes(range(KEY_BYTES))
DATA = b"a letter" * 1000
DIGEST = "blake3:" + "ab" * 32


def keyring(**keys: int) -> Keyring:
    """Master keys of one byte repeated, the first of them in use."""
    return Keyring({key_id: bytes([byte]) * KEY_BYTES for key_id, byte in keys.items()}, next(iter(keys)))


def closed(seal: Seal, *parts: bytes, chunk_id: str = ONE, position: int = 0) -> bytes:
    room = bytearray(sum(map(len, parts)) + TAG_BYTES)
    seal.close(chunk_id, position, parts, memoryview(room))
    return bytes(room)


def opened(seal: Seal, sealed: bytes, chunk_id: str = ONE, position: int = 0) -> bytes:
    room = bytearray(max(len(sealed) - TAG_BYTES, 0))
    seal.open(chunk_id, position, sealed, memoryview(room))
    return bytes(room)


# Chunks


@given(st.lists(st.binary(max_size=100)), st.integers(0, 1 << 40))
def test_a_chunk_opens_whatever_the_parts_were_that_it_came_in(parts: list[bytes], position: int) -> None:
    sealed = closed(Seal(KEY), *parts, position=position)
    assert opened(Seal(KEY), sealed, position=position) == b"".join(parts)
    assert sealed == closed(Seal(KEY), b"".join(parts), position=position)


@given(st.integers(0, len(DATA)), st.integers(0, len(DATA)), st.integers(0, (len(DATA) + TAG_BYTES) * 8 - 1))
def test_a_chunk_opens_into_several_rooms_and_one_flipped_bit_is_corruption_there_too(
    one: int, other: int, bit: int
) -> None:
    sealed = bytearray(closed(Seal(KEY), DATA))
    bounds = [0, *sorted((one, other)), len(DATA)]
    rooms = [bytearray(end - start) for start, end in itertools.pairwise(bounds)]
    Seal(KEY).open(ONE, 0, bytes(sealed), *map(memoryview, rooms))
    assert b"".join(rooms) == DATA
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ChunkCorrupt):
        Seal(KEY).open(ONE, 0, bytes(sealed), *map(memoryview, rooms))


def test_what_is_cut_off_opens_into_no_rooms_at_all() -> None:
    for length in range(TAG_BYTES + 1):
        with pytest.raises(ChunkCorrupt):
            Seal(KEY).open(ONE, 0, closed(Seal(KEY), DATA)[:length])
    Seal(KEY).open(ONE, 0, closed(Seal(KEY)))


def test_what_is_sealed_shows_nothing_of_what_it_is() -> None:
    sealed = closed(Seal(KEY), DATA)
    assert len({sealed[start : start + 8] for start in range(0, len(DATA), 8)}) == 1000
    assert b"letter" not in sealed
    assert closed(Seal(KEY), DATA, chunk_id=OTHER)[:64] != sealed[:64], "each chunk has its own nonce"


def test_a_chunk_in_the_place_of_another_or_at_another_position_is_corrupt() -> None:
    seal = Seal(KEY)
    sealed = closed(seal, DATA, position=1)
    for chunk_id, position in ((OTHER, 1), (ONE, 0), (ONE, 2), (ONE[:-1] + "e", 1)):
        with pytest.raises(ChunkCorrupt):
            opened(seal, sealed, chunk_id, position)


@given(st.integers(0, (len(DATA) + TAG_BYTES) * 8 - 1))
def test_one_flipped_bit_is_corruption(bit: int) -> None:
    sealed = bytearray(closed(Seal(KEY), DATA))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ChunkCorrupt):
        opened(Seal(KEY), bytes(sealed))


@pytest.mark.parametrize("length", [0, 1, TAG_BYTES - 1, TAG_BYTES, len(DATA)])
def test_what_is_cut_off_is_corrupt(length: int) -> None:
    with pytest.raises(ChunkCorrupt):
        opened(Seal(KEY), closed(Seal(KEY), DATA)[:length])


def test_the_key_of_another_content_opens_nothing() -> None:
    other = Seal(os.urandom(KEY_BYTES))
    with pytest.raises(ChunkCorrupt):
        opened(other, closed(Seal(KEY), DATA))
    with pytest.raises(KeyDamaged):
        other.open_digest(Seal(KEY).close_digest(DIGEST))


def test_plain_bytes_do_not_open() -> None:
    with pytest.raises(ChunkCorrupt):
        opened(Seal(KEY), DATA)


# Digests


def test_a_digest_opens_and_its_text_does_not_show_it() -> None:
    sealed = Seal(KEY).close_digest(DIGEST)
    assert sealed.startswith("sealed:")
    assert DIGEST not in sealed
    assert Seal(KEY).open_digest(sealed) == DIGEST


@pytest.mark.parametrize("text", ["", DIGEST, "sealed:", "sealed:not base64", "sealed:" + "A" * 200])
def test_what_is_no_sealed_digest_does_not_open(text: str) -> None:
    with pytest.raises(KeyDamaged):
        Seal(KEY).open_digest(text)


# Keys


def test_an_account_key_opens_with_the_master_key_that_wrapped_it_whichever_is_in_use() -> None:
    wrapped = keyring(old=1).make_account_key(KEY)
    assert master_id(wrapped) == "old"
    data_key = os.urandom(KEY_BYTES)
    text = keyring(old=1).account_key(wrapped).wrap(data_key)
    assert keyring(new=2, old=1).account_key(wrapped).unwrap(text) == data_key


def test_rewrapping_changes_the_master_key_and_not_the_account_key() -> None:
    old = keyring(old=1).make_account_key(KEY)
    new = keyring(new=2, old=1).rewrap(old)
    assert master_id(new) == "new"
    text = keyring(old=1).account_key(old).wrap(KEY)
    assert keyring(new=2).account_key(new).unwrap(text) == KEY


def test_a_missing_master_key_is_named() -> None:
    wrapped = keyring(old=1).make_account_key(KEY)
    for work in (keyring(new=2).account_key, keyring(new=2).rewrap, Keyring({}, "").account_key):
        with pytest.raises(MasterKeyMissing, match="master key old is not here"):
            work(wrapped)


def test_another_key_of_the_same_name_is_noticed() -> None:
    with pytest.raises(KeyDamaged):
        keyring(old=2).account_key(keyring(old=1).make_account_key(KEY))


@pytest.mark.parametrize("text", ["", "?", "AAAA", "A" * 55, "A" * 56])
def test_what_is_no_wrapped_key_does_not_open(text: str) -> None:
    ring = keyring(now=1)
    with pytest.raises(KeyDamaged):
        ring.account_key(f"now:{text}")
    with pytest.raises(KeyDamaged):
        ring.account_key(ring.make_account_key(KEY)).unwrap(text)


def test_the_data_key_of_one_account_does_not_open_with_the_key_of_another() -> None:
    ring = keyring(now=1)
    one, other = (ring.account_key(ring.make_account_key(os.urandom(KEY_BYTES))) for _ in range(2))
    with pytest.raises(KeyDamaged):
        other.unwrap(one.wrap(KEY))
