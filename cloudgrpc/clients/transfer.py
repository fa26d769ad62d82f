"""Moving one file's bytes between this computer and a gateway, in constant memory.

A lost connection is tried again: an upload under the same `request_id`, so that a lost reply makes no second version; a
download from its beginning, into a file beside the target that takes its place only when every byte was verified.
"""

from __future__ import annotations

import mimetypes
import os
import stat
import threading
import time
import uuid
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import grpc
from blake3 import blake3

from cloudgrpc import rpc
from cloudgrpc.core.chunking import CHUNK_BYTES
from cloudgrpc.core.paths import check_name
from cloudgrpc.errors import (
    CloudError,
    ContentDiffers,
    FileChanged,
    GatewayUnreachable,
    InvalidField,
    LocalFile,
    UploadDiffers,
)
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.wire import pack_data, split_data

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from io import BufferedReader, BufferedWriter
    from pathlib import Path

    from cloudgrpc.clients.session import Session

    OnProgress = Callable[[int], None]  # bytes moved since the last call; negative when a try starts over

T = TypeVar("T")

RETRY_PAUSES_S = (0.2, 0.5, 1.0, 2.0, 4.0)  # a gateway restarts in less
FIRST_PIECE_BYTES, LEAST_PIECE_BYTES = 256 << 10, 64 << 10
QUICK_S, SLOW_S = 0.1, 1.0  # for one piece: the next is larger, or smaller
SMALL_TIMEOUT_S = 60.0  # for a file that fits one message


@dataclass(frozen=True)
class Uploaded:
    file_id: str
    checksum: str
    size: int


@dataclass(frozen=True)
class Downloaded:
    path: Path
    checksum: str
    size: int


def silent(_moved: int) -> None:
    """The progress of a transfer that nobody watches."""


class Transfers:
    """Uploads and downloads of one session; safe to use from several threads."""

    def __init__(self, session: Session) -> None:
        rpc.tune_allocator()
        self._session = session
        self._live: set[grpc.Future[pb.UploadFileResponse]] = set()

    def upload_file(self, path: Path, folder_id: str = "", on_progress: OnProgress = silent) -> Uploaded:
        """Raises: LocalFile, FileChanged, UploadDiffers, and whatever the gateway refuses."""
        name = check_local_name(path, path.name)
        with opened(path) as (_, size):
            metadata = pb.FileMetadata(
                session_token=self._session.token,
                filename=name,
                file_size=size,
                mime_type=mime_type(name),
                parent_folder_id=folder_id,
                request_id=uuid.uuid4().hex,
            )
        return persistently(lambda: self._upload(path, metadata, on_progress))

    def download_file(self, file_id: str, target: Path, on_progress: OnProgress = silent) -> Downloaded:
        """Fetch into `target`, or under the name the gateway tells when `target` is a folder.

        Raises: LocalFile, ContentDiffers, InvalidField for a name that could lead elsewhere, and whatever the gateway
        refuses.
        """
        return persistently(lambda: self._download(file_id, target, on_progress))

    def cancel(self) -> None:
        """End the large uploads under way; each raises in its own thread."""
        for call in list(self._live):
            call.cancel()

    def _upload(self, path: Path, metadata: pb.FileMetadata, on_progress: OnProgress) -> Uploaded:
        with opened(path) as (file, size):
            if size != metadata.file_size:
                raise FileChanged(path=path)
            pieces = _Pieces(file, path, size, on_progress)
            reply = self._send(pieces.after(pb.UploadFileRequest(metadata=metadata).SerializeToString()), pieces)
        # A gateway that has the file already (the reply to an earlier try was lost) answers before it was read again.
        if pieces.is_complete and reply.checksum != pieces.checksum:
            raise UploadDiffers(name=metadata.filename)
        return Uploaded(reply.file_id, reply.checksum, size)

    def _send(self, messages: Iterator[bytes], pieces: _Pieces) -> pb.UploadFileResponse:
        send = self._send_small if pieces.is_small else self._send_large
        try:
            reply = send(messages)
        except grpc.RpcError as failure:
            pieces.take_back()
            # What went wrong here made the gateway refuse the rest, so it is the real reason.
            raise pieces.fault or self._session.gateway.error_of(failure) from failure
        except BaseException:
            pieces.take_back()
            raise
        pieces.settle()
        return reply

    def _send_small(self, messages: Iterator[bytes]) -> pb.UploadFileResponse:
        # A blocking call costs 1.4 ms of CPU, a future 1.9; but nothing can cancel it, hence the deadline.
        return self._session.gateway.upload(messages, timeout=SMALL_TIMEOUT_S)

    def _send_large(self, messages: Iterator[bytes]) -> pb.UploadFileResponse:
        call = self._session.gateway.upload.future(messages)
        self._live.add(call)
        try:
            return call.result()
        except BaseException:
            call.cancel()
            raise
        finally:
            self._live.discard(call)

    def _download(self, file_id: str, target: Path, on_progress: OnProgress) -> Downloaded:
        request = pb.DownloadFileRequest(session_token=self._session.token, file_id=file_id)
        call = self._session.gateway.download(request)
        try:
            info = pb.DownloadFileResponse.FromString(next(call, b"")).file_info
            path = destination(target, info.filename)
            with _aside(path) as file:
                receive(call, info, file, on_progress)
        except grpc.RpcError as failure:
            raise self._session.gateway.error_of(failure) from failure
        finally:
            call.cancel()
        return Downloaded(path, info.checksum, info.file_size)


