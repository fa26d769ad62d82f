"""How a payment goes, decided from what Campay's own record says. Whoever acts on it does so in one conditional UPDATE.

    begin ─> pending ──────────> processing ───────────────> completed ──> refunded
                │  claimed: from     │   the record says         ▲
                │  here on money     │   SUCCESSFUL, and fits    │  a late success still credits
                │  may move          ├──────────> failed ────────┤
                │                    │   refused, or FAILED      │
                └──> cancelled       └──────────> cancelled ─────┘
                └──> failed  (never sent)

pending: written down, and Campay surely knows nothing of it. processing: Campay was asked to collect, or may have been;
without a reference it is unclear whether, which is found out and never tried again blindly.

No state but completed has room granted for it, and only `judge` leads there.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

SECOND_US = 1_000_000
LOOKS_OFTEN = 12
OFTEN_US = 5 * SECOND_US
SOMETIMES_US = 30 * SECOND_US
SOMETIMES_FOR_US = 3600 * SECOND_US
SELDOM_US = 15 * 60 * SECOND_US
GIVE_UP_US = 72 * 3600 * SECOND_US
UNKNOWN_AFTER_US = SOMETIMES_FOR_US  # a transaction may take a while to be known everywhere at Campay
NEVER_SENT_US = 120 * SECOND_US  # a pending payment this old was begun by a gateway that died before it sent anything
CURRENCY = "XAF"


class State(StrEnum):
    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REFUNDED = "refunded"


OPEN = (State.PENDING, State.PROCESSING)
# From where Campay's SUCCESSFUL leads to completed.
CREDITABLE = (State.PROCESSING, State.FAILED, State.CANCELLED)
CANCELLABLE = OPEN


class Verdict(StrEnum):
    """What Campay's record means for a payment."""

    WAIT = "wait"
    COMPLETE = "complete"
    FAIL = "fail"
    FOREIGN = "foreign"  # the record is not about this payment, or about other money: a person must look


@dataclass(frozen=True)
class Expected:
    """What a payment's transaction must be."""

    reference: str
    payment_id: str
    amount_xaf: int


@dataclass(frozen=True)
class Record:
    """A transaction as Campay tells it. `amount_xaf`: None when it is no whole number; `status`: as told."""

    reference: str
    external_reference: str
    amount_xaf: int | None
    currency: str
    status: str
    reason: str = ""


def judge(expected: Expected, record: Record) -> tuple[Verdict, str]:
    """What a record means, and in words why it is FOREIGN. A record of another payment, amount or currency is never
    believed, whatever its status."""
    differs = difference(expected, record)
    if differs:
        return Verdict.FOREIGN, differs
    match record.status:
        case "SUCCESSFUL":
            return Verdict.COMPLETE, ""
        case "FAILED":
            return Verdict.FAIL, ""
        case "PENDING":
            return Verdict.WAIT, ""
    return Verdict.FOREIGN, f"its status is {record.status[:40]!r}"


def difference(expected: Expected, record: Record) -> str:
    """In words what of a record does not fit the payment; "" when all does."""
    if record.reference != expected.reference:
        return "it has another reference"
    if record.external_reference != expected.payment_id:
        return "it is about another payment"
    if record.currency != CURRENCY:
        return f"it is in {record.currency[:10]!r}, not in {CURRENCY}"
    if record.amount_xaf != expected.amount_xaf:
        told = "no whole amount" if record.amount_xaf is None else f"{record.amount_xaf} XAF"
        return f"it is about {told}, not about {expected.amount_xaf} XAF"
    return ""


def wait_us(age_us: int, looks: int, often_us: int = OFTEN_US, *, has_failed: bool = False) -> int | None:
    """How long until Campay is asked again: every 5 s twelve times, every 30 s for an hour, then every 15 minutes up
    to 72 hours after the payment began; None: no more by itself. One that failed seldom succeeds after all."""
    if age_us >= GIVE_UP_US:
        return None
    if has_failed:
        return SELDOM_US
    if looks < LOOKS_OFTEN:
        return often_us
    return SOMETIMES_US if age_us < SOMETIMES_FOR_US else SELDOM_US
