"""AdminService, what operators see: status, users and nodes, and what they do with an account."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudgrpc.pb.cloud_storage_pb2_grpc import AdminServiceServicer

if TYPE_CHECKING:
    from cloudgrpc.actions.admins import Admins


class AdminViews(AdminServiceServicer):
    _admins: Admins
