"""One file of this computer on its way to a gateway: read, hashed, and cut into messages.

The content is hashed once and in order, whatever is sent of it, in which order and how often. What a resumed upload
need not send is read and hashed, too: only so is it known that the file is what the gateway has.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from blake3 import blake3

from cloudgrpc.clients.local_files import local_fault, opened
from cloudgrpc.core.chunking import CHUNK_BYTES
from cloudgrpc.errors import CloudError, FileChanged
from cloudgrpc.wire import fill_data

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    OnProgress = Callable[[int], None]  # bytes more; negative for bytes that have to be sent again

FIRST_PIECE_BYTES, LEAST_PIECE_BYTES = 256 << 10, 64 << 10
QUICK_S, SLOW_S = 0.1, 1.0  # for one piece: the next is larger, or smaller


class Source:
    """A file that must stay as it is while it is sent; safe to use from several threads."""

    def __init__(self, path: Path, handle: int) -> None:
        self.path = path
        self.state = os.fstat(handle)
        self.hashed = 0  # so many bytes from the beginning
        self._handle = handle
        self._digest = blake3()
        self._lock = threading.Lock()  # a stream that was given up may still be reading when the next one begins

    @property
    def size(self) -> int:
        return self.state.st_size

    def read(self, start: int, room: memoryview) -> None:
        """Fill the room with what begins at `start`. Hashes it, too, where everything before it was hashed.

        Raises: FileChanged, OSError.
        """
        with self._lock:
            self._read(start, room)
            if start <= self.hashed:
                self._digest.update(room[self.hashed - start :])
                self.hashed = max(self.hashed, start + len(room))

    def hash_until(self, end: int, on_hashed: OnProgress) -> None:
        """Raises: FileChanged, LocalFile."""
        room = memoryview(bytearray(max(0, min(CHUNK_BYTES, end - self.hashed))))
        while self.hashed < end:
            length = min(len(room), end - self.hashed)
            try:
                self.read(self.hashed, room[:length])
            except OSError as error:
                raise local_fault(error, self.path) from error
            on_hashed(length)

    @property
    def checksum(self) -> str:
        """Of what was hashed."""
        return f"blake3:{self._digest.hexdigest()}"

    def check_unchanged(self) -> None:
        """Raises: FileChanged."""
        state = os.fstat(self._handle)
        if (state.st_size, state.st_mtime_ns) != (self.state.st_size, self.state.st_mtime_ns):
            raise FileChanged(path=self.path)

    def _read(self, start: int, room: memoryview) -> None:
        length = 0
        while length < len(room) and (more := os.preadv(self._handle, [room[length:]], start + length)):
            length += more
        # Looked at after each piece, the last included: what is sent is never half an old and half a new content.
        self.check_unchanged()
        if length < len(room):
            raise FileChanged(path=self.path)


class Pieces:
    """The messages of one stream; gRPC iterates over them in a thread of its own."""

    def __init__(
        self, source: Source, start: int, end: int, on_progress: OnProgress, chunk_bytes: int = CHUNK_BYTES
    ) -> None:
        """`start` is where a chunk begins; the bytes up to `end` are sent."""
        self._source = source
        self._at = start
        self._start = start
        self._end = end
        self._on_progress = on_progress
        self._chunk_bytes = chunk_bytes
        self._lock = threading.Lock()  # between gRPC's thread and the one that waits for the answer
        self._is_over = False
        self._piece_bytes = FIRST_PIECE_BYTES
        self.fault: CloudError | None = None

    def after(self, head: bytes) -> Iterator[bytes]:
        """`head`, then the content. Ends early on a fault: an exception here would be printed by gRPC."""
        yield head
        while self._at < self._end and not self._is_over:
            # A piece never reaches over the end of a chunk, or the gateway would have to keep two messages for it.
            to_border = self._chunk_bytes - self._at % self._chunk_bytes
            length = min(self._piece_bytes, to_border, self._end - self._at)
            try:
                piece = fill_data(length, lambda room: self._source.read(self._at, room))
            except (CloudError, OSError) as error:
                self.fault = error if isinstance(error, CloudError) else local_fault(error, self._source.path)
                return
            with self._lock:
                if self._is_over:
                    return
                self._at += length
                self._on_progress(length)
            started = time.monotonic()
            yield piece
            self._adapt(time.monotonic() - started)

    def settle(self) -> None:
        """Tell the progress of what the gateway did not need to see again."""
        with self._lock:
            self._is_over = True
            self._on_progress(self._end - self._at)

    def take_back(self) -> None:
        """Take back the progress told so far, for the next try begins where this one began."""
        with self._lock:
            self._is_over = True
            self._on_progress(self._start - self._at)

    def _adapt(self, took_s: float) -> None:
        """Large messages cost least; on a slow line they would look like silence, and the bar would stand still."""
        if took_s < QUICK_S:
            self._piece_bytes = min(self._piece_bytes * 2, CHUNK_BYTES)
        elif took_s > SLOW_S:
            self._piece_bytes = max(self._piece_bytes // 2, LEAST_PIECE_BYTES)


@contextmanager
def source_of(path: Path) -> Iterator[Source]:
    """Raises: LocalFile."""
    with opened(path) as handle:
        yield Source(path, handle)
