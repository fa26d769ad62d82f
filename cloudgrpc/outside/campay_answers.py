"""What Campay's answers say, read from JSON that may be anything. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from cloudgrpc.core.payment_states import Record
from cloudgrpc.core.phone import masked
from cloudgrpc.errors import AmountRefused, PaymentRefused, PhoneWrong

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cloudgrpc.errors import CloudError

WHOLE = re.compile(r"([0-9]{1,15})(\.0+)?")
CODE = re.compile(r"(?<![A-Za-z0-9])ER(101|102|201|301)(?![A-Za-z0-9])", re.IGNORECASE)
LONG_NUMBER = re.compile(r"\+?[0-9](?:[ .-]?[0-9]){7,}")  # eight digits and more: a phone, however it is written
OUR_ID = re.compile(r"(?<![\w-])[0-9a-f]{32}(?![\w-])")
LETTERS = 160
MOST_DIGITS = 15  # 1e999999999 would be written out
MOST_DEPTH = 20
SAYING = ("message", "detail", "error", "reason", "non_field_errors")  # where Campay puts words, the first first


@dataclass(frozen=True)
class Answer:
    """`body`: the JSON in it, else None. `text`: what came, for words to people."""

    status: int
    body: Any
    text: str


@dataclass(frozen=True)
class Told:
    """A line of Campay's history, in its own words. `payment_id`: ours; "" when it names none."""

    reference: str
    payment_id: str
    amount_xaf: int | None  # None: it is no whole number
    status: str
    at: str


class Unanswered(Exception):
    """There is no answer, and in words why. `was_sent`: whether the request may have arrived."""

    def __init__(self, reason: str, *, was_sent: bool) -> None:
        super().__init__(reason)
        self.was_sent = was_sent


def whole_xaf(told: object) -> int | None:
    """10 from 10, 10.0, "10" or "10.00"; None: it is no whole amount."""
    found = WHOLE.fullmatch(str(told).strip())
    return int(found[1]) if found else None


def floor_xaf(told: object) -> int | None:
    """A balance, which fees may leave with a fraction, rounded down."""
    try:
        amount = Decimal(str(told))
    except InvalidOperation:
        return None
    if not amount.is_finite() or amount.adjusted() >= MOST_DIGITS:
        return None
    return int(amount.to_integral_value(ROUND_FLOOR))


def error_code(body: Any, text: str) -> str:
    """ER101, ER102, ER201 or ER301, wherever it stands in the answer; "" when none does."""
    for words in [*_strings(body), *([text] if body is None else [])]:
        found = CODE.search(words)
        if found:
            return found[0].upper()
    return ""


def refusal(code: str, saying: str) -> CloudError:
    """The error of ours for a code of Campay's; "" and unknown ones are a plain refusal."""
    match code:
        case "ER101":
            return PhoneWrong(reason="Campay takes it for no mobile number")
        case "ER102":
            return PhoneWrong(reason="Campay does not serve its operator; it takes MTN and Orange")
        case "ER201":
            return AmountRefused(reason=saying)
    return PaymentRefused(reason=saying)


def saying(body: Any, text: str, secrets: Iterable[str] = ()) -> str:
    """What an answer says, for people: one short printable line without a number that could be a phone's, and without
    `secrets`."""
    if isinstance(body, dict):
        chosen = [words for key in SAYING for words in _strings(body.get(key))]
        words = next(iter(chosen), "") or next(_strings(list(body.values())), "")
    else:
        words = next(_strings(body), "") if body is not None else re.sub(r"<[^>]*>", " ", text)
    return printable(words, secrets) or "it gives no reason"


def printable(words: str, secrets: Iterable[str] = ()) -> str:
    for secret in filter(None, secrets):
        words = words.replace(secret, "…")
    words = "".join(letter if letter.isprintable() else " " for letter in words)
    words = LONG_NUMBER.sub(lambda number: masked(re.sub(r"[^0-9]", "", number[0])), words)
    return " ".join(words.split())[:LETTERS].rstrip(". ")


def reference_in(body: Any) -> str:
    """The reference of a transaction that was begun; "" when the answer tells none that can be used."""
    return _word(body, "reference") if isinstance(body, dict) else ""


def record_in(body: Any) -> Record | None:
    """None: it is not a transaction's record."""
    if not isinstance(body, dict) or not _word(body, "reference") or not _word(body, "status"):
        return None
    return Record(
        reference=_word(body, "reference"),
        external_reference=_word(body, "external_reference"),
        amount_xaf=whole_xaf(body.get("amount")),
        currency=_word(body, "currency"),
        status=_word(body, "status"),
        reason=printable(str(body.get("reason") or "")),
    )


def history_in(body: Any) -> list[dict[str, Any]] | None:
    """The entries; None: it is no history."""
    entries = body.get("data") if isinstance(body, dict) else None
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else None


def find_payment(entries: Iterable[dict[str, Any]], payment_id: str) -> str | None:
    """The reference of the entry that names our payment: in `external_reference`, else as a whole word in
    `description`. None: there is none."""
    entries = list(entries)
    whole_word = re.compile(rf"(?<![\w-]){re.escape(payment_id)}(?![\w-])")
    named = [entry for entry in entries if _word(entry, "external_reference") == payment_id]
    described = [entry for entry in entries if whole_word.search(str(entry.get("description")))]
    references = (_word(entry, "reference_uuid") or _word(entry, "reference") for entry in [*named, *described])
    return next(filter(None, references), None) if payment_id else None


def told_in(entries: Iterable[dict[str, Any]]) -> list[Told]:
    """What a history tells of each transaction that has a reference."""
    told = []
    for entry in entries:
        ours = OUR_ID.search(_word(entry, "external_reference")) or OUR_ID.search(str(entry.get("description")))
        reference = _word(entry, "reference_uuid") or _word(entry, "reference")
        if reference:
            amount_xaf = whole_xaf(entry.get("amount"))
            status, at = _word(entry, "status"), _word(entry, "datetime")
            told.append(Told(reference, ours[0] if ours else "", amount_xaf, status, at))
    return told


def _word(body: dict[str, Any], key: str) -> str:
    """A short printable string; "" for all else."""
    value = body.get(key)
    return value if isinstance(value, str) and value.isprintable() and len(value) <= LETTERS else ""


def _strings(body: Any, depth: int = 0) -> Iterator[str]:
    """Every string in JSON, keys too."""
    if isinstance(body, str):
        yield body
    elif isinstance(body, dict) and depth < MOST_DEPTH:
        for key, value in body.items():
            yield key
            yield from _strings(value, depth + 1)
    elif isinstance(body, list) and depth < MOST_DEPTH:
        for value in body:
            yield from _strings(value, depth + 1)
