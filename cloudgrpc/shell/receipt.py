"""One payment on paper: its receipt when it is paid, how it stands until then, and a row in a list of payments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudgrpc.clients import render
from cloudgrpc.core.payment_states import OPEN, State
from cloudgrpc.core.phone import USSD
from cloudgrpc.core.units import size_words
from cloudgrpc.shell.money import NO_SALE, operator, xaf
from cloudgrpc.shell.payments import short

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloudgrpc.pb import cloud_storage_pb2 as pb

LABEL_LETTERS = 13
TITLES = ["ID", "When", "Tier", "Room", "Amount", "Status", "From"]
FIGURES = ["Room", "Amount"]
UNCLEAR = "It is being found out whether the money moved; do not pay again."


def show(payment: pb.PaymentRecord) -> None:
    for label, words in _lines(payment):
        print(f"{render.styled(label.ljust(LABEL_LETTERS), render.BOLD)}{render.shown(words)}")


def status_words(payment: pb.PaymentRecord) -> str:
    return "unclear" if payment.is_unclear and payment.status in OPEN else payment.status


def confirm_words(payment: pb.PaymentRecord) -> str:
    """What the buyer does now."""
    code = payment.ussd_code or USSD.get(payment.provider, "")
    dial = f"; if it does not ask you, dial {code}" if code else ""
    return f"Confirm {xaf(payment.amount_xaf)} on your phone, {payment.phone_number}{dial}."


def one_line(payment: pb.PaymentRecord) -> str:
    who = f"{payment.phone_number} ({operator(payment.provider)})"
    begun = f"begun {render.when(payment.created_at)}, {status_words(payment)}"
    return f"{short(payment)}: {payment.tier_name}, {xaf(payment.amount_xaf)} from {who}, {begun}"


def row(payment: pb.PaymentRecord) -> list[str]:
    return [
        short(payment),
        render.when(payment.created_at),
        render.shown(payment.tier_name),
        size_words(payment.storage_bytes),
        xaf(payment.amount_xaf),
        status_words(payment),
        f"{render.shown(payment.phone_number)} {operator(payment.provider)}",
    ]


def facts(payment: pb.PaymentRecord) -> dict[str, object]:
    """amount_xaf is what is charged, price_xaf what the tier cost then; times in UTC, null for not yet; phone_number is
    masked; is_unclear: whether money moved is being found out."""
    return {
        "payment_id": payment.payment_id,
        "status": payment.status,
        "is_unclear": payment.is_unclear,
        "message": payment.message,
        "tier_id": payment.tier_id,
        "tier_name": payment.tier_name,
        "storage_bytes": payment.storage_bytes,
        "storage_added_bytes": payment.storage_added,
        "price_xaf": payment.price_xaf,
        "amount_xaf": payment.amount_xaf,
        "provider": payment.provider,
        "phone_number": payment.phone_number,
        "transaction_ref": payment.transaction_ref or None,
        "ussd_code": payment.ussd_code or None,
        "mode": payment.mode,
        "created_at": payment.created_at,
        "completed_at": payment.completed_at or None,
        "refunded_at": payment.refunded_at or None,
        "refund_reason": payment.refund_reason or None,
    }


def _lines(payment: pb.PaymentRecord) -> Iterator[tuple[str, str]]:
    yield "Payment", payment.payment_id
    yield "Status", status_words(payment)
    yield "Tier", f"{payment.tier_name}, {size_words(payment.storage_bytes)}"
    if payment.storage_added:
        yield "Room added", size_words(payment.storage_added)
    yield _charged_label(payment), _charged(payment)
    yield "From", f"{payment.phone_number}, {operator(payment.provider)}"
    yield "Reference", payment.transaction_ref or "none yet"
    yield "Begun", render.when(payment.created_at)
    if payment.completed_at:
        yield "Completed", render.when(payment.completed_at)
    if payment.refunded_at:
        yield "Refunded", f"{render.when(payment.refunded_at)}: {payment.refund_reason}"
    if payment.mode in NO_SALE:
        yield "Mode", NO_SALE[payment.mode]


def _charged_label(payment: pb.PaymentRecord) -> str:
    return "Charged" if payment.status in {State.COMPLETED, State.REFUNDED} else "To pay"


def _charged(payment: pb.PaymentRecord) -> str:
    less = f" instead of {xaf(payment.price_xaf)}" if payment.price_xaf != payment.amount_xaf else ""
    return f"{xaf(payment.amount_xaf)}{less}"
