"""AdminService, of people: everybody's accounts, and what operators do with one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudgrpc import rpc
from cloudgrpc.core.operators import Role
from cloudgrpc.core.units import size_words
from cloudgrpc.errors import ListTooLong
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.pb.cloud_storage_pb2_grpc import AdminServiceServicer
from cloudgrpc.services import operator_views as views

if TYPE_CHECKING:
    import grpc

    from cloudgrpc.actions.admins import Admins
    from cloudgrpc.actions.overview import Overviews
    from cloudgrpc.actions.people import People

    Context = grpc.aio.ServicerContext[Any, Any]


class AdminUsers(AdminServiceServicer):
    _admins: Admins
    _overviews: Overviews
    _people: People

    async def ListAllUsers(self, request: pb.ListUsersRequest, _context: Context) -> pb.ListUsersResponse:
        await self._admins.check(request.admin_key, Role.VIEW)
        found, token = await self._people.list(request.search, request.page_size, request.page_token)
        reply = pb.ListUsersResponse(success=True, users=map(views.user_info, found), next_page_token=token)
        if reply.ByteSize() > rpc.MESSAGE_BYTES:
            raise ListTooLong
        return reply

    async def GetUserDetails(self, request: pb.UserDetailsRequest, _context: Context) -> pb.UserDetailsResponse:
        await self._admins.check(request.admin_key, Role.VIEW)
        return views.user_details(await self._people.details(request.user_id))

    async def SetQuota(self, request: pb.SetQuotaRequest, _context: Context) -> pb.SetQuotaResponse:
        operator = await self._admins.check(request.admin_key)
        expected = request.expected_bytes if request.HasField("expected_bytes") else None
        changed = await self._people.set_quota(request.user, request.quota_bytes, expected, operator)
        user = views.user_info(changed.user)
        return pb.SetQuotaResponse(
            success=True,
            message=f"{user.email} has {size_words(user.storage_allocated)} now.",
            user=user,
            promised_bytes=changed.promised_bytes,
            promisable_bytes=self._overviews.promisable(changed.capacity_bytes),
        )

    async def SetUserDisabled(
        self, request: pb.SetUserDisabledRequest, _context: Context
    ) -> pb.SetUserDisabledResponse:
        operator = await self._admins.check(request.admin_key)
        if request.disabled:
            user = views.user_info(await self._people.disable(request.user, request.reason, operator))
            words = f"{user.email} is signed out everywhere and cannot sign in."
        else:
            user = views.user_info(await self._people.enable(request.user, operator))
            words = f"{user.email} can sign in."
        return pb.SetUserDisabledResponse(success=True, message=words, user=user)
