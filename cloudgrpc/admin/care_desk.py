"""What operators ask of the gateway about accounts, nodes, the whole, and keys; every call shows the admin key."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from cloudgrpc.admin.lookout import Lookout
from cloudgrpc.errors import NodeUnknown
from cloudgrpc.pb import cloud_storage_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cloudgrpc.admin.desk import Desk

LOOK_TIMEOUT_S = 60.0  # for what counts rows of the whole cluster
RESTORE_TIMEOUT_S = 24 * 3600.0


class CareDesk:
    def __init__(self, desk: Desk) -> None:
        self._gateway = desk.gateway
        self._admin = desk.gateway.admin
        self._key = desk.key
        self._lookout = Lookout(desk.gateway, desk.key)

    # Accounts

    def account(self, who: str) -> pb.UserInfo:
        """By its e-mail address or id."""
        return self._lookout.user(who).user

    def set_quota(self, who: str, quota_bytes: int, expected_bytes: int) -> pb.SetQuotaResponse:
        """Raises: QuotaMoved when it is not as expected any more."""
        request = pb.SetQuotaRequest(
            admin_key=self._key, user=who, quota_bytes=quota_bytes, expected_bytes=expected_bytes
        )
        return self._gateway.call(self._admin.SetQuota, request, LOOK_TIMEOUT_S)

    def set_disabled(self, who: str, disabled: bool, reason: str) -> pb.SetUserDisabledResponse:
        request = pb.SetUserDisabledRequest(admin_key=self._key, user=who, disabled=disabled, reason=reason)
        return self._gateway.call(self._admin.SetUserDisabled, request)

    def status(self) -> pb.SystemStatusResponse:
        return self._lookout.status()

    # Nodes

    def nodes(self) -> list[pb.NodeInfo]:
        return self._lookout.nodes()

    def node(self, node_id: str) -> pb.NodeInfo:
        """Raises: NodeUnknown."""
        for node in self.nodes():
            if node.node_id == node_id:
                return node
        raise NodeUnknown(node_id=node_id)

    def drain(self, node_id: str, *, undrain: bool = False) -> pb.DrainNodeResponse:
        request = pb.DrainNodeRequest(admin_key=self._key, node_id=node_id, undrain=undrain)
        return self._gateway.call(self._admin.DrainNode, request, LOOK_TIMEOUT_S)

    def remove(self, node_id: str, *, lost: bool, dry_run: bool = False) -> pb.RemoveNodeResponse:
        request = pb.RemoveNodeRequest(admin_key=self._key, node_id=node_id, lost=lost, dry_run=dry_run)
        return self._gateway.call(self._admin.RemoveNode, request, LOOK_TIMEOUT_S)

    def repair(self, now: bool) -> pb.StartRepairResponse:
        request = pb.StartRepairRequest(admin_key=self._key, now=now)
        return self._gateway.call(self._admin.StartRepair, request, LOOK_TIMEOUT_S)

    def scrub(self, node_id: str) -> list[str]:
        """The nodes that are read now. `node_id`: "" for all."""
        request = pb.StartScrubRequest(admin_key=self._key, node_id=node_id)
        return list(self._gateway.call(self._admin.StartScrub, request, LOOK_TIMEOUT_S).node_ids)

    # The whole

    def check(self) -> Iterator[pb.CheckClusterResponse]:
        return self._gateway.stream(self._admin.CheckCluster, pb.CheckClusterRequest(admin_key=self._key))

    def backup(self) -> Iterator[bytes]:
        request = pb.BackupMetadataRequest(admin_key=self._key)
        return (reply.data for reply in self._gateway.stream(self._admin.BackupMetadata, request))

    def restore(self, pieces: Iterable[bytes]) -> pb.RestoreMetadataResponse:
        """Raises: GatewayNotEmpty, BackupUnreadable; whatever `pieces` raises."""
        faults: list[Exception] = []
        try:
            return self._admin.RestoreMetadata(self._restoring(pieces, faults), timeout=RESTORE_TIMEOUT_S)
        except grpc.RpcError as failure:
            if faults:
                raise faults[0] from failure
            raise self._gateway.error_of(failure) from failure

    def _restoring(self, pieces: Iterable[bytes], faults: list[Exception]) -> Iterator[pb.RestoreMetadataRequest]:
        """gRPC asks for them in a thread of its own, and would tell a fault there to nobody."""
        try:
            yield pb.RestoreMetadataRequest(admin_key=self._key)
            for piece in pieces:
                yield pb.RestoreMetadataRequest(data=piece)
        except Exception as fault:
            faults.append(fault)
            raise

    def reconcile(self, is_to_open: bool = False, force: bool = False) -> pb.ReconcileClusterResponse:
        request = pb.ReconcileClusterRequest(admin_key=self._key, open=is_to_open, force=force)
        return self._gateway.call(self._admin.ReconcileCluster, request, LOOK_TIMEOUT_S)

    # Keys

    def add_key(self, name: str, role: str) -> str:
        request = pb.AddAdminKeyRequest(admin_key=self._key, name=name, role=role)
        return self._gateway.call(self._admin.AddAdminKey, request).key

    def admin_keys(self) -> list[pb.AdminKeyInfo]:
        request = pb.ListAdminKeysRequest(admin_key=self._key)
        return list(self._gateway.call(self._admin.ListAdminKeys, request).keys)

    def master_keys(self) -> list[pb.MasterKeyInfo]:
        """The one in use first; never a key itself."""
        request = pb.ListMasterKeysRequest(admin_key=self._key)
        return list(self._gateway.call(self._admin.ListMasterKeys, request, LOOK_TIMEOUT_S).keys)

    def revoke_key(self, name: str) -> None:
        request = pb.RevokeAdminKeyRequest(admin_key=self._key, name=name)
        self._gateway.call(self._admin.RevokeAdminKey, request)
