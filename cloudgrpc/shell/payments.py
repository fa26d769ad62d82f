"""A person's own payments: listed, named by how their IDs begin, and looked at as they stand now."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from cloudgrpc.core.payment_states import OPEN
from cloudgrpc.errors import PaymentUnknown, UsageWrong
from cloudgrpc.pb import cloud_storage_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cloudgrpc.clients.session import Session

SHOWN_ID = 12  # of the ID, enough to tell payments apart
LEAST_ID = 6  # what must be typed of it
WHOLE_ID = 32
PAGE = 200


class Payments:
    def __init__(self, session: Session) -> None:
        self._session = session
        self._service = session.gateway.payments

    def pages(self, wanted: int = 0) -> Iterator[list[pb.PaymentRecord]]:
        """The newest first, at most `wanted` in all; 0: all there are."""
        request = pb.GetPaymentHistoryRequest(session_token=self._session.token, limit=min(wanted or PAGE, PAGE))
        left = wanted or None
        while True:
            reply = self._session.call(self._service.GetPaymentHistory, request)
            page = list(islice(reply.payments, left))
            yield page
            left = left and left - len(page)
            if not reply.next_page_token or left == 0:
                return
            request.page_token = reply.next_page_token

    def all(self) -> Iterator[pb.PaymentRecord]:
        return (payment for page in self.pages() for payment in page)

    def id_of(self, beginning: str | None) -> str:
        """The whole ID; None names the newest payment. Raises: PaymentUnknown, UsageWrong."""
        if beginning is None:
            newest = next(iter(next(self.pages(1))), None)
            if newest is None:
                raise PaymentUnknown.told("You have no payments yet.")
            return newest.payment_id
        # A whole ID is judged by the gateway.
        return beginning if len(beginning) >= WHOLE_ID else named(beginning, self.all()).payment_id

    def under_way(self) -> list[pb.PaymentRecord]:
        """Raises: PaymentUnknown when there is none."""
        found = [payment for payment in self.all() if payment.status in OPEN]
        if not found:
            raise PaymentUnknown.told("No payment of yours is under way.")
        return found

    def check(self, payment_id: str) -> pb.CheckPaymentStatusResponse:
        """As it stands now. Raises: PaymentUnknown, and whatever else the gateway refuses."""
        request = pb.CheckPaymentStatusRequest(session_token=self._session.token, payment_id=payment_id)
        return self._session.call(self._service.CheckPaymentStatus, request)

    def cancel(self, payment_id: str) -> pb.PaymentRecord:
        """Raises: PaymentUnknown, PaymentEnded."""
        request = pb.CancelPaymentRequest(session_token=self._session.token, payment_id=payment_id)
        return self._session.call(self._service.CancelPayment, request).payment


def named(beginning: str, payments: Iterable[pb.PaymentRecord]) -> pb.PaymentRecord:
    """The one payment whose ID begins so. Raises: PaymentUnknown, UsageWrong."""
    start = beginning.strip().lower()
    if len(start) < LEAST_ID:
        raise UsageWrong(reason=f"{beginning!r} is too little of a payment's ID; type at least {LEAST_ID} digits")
    found = list(islice((each for each in payments if each.payment_id.startswith(start)), 2))
    if not found:
        raise PaymentUnknown.told(f"There is no payment {start}.")
    if len(found) > 1:
        raise UsageWrong(reason=f"the IDs of several payments begin with {start}; type more of it")
    return found[0]


def short(payment: pb.PaymentRecord) -> str:
    return payment.payment_id[:SHOWN_ID]
