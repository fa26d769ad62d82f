"""StorageService: what a person has and uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.pb.cloud_storage_pb2_grpc import StorageServiceServicer

if TYPE_CHECKING:
    import grpc

    from cloudgrpc.actions.accounts import Accounts
    from cloudgrpc.actions.files import Files

    Context = grpc.aio.ServicerContext[Any, Any]


class StorageService(StorageServiceServicer):
    def __init__(self, accounts: Accounts, files: Files) -> None:
        self._accounts = accounts
        self._files = files

    async def GetStorageInfo(self, request: pb.StorageInfoRequest, _context: Context) -> pb.StorageInfoResponse:
        caller = await self._accounts.caller(request.session_token)
        room = await self._files.room(caller)
        return pb.StorageInfoResponse(
            success=True,
            allocated_bytes=room.allocated_bytes,
            used_bytes=room.used_bytes,
            available_bytes=max(0, room.allocated_bytes - room.used_bytes),
            usage_percentage=100 * room.used_bytes / max(1, room.allocated_bytes),
        )

    async def GetStorageUsage(self, request: pb.StorageUsageRequest, _context: Context) -> pb.StorageUsageResponse:
        caller = await self._accounts.caller(request.session_token)
        usage = await self._files.usage(caller)
        return pb.StorageUsageResponse(
            success=True,
            usage_by_type=usage.by_type,
            total_files=usage.total_files,
            total_folders=usage.total_folders,
            live_bytes=usage.live_bytes,
            trash_bytes=usage.trash_bytes,
            version_bytes=usage.version_bytes,
            reserved_bytes=usage.reserved_bytes,
        )
