"""JoinService: a machine that holds a join code gets the papers of a node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.pb.cloud_storage_pb2_grpc import JoinServiceServicer

if TYPE_CHECKING:
    import grpc

    from cloudgrpc.actions.joining import Joining

    Context = grpc.aio.ServicerContext[Any, Any]


class JoinService(JoinServiceServicer):
    def __init__(self, joining: Joining) -> None:
        self._joining = joining

    async def Join(self, request: pb.JoinRequest, _context: Context) -> pb.JoinResponse:
        given, (host, port), secrets = await self._joining.join(request.secret, request.node_id, request.csr)
        return pb.JoinResponse(
            success=True,
            message=f"{request.node_id} may take part in the cluster.",
            certificate=given.certificate,
            authorities=given.authorities,
            cluster_host=host,
            cluster_port=port,
            cluster_secrets=secrets,
        )
