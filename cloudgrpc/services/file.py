"""FileService: files in, files out, folders, lists and deletes."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import DecodeError

from cloudgrpc import rpc
from cloudgrpc.core import paths
from cloudgrpc.core.units import rfc3339
from cloudgrpc.errors import InvalidField, ListTooLong, Missing, PeerSilent
from cloudgrpc.meta.files import File, Folder
from cloudgrpc.meta.uploads import Wish
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.pb.cloud_storage_pb2_grpc import FileServiceServicer, add_FileServiceServicer_to_server
from cloudgrpc.wire import pack_data, split_data

if TYPE_CHECKING:
    from cloudgrpc.actions.accounts import Accounts
    from cloudgrpc.actions.downloads import Downloads
    from cloudgrpc.actions.files import Files
    from cloudgrpc.actions.uploads import Uploads
    from cloudgrpc.config import Drive
    from cloudgrpc.meta.accounts import Caller

Context = grpc.aio.ServicerContext[Any, Any]

ENTRY_ID = re.compile(r"[0-9a-f]{32}\Z")
REQUEST_ID_BYTES = 128
MIME_BYTES = 255
BREAK_S = 0.01  # mostly the last chunk takes longer than this to reach its nodes; 4 ms were seen on a busy machine
DEFAULT_MIME = "application/octet-stream"


class FileService(FileServiceServicer):
    def __init__(
        self, accounts: Accounts, files: Files, uploads: Uploads, downloads: Downloads, settings: Drive
    ) -> None:
        self._accounts = accounts
        self._files = files
        self._uploads = uploads
        self._downloads = downloads
        self._silence_s = settings.silence_s

    async def UploadFile(self, _stream: object, context: Context) -> pb.UploadFileResponse:
        """Its messages are as they are on the wire, see add_file_service."""
        messages = _Messages(context, self._silence_s)
        metadata = await messages.metadata()
        caller = await self._accounts.caller(metadata.session_token)
        answer = await self._uploads.upload(_wish(caller, metadata), messages.data)
        return pb.UploadFileResponse(
            success=True,
            message=f"{metadata.filename} is stored.",
            file_id=answer.file_id,
            chunks_stored=answer.chunks_stored,
            checksum=answer.digest,
            version=answer.version,
        )

    async def DownloadFile(  # type: ignore[override]  # it writes itself, to notice a reader that takes nothing
        self, request: pb.DownloadFileRequest, context: Context
    ) -> None:
        caller = await self._accounts.caller(request.session_token)
        file = await self._downloads.open(caller, _file_id(request.file_id))
        await context.write(pb.DownloadFileResponse(file_info=_info(file)).SerializeToString())
        await self._downloads.send(file, lambda piece: context.write(pack_data(piece)))

    async def ListFiles(self, request: pb.ListFilesRequest, _context: Context) -> pb.ListFilesResponse:
        caller = await self._accounts.caller(request.session_token)
        page, token = await self._files.list(
            caller,
            _folder_id(request.folder_id),
            request.page_size,
            request.page_token,
            with_trash=request.include_deleted,
        )
        response = pb.ListFilesResponse(
            success=True,
            files=[_file_entry(file) for file in page.files],
            folders=[_folder_entry(folder) for folder in page.folders],
            next_page_token=token,
        )
        return _fitting(response)

    async def GetFileMetadata(self, request: pb.FileMetadataRequest, _context: Context) -> pb.FileMetadataResponse:
        caller = await self._accounts.caller(request.session_token)
        file = await self._files.find(caller, _file_id(request.file_id))
        return pb.FileMetadataResponse(
            success=True, file=_file_entry(file), chunk_count=file.chunk_count, checksum=file.digest
        )

    async def CreateFolder(self, request: pb.CreateFolderRequest, _context: Context) -> pb.CreateFolderResponse:
        caller = await self._accounts.caller(request.session_token)
        folder = await self._files.make_folder(caller, _folder_id(request.parent_folder_id), request.folder_name)
        return pb.CreateFolderResponse(success=True, message=f"{folder.name} was made.", folder_id=folder.folder_id)

    async def DeleteFile(self, request: pb.DeleteFileRequest, _context: Context) -> pb.DeleteFileResponse:
        caller = await self._accounts.caller(request.session_token)
        await self._files.delete(caller, _file_id(request.file_id), permanent=request.permanent)
        where = "Deleted for good." if request.permanent else "Moved to the trash."
        return pb.DeleteFileResponse(success=True, message=where)

    async def ResolvePath(self, request: pb.ResolvePathRequest, _context: Context) -> pb.ResolvePathResponse:
        caller = await self._accounts.caller(request.session_token)
        found = await self._files.resolve(caller, _folder_id(request.folder_id), request.path)
        response = pb.ResolvePathResponse(
            success=True,
            path=found.reached.path,
            owner_email=found.reached.owner_email,
            permission=found.reached.permission,
            share_token=found.reached.share_id,
        )
        if isinstance(found.entry, File):
            response.file.CopyFrom(_file_entry(found.entry))
        else:
            response.folder.CopyFrom(_folder_entry(found.entry))
        return response


class _Messages:
    """An upload's messages, as they came: metadata once, then bytes.

    They are read one by one: gRPC's iterator keeps the last until the next is there.
    """

    def __init__(self, context: Context, silence_s: float) -> None:
        self._context = context
        self._silence_s = silence_s

    async def metadata(self) -> pb.FileMetadata:
        try:
            async with asyncio.timeout(self._silence_s):
                packed = await self._read() or b""
        except TimeoutError as error:
            raise PeerSilent(seconds=self._silence_s) from error
        first = _parse(packed)
        if first.WhichOneof("data") != "metadata":
            raise InvalidField(field="metadata", reason="must come first")
        return first.metadata

    async def data(self) -> memoryview:
        """The next bytes, none at the end of the stream. Messages without any are passed over."""
        while (packed := await self._read()) is not None:
            data, rest = split_data(packed)
            if rest:  # not simply bytes: protobuf knows what it means
                message = _parse(packed)
                if message.WhichOneof("data") == "metadata":
                    raise InvalidField(field="metadata", reason="must come only once")
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


def _parse(packed: bytes) -> pb.UploadFileRequest:
    try:
        return pb.UploadFileRequest.FromString(packed)
    except DecodeError as error:
        raise InvalidField(field="message", reason="is no UploadFileRequest") from error


def add_file_service(service: FileService, server: grpc.aio.Server) -> None:
    """UploadFile takes, and DownloadFile gives, messages as they are on the wire: see `wire`."""
    handlers: dict[str, Any] = {
        "UploadFile": grpc.stream_unary_rpc_method_handler(
            service.UploadFile, None, pb.UploadFileResponse.SerializeToString
        ),
        "DownloadFile": grpc.unary_stream_rpc_method_handler(service.DownloadFile, pb.DownloadFileRequest.FromString),
    }
    add_FileServiceServicer_to_server(service, server)
    # Of two handlers of one method the one registered later counts.
    server.add_registered_method_handlers("cloudstorage.FileService", handlers)


def _file_id(told: str) -> str:
    """Raises: Missing for what is no id; it never reaches the database, whose engines differ in what they take."""
    if not ENTRY_ID.match(told):
        raise Missing(what=f"File {told}")
    return told


def _folder_id(told: str) -> str:
    """Empty for the root folder. Raises: Missing."""
    if told and not ENTRY_ID.match(told):
        raise Missing(what=f"Folder {told}")
    return told


def _wish(caller: Caller, metadata: pb.FileMetadata) -> Wish:
    paths.check_name(metadata.filename, "filename")
    if metadata.file_size < 0:
        raise InvalidField(field="file_size", reason="must not be negative")
    if len(metadata.request_id.encode()) > REQUEST_ID_BYTES or "\0" in metadata.request_id:
        raise InvalidField(field="request_id", reason=f"must be at most {REQUEST_ID_BYTES} bytes, without NUL")
    if len(metadata.mime_type.encode()) > MIME_BYTES or not metadata.mime_type.isprintable():
        raise InvalidField(field="mime_type", reason=f"must be at most {MIME_BYTES} printable bytes")
    return Wish(
        person=caller,
        parent_id=_folder_id(metadata.parent_folder_id),
        name=metadata.filename,
        size_bytes=metadata.file_size,
        mime_type=metadata.mime_type or DEFAULT_MIME,
        request_id=metadata.request_id,
        expected_version=metadata.expected_version if metadata.HasField("expected_version") else None,
    )


def _fitting(response: pb.ListFilesResponse) -> pb.ListFilesResponse:
    if response.ByteSize() > rpc.MESSAGE_BYTES:
        raise ListTooLong
    return response


def _info(file: File) -> pb.FileInfo:
    return pb.FileInfo(
        filename=file.name,
        file_size=file.size_bytes,
        mime_type=file.mime_type,
        total_chunks=file.chunk_count,
        checksum=file.digest,
        version=file.version,
        length=file.size_bytes,
    )


def _file_entry(file: File) -> pb.FileEntry:
    return pb.FileEntry(
        file_id=file.file_id,
        filename=file.name,
        file_size=file.size_bytes,
        mime_type=file.mime_type,
        created_at=rfc3339(file.created_at),
        modified_at=rfc3339(file.modified_at),
        is_shared=file.is_shared,
        is_deleted=file.is_trashed,
        version=file.version,
        checksum=file.digest,
        parent_folder_id=file.parent_id,
    )


def _folder_entry(folder: Folder) -> pb.FolderEntry:
    return pb.FolderEntry(
        folder_id=folder.folder_id,
        folder_name=folder.name,
        created_at=rfc3339(folder.created_at),
        file_count=folder.file_count,
        is_deleted=folder.is_trashed,
        modified_at=rfc3339(folder.modified_at),
        is_shared=folder.is_shared,
        parent_folder_id=folder.parent_id,
    )
