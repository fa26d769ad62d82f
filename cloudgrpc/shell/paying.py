"""Waiting for a payment that was begun, and what becomes of it: a receipt, a refusal, or that it is still open."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from cloudgrpc.core.payment_states import OPEN, State
from cloudgrpc.errors import (
    NotSignedIn,
    PaymentEnded,
    PaymentLeft,
    PaymentPending,
    PaymentRefused,
    PaymentUnclear,
    TooMany,
    TooSlow,
    Unavailable,
)
from cloudgrpc.shell.countdown import counting_down
from cloudgrpc.shell.payments import short

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudgrpc.pb import cloud_storage_pb2 as pb
    from cloudgrpc.shell.payments import Payments

POLL_S = 2.0
WAIT_S = 120
WAITING = "Waiting for the confirmation; Ctrl-C leaves, the payment goes on"
UNCLEAR = "Finding out whether the money moved; Ctrl-C leaves, the payment goes on"
# What leaves open how the payment stands: it is asked again.
NOT_TOLD = (Unavailable, TooSlow, TooMany)


def wait_for(payments: Payments, begun: pb.PaymentRecord, seconds: float) -> pb.CheckPaymentStatusResponse | None:
    """The newest that is known when the payment ended, or the time; None: nothing newer than `begun`.

    Raises: PaymentLeft for Ctrl-C.
    """
    try:
        with counting_down(UNCLEAR if begun.is_unclear else WAITING, seconds):
            return poll(lambda: payments.check(begun.payment_id), seconds, time.monotonic, time.sleep)
    except KeyboardInterrupt:
        how = (
            "is being found out; do not pay again" if begun.is_unclear else "goes on: once confirmed, it adds its room"
        )
        raise PaymentLeft(how=f"payment {short(begun)} {how}", which=f" --payment-id {short(begun)}") from None


def poll(
    check: Callable[[], pb.CheckPaymentStatusResponse],
    seconds: float,
    clock: Callable[[], float],
    pause: Callable[[float], None],
) -> pb.CheckPaymentStatusResponse | None:
    """Look until the payment has ended, at least once; the newest answer, None when there was none."""
    ends_at, newest = clock() + seconds, None
    while True:
        try:
            newest = check()
        except NOT_TOLD:
            pass
        except NotSignedIn:
            # Signing in now would begin the purchase anew.
            return newest
        left_s = ends_at - clock()
        if (newest and newest.payment.status not in OPEN) or left_s <= 0:
            return newest
        pause(min(POLL_S, left_s))


def raise_unless_paid(payment: pb.PaymentRecord) -> None:
    """Raises: PaymentRefused, PaymentEnded, PaymentUnclear, PaymentPending."""
    if payment.status == State.FAILED:
        raise PaymentRefused.told(f"Payment {short(payment)}: {payment.message}")
    if payment.status in {State.CANCELLED, State.REFUNDED}:
        raise PaymentEnded.told(f"Payment {short(payment)}: {payment.message}")
    if payment.status in OPEN:
        raise PaymentUnclear(short=short(payment)) if payment.is_unclear else PaymentPending(short=short(payment))
