"""AdminService, of payments: what everybody paid, and the acts that need a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudgrpc.actions.payment_desk import filter_of
from cloudgrpc.core.operators import Role
from cloudgrpc.core.payment_states import State
from cloudgrpc.core.units import day, size_words
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.pb.cloud_storage_pb2_grpc import AdminServiceServicer
from cloudgrpc.services import payment_views as views

if TYPE_CHECKING:
    import grpc

    from cloudgrpc.actions.admins import Admins
    from cloudgrpc.actions.payment_desk import PaymentDesk
    from cloudgrpc.meta.payment_lists import Totals

    Context = grpc.aio.ServicerContext[Any, Any]

ENDED = (State.COMPLETED, State.FAILED, State.CANCELLED)


class AdminPayments(AdminServiceServicer):
    _admins: Admins
    _desk: PaymentDesk
    _mode: str  # of the account at Campay, as in sales.Campay.mode

    async def ListPayments(self, request: pb.ListPaymentsRequest, _context: Context) -> pb.ListPaymentsResponse:
        await self._admins.check(request.admin_key, Role.VIEW)
        wanted = filter_of(
            request.status,
            request.user,
            request.since,
            request.until,
            only_attention=request.only_attention,
            id_begins=request.payment_id,
        )
        found, token = await self._desk.list(wanted, request.page_size, request.page_token)
        return pb.ListPaymentsResponse(success=True, payments=map(views.full_record, found), next_page_token=token)

    async def GetPaymentTotals(self, request: pb.PaymentTotalsRequest, _context: Context) -> pb.PaymentTotalsResponse:
        await self._admins.check(request.admin_key, Role.VIEW)
        wanted = filter_of("", request.user, request.since, request.until)
        reply = _totals(await self._desk.totals(wanted), self._mode)
        balance = await self._desk.balance()
        if balance is not None:
            reply.balance_xaf = balance
        return reply

    async def ReconcilePayment(
        self, request: pb.ReconcilePaymentRequest, _context: Context
    ) -> pb.ReconcilePaymentResponse:
        operator = await self._admins.check(request.admin_key)
        payment = await self._desk.reconcile(operator, views.payment_id(request.payment_id))
        return pb.ReconcilePaymentResponse(
            success=True, message=views.words(payment), payment=views.full_record(payment)
        )

    async def SetPaymentReference(
        self, request: pb.SetPaymentReferenceRequest, _context: Context
    ) -> pb.SetPaymentReferenceResponse:
        operator = await self._admins.check(request.admin_key)
        payment = await self._desk.set_reference(
            operator, views.payment_id(request.payment_id), request.transaction_ref
        )
        return pb.SetPaymentReferenceResponse(
            success=True, message=views.words(payment), payment=views.full_record(payment)
        )

    async def RefundPayment(self, request: pb.RefundPaymentRequest, _context: Context) -> pb.RefundPaymentResponse:
        operator = await self._admins.check(request.admin_key)
        payment, quota, used = await self._desk.refund(operator, views.payment_id(request.payment_id), request.reason)
        return pb.RefundPaymentResponse(
            success=True,
            message=f"Marked as paid back; {size_words(payment.storage_bytes)} were taken back.",
            payment=views.full_record(payment),
            quota_bytes=quota,
            used_bytes=used,
        )

    async def ClosePayment(self, request: pb.ClosePaymentRequest, _context: Context) -> pb.ClosePaymentResponse:
        operator = await self._admins.check(request.admin_key)
        payment = await self._desk.close(operator, views.payment_id(request.payment_id), request.reason)
        return pb.ClosePaymentResponse(success=True, message=views.words(payment), payment=views.full_record(payment))


def _totals(totals: Totals, mode: str) -> pb.PaymentTotalsResponse:
    ended = sum(totals.by_state.get(state, 0) for state in ENDED)
    return pb.PaymentTotalsResponse(
        success=True,
        payments=totals.by_state,
        unclear=totals.unclear,
        attention=totals.attention,
        revenue_xaf=totals.revenue_xaf,
        refunded_xaf=totals.refunded_xaf,
        bytes_sold=totals.sold_bytes,
        success_rate=totals.by_state.get(State.COMPLETED, 0) / ended if ended else 0.0,
        days=[
            pb.RevenueDay(day=day(first), amount_xaf=amount, payments=count)
            for first, (amount, count) in totals.days.items()
        ],
        mode=mode,
    )
