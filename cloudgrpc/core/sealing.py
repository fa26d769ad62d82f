"""Sealing what is stored, so that disks and databases tell nothing of it: the keys, and what each of them closes.

    master key     of the cluster; never in the database
      wraps an account key, one for each account        "<master id>:<base64>"
        wraps a data key, one for each content          "<base64>"
          seals the content's chunks, and its digest    "sealed:<base64>"

Keys are of 32 random bytes, wrapped as in RFC 3394. A chunk is sealed with AES-256-GCM: its nonce is the beginning of
its id, which is random and never used again, and what it is bound to is its id and its position. Whoever has a data key
can open one content, and its copies.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hmac
import struct
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from cloudgrpc.errors import ChunkCorrupt, KeyDamaged, MasterKeyMissing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

KEY_BYTES = 32
TAG_BYTES = 16  # by which a sealed chunk is longer
SEALED = "sealed:"
ACCOUNT_KEYS = 4096  # that are kept open

_NONCE_BYTES = 12
_POSITION = struct.Struct(">Q")
_DIGESTS = b"cloudgrpc digest"


class Seal:
    """Closes and opens one content by its data key."""

    def __init__(self, data_key: bytes) -> None:
        self._key = data_key

    def close(self, chunk_id: str, position: int, parts: Sequence[bytes | memoryview], room: memoryview) -> None:
        """Write the parts sealed, as long as they were, and the tag behind them. Only once for a chunk id.

        `room`: for all of that, and no more.
        """
        nonce, bound = _place(chunk_id, position)
        if len(parts) == 1:
            self._chunks.encrypt_into(nonce, parts[0], bound, room)
            return
        sealing = Cipher(algorithms.AES(self._key), modes.GCM(nonce)).encryptor()
        sealing.authenticate_additional_data(bound)
        at = 0
        for part in parts:
            at += sealing.update_into(part, room[at:])
        room[at:] = sealing.finalize() + sealing.tag

    def open(self, chunk_id: str, position: int, data: bytes | memoryview, *rooms: memoryview) -> None:
        """Write into the rooms, one behind the other, and shorter by the tag in all, what was closed.

        Raises: ChunkCorrupt, for anything but what was closed with this key, for this id and this position; then what
        is in the rooms is nothing to be used.
        """
        nonce, bound = _place(chunk_id, position)
        try:
            if len(rooms) == 1:
                self._chunks.decrypt_into(nonce, data, bound, rooms[0])
                return
            sealed, tag = memoryview(data)[:-TAG_BYTES], bytes(data[-TAG_BYTES:])
            if len(tag) < TAG_BYTES:
                raise ChunkCorrupt(chunk_id=chunk_id)
            opening = Cipher(algorithms.AES(self._key), modes.GCM(nonce)).decryptor()
            opening.authenticate_additional_data(bound)
            at = 0
            for room in rooms:
                at += opening.update_into(sealed[at : at + len(room)], room)
            opening.finalize_with_tag(tag)
        except InvalidTag as error:
            raise ChunkCorrupt(chunk_id=chunk_id) from error

    def close_digest(self, digest: str) -> str:
        return SEALED + _written(self._digests.encrypt(digest.encode(), None))

    def open_digest(self, text: str) -> str:
        """Raises: KeyDamaged."""
        if not text.startswith(SEALED):
            raise KeyDamaged(what="a digest")
        try:
            return self._digests.decrypt(_read(text.removeprefix(SEALED), "a digest"), None).decode()
        except InvalidTag as error:
            raise KeyDamaged(what="a digest") from error

    @functools.cached_property
    def _chunks(self) -> AESGCM:
        return AESGCM(self._key)

    @functools.cached_property
    def _digests(self) -> AESSIV:
        """A key of its own and a cipher without nonces: no digest can spoil what chunks are sealed with."""
        return AESSIV(hmac.digest(self._key, _DIGESTS, "sha512"))


class AccountKey:
    """Wraps the data keys of what one account owns."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def wrap(self, data_key: bytes) -> str:
        return _written(aes_key_wrap(self._key, data_key))

    def unwrap(self, text: str) -> bytes:
        """The data key. Raises: KeyDamaged."""
        return _unwrapped(self._key, text, "a file")


class Keyring:
    """The master keys by their ids; `current` wraps what is new, the others still open what they wrapped."""

    def __init__(self, keys: Mapping[str, bytes], current: str) -> None:
        self._keys = dict(keys)
        self.current = current
        self._opened = functools.lru_cache(ACCOUNT_KEYS)(lambda wrapped: AccountKey(self._unwrap(wrapped)))

    @property
    def ids(self) -> frozenset[str]:
        return frozenset(self._keys)

    def make_account_key(self, fresh: bytes) -> str:
        """`fresh`: 32 random bytes, which become the key; returns it wrapped."""
        return f"{self.current}:{_written(aes_key_wrap(self._keys[self.current], fresh))}"

    def account_key(self, wrapped: str) -> AccountKey:
        """Raises: MasterKeyMissing, KeyDamaged."""
        return self._opened(wrapped)

    def rewrap(self, wrapped: str) -> str:
        """The same account key, wrapped by the current master key. Raises: MasterKeyMissing, KeyDamaged."""
        return self.make_account_key(self._unwrap(wrapped))

    def _unwrap(self, wrapped: str) -> bytes:
        key_id = master_id(wrapped)
        if key_id not in self._keys:
            raise MasterKeyMissing(key_id=key_id)
        return _unwrapped(self._keys[key_id], wrapped.partition(":")[2], "an account")


def master_id(wrapped: str) -> str:
    """Of the master key that an account key is wrapped by."""
    return wrapped.partition(":")[0]


def _place(chunk_id: str, position: int) -> tuple[bytes, bytes]:
    """The nonce, and what else the bytes are bound to."""
    whole = bytes.fromhex(chunk_id)
    return whole[:_NONCE_BYTES], whole + _POSITION.pack(position)


def _unwrapped(key: bytes, text: str, what: str) -> bytes:
    try:
        return aes_key_unwrap(key, _read(text, what))
    except (InvalidUnwrap, ValueError) as error:
        raise KeyDamaged(what=what) from error


def _written(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _read(text: str, what: str) -> bytes:
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError as error:
        raise KeyDamaged(what=what) from error
