"""UploadService: uploads that can be broken off and go on later."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import grpc

from cloudgrpc.core.chunking import CHUNK_BYTES
from cloudgrpc.core.units import rfc3339
from cloudgrpc.errors import InvalidField, UploadUnknown
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.pb.cloud_storage_pb2_grpc import UploadServiceServicer, add_UploadServiceServicer_to_server
from cloudgrpc.services import incoming, views

if TYPE_CHECKING:
    from cloudgrpc.actions.accounts import Accounts
    from cloudgrpc.actions.upload_sessions import UploadSessions
    from cloudgrpc.config import Drive
    from cloudgrpc.meta.upload_sessions import Session

Context = grpc.aio.ServicerContext[Any, Any]

FINGERPRINT_BYTES = 128
CHECKSUM = re.compile(r"(blake3:[0-9a-f]{64})?\Z")


class UploadService(UploadServiceServicer):
    def __init__(self, accounts: Accounts, sessions: UploadSessions, settings: Drive) -> None:
        self._accounts = accounts
        self._sessions = sessions
        self._silence_s = settings.silence_s

    async def BeginUpload(self, request: pb.BeginUploadRequest, _context: Context) -> pb.BeginUploadResponse:
        caller = await self._accounts.caller(request.metadata.session_token)
        wish = incoming.wish(caller, request.metadata)
        session = await self._sessions.begin(wish, _fingerprint(request.fingerprint))
        return pb.BeginUploadResponse(success=True, upload=_status(session))

    async def PutChunks(self, _stream: object, context: Context) -> pb.PutChunksResponse:
        """Its messages are as they are on the wire, see add_upload_service."""
        messages = incoming.Incoming(context, self._silence_s, pb.PutChunksRequest, "header")
        header = await messages.head()
        caller = await self._accounts.caller(header.session_token)
        upload_id = _upload_id(header.upload_id)
        stored = await self._sessions.put(caller, upload_id, header.first, header.count, messages.data)
        return pb.PutChunksResponse(success=True, chunks_stored=stored)

    async def GetUpload(self, request: pb.GetUploadRequest, _context: Context) -> pb.GetUploadResponse:
        caller = await self._accounts.caller(request.session_token)
        session = await self._sessions.find(caller, _upload_id(request.upload_id))
        return pb.GetUploadResponse(success=True, upload=_status(session))

    async def ListUploads(self, request: pb.ListUploadsRequest, _context: Context) -> pb.ListUploadsResponse:
        caller = await self._accounts.caller(request.session_token)
        page, token = await self._sessions.list(caller, request.page_size, request.page_token)
        return pb.ListUploadsResponse(success=True, uploads=map(_status, page), next_page_token=token)

    async def FinishUpload(self, request: pb.FinishUploadRequest, _context: Context) -> pb.FinishUploadResponse:
        caller = await self._accounts.caller(request.session_token)
        upload_id, checksum = _upload_id(request.upload_id), _checksum(request.checksum)
        answer = await self._sessions.finish(caller, upload_id, checksum, views.expected_version(request))
        return pb.FinishUploadResponse(
            success=True,
            message="It is stored.",
            file_id=answer.file_id,
            chunks_stored=answer.chunks_stored,
            checksum=answer.digest,
            version=answer.version,
        )

    async def CancelUpload(self, request: pb.CancelUploadRequest, _context: Context) -> pb.CancelUploadResponse:
        caller = await self._accounts.caller(request.session_token)
        await self._sessions.cancel(caller, _upload_id(request.upload_id))
        return pb.CancelUploadResponse(success=True, message="It was dropped.")


def add_upload_service(service: UploadService, server: grpc.aio.Server) -> None:
    """PutChunks takes messages as they are on the wire."""
    handler: Any = grpc.stream_unary_rpc_method_handler(service.PutChunks, None, pb.PutChunksResponse.SerializeToString)
    add_UploadServiceServicer_to_server(service, server)
    # Of two handlers of one method the one registered later counts.
    server.add_registered_method_handlers("cloudstorage.UploadService", {"PutChunks": handler})


def _status(session: Session) -> pb.UploadStatus:
    return pb.UploadStatus(
        upload_id=session.upload_id,
        filename=session.name,
        parent_folder_id=session.parent_id,
        file_size=session.size_bytes,
        fingerprint=session.fingerprint,
        chunk_bytes=CHUNK_BYTES,
        stored=[pb.ChunkSpan(first=span.first, count=span.count) for span in session.stored],
        stored_bytes=session.stored_bytes,
        created_at=rfc3339(session.created_at),
        ends_at="" if session.answer else rfc3339(session.ends_at),
        file_id=session.answer.file_id if session.answer else "",
    )


def _upload_id(told: str) -> str:
    """Raises: UploadUnknown."""
    if not views.ENTRY_ID.match(told):
        raise UploadUnknown(upload_id=told)
    return told


def _fingerprint(told: str) -> str:
    if len(told.encode()) > FINGERPRINT_BYTES or not told.isprintable():
        raise InvalidField(field="fingerprint", reason=f"must be at most {FINGERPRINT_BYTES} printable bytes")
    return told


def _checksum(told: str) -> str:
    if not CHECKSUM.match(told):
        raise InvalidField(field="checksum", reason='must be "blake3:" and 64 hexadecimal digits')
    return told
