"""Moments as people write them: a day, a day with a time, or so long from now; without a zone, in this computer's."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta

from cloudgrpc.errors import UsageWrong

SPAN = re.compile(r"(\d{1,6})([hdw])")
UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


def end(word: str, now: datetime) -> str:
    """When something ends, for the wire; a day ends with its last second. Raises: UsageWrong."""
    try:
        moment = _end(word, now)
        told = moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (ValueError, OverflowError) as error:
        reason = f"{word} is no moment; write it as 2026-12-31, '2026-12-31 18:00', 12h, 7d or 4w"
        raise UsageWrong(reason=reason) from error
    if moment <= now:
        raise UsageWrong(reason=f"{word} is in the past")
    return told


def _end(word: str, now: datetime) -> datetime:
    if span := SPAN.fullmatch(word):
        return now + int(span[1]) * UNITS[span[2]]
    if DAY.fullmatch(word):
        return datetime.combine(datetime.fromisoformat(word), time(23, 59, 59)).astimezone()
    moment = datetime.fromisoformat(word)
    return moment if moment.tzinfo else moment.astimezone()
