"""A purchase from its first question to the receipt: what is under way already is waited for, never bought again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudgrpc.clients import render
from cloudgrpc.core.payment_states import OPEN, State
from cloudgrpc.core.units import size_words
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.shell import offers, quota, receipt
from cloudgrpc.shell.buying import Buying, NothingBought
from cloudgrpc.shell.paying import raise_unless_paid, wait_for
from cloudgrpc.shell.payments import Payments, short

if TYPE_CHECKING:
    from cloudgrpc.clients.session import Session
    from cloudgrpc.shell.buying import Wish
    from cloudgrpc.shell.sign_in import Person


class Purchase:
    def __init__(self, session: Session, person: Person) -> None:
        self._session = session
        self._person = person
        self._payments = Payments(session)

    def run(self, wish: Wish, wait_s: float, *, is_json: bool) -> None:
        """`wait_s`: 0 to begin only. The talk goes to stderr; to stdout the receipt, or one JSON document.

        Raises: as `Buying` and `raise_unless_paid`.
        """
        try:
            begun = self._begun(wish)
        except NothingBought:
            self._person.tell("Nothing was bought.")
            return
        if begun.status == State.PROCESSING:
            self._person.tell(receipt.UNCLEAR if begun.is_unclear else receipt.confirm_words(begun))
        reply = wait_for(self._payments, begun, wait_s) if wait_s else None
        payment = reply.payment if reply else begun
        if is_json:
            render.print_json(receipt.facts(payment) | {"quota_bytes": reply.quota_bytes if reply else None})
        if wait_s or payment.status not in OPEN:
            raise_unless_paid(payment)
            if not is_json:
                self._show_paid(payment)
        elif not is_json:
            print(f"Payment {short(payment)} is under way; see how it stands with: pay status")

    def _begun(self, wish: Wish) -> pb.PaymentRecord:
        told = offers.offers(self._session.gateway, self._session.token)
        buying = Buying(self._session, self._person)
        tier = buying.choose(told, wish)
        known = self._under_way(tier.open_payment_id)
        if known:
            self._tell_repeat(known)
            return known
        reply = buying.begin(told, tier, wish)
        if reply.is_repeat:
            self._tell_repeat(reply.payment)
        return reply.payment

    def _under_way(self, payment_id: str) -> pb.PaymentRecord | None:
        """None: there is none, or it has ended meanwhile."""
        payment = self._payments.check(payment_id).payment if payment_id else None
        return payment if payment and payment.status in OPEN else None

    def _tell_repeat(self, payment: pb.PaymentRecord) -> None:
        words = f"Payment {short(payment)} for {payment.tier_name} was under way already; nothing new is charged."
        self._person.tell(words)

    def _show_paid(self, payment: pb.PaymentRecord) -> None:
        print(f"\nPaid. {size_words(payment.storage_added)} of room were added.\n")
        receipt.show(payment)
        print()
        storage, token = self._session.gateway.storage, self._session.token
        info = self._session.call(storage.GetStorageInfo, pb.StorageInfoRequest(session_token=token))
        usage = self._session.call(storage.GetStorageUsage, pb.StorageUsageRequest(session_token=token))
        quota.show_bar(info, usage)
