"""What operators ask of the gateway about payments; every call shows the admin key."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.shell.payments import named

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloudgrpc.clients.session import Gateway

PAGE = 500
CAMPAY_TIMEOUT_S = 90.0  # for calls during which the gateway asks Campay


@dataclass(frozen=True)
class Wanted:
    """Which payments; "" for all. `since` and `until`: as on the wire."""

    status: str = ""
    user: str = ""
    since: str = ""
    until: str = ""
    only_attention: bool = False
    id_begins: str = ""


class Desk:
    def __init__(self, gateway: Gateway, key: str) -> None:
        self.gateway = gateway
        self.key = key

    def payments(self, wanted: Wanted, most: int = 0) -> Iterator[pb.PaymentRecord]:
        """The newest first, at most so many; 0: all there are."""
        return islice(self._payments(wanted, min(most or PAGE, PAGE)), most or None)

    def _payments(self, wanted: Wanted, page_size: int) -> Iterator[pb.PaymentRecord]:
        request = pb.ListPaymentsRequest(
            admin_key=self.key,
            status=wanted.status,
            user=wanted.user,
            since=wanted.since,
            until=wanted.until,
            only_attention=wanted.only_attention,
            payment_id=wanted.id_begins,
            page_size=page_size,
        )
        while True:
            reply = self.gateway.call(self.gateway.admin.ListPayments, request)
            yield from reply.payments
            if not reply.next_page_token:
                return
            request.page_token = reply.next_page_token

    def totals(self, wanted: Wanted) -> pb.PaymentTotalsResponse:
        """Of all statuses."""
        request = pb.PaymentTotalsRequest(admin_key=self.key, user=wanted.user, since=wanted.since, until=wanted.until)
        # The gateway asks Campay for the balance.
        return self.gateway.call(self.gateway.admin.GetPaymentTotals, request, CAMPAY_TIMEOUT_S)

    def named(self, beginning: str) -> pb.PaymentRecord:
        """By a whole ID, or how it begins. Raises: PaymentUnknown, UsageWrong."""
        return named(beginning, self.payments(Wanted(id_begins=beginning.strip().lower())))

    def reconcile(self, payment_id: str) -> pb.ReconcilePaymentResponse:
        request = pb.ReconcilePaymentRequest(admin_key=self.key, payment_id=payment_id)
        return self.gateway.call(self.gateway.admin.ReconcilePayment, request, CAMPAY_TIMEOUT_S)

    def set_reference(self, payment_id: str, reference: str) -> pb.SetPaymentReferenceResponse:
        request = pb.SetPaymentReferenceRequest(admin_key=self.key, payment_id=payment_id, transaction_ref=reference)
        return self.gateway.call(self.gateway.admin.SetPaymentReference, request, CAMPAY_TIMEOUT_S)

    def close(self, payment_id: str, reason: str) -> pb.ClosePaymentResponse:
        request = pb.ClosePaymentRequest(admin_key=self.key, payment_id=payment_id, reason=reason)
        return self.gateway.call(self.gateway.admin.ClosePayment, request)

    def refund(self, payment_id: str, reason: str) -> pb.RefundPaymentResponse:
        request = pb.RefundPaymentRequest(admin_key=self.key, payment_id=payment_id, reason=reason)
        return self.gateway.call(self.gateway.admin.RefundPayment, request)
