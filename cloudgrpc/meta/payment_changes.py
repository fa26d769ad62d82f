"""How a payment changes: one conditional UPDATE and its event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudgrpc.core.units import size_words
from cloudgrpc.meta import events
from cloudgrpc.meta.payment_models import Payment

if TYPE_CHECKING:
    from cloudgrpc.core.peers import Visitor


def change(
    payment_id: str,
    condition: Any,
    kind: str,
    message: str,
    *,
    visitor: Visitor | None = None,
    by: str = "",
    operator: str = "",
    for_operators: str = "",
    **columns: object,
) -> bool:
    """Change what fits the condition, and tell of it; False: nothing did. `message` may name a payment's columns, its
    thing and its amount; `operator`: the name of who did it by hand; `for_operators`: what its buyer is not told."""
    values = {getattr(Payment, name): value for name, value in columns.items()}
    if not Payment.update(values).where((Payment.payment_id == payment_id) & condition).execute():
        return False
    payment = Payment.get_by_id(payment_id)
    words = message.format(thing=thing(payment), amount=f"{payment.amount_xaf:,} XAF", **payment.__data__)
    record(payment, kind, words, visitor=visitor, by=by, operator=operator, for_operators=for_operators)
    return True


def record(
    payment: Payment,
    kind: str,
    message: str,
    *,
    visitor: Visitor | None = None,
    by: str = "",
    operator: str = "",
    for_operators: str = "",
) -> None:
    """By the buyer when there is a visitor and nobody is named; by the cluster itself when there is neither."""
    told = {} if visitor and not by else {"by": by}
    if operator:
        told["operator"] = operator
    if for_operators:
        told["for_operators"] = for_operators
    events.record(
        f"payment.{kind}",
        message,
        account_id=payment.account_id,
        visitor=visitor,
        **told,
        payment_id=payment.payment_id,
        status=payment.state,
        amount_xaf=payment.amount_xaf,
        mode=payment.mode,
    )


def thing(payment: Payment) -> str:
    return f"{payment.tier_name} ({size_words(payment.storage_bytes)})"
