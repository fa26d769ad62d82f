"""FileService: files in, files out, folders, lists and deletes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import grpc

from cloudgrpc import rpc
from cloudgrpc.actions.searching import Question
from cloudgrpc.errors import ListTooLong
from cloudgrpc.meta.changes import Move, Removal
from cloudgrpc.meta.copying import CopyTo
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.pb.cloud_storage_pb2_grpc import FileServiceServicer, add_FileServiceServicer_to_server
from cloudgrpc.services import incoming, small_files, views

if TYPE_CHECKING:
    from cloudgrpc.actions.accounts import Accounts
    from cloudgrpc.actions.downloads import Downloads
    from cloudgrpc.actions.files import Files
    from cloudgrpc.actions.searching import Searching
    from cloudgrpc.actions.sharing import Sharing
    from cloudgrpc.actions.small_uploads import SmallUploads
    from cloudgrpc.actions.uploads import Uploads
    from cloudgrpc.config import Drive

Context = grpc.aio.ServicerContext[Any, Any]
ListResponse = TypeVar("ListResponse", pb.ListFilesResponse, pb.GetSharedFilesResponse)


class FileService(FileServiceServicer):
    def __init__(
        self,
        accounts: Accounts,
        files: Files,
        *,
        uploads: Uploads,
        small_uploads: SmallUploads,
        downloads: Downloads,
        sharing: Sharing,
        searching: Searching,
        settings: Drive,
    ) -> None:
        self._accounts = accounts
        self._files = files
        self._uploads = uploads
        self._small_uploads = small_uploads
        self._downloads = downloads
        self._sharing = sharing
        self._searching = searching
        self._silence_s = settings.silence_s

    async def UploadFile(self, _stream: object, context: Context) -> pb.UploadFileResponse:
        """Its messages are as they are on the wire, see add_file_service."""
        messages = incoming.Incoming(context, self._silence_s, pb.UploadFileRequest, "metadata")
        metadata = await messages.head()
        caller = await self._accounts.caller(metadata.session_token)
        answer = await self._uploads.upload(incoming.wish(caller, metadata), messages.data)
        return pb.UploadFileResponse(
            success=True,
            message=f"{metadata.filename} is stored.",
            file_id=answer.file_id,
            chunks_stored=answer.chunks_stored,
            checksum=answer.digest,
            version=answer.version,
        )

    async def UploadFiles(self, request: pb.UploadFilesRequest, _context: Context) -> pb.UploadFilesResponse:
        caller = await self._accounts.caller(request.session_token)
        small_files.check(request)
        files = [small_files.small_file(caller, file) for file in request.files]
        outcomes = await self._small_uploads.upload(caller.account_id, files)
        return pb.UploadFilesResponse(success=True, outcomes=map(small_files.outcome, outcomes))

    async def DownloadFile(  # type: ignore[override]  # it writes itself, to notice a reader that takes nothing
        self, request: pb.DownloadFileRequest, context: Context
    ) -> None:
        caller = await self._accounts.caller(request.session_token)
        length = request.length if request.HasField("length") else None
        file_id = views.file_id(request.file_id)
        opened = await self._downloads.open(caller, file_id, request.version, request.offset, length)
        info = views.info(opened.file, opened.offset, opened.length)
        await context.write(pb.DownloadFileResponse(file_info=info).SerializeToString())
        await self._downloads.send(opened, lambda piece: context.write(piece.packed()))

    async def ListFiles(self, request: pb.ListFilesRequest, _context: Context) -> pb.ListFilesResponse:
        caller = await self._accounts.caller(request.session_token)
        page, token = await self._files.list(
            caller,
            views.folder_id(request.folder_id),
            request.page_size,
            request.page_token,
            with_trash=request.include_deleted,
            prefix=request.name_prefix,
        )
        response = pb.ListFilesResponse(
            success=True,
            files=[views.file_entry(file) for file in page.files],
            folders=[views.folder_entry(folder) for folder in page.folders],
            next_page_token=token,
        )
        return _fitting(response)

    async def GetFileMetadata(self, request: pb.FileMetadataRequest, _context: Context) -> pb.FileMetadataResponse:
        caller = await self._accounts.caller(request.session_token)
        file = await self._files.find(caller, views.file_id(request.file_id))
        return pb.FileMetadataResponse(
            success=True, file=views.file_entry(file), chunk_count=file.chunk_count, checksum=file.digest
        )

    async def CreateFolder(self, request: pb.CreateFolderRequest, _context: Context) -> pb.CreateFolderResponse:
        caller = await self._accounts.caller(request.session_token)
        folder = await self._files.make_folder(caller, views.folder_id(request.parent_folder_id), request.folder_name)
        return pb.CreateFolderResponse(success=True, message=f"{folder.name} was made.", folder_id=folder.folder_id)

    async def DeleteFile(self, request: pb.DeleteFileRequest, _context: Context) -> pb.DeleteFileResponse:
        caller = await self._accounts.caller(request.session_token)
        how = Removal(expected_version=views.expected_version(request))
        await self._files.delete(caller, views.file_id(request.file_id), how, permanent=request.permanent)
        return pb.DeleteFileResponse(success=True, message=_where_to(request))

    async def DeleteFolder(self, request: pb.DeleteFolderRequest, _context: Context) -> pb.DeleteFolderResponse:
        caller = await self._accounts.caller(request.session_token)
        how = Removal(is_of_folder=True, only_empty=not request.recursive)
        folder_id = views.file_id(request.folder_id, how.what)
        await self._files.delete(caller, folder_id, how, permanent=request.permanent)
        return pb.DeleteFolderResponse(success=True, message=_where_to(request))

    async def MoveFile(self, request: pb.MoveFileRequest, _context: Context) -> pb.MoveFileResponse:
        caller = await self._accounts.caller(request.session_token)
        to = Move(views.folder_id(request.target_folder_id), request.new_name, views.expected_version(request))
        path = await self._files.move(caller, views.file_id(request.file_id), to)
        return pb.MoveFileResponse(success=True, message=f"Moved to {path}.")

    async def RenameFile(self, request: pb.RenameFileRequest, _context: Context) -> pb.RenameFileResponse:
        caller = await self._accounts.caller(request.session_token)
        to = Move(None, request.new_name, views.expected_version(request))
        path = await self._files.move(caller, views.file_id(request.file_id), to)
        return pb.RenameFileResponse(success=True, message=f"Renamed to {path}.")

    async def CopyFile(self, request: pb.CopyFileRequest, _context: Context) -> pb.CopyFileResponse:
        caller = await self._accounts.caller(request.session_token)
        to = CopyTo(
            views.folder_id(request.target_folder_id),
            request.new_name,
            replace=request.replace,
            expected_version=views.expected_version(request),
        )
        copied = await self._files.copy(caller, views.file_id(request.file_id), to)
        return pb.CopyFileResponse(
            success=True,
            message=f"{copied.files} files and {copied.folders} folders were copied.",
            file_id=copied.entry_id,
            files=copied.files,
            folders=copied.folders,
            bytes=copied.size_bytes,
        )

    async def ResolvePath(self, request: pb.ResolvePathRequest, _context: Context) -> pb.ResolvePathResponse:
        caller = await self._accounts.caller(request.session_token)
        found = await self._files.resolve(caller, views.folder_id(request.folder_id), request.path)
        return pb.ResolvePathResponse(
            success=True,
            path=found.reached.path,
            owner_email=found.reached.owner_email,
            permission=found.reached.permission,
            share_token=found.reached.share_id,
            **views.entry(found.entry),
        )

    async def SearchFiles(self, request: pb.SearchFilesRequest, _context: Context) -> pb.SearchFilesResponse:
        caller = await self._accounts.caller(request.session_token)
        question = Question(request.name, request.kind, request.mime_type, request.larger_than, request.newer_than)
        found, token = await self._searching.search(
            caller, views.folder_id(request.folder_id), question, request.page_size, request.page_token
        )
        return pb.SearchFilesResponse(success=True, found=map(views.found_entry, found), next_page_token=token)

    async def ShareFile(self, request: pb.ShareFileRequest, _context: Context) -> pb.ShareFileResponse:
        caller = await self._accounts.caller(request.session_token)
        token = await self._sharing.share(
            caller,
            views.file_id(request.file_id),
            request.share_with_email,
            request.permission,
            request.until,
        )
        return pb.ShareFileResponse(success=True, message="It is shared.", share_token=token)

    async def GetSharedFiles(self, request: pb.GetSharedFilesRequest, _context: Context) -> pb.GetSharedFilesResponse:
        caller = await self._accounts.caller(request.session_token)
        found, token = await self._sharing.with_me(caller, request.page_size, request.page_token)
        return _fitting(
            pb.GetSharedFilesResponse(success=True, shared_files=map(views.shared_file, found), next_page_token=token)
        )


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


def _where_to(request: pb.DeleteFileRequest | pb.DeleteFolderRequest) -> str:
    return "Deleted for good." if request.permanent else "Moved to the trash."


def _fitting(response: ListResponse) -> ListResponse:
    """Raises: ListTooLong."""
    if response.ByteSize() > rpc.MESSAGE_BYTES:
        raise ListTooLong
    return response
