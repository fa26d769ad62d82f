"""AdminService, the acts on nodes: drain, remove, repair, scrub."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.pb.cloud_storage_pb2_grpc import AdminServiceServicer
from cloudgrpc.services import operator_views as views

if TYPE_CHECKING:
    import grpc

    from cloudgrpc.actions.admins import Admins
    from cloudgrpc.actions.node_care import NodeCare
    from cloudgrpc.actions.overview import Overviews
    from cloudgrpc.meta.node_acts import Draining, Loss

    Context = grpc.aio.ServicerContext[Any, Any]


class AdminNodes(AdminServiceServicer):
    _admins: Admins
    _node_care: NodeCare
    _overviews: Overviews

    async def DrainNode(self, request: pb.DrainNodeRequest, _context: Context) -> pb.DrainNodeResponse:
        operator = await self._admins.check(request.admin_key)
        draining = await self._node_care.drain(operator, request.node_id, is_back=request.undrain)
        node = await self._overviews.node(request.node_id)
        return pb.DrainNodeResponse(
            success=True,
            message=_drain_words(request.node_id, draining, is_back=request.undrain),
            node=views.node_info(node) if node else None,
            copies_wanted=draining.copies_wanted,
            copies_before=draining.copies_before,
        )

    async def RemoveNode(self, request: pb.RemoveNodeRequest, _context: Context) -> pb.RemoveNodeResponse:
        operator = await self._admins.check(request.admin_key)
        if request.dry_run:
            loss = await self._node_care.loss(request.node_id, is_lost=request.lost)
        else:
            loss = await self._node_care.remove(operator, request.node_id, is_lost=request.lost)
        return pb.RemoveNodeResponse(
            success=True,
            message=_loss_words(request.node_id, loss, is_dry=request.dry_run),
            copies=loss.copies,
            chunks_lost=loss.chunks,
            files_lost=loss.files,
            files=loss.names,
        )

    async def StartRepair(self, request: pb.StartRepairRequest, _context: Context) -> pb.StartRepairResponse:
        operator = await self._admins.check(request.admin_key)
        missing, lost = await self._node_care.repair(operator, is_now=request.now)
        return pb.StartRepairResponse(
            success=True,
            message=f"{missing} chunks have fewer copies than wanted, {lost} have none.",
            chunks_missing=missing,
            chunks_lost=lost,
        )

    async def StartScrub(self, request: pb.StartScrubRequest, _context: Context) -> pb.StartScrubResponse:
        operator = await self._admins.check(request.admin_key)
        node_ids = await self._node_care.scrub(operator, request.node_id)
        return pb.StartScrubResponse(
            success=True, message=f"Every chunk on {', '.join(node_ids) or 'no node'} is read now.", node_ids=node_ids
        )


def _drain_words(node_id: str, draining: Draining, *, is_back: bool) -> str:
    if is_back:
        return f"{node_id} takes chunks again." if draining.is_new else f"{node_id} was not drained."
    words = f"{node_id} gets no new chunks; {draining.copies_left} copies have yet to leave it."
    if draining.copies_wanted < draining.copies_before:
        fewer = f"{draining.copies_wanted} instead of {draining.copies_before}"
        words += f" Too few nodes stay, so each chunk has {fewer} copies, until another node joins."
    return words


def _loss_words(node_id: str, loss: Loss, *, is_dry: bool) -> str:
    went = f"{node_id} would go" if is_dry else f"{node_id} is removed"
    if not loss.copies:
        return f"{went}; it holds nothing."
    if not loss.chunks:
        return f"{went}, with {loss.copies} copies; of each there is a good one elsewhere."
    return f"{went}, with the last copies of {loss.chunks} chunks; {loss.files} files are lost."
