"""AdminService, the care of the whole: check, backup, restore, reconcile."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from cloudgrpc.core.operators import Role
from cloudgrpc.core.units import minute, rfc3339
from cloudgrpc.errors import InvalidField
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.pb.cloud_storage_pb2_grpc import AdminServiceServicer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc

    from cloudgrpc.actions.admins import Admins
    from cloudgrpc.actions.backups import Backups
    from cloudgrpc.actions.checking import Checking, Finding
    from cloudgrpc.actions.standing import Standing
    from cloudgrpc.meta.standing import Reconciliation

    Context = grpc.aio.ServicerContext[Any, Any]

SECRETS_APART = (
    "Secrets are not in a backup: bring back the secrets folder or its settings, as they were."
    " Everybody signs in again, and admin keys with names are to be made anew."
)


class AdminCare(AdminServiceServicer):
    _admins: Admins
    _backups: Backups
    _checking: Checking
    _standing: Standing

    async def CheckCluster(
        self, request: pb.CheckClusterRequest, _context: Context
    ) -> AsyncIterator[pb.CheckClusterResponse]:
        await self._admins.check(request.admin_key, Role.VIEW)
        async for finding in self._checking.run():
            yield _finding(finding)

    async def BackupMetadata(
        self, request: pb.BackupMetadataRequest, _context: Context
    ) -> AsyncIterator[pb.BackupMetadataResponse]:
        operator = await self._admins.check(request.admin_key)
        async for piece in self._backups.make(operator):
            yield pb.BackupMetadataResponse(data=piece)

    async def RestoreMetadata(
        self, requests: AsyncIterator[pb.RestoreMetadataRequest], _context: Context
    ) -> pb.RestoreMetadataResponse:
        messages = _readable(requests)
        first = await anext(messages, pb.RestoreMetadataRequest())
        operator = await self._admins.check(first.admin_key)
        restored = await self._backups.restore(operator, _data(first, messages))
        return pb.RestoreMetadataResponse(
            success=True,
            message=f"The drive is as it was at {minute(restored.made_at)}, and read-only. {SECRETS_APART}",
            made_at=rfc3339(restored.made_at),
            cluster_id=restored.cluster_id,
            rows=restored.rows,
        )

    async def ReconcileCluster(
        self, request: pb.ReconcileClusterRequest, _context: Context
    ) -> pb.ReconcileClusterResponse:
        operator = await self._admins.check(request.admin_key, Role.OPERATE if request.open else Role.VIEW)
        found = await self._standing.reconcile(operator, is_opening=request.open, force=request.force)
        return pb.ReconcileClusterResponse(
            success=True,
            message=_words(found, is_open=request.open),
            is_open=request.open,
            restored_at=rfc3339(found.restored_at),
            backup_made_at=rfc3339(found.backup_made_at),
            nodes_waiting=found.nodes_waiting,
            chunks_lost=found.lost.chunks,
            files_lost=found.lost.files,
            files=found.lost.some,
            payments_waiting=found.payments_waiting,
            payments_unknown=found.payments_unknown,
        )


async def _readable(
    messages: AsyncIterator[pb.RestoreMetadataRequest],
) -> AsyncIterator[pb.RestoreMetadataRequest]:
    """Raises: InvalidField."""
    async for message in messages:
        if not isinstance(message, pb.RestoreMetadataRequest):  # as the interceptors say it
            raise InvalidField(field="message", reason="cannot be read")
        yield message


async def _data(
    first: pb.RestoreMetadataRequest, others: AsyncIterator[pb.RestoreMetadataRequest]
) -> AsyncIterator[bytes]:
    yield first.data
    async for message in others:
        yield message.data


def _finding(finding: Finding) -> pb.CheckClusterResponse:
    told = pb.CheckClusterResponse(level=finding.level, subject=finding.subject, message=finding.message)
    if finding.summary is not None:
        told.summary.CopyFrom(pb.CheckSummary(**asdict(finding.summary)))
    return told


def _words(found: Reconciliation, *, is_open: bool) -> str:
    later = f" {found.files_unknown} files on nodes are of after the backup:" if found.files_unknown else ""
    if is_open:
        return "The drive takes writes again." + (f"{later} they go after the grace time." if later else "")
    stands = found.waiting() or "everything was looked at"
    return f"The drive is read-only; {stands}." + (f"{later} opening gives them up." if later else "")
