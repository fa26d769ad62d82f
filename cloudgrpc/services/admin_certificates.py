"""AdminService, certificates: who is invited, who has one, who is shut out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudgrpc import rpc
from cloudgrpc.core.operators import Role
from cloudgrpc.core.units import minute, rfc3339
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.pb.cloud_storage_pb2_grpc import AdminServiceServicer

if TYPE_CHECKING:
    import grpc

    from cloudgrpc.actions.admins import Admins
    from cloudgrpc.actions.joining import Joining
    from cloudgrpc.meta.models import Certificate, Invite
    from cloudgrpc.trust.authority import Known

    Context = grpc.aio.ServicerContext[Any, Any]

MICROS = 1_000_000


class AdminCertificates(AdminServiceServicer):
    _admins: Admins
    _joining: Joining

    async def InviteNode(self, request: pb.InviteNodeRequest, _context: Context) -> pb.InviteNodeResponse:
        operator = await self._admins.check(request.admin_key)
        invitation = await self._joining.invite(operator.name, request.node_id, request.address)
        return pb.InviteNodeResponse(
            success=True,
            message=f"One machine may join as {request.node_id} until {minute(invitation.expires_at)}.",
            code=invitation.code,
            address=rpc.address(invitation.host, invitation.port),
            expires_at=rfc3339(invitation.expires_at),
        )

    async def RevokeNode(self, request: pb.RevokeNodeRequest, _context: Context) -> pb.RevokeNodeResponse:
        operator = await self._admins.check(request.admin_key)
        serials, invites = await self._joining.revoke(operator.name, request.node_id)
        return pb.RevokeNodeResponse(
            success=True,
            message=f"{request.node_id} is refused until it is invited again.",
            serials=serials,
            invites=invites,
        )

    async def ListCertificates(
        self, request: pb.ListCertificatesRequest, _context: Context
    ) -> pb.ListCertificatesResponse:
        await self._admins.check(request.admin_key, Role.VIEW)
        overview = await self._joining.look()
        found = overview.found
        return pb.ListCertificatesResponse(
            success=True,
            certificates=[_certificate(each, is_good=found.is_good(each)) for each in found.certificates],
            invites=[_invite(each) for each in found.invites],
            authorities=[_authority(each) for each in overview.authorities],
            nodes_behind=overview.behind,
        )


def _certificate(certificate: Certificate, *, is_good: bool) -> pb.CertificateInfo:
    return pb.CertificateInfo(
        serial=certificate.serial,
        node_id=certificate.node_id,
        authority_id=certificate.authority,
        issued_at=rfc3339(certificate.issued_at),
        expires_at=rfc3339(certificate.expires_at),
        revoked_at=rfc3339(certificate.revoked_at),
        is_good=is_good,
    )


def _invite(invite: Invite) -> pb.InviteInfo:
    return pb.InviteInfo(
        node_id=invite.node_id,
        created_at=rfc3339(invite.created_at),
        created_by=invite.created_by,
        expires_at=rfc3339(invite.expires_at),
    )


def _authority(known: Known) -> pb.AuthorityInfo:
    return pb.AuthorityInfo(
        authority_id=known.authority_id, expires_at=rfc3339(known.expires_at * MICROS), signs=known.signs
    )
