"""Downloading one file: verified as a whole, and gone on with where it broke off.

A lost connection asks for the rest of the same version. What an earlier process left of it is hashed first, and should
the whole not be what was stored, it is fetched once more from its beginning.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
from blake3 import blake3

from cloudgrpc.clients.calls import AWAY_OR_SLOW
from cloudgrpc.clients.local_files import destination
from cloudgrpc.clients.parts import forget_others, part_of
from cloudgrpc.errors import ContentDiffers, Missing
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.wire import split_data

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

    from cloudgrpc.clients.calls import Calls
    from cloudgrpc.clients.parts import Part
    from cloudgrpc.clients.progress import Meter
    from cloudgrpc.clients.session import Session

LITTER_BYTES = 8 << 20  # from this size on, what is left of older versions is worth looking for


@dataclass(frozen=True)
class Downloaded:
    path: Path
    checksum: str
    size: int
    version: int
    kept_bytes: int  # that were here from before, and did not travel


class Reader:
    """One file's content as the gateway sends it; the version is settled by the first answer."""

    def __init__(self, session: Session, calls: Calls, file_id: str, version: int) -> None:
        """`version`: 0 for the newest."""
        self.file_id = file_id
        self.version = version
        self._session = session
        self._calls = calls

    @contextmanager
    def stream(self, offset: int, length: int | None = None) -> Iterator[tuple[pb.FileInfo, Iterator[memoryview]]]:
        """What is told of the file, and its bytes from `offset` on. Raises: what the gateway tells, at any of them."""
        request = pb.DownloadFileRequest(
            session_token=self._session.token, file_id=self.file_id, version=self.version, offset=offset, length=length
        )
        call = self._session.gateway.download(request)
        with self._calls.under_way(call):
            try:
                info = pb.DownloadFileResponse.FromString(next(call, b"")).file_info
                self.version = info.version
                yield info, (split_data(message)[0] for message in call)
            except grpc.RpcError as failure:
                raise self._session.gateway.error_of(failure) from failure

    def info(self) -> pb.FileInfo:
        def ask() -> pb.FileInfo:
            with self.stream(0, 0) as (info, _):
                return info

        return self._calls.persistently(ask, AWAY_OR_SLOW)


class FileDownload:
    """A download into a file, which appears when every byte was verified."""

    def __init__(self, reader: Reader, calls: Calls, target: Path, is_exact: bool, meter: Meter) -> None:
        """`target`: the file; unless `is_exact`, or a folder in which it gets the name that the gateway tells."""
        self._reader = reader
        self._calls = calls
        self._target = target
        self._is_exact = is_exact
        self._meter = meter
        self._part: Part | None = None
        self._found = 0  # bytes that an earlier process left

    @property
    def kept_bytes(self) -> int:
        """What the next download of this version need not fetch again."""
        return self._here if self._part and self._part.is_lasting else 0

    def run(self) -> Downloaded:
        """Raises: LocalFile, ContentDiffers, InvalidField for a name that could lead elsewhere, and what the gateway
        refuses."""
        with ExitStack() as held:
            while True:
                try:
                    return self._calls.persistently(lambda: self._go_on(held), AWAY_OR_SLOW, lambda: self._here)
                except (ContentDiffers, Missing) as error:
                    had, self._found = self._found, 0
                    self._start_over()
                    if not had or isinstance(error, Missing):
                        raise

    @property
    def _here(self) -> int:
        """Bytes, whether they were read again yet or not."""
        return self._part.size + self._part.unread if self._part else 0

    def _go_on(self, held: ExitStack) -> Downloaded:
        with self._reader.stream(self._here) as (info, pieces):
            path = destination(self._target, None if self._is_exact else info.filename)
            part = self._part or self._begin(held, path, info)
            if not part.unread:
                return self._take(part, info, pieces, path)
        # Only now it is known what is here already; it is hashed with no stream waiting.
        part.read_again(self._meter.kept)
        return self._go_on(held)

    def _begin(self, held: ExitStack, path: Path, info: pb.FileInfo) -> Part:
        part = self._part = held.enter_context(part_of(path, self._reader.file_id, info.version))
        if part.unread > info.file_size:
            part.start_over()
        self._found = part.unread
        return part

    def _take(self, part: Part, info: pb.FileInfo, pieces: Iterator[memoryview], path: Path) -> Downloaded:
        if info.offset != part.size:
            raise ContentDiffers(name=info.filename)
        for piece in pieces:
            if part.size + len(piece) > info.file_size:
                raise ContentDiffers(name=info.filename)
            part.write(piece)
            self._meter.moved(len(piece))
        if (part.size, part.checksum) != (info.file_size, info.checksum):
            raise ContentDiffers(name=info.filename)
        part.become(path)
        if part.size > LITTER_BYTES:
            forget_others(path, self._reader.file_id)
        return Downloaded(path, info.checksum, info.file_size, info.version, self._found)

    def _start_over(self) -> None:
        if self._part is not None:
            self._meter.moved(-self._part.size)
            self._part.start_over()


@dataclass(frozen=True)
class Extent:
    """Some of a file."""

    start: int = 0
    length: int | None = None  # None: to the end


def copy_out(reader: Reader, calls: Calls, out: BinaryIO, extent: Extent, meter: Meter) -> pb.FileInfo:
    """Write a file's bytes as they come; a whole file is verified at its end, when they cannot be taken back.

    Raises: ContentDiffers, OSError, and whatever the gateway refuses.
    """
    digest = blake3()
    done = 0

    def go_on() -> pb.FileInfo:
        nonlocal done
        left = None if extent.length is None else extent.length - done
        with reader.stream(extent.start + done, left) as (info, pieces):
            wanted = info.file_size - extent.start if extent.length is None else extent.length
            for piece in pieces:
                if done + len(piece) > wanted:
                    raise ContentDiffers(name=info.filename)
                out.write(piece)
                digest.update(piece)
                done += len(piece)
                meter.moved(len(piece))
        is_whole = not extent.start and wanted == info.file_size
        if done != wanted or (is_whole and info.checksum != f"blake3:{digest.hexdigest()}"):
            raise ContentDiffers(name=info.filename)
        return info

    return calls.persistently(go_on, AWAY_OR_SLOW, lambda: done)
