"""AdminService, the care of the whole: check, backup, restore, reconcile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudgrpc.pb.cloud_storage_pb2_grpc import AdminServiceServicer

if TYPE_CHECKING:
    from cloudgrpc.actions.admins import Admins


class AdminCare(AdminServiceServicer):
    _admins: Admins
