"""SharingService: who may use what is mine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudgrpc.core.units import rfc3339
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.pb.cloud_storage_pb2_grpc import SharingServiceServicer
from cloudgrpc.services import views

if TYPE_CHECKING:
    import grpc

    from cloudgrpc.actions.accounts import Accounts
    from cloudgrpc.actions.sharing import Sharing

    Context = grpc.aio.ServicerContext[Any, Any]


class SharingService(SharingServiceServicer):
    def __init__(self, accounts: Accounts, sharing: Sharing) -> None:
        self._accounts = accounts
        self._sharing = sharing

    async def ListShares(self, request: pb.ListSharesRequest, _context: Context) -> pb.ListSharesResponse:
        caller = await self._accounts.caller(request.session_token)
        entry_id = views.file_id(request.file_id) if request.file_id else ""
        found, token = await self._sharing.mine(caller, entry_id, request.page_size, request.page_token)
        shares = [
            pb.ShareEntry(
                share_token=share.share_id,
                file_id=share.entry_id,
                path=share.path,
                is_folder=share.is_folder,
                shared_with_email=share.email,
                permission=share.terms.permission,
                shared_at=rfc3339(share.created_at),
                until=rfc3339(share.terms.until_at),
            )
            for share in found
        ]
        return pb.ListSharesResponse(success=True, shares=shares, next_page_token=token)

    async def UnshareFile(self, request: pb.UnshareFileRequest, _context: Context) -> pb.UnshareFileResponse:
        caller = await self._accounts.caller(request.session_token)
        token = views.share_token(request.share_token) if request.share_token else ""
        entry_id = "" if token and not request.file_id else views.file_id(request.file_id)
        await self._sharing.unshare(caller, token, entry_id, request.shared_with_email)
        return pb.UnshareFileResponse(success=True, message="It is no longer shared.")

    async def OpenShare(self, request: pb.OpenShareRequest, _context: Context) -> pb.OpenShareResponse:
        caller = await self._accounts.caller(request.session_token)
        found = await self._sharing.open(caller, views.share_token(request.share_token))
        return pb.OpenShareResponse(success=True, shared_file=views.shared_file(found))
