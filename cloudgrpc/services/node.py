"""NodeService, the gateway's half: nodes register and say that they are alive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudgrpc.actions.refusals import Refused
from cloudgrpc.core.introductions import MOST_BYTES, check_introduction, reason_line
from cloudgrpc.errors import IdentityWrong
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.pb.cloud_storage_pb2_grpc import NodeServiceServicer
from cloudgrpc.services.identities import CALLER

if TYPE_CHECKING:
    import grpc

    from cloudgrpc.actions.audit import Audit
    from cloudgrpc.actions.joining import Joining
    from cloudgrpc.actions.nodes import Nodes

    Context = grpc.aio.ServicerContext[Any, Any]


class NodeService(NodeServiceServicer):
    def __init__(self, nodes: Nodes, joining: Joining, audit: Audit) -> None:
        self._nodes = nodes
        self._audit = audit
        self._joining = joining

    async def RegisterNode(self, request: pb.RegisterNodeRequest, _context: Context) -> pb.RegisterNodeResponse:
        pool = await self._nodes.register(
            check_introduction(
                node_id=request.node_id,
                instance_id=request.instance_id,
                host=request.host,
                port=request.port,
                capacity_bytes=request.storage_capacity,
                used_bytes=request.storage_used,
                chunk_count=request.chunk_count,
                cpu_cores=request.cpu_cores,
                is_read_only=request.read_only,
                read_only_reason=request.read_only_reason,
                zone=request.zone,
                metrics_address=request.metrics_address,
            ),
            request.cluster_id,
        )
        return pb.RegisterNodeResponse(
            success=True,
            message=f"{request.node_id} is part of the cluster.",
            cluster_id=self._nodes.cluster_id,
            pool_capacity_bytes=pool,
            heartbeat_s=self._nodes.settings.heartbeat_s,
            revoked_serials=await self._joining.revoked(),
        )

    async def Heartbeat(self, request: pb.HeartbeatRequest, _context: Context) -> pb.HeartbeatResponse:
        await self._nodes.heartbeat(
            request.node_id,
            request.instance_id,
            min(max(0, request.storage_used), MOST_BYTES),
            max(0, request.chunk_count),
            is_read_only=request.read_only,
            read_only_reason=reason_line(request.read_only_reason) if request.read_only else "",
        )
        self._audit.reported(
            request.node_id,
            [Refused(one.error_code, one.message, one.method, one.peer) for one in request.refused],
        )
        return pb.HeartbeatResponse(
            success=True,
            message="Heard.",
            authorities=self._joining.news(request.node_id, request.authorities_digest),
            revoked_serials=await self._joining.revoked(),
        )

    async def RenewCertificate(
        self, request: pb.RenewCertificateRequest, _context: Context
    ) -> pb.RenewCertificateResponse:
        caller = CALLER.get()
        if caller is None:  # where nobody has to show a certificate
            raise IdentityWrong(method="RenewCertificate", needed=f"the node {request.node_id!r}", shown="none")
        given = await self._joining.renew(request.node_id, caller.serial, request.csr)
        return pb.RenewCertificateResponse(
            success=True,
            message=f"{request.node_id} has a fresh certificate.",
            certificate=given.certificate,
            authorities=given.authorities,
        )
