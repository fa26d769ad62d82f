"""AdminService, the master keys."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from cloudgrpc.core.operators import Role
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.pb.cloud_storage_pb2_grpc import AdminServiceServicer

if TYPE_CHECKING:
    import grpc

    from cloudgrpc.actions.admins import Admins
    from cloudgrpc.actions.master_keys import MasterKeys

    Context = grpc.aio.ServicerContext[Any, Any]


class AdminSecrets(AdminServiceServicer):
    _admins: Admins
    _master_keys: MasterKeys

    async def ListMasterKeys(self, request: pb.ListMasterKeysRequest, _context: Context) -> pb.ListMasterKeysResponse:
        await self._admins.check(request.admin_key, Role.VIEW)
        keys = [pb.MasterKeyInfo(**asdict(use)) for use in await self._master_keys.uses()]
        return pb.ListMasterKeysResponse(success=True, keys=keys)
