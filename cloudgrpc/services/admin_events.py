"""AdminService, what happened, as it happens, and the keys of operators."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from cloudgrpc import rpc
from cloudgrpc.actions.event_feed import Asked
from cloudgrpc.core.operators import Role
from cloudgrpc.core.units import rfc3339
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.pb.cloud_storage_pb2_grpc import AdminServiceServicer
from cloudgrpc.services import event_views as views

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc

    from cloudgrpc.actions.admins import Admins
    from cloudgrpc.actions.event_feed import EventFeed
    from cloudgrpc.meta.models import AdminKey

    Context = grpc.aio.ServicerContext[Any, Any]


class AdminEvents(AdminServiceServicer):
    _admins: Admins
    _feed: EventFeed

    async def StreamSystemEvents(
        self, request: pb.StreamEventsRequest, context: Context
    ) -> AsyncIterator[pb.SystemEvent]:
        operator = await self._admins.check(request.admin_key, Role.VIEW)
        asked = Asked(
            after_id=request.after_id if request.HasField("after_id") else None,
            since=request.since,
            types=request.types,
            user=request.user,
            stop_at_end=request.stop_at_end,
        )
        async with self._feed.follow(asked, partial(self._admins.check_still, operator)) as following:
            # So that whoever saw no event yet can go on from there, too; and it tells that the stream has begun.
            await context.send_initial_metadata(((rpc.EVENT_KEY, str(following.after)),))
            async for told in following.events():
                yield views.event(told)

    async def AddAdminKey(self, request: pb.AddAdminKeyRequest, _context: Context) -> pb.AddAdminKeyResponse:
        operator = await self._admins.check(request.admin_key, Role.OWN)
        key = await self._admins.add(operator, request.name, request.role)
        return pb.AddAdminKeyResponse(
            success=True, message=f"{request.name} may {request.role}. The key is told this once.", key=key
        )

    async def ListAdminKeys(self, request: pb.ListAdminKeysRequest, _context: Context) -> pb.ListAdminKeysResponse:
        await self._admins.check(request.admin_key, Role.VIEW)
        return pb.ListAdminKeysResponse(success=True, keys=map(_key, await self._admins.keys()))

    async def RevokeAdminKey(self, request: pb.RevokeAdminKeyRequest, _context: Context) -> pb.RevokeAdminKeyResponse:
        operator = await self._admins.check(request.admin_key, Role.OWN)
        await self._admins.revoke(operator, request.name)
        return pb.RevokeAdminKeyResponse(success=True, message=f"{request.name} opens nothing any more.")


def _key(key: AdminKey) -> pb.AdminKeyInfo:
    return pb.AdminKeyInfo(
        name=key.name,
        role=key.role,
        created_at=rfc3339(key.created_at),
        created_by=key.created_by,
        last_used_at=rfc3339(key.last_used_at),
        revoked_at=rfc3339(key.revoked_at),
    )
