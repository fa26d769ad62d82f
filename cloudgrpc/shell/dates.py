"""Moments as people write them: a day, a day with a time, or so long from now or ago; in this computer's zone."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta

from cloudgrpc.errors import UsageWrong

SPAN = re.compile(r"([0-9]{1,6})([mhdw])")
UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def end(word: str, now: datetime) -> str:
    """When something ends, for the wire; a day ends with its last second. Raises: UsageWrong."""
    moment, told = _told(word, now, 1)
    if moment <= now:
        raise UsageWrong(reason=f"{word} is in the past")
    return told


def start(word: str, now: datetime) -> str:
    """When something began, for the wire; a day begins with its first second, and 7d is so long ago.

    Raises: UsageWrong.
    """
    return _told(word, now, -1)[1]


def _told(word: str, now: datetime, direction: int) -> tuple[datetime, str]:
    try:
        moment = _moment(word, now, direction)
        return moment, moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (ValueError, OverflowError) as error:
        reason = f"{word} is no moment; write it as 2026-12-31, '2026-12-31 18:00', 30m, 12h, 7d or 4w"
        raise UsageWrong(reason=reason) from error


def _moment(word: str, now: datetime, direction: int) -> datetime:
    if span := SPAN.fullmatch(word):
        return now + direction * int(span[1]) * UNITS[span[2]]
    if DAY.fullmatch(word):
        edge = time(23, 59, 59) if direction > 0 else time()
        return datetime.combine(datetime.fromisoformat(word), edge).astimezone()
    moment = datetime.fromisoformat(word)
    return moment if moment.tzinfo else moment.astimezone()
