"""What is for sale, what of it is charged, and how a payment stands, in words."""

from __future__ import annotations

from dataclasses import dataclass

from cloudgrpc.core.payment_states import State
from cloudgrpc.core.units import size_words


@dataclass(frozen=True)
class Offer:
    """A tier as it is sold now."""

    tier_id: str
    name: str
    description: str
    storage_bytes: int
    price_xaf: int
    amount_xaf: int  # what is charged


def charged_xaf(price_xaf: int, mode: str, demo_max_xaf: int) -> int:
    """The price, but little where no real customers pay. `mode`: as in sales.Campay.mode."""
    return min(price_xaf, demo_max_xaf) if mode in ("demo", "sandbox") else price_xaf


def standing(state: str, *, is_unclear: bool, reason: str, storage_bytes: int, ussd_code: str) -> str:
    """For the buyer."""
    kind = f"unclear {state}" if is_unclear else state
    return STANDING[kind].format(
        room=size_words(storage_bytes), reason=reason, dial=f": dial {ussd_code}" if ussd_code else ""
    )


LATE = "Should the money be taken all the same, {room} are added."
STANDING = {
    State.PENDING: "It is about to be sent to Campay.",
    State.PROCESSING: "Confirm it on your phone{dial}. {room} are added once Campay says that it was paid.",
    f"unclear {State.PROCESSING}": "It is being found out whether the money moved; do not pay again meanwhile.",
    State.COMPLETED: "{room} were added.",
    State.FAILED: "It failed: {reason}. Nothing was added.",
    State.CANCELLED: f"It was cancelled; do not confirm it on your phone. {LATE}",
    f"unclear {State.CANCELLED}": f"It was cancelled while it was unclear whether the money moved. {LATE}",
    State.REFUNDED: "The money was paid back, and the room was taken back.",
}
