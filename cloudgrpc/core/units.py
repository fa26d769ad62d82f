"""Sizes for people, and times as the wire and the database write them."""

from __future__ import annotations

from datetime import UTC, datetime

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


def day(micros: int) -> str:
    """The day in UTC, for people."""
    return datetime.fromtimestamp(micros / 1_000_000, UTC).date().isoformat()
