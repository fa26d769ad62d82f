"""Payments in the words of the wire."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cloudgrpc.core.payment_states import State
from cloudgrpc.core.payments import standing
from cloudgrpc.core.phone import USSD
from cloudgrpc.core.units import rfc3339
from cloudgrpc.errors import PaymentUnknown
from cloudgrpc.pb import cloud_storage_pb2 as pb

if TYPE_CHECKING:
    from cloudgrpc.meta.payment_models import Payment

PAYMENT_ID = re.compile(r"[0-9a-f]{32}\Z")


def payment_id(told: str) -> str:
    """Raises: PaymentUnknown for what is no id, which never reaches the database."""
    if not PAYMENT_ID.match(told):
        raise PaymentUnknown
    return told


def words(payment: Payment) -> str:
    return standing(
        payment.state,
        is_unclear=is_unclear(payment),
        reason=payment.reason,
        storage_bytes=payment.storage_bytes,
        ussd_code=_ussd(payment),
    )


def is_unclear(payment: Payment) -> bool:
    """For the buyer also what waits for an operator: money may have moved, and paying again would be a mistake."""
    return payment.is_unclear or (payment.state == State.PROCESSING and payment.attention != "")


def added(payment: Payment) -> int:
    return payment.storage_bytes if payment.state == State.COMPLETED else 0


def record(payment: Payment) -> pb.PaymentRecord:
    """As its buyer sees it."""
    return pb.PaymentRecord(
        payment_id=payment.payment_id,
        tier_name=payment.tier_name,
        amount_xaf=payment.amount_xaf,
        storage_bytes=payment.storage_bytes,
        provider=payment.provider,
        status=payment.state,
        created_at=rfc3339(payment.created_at),
        completed_at=rfc3339(payment.completed_at),
        tier_id=payment.tier_id,
        price_xaf=payment.price_xaf,
        phone_number=payment.phone,
        transaction_ref=payment.reference or "",
        ussd_code=_ussd(payment),
        mode=payment.mode,
        is_unclear=is_unclear(payment),
        message=words(payment),
        storage_added=added(payment),
        refunded_at=rfc3339(payment.refunded_at),
        refund_reason=payment.refund_reason,
    )


def full_record(payment: Payment) -> pb.PaymentRecord:
    """As operators see it."""
    told = record(payment)
    told.email = payment.email
    told.user_id = payment.account_id
    told.attention = payment.attention
    told.looks_again_at = rfc3339(payment.look_at)
    return told


def _ussd(payment: Payment) -> str:
    return payment.ussd_code or USSD.get(payment.provider, "")
