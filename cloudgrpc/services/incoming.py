"""Streams that bring a file's bytes: one message that tells what they are, then the bytes.

Messages come as they are on the wire, see `wire`. Both kinds have their bytes in field 2.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import DecodeError

from cloudgrpc.core import paths
from cloudgrpc.errors import InvalidField, PeerSilent
from cloudgrpc.meta.uploads import Wish
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.services import views
from cloudgrpc.wire import split_data

if TYPE_CHECKING:
    from cloudgrpc.meta.accounts import Caller

Context = grpc.aio.ServicerContext[Any, Any]
Request = pb.UploadFileRequest | pb.PutChunksRequest

REQUEST_ID_BYTES = 128
MIME_BYTES = 255
BREAK_S = 0.01  # mostly the last chunk takes longer than this to reach its nodes; 4 ms were seen on a busy machine
DEFAULT_MIME = "application/octet-stream"


class Incoming:
    """The messages of a stream, of type `kind`, whose field `head` comes once and first.

    They are read one by one: gRPC's iterator keeps the last until the next is there.
    """

    def __init__(self, context: Context, silence_s: float, kind: type[Request], head: str) -> None:
        self._context = context
        self._silence_s = silence_s
        self._kind = kind
        self._head = head

    async def head(self) -> Any:
        """What the first message holds. Raises: InvalidField, PeerSilent."""
        try:
            async with asyncio.timeout(self._silence_s):
                packed = await self._read() or b""
        except TimeoutError as error:
            raise PeerSilent(seconds=self._silence_s) from error
        first = self._parse(packed)
        if first.WhichOneof("data") != self._head:
            raise InvalidField(field=self._head, reason="must come first")
        return getattr(first, self._head)

    async def data(self) -> memoryview:
        """The next bytes, none at the end of the stream. Messages without any are passed over. Raises: InvalidField."""
        while (packed := await self._read()) is not None:
            data, rest = split_data(packed)
            if rest:  # not simply bytes: protobuf knows what it means
                message = self._parse(packed)
                if message.WhichOneof("data") == self._head:
                    raise InvalidField(field=self._head, reason="must come only once")
                data = memoryview(message.chunk_data)
            if data:
                return data
        # gRPC ends a stream that broke like one that is complete, and cancels us a moment later.
        await asyncio.sleep(BREAK_S)
        return memoryview(b"")

    async def _read(self) -> bytes | None:
        """None: there are no more."""
        message: object = await self._context.read()
        return message if isinstance(message, bytes) else None

    def _parse(self, packed: bytes) -> Request:
        try:
            return self._kind.FromString(packed)
        except DecodeError as error:
            raise InvalidField(field="message", reason=f"is no {self._kind.DESCRIPTOR.name}") from error


def wish(caller: Caller, metadata: pb.FileMetadata) -> Wish:
    """Raises: InvalidField."""
    paths.check_name(metadata.filename, "filename")
    if metadata.file_size < 0:
        raise InvalidField(field="file_size", reason="must not be negative")
    if len(metadata.request_id.encode()) > REQUEST_ID_BYTES or "\0" in metadata.request_id:
        raise InvalidField(field="request_id", reason=f"must be at most {REQUEST_ID_BYTES} bytes, without NUL")
    if len(metadata.mime_type.encode()) > MIME_BYTES or not metadata.mime_type.isprintable():
        raise InvalidField(field="mime_type", reason=f"must be at most {MIME_BYTES} printable bytes")
    return Wish(
        person=caller,
        parent_id=views.folder_id(metadata.parent_folder_id),
        name=metadata.filename,
        size_bytes=metadata.file_size,
        mime_type=metadata.mime_type or DEFAULT_MIME,
        request_id=metadata.request_id,
        expected_version=views.expected_version(metadata),
    )