class _Pieces:
    """The messages of one try of an upload; gRPC iterates over them in a thread of its own."""

    def __init__(self, file: BufferedReader, path: Path, size: int, on_progress: OnProgress) -> None:
        self._file = file
        self._path = path
        self._size = size
        self._on_progress = on_progress
        self._digest = blake3()
        self._lock = threading.Lock()  # between gRPC's thread and the one that waits for the answer
        self._is_over = False
        self._piece_bytes = FIRST_PIECE_BYTES
        self.sent = 0
        self.fault: CloudError | None = None

    @property
    def is_small(self) -> bool:
        return self._size <= rpc.PIECE_BYTES

    @property
    def is_complete(self) -> bool:
        return self.sent == self._size

    @property
    def checksum(self) -> str:
        return f"blake3:{self._digest.hexdigest()}"

    def after(self, head: bytes) -> Iterator[bytes]:
        """`head`, then the content. Ends early on a fault: an exception here would be printed by gRPC."""
        yield head
        while self.sent < self._size and not self._is_over:
            try:
                piece = self._read()
            except (CloudError, OSError, ValueError) as error:
                self.fault = error if isinstance(error, CloudError) else _local(error, self._path)
                return
            self._digest.update(piece)
            with self._lock:
                if self._is_over:
                    return
                self.sent += len(piece)
                self._on_progress(len(piece))
            started = time.monotonic()
            yield pack_data(piece)
            self._adapt(time.monotonic() - started)

    def settle(self) -> None:
        """Tell the progress of what the gateway did not need to see again."""
        with self._lock:
            self._is_over = True
            self._on_progress(self._size - self.sent)

    def take_back(self) -> None:
        """Take back the progress told so far, since the next try starts over."""
        with self._lock:
            self._is_over = True
            self._on_progress(-self.sent)

    def _adapt(self, took_s: float) -> None:
        """Large messages cost least; on a slow line they would look like silence, and the bar would stand still."""
        if took_s < QUICK_S:
            self._piece_bytes = min(self._piece_bytes * 2, CHUNK_BYTES)
        elif took_s > SLOW_S:
            self._piece_bytes = max(self._piece_bytes // 2, LEAST_PIECE_BYTES)

    def _read(self) -> bytes:
        # A piece never reaches over the end of a chunk, or the gateway would have to keep two messages for it.
        wanted = min(self._piece_bytes, CHUNK_BYTES - self.sent % CHUNK_BYTES, self._size - self.sent)
        piece = self._file.read(wanted)
        is_last = self.sent + len(piece) == self._size
        # The last piece is held back until the file is known to have kept its size; without it nothing is kept.
        if len(piece) < wanted or (is_last and os.fstat(self._file.fileno()).st_size != self._size):
            raise FileChanged(path=self._path)
        return piece


def persistently(once: Callable[[], T]) -> T:
    """Try again while the connection is lost; what the gateway itself refused is not asked twice."""
    for pause_s in RETRY_PAUSES_S:
        try:
            return once()
        except GatewayUnreachable:
            time.sleep(pause_s)
    return once()


@contextmanager
def opened(path: Path) -> Iterator[tuple[BufferedReader, int]]:
    """A regular file and its size. Raises: LocalFile."""
    try:
        # Without O_NONBLOCK, opening a FIFO would wait for someone to write into it.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _local(error, path) from error
    with os.fdopen(handle, "rb") as file:
        state = os.fstat(handle)
        if not stat.S_ISREG(state.st_mode):
            kind = "is a folder" if stat.S_ISDIR(state.st_mode) else "is not a regular file"
            raise LocalFile(path=path, reason=kind)
        yield file, state.st_size


def destination(target: Path, name: str) -> Path:
    """Where a file called `name` by the gateway is to be written.

    Raises: LocalFile when nothing may be written there, InvalidField when the name is not a plain name.
    """
    path = target
    if target.is_dir():
        try:
            path = target / check_name(name, "filename")
        except InvalidField as error:
            # A name such as "../x" must not lead out of the folder the person told us.
            reason = (
                f"the gateway calls this file {name!r}, which cannot be a file's name here; name the output yourself"
            )
            raise InvalidField(field="filename", reason=reason) from error
    with suppress(FileNotFoundError):
        _check_replaceable(path)
    return path


def mime_type(name: str) -> str:
    """Guessed by the name alone; a packed file is only bytes to us."""
    kind, packing = mimetypes.guess_type(name)
    return kind if kind and not packing else "application/octet-stream"


def receive(call: Iterator[bytes], info: pb.FileInfo, file: BufferedWriter, on_progress: OnProgress) -> None:
    """Write the content that follows `info` into `file`, verified as a whole at its end. Raises: ContentDiffers."""
    digest = blake3()
    received = 0
    try:
        for message in call:
            piece, _ = split_data(message)
            if received + len(piece) > info.file_size:
                raise ContentDiffers(name=info.filename)
            received += len(piece)
            digest.update(piece)
            file.write(piece)
            on_progress(len(piece))
        if received != info.file_size or info.checksum != f"blake3:{digest.hexdigest()}":
            raise ContentDiffers(name=info.filename)
    except BaseException:
        on_progress(-received)
        raise


@contextmanager
def _aside(path: Path) -> Iterator[BufferedWriter]:
    """A file beside `path` that becomes `path`, on disk, when the block ends well; else nothing is left of it."""
    # Cut, since with the marks around it a name of 255 bytes would be too long.
    short = os.fsdecode(os.fsencode(path.name)[:200])
    aside = path.with_name(f".{short}.{uuid.uuid4().hex[:8]}.part")
    try:
        with aside.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
        _flush_folder(path.parent)
    except OSError as error:
        raise _local(error, path) from error
    finally:
        aside.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _check_replaceable(path: Path) -> None:
    """Replacing /dev/null, say, would harm the whole computer. A link is replaced itself, not what it points to."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _local(error, path) from error
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        raise LocalFile(path=path, reason="is a folder" if stat.S_ISDIR(mode) else "is not a regular file")


def check_local_name(path: Path, name: str) -> str:
    """The name itself. Raises: LocalFile when the drive could not hold a file or folder of that name."""
    try:
        return check_name(name, "name")
    except InvalidField as error:
        raise LocalFile(path=path, reason=f"cannot be kept under its name: {error}") from error


def _local(error: OSError | ValueError, path: Path) -> LocalFile:
    return LocalFile(path=path, reason=getattr(error, "strerror", None) or error)
