"""Sizes for people, and times as the wire and the database write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from cloudgrpc.errors import InvalidField

RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
EPOCH = datetime.fromtimestamp(0, UTC)
STEPS = ("KB", "MB", "GB", "TB", "PB")


def size_words(size: int) -> str:
    """Bytes for people; 1 KB is 1024 bytes, as file managers count."""
    if abs(size) < 1024:
        return f"{size} B"
    value = float(size)
    for step in STEPS:
        value /= 1024
        # 1023.95 would round to "1024.0".
        if abs(value) < 1023.95 or step == STEPS[-1]:
            return f"{value:.1f} {step}"
    raise AssertionError("the last step returns")


def rfc3339(micros: int | None) -> str:
    """Microseconds since 1970 as the wire's text in UTC; "" for never."""
    if micros is None:
        return ""
    return datetime.fromtimestamp(micros / 1_000_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def unix_ms(text: str) -> int:
    """Milliseconds since 1970 of a time of the wire. Raises: ValueError when it is none."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def micros_of(told: str, field: str) -> int:
    """The wire's text for a moment, in any zone, as microseconds since 1970. Raises: InvalidField."""
    try:
        if not RFC3339.fullmatch(told):
            raise ValueError
        # In UTC, for some moments that can be written elsewhere lie outside of its years.
        moment = datetime.fromisoformat(told.upper()).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidField(field=field, reason="is no moment such as 2026-12-31T18:00:00Z") from error
    # To the millisecond, as the wire tells it.
    return (moment - EPOCH) // timedelta(milliseconds=1) * 1000


def minute(micros: int) -> str:
    """The minute in UTC, for people."""
    return f"{datetime.fromtimestamp(micros / 1_000_000, UTC):%Y-%m-%d %H:%M} UTC"


def day(micros: int) -> str:
    """The day in UTC, for people."""
    return datetime.fromtimestamp(micros / 1_000_000, UTC).date().isoformat()
