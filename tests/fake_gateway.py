"""A gateway in this process that fails as it is told to, and what a client of it sees of its progress."""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import grpc
from blake3 import blake3

from cloudgrpc import rpc
from cloudgrpc.clients.progress import Unwatched
from cloudgrpc.clients.session import Gateway, Session
from cloudgrpc.core.chunking import CHUNK_BYTES
from cloudgrpc.errors import PartSizeWrong, UploadDiffers, UploadEnded
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.pb import cloud_storage_pb2_grpc as stubs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cloudgrpc.errors import CloudError

DATA = os.urandom((5 << 20) + 5)
FILE_ID = "f" * 32


def checksum_of(data: bytes) -> str:
    return f"blake3:{blake3(data).hexdigest()}"


class FakeGateway(stubs.FileServiceServicer):
    """Keeps what is uploaded under its name, and fails as it is told to."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.request_ids: list[str] = []
        self.lost_connections = 0  # how many calls more break off in their middle
        self.refusal: CloudError | None = None
        self.refusals = 1_000_000  # how many calls more are refused
        self.checksum = ""  # told instead of the true one
        self.sent_name, self.sent_size, self.sent, self.version = "movie.bin", len(DATA), DATA, 3
        self.asked: list[tuple[int, int]] = []  # of downloads: offset and version
        self.while_receiving: Callable[[], object] = lambda: None
        self.takes_batches = True  # False: an older gateway
        self.batches: list[list[str]] = []  # the request_ids of each
        self.patience_s: dict[str, float] = {}  # by the names of a call's files: how long its client waits for it
        self.refused_names: dict[str, list[CloudError]] = {}  # in batches: what is told of a name, one after the other

    def UploadFiles(  # noqa: N802 - gRPC's name
        self, request: pb.UploadFilesRequest, context: grpc.ServicerContext
    ) -> pb.UploadFilesResponse:
        if not self.takes_batches:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        self.patience_s |= {file.metadata.filename: context.time_remaining() or math.inf for file in request.files}
        self.batches.append([file.metadata.request_id for file in request.files])
        self.while_receiving()
        outcomes = [self._outcome(file) for file in request.files]
        self._fail(context)
        return pb.UploadFilesResponse(success=True, outcomes=outcomes)

    def _outcome(self, file: pb.SmallFile) -> pb.UploadOutcome:
        if errors := self.refused_names.get(file.metadata.filename):
            error = errors.pop(0)
            return pb.UploadOutcome(error_code=error.code, status=error.status, message=str(error))
        self.kept[file.metadata.filename] = file.content
        return pb.UploadOutcome(file_id=FILE_ID, checksum=self.checksum or checksum_of(file.content), version=1)

    def UploadFile(  # noqa: N802 - gRPC's name
        self, request_iterator: Iterator[pb.UploadFileRequest], context: grpc.ServicerContext
    ) -> pb.UploadFileResponse:
        metadata = next(request_iterator).metadata
        self.request_ids.append(metadata.request_id)
        self.patience_s[metadata.filename] = context.time_remaining() or math.inf
        self._fail(context)
        self.while_receiving()
        data = b"".join(message.chunk_data for message in request_iterator)
        if len(data) != metadata.file_size:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "sizes differ")
        self.kept[metadata.filename] = data
        return pb.UploadFileResponse(success=True, file_id=FILE_ID, checksum=self.checksum or checksum_of(data))

    def DownloadFile(  # noqa: N802 - gRPC's name
        self, request: pb.DownloadFileRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.DownloadFileResponse]:
        self.asked.append((request.offset, request.version))
        info = pb.FileInfo(
            filename=self.sent_name,
            file_size=self.sent_size,
            checksum=self.checksum or checksum_of(self.sent),
            version=self.version,
            offset=request.offset,
        )
        yield pb.DownloadFileResponse(file_info=info)
        wanted = self.sent[request.offset :]
        yield pb.DownloadFileResponse(chunk_data=wanted[: 1 << 20])
        self._fail(context)
        for start in range(1 << 20, max(len(wanted), (1 << 20) + 1), 4 << 20):
            yield pb.DownloadFileResponse(chunk_data=wanted[start : start + (4 << 20)])

    def _fail(self, context: grpc.ServicerContext) -> None:
        if self.lost_connections:
            self.lost_connections -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        if self.refusal and self.refusals:
            self.refusals -= 1
            refuse(context, self.refusal)

    def _not_offered(self, request: object, context: grpc.ServicerContext) -> None:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "")

    ListFiles = DeleteFile = GetFileMetadata = CreateFolder = _not_offered  # type: ignore[assignment]
    ShareFile = GetSharedFiles = ResolvePath = MoveFile = RenameFile = _not_offered  # type: ignore[assignment]
    CopyFile = DeleteFolder = SearchFiles = _not_offered  # type: ignore[assignment]


class FakeUploads(stubs.UploadServiceServicer):
    """Keeps chunks that arrived whole."""

    def __init__(self) -> None:
        self.wishes: dict[str, pb.BeginUploadRequest] = {}  # by upload id
        self.chunks: dict[str, dict[int, bytes]] = {}
        self.answers: dict[str, pb.FinishUploadResponse] = {}
        self.puts: list[tuple[int, int]] = []  # first and count of every stream
        self.dropped: list[str] = []
        self.lost_connections = 0  # how many streams more break off, each after `chunks_a_try` chunks
        self.chunks_a_try = 1
        self.lost_begins = 0  # answers of BeginUpload that do not arrive
        self.lost_answers = 0  # of FinishUpload
        self.is_away = False  # no call gets through
        self.refusal: CloudError | None = None  # of chunks
        self.while_receiving: Callable[[], object] = lambda: None  # after each chunk

    def BeginUpload(  # noqa: N802 - gRPC's name
        self, request: pb.BeginUploadRequest, context: grpc.ServicerContext
    ) -> pb.BeginUploadResponse:
        known = [key for key, wish in self.wishes.items() if wish.metadata.request_id == request.metadata.request_id]
        upload_id = known[0] if known else f"{len(self.wishes):032x}"
        self.wishes[upload_id] = request
        self.chunks.setdefault(upload_id, {})
        if self.lost_begins:
            self.lost_begins -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        return pb.BeginUploadResponse(success=True, upload=self.status(upload_id))

    def PutChunks(  # noqa: N802 - gRPC's name
        self, request_iterator: Iterator[pb.PutChunksRequest], context: grpc.ServicerContext
    ) -> pb.PutChunksResponse:
        self._reach(context)
        if self.refusal:
            refuse(context, self.refusal)
        header = next(request_iterator).header
        self.puts.append((header.first, header.count))
        kept, size = self.chunks[header.upload_id], self.wishes[header.upload_id].metadata.file_size
        data, number = b"", 0
        for message in request_iterator:
            data += message.chunk_data
            position = header.first + number
            length = min(CHUNK_BYTES, size - position * CHUNK_BYTES)
            assert len(data) <= length, "a message ends where its chunk ends"
            if len(data) == length:
                kept[position], data, number = data, b"", number + 1
                self.while_receiving()
                self._reach(context)
                if self.lost_connections and number == self.chunks_a_try:
                    self.lost_connections -= 1
                    context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        if number != header.count:
            refuse(context, PartSizeWrong(announced=header.count, received=number))
        return pb.PutChunksResponse(success=True, chunks_stored=number)

    def GetUpload(  # noqa: N802 - gRPC's name
        self, request: pb.GetUploadRequest, context: grpc.ServicerContext
    ) -> pb.GetUploadResponse:
        self._reach(context)
        if request.upload_id in self.dropped:
            refuse(context, UploadEnded())
        return pb.GetUploadResponse(success=True, upload=self.status(request.upload_id))

    def ListUploads(  # noqa: N802 - gRPC's name
        self, request: pb.ListUploadsRequest, context: grpc.ServicerContext
    ) -> pb.ListUploadsResponse:
        unfinished = self.wishes.keys() - self.answers.keys() - set(self.dropped)
        return pb.ListUploadsResponse(success=True, uploads=map(self.status, sorted(unfinished)))

    def FinishUpload(  # noqa: N802 - gRPC's name
        self, request: pb.FinishUploadRequest, context: grpc.ServicerContext
    ) -> pb.FinishUploadResponse:
        self._reach(context)
        data = self.content(request.upload_id)
        if request.checksum != checksum_of(data):
            refuse(context, UploadDiffers(name="it"))
        answer = pb.FinishUploadResponse(success=True, file_id=FILE_ID, checksum=request.checksum, version=1)
        self.answers[request.upload_id] = answer
        if self.lost_answers:
            self.lost_answers -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        return answer

    def CancelUpload(  # noqa: N802 - gRPC's name
        self, request: pb.CancelUploadRequest, context: grpc.ServicerContext
    ) -> pb.CancelUploadResponse:
        self.dropped.append(request.upload_id)
        return pb.CancelUploadResponse(success=True)

    def _reach(self, context: grpc.ServicerContext) -> None:
        if self.is_away:
            context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")

    def content(self, upload_id: str) -> bytes:
        return b"".join(data for _, data in sorted(self.chunks[upload_id].items()))

    def status(self, upload_id: str) -> pb.UploadStatus:
        wish, kept = self.wishes[upload_id], self.chunks[upload_id]
        return pb.UploadStatus(
            upload_id=upload_id,
            filename=wish.metadata.filename,
            file_size=wish.metadata.file_size,
            fingerprint=wish.fingerprint,
            chunk_bytes=CHUNK_BYTES,
            stored=[pb.ChunkSpan(first=position, count=1) for position in sorted(kept)],
            stored_bytes=sum(map(len, kept.values())),
            ends_at="2030-01-01T00:00:00.000Z",
            file_id=FILE_ID if upload_id in self.answers else "",
        )


def refuse(context: grpc.ServicerContext, error: CloudError) -> None:
    context.set_trailing_metadata(rpc.trailers_of(error))
    context.abort(rpc.status_of(error), str(error))


class Progress(Unwatched):
    def __init__(self) -> None:
        self.steps: list[int] = []
        self.kept_bytes = 0

    def moved(self, count: int) -> None:
        self.steps.append(count)

    def kept(self, count: int) -> None:
        self.kept_bytes += count

    @property
    def total(self) -> int:
        return sum(self.steps)


@contextmanager
def serving(fake: FakeGateway, uploads: FakeUploads | None = None) -> Iterator[Session]:
    server = grpc.server(ThreadPoolExecutor(16), options=rpc.SERVER_OPTIONS)
    stubs.add_FileServiceServicer_to_server(fake, server)
    if uploads:
        stubs.add_UploadServiceServicer_to_server(uploads, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with Gateway(f"127.0.0.1:{port}") as gateway:
        yield Session(gateway, "token")
    server.stop(0).wait()
