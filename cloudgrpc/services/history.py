"""HistoryService: the trash, older versions, and what happened."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import grpc

from cloudgrpc.core.units import rfc3339
from cloudgrpc.meta.trash import Place
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.pb.cloud_storage_pb2_grpc import HistoryServiceServicer
from cloudgrpc.services import views

if TYPE_CHECKING:
    from cloudgrpc.actions.accounts import Accounts
    from cloudgrpc.actions.history import History
    from cloudgrpc.actions.trash import Lying, Trash
    from cloudgrpc.actions.versions import Versions
    from cloudgrpc.meta.history import Happening
    from cloudgrpc.meta.versions import Content

Context = grpc.aio.ServicerContext[Any, Any]


class HistoryService(HistoryServiceServicer):
    def __init__(self, accounts: Accounts, trash: Trash, versions: Versions, history: History) -> None:
        self._accounts = accounts
        self._trash = trash
        self._versions = versions
        self._history = history

    async def ListTrash(self, request: pb.ListTrashRequest, _context: Context) -> pb.ListTrashResponse:
        caller = await self._accounts.caller(request.session_token)
        lying, token = await self._trash.list(caller, request.page_size, request.page_token)
        return pb.ListTrashResponse(success=True, entries=map(_trash_entry, lying), next_page_token=token)

    async def RestoreFile(self, request: pb.RestoreFileRequest, _context: Context) -> pb.RestoreFileResponse:
        caller = await self._accounts.caller(request.session_token)
        folder_id = views.folder_id(request.target_folder_id) if request.HasField("target_folder_id") else None
        place = Place(folder_id, request.new_name, request.make_room)
        path = await self._trash.restore(caller, views.file_id(request.file_id), place)
        return pb.RestoreFileResponse(success=True, message=f"Restored to {path}.", path=path)

    async def EmptyTrash(self, request: pb.EmptyTrashRequest, _context: Context) -> pb.EmptyTrashResponse:
        caller = await self._accounts.caller(request.session_token)
        emptied = await self._trash.empty(caller)
        return pb.EmptyTrashResponse(
            success=True, message="The trash is empty.", entries=emptied.entries, bytes=emptied.size_bytes
        )

    async def ListVersions(self, request: pb.ListVersionsRequest, _context: Context) -> pb.ListVersionsResponse:
        caller = await self._accounts.caller(request.session_token)
        contents, token = await self._versions.list(
            caller, views.file_id(request.file_id), request.page_size, request.page_token
        )
        return pb.ListVersionsResponse(success=True, versions=map(_version_entry, contents), next_page_token=token)

    async def RestoreVersion(self, request: pb.RestoreVersionRequest, _context: Context) -> pb.RestoreVersionResponse:
        caller = await self._accounts.caller(request.session_token)
        version = await self._versions.restore(
            caller, views.file_id(request.file_id), request.version, views.expected_version(request)
        )
        return pb.RestoreVersionResponse(
            success=True,
            message=f"Version {request.version} is the newest again, as version {version}.",
            version=version,
        )

    async def DeleteVersion(self, request: pb.DeleteVersionRequest, _context: Context) -> pb.DeleteVersionResponse:
        caller = await self._accounts.caller(request.session_token)
        await self._versions.delete(caller, views.file_id(request.file_id), request.version)
        return pb.DeleteVersionResponse(success=True, message=f"Version {request.version} was deleted for good.")

    async def ListHistory(self, request: pb.ListHistoryRequest, _context: Context) -> pb.ListHistoryResponse:
        caller = await self._accounts.caller(request.session_token)
        found, token = await self._history.happenings(caller, request.page_size, request.page_token)
        return pb.ListHistoryResponse(success=True, entries=map(_history_entry, found), next_page_token=token)


def _trash_entry(lying: Lying) -> pb.TrashEntry:
    trashed = lying.trashed
    return pb.TrashEntry(
        file_id=trashed.entry_id,
        name=trashed.name,
        is_folder=trashed.is_folder,
        path=trashed.path,
        deleted_at=rfc3339(trashed.trashed_at),
        ends_at=rfc3339(lying.ends_at),
        file_size=trashed.size_bytes,
    )


def _version_entry(content: Content) -> pb.VersionEntry:
    return pb.VersionEntry(
        version=content.version,
        file_size=content.size_bytes,
        mime_type=content.mime_type,
        checksum=content.digest,
        created_at=rfc3339(content.created_at),
        made_by_email=content.made_by,
        is_newest=content.is_newest,
    )


def _history_entry(happening: Happening) -> pb.HistoryEntry:
    return pb.HistoryEntry(
        event_type=happening.kind,
        timestamp=rfc3339(happening.at),
        message=happening.message,
        details=json.dumps(happening.details, ensure_ascii=False),
        by_email=happening.by_email,
    )
