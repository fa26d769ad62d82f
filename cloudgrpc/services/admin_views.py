"""AdminService, what operators see: status and nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudgrpc.core.operators import Role
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.pb.cloud_storage_pb2_grpc import AdminServiceServicer
from cloudgrpc.services import operator_views as views

if TYPE_CHECKING:
    import grpc

    from cloudgrpc.actions.admins import Admins
    from cloudgrpc.actions.overview import Overviews
    from cloudgrpc.actions.speeds import Speeds

    Context = grpc.aio.ServicerContext[Any, Any]


class AdminViews(AdminServiceServicer):
    _admins: Admins
    _overviews: Overviews
    _speeds: Speeds

    async def GetSystemStatus(self, request: pb.SystemStatusRequest, _context: Context) -> pb.SystemStatusResponse:
        await self._admins.check(request.admin_key, Role.VIEW)
        return views.status(await self._overviews.status(), self._speeds, self._overviews.started_at)

    async def ListAllNodes(self, request: pb.ListNodesRequest, _context: Context) -> pb.ListNodesResponse:
        await self._admins.check(request.admin_key, Role.VIEW)
        return pb.ListNodesResponse(success=True, nodes=map(views.node_info, await self._overviews.nodes()))
