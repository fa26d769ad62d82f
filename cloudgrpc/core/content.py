"""The digest of a file's content, taken chunk by chunk, and which chunks it was taken of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blake3 import blake3

if TYPE_CHECKING:
    from collections.abc import Iterable


class Content:
    """The first chunks of a file. Their ids, never used again, tell later whether they still are its chunks."""

    def __init__(self) -> None:
        self.position = 0  # of the chunk that comes next
        self._bytes = blake3()
        self._ids = blake3()

    def add(self, chunk_id: str, parts: Iterable[bytes | memoryview]) -> None:
        for part in parts:
            self._bytes.update(part)
        self._ids.update(chunk_id.encode())
        self.position += 1

    def copy(self) -> Content:
        other = Content()
        other.position, other._bytes, other._ids = self.position, self._bytes.copy(), self._ids.copy()
        return other

    @property
    def digest(self) -> str:
        return f"blake3:{self._bytes.hexdigest()}"

    def is_of(self, chunk_ids: Iterable[str]) -> bool:
        """Whether it is the content of these chunks, in this order."""
        ids = blake3()
        for chunk_id in chunk_ids:
            ids.update(chunk_id.encode())
        return bool(ids.digest() == self._ids.digest())
