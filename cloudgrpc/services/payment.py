"""PaymentService: buying room by mobile money."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudgrpc.core.units import size_words
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.pb.cloud_storage_pb2_grpc import PaymentServiceServicer
from cloudgrpc.services import payment_views as views

if TYPE_CHECKING:
    import grpc

    from cloudgrpc.actions.accounts import Accounts
    from cloudgrpc.actions.payments import Payments
    from cloudgrpc.core.payments import Offer

    Context = grpc.aio.ServicerContext[Any, Any]


class PaymentService(PaymentServiceServicer):
    def __init__(self, accounts: Accounts, payments: Payments) -> None:
        self._accounts = accounts
        self._payments = payments

    async def GetStorageTiers(
        self, request: pb.GetStorageTiersRequest, _context: Context
    ) -> pb.GetStorageTiersResponse:
        mode = self._payments.mode
        if not request.session_token:
            return pb.GetStorageTiersResponse(success=True, tiers=map(_tier, self._payments.offers()), mode=mode)
        shelf = await self._payments.shelf(await self._accounts.caller(request.session_token))
        return pb.GetStorageTiersResponse(
            success=True,
            tiers=[
                _tier(offer, shelf.bought.get(offer.tier_id, 0), shelf.under_way.get(offer.tier_id, ""))
                for offer in shelf.offers
            ],
            quota_bytes=shelf.quota_bytes,
            used_bytes=shelf.used_bytes,
            mode=mode,
        )

    async def InitiatePayment(
        self, request: pb.InitiatePaymentRequest, _context: Context
    ) -> pb.InitiatePaymentResponse:
        caller = await self._accounts.caller(request.session_token)
        payment, is_repeat = await self._payments.buy(
            caller,
            request.tier_id,
            request.provider,
            request.phone_number,
            request.request_id,
            agreed_xaf=request.expected_amount_xaf,
        )
        return pb.InitiatePaymentResponse(
            success=True,
            message=views.words(payment),
            payment_id=payment.payment_id,
            transaction_ref=payment.reference or "",
            amount_xaf=payment.amount_xaf,
            payment=views.record(payment),
            is_repeat=is_repeat,
        )

    async def CheckPaymentStatus(
        self, request: pb.CheckPaymentStatusRequest, _context: Context
    ) -> pb.CheckPaymentStatusResponse:
        caller = await self._accounts.caller(request.session_token)
        payment, quota = await self._payments.check(caller, views.payment_id(request.payment_id))
        return pb.CheckPaymentStatusResponse(
            success=True,
            payment_id=payment.payment_id,
            status=payment.state,
            message=views.words(payment),
            storage_added=views.added(payment),
            payment=views.record(payment),
            quota_bytes=quota,
        )

    async def GetPaymentHistory(
        self, request: pb.GetPaymentHistoryRequest, _context: Context
    ) -> pb.GetPaymentHistoryResponse:
        caller = await self._accounts.caller(request.session_token)
        found, token = await self._payments.history(caller, request.limit, request.page_token)
        return pb.GetPaymentHistoryResponse(success=True, payments=map(views.record, found), next_page_token=token)

    async def CancelPayment(self, request: pb.CancelPaymentRequest, _context: Context) -> pb.CancelPaymentResponse:
        caller = await self._accounts.caller(request.session_token)
        payment = await self._payments.cancel(caller, views.payment_id(request.payment_id))
        return pb.CancelPaymentResponse(success=True, message=views.words(payment), payment=views.record(payment))


def _tier(offer: Offer, bought: int = 0, open_payment_id: str = "") -> pb.StorageTier:
    return pb.StorageTier(
        tier_id=offer.tier_id,
        name=offer.name,
        display_name=f"{offer.name} ({size_words(offer.storage_bytes)})",
        storage_bytes=offer.storage_bytes,
        price_xaf=offer.price_xaf,
        description=offer.description,
        amount_xaf=offer.amount_xaf,
        bought=bought,
        open_payment_id=open_payment_id,
    )
