"""What came in day by day, as bars of blocks that fit a terminal. Pure."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

from cloudgrpc.shell.money import xaf

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cloudgrpc.pb import cloud_storage_pb2 as pb

DAYS = 14
FULL = "█"
EIGHTHS = " ▏▎▍▌▋▊▉"
LEAST_BAR, MOST_BAR = 10, 60  # cells
GAP = "  "


def by_day(days: Sequence[pb.RevenueDay], last: date, count: int = DAYS) -> list[pb.RevenueDay]:
    """`count` days up to `last`, also those on which nothing came in."""
    from cloudgrpc.pb import cloud_storage_pb2 as pb

    known: Mapping[str, pb.RevenueDay] = {day.day: day for day in days}
    wanted = [(last - timedelta(days=back)).isoformat() for back in range(count - 1, -1, -1)]
    return [known.get(day, pb.RevenueDay(day=day)) for day in wanted]


def chart(days: Sequence[pb.RevenueDay], width: int) -> list[str]:
    """A line a day: the day, its bar, the sum, and how many payments made it. The best day's bar is the longest."""
    sums = [xaf(day.amount_xaf) if day.amount_xaf else "-" for day in days]
    counts = [f"({day.payments})" if day.payments else "" for day in days]
    letters = max(map(len, sums), default=0)
    room = (
        width
        - sum(map(len, (*(day.day for day in days[:1]), GAP, GAP)))
        - letters
        - 1
        - max(map(len, counts), default=0)
    )
    cells = max(LEAST_BAR, min(MOST_BAR, room - 1))
    best = max((day.amount_xaf for day in days), default=0)
    return [
        f"{day.day}{GAP}{bar(day.amount_xaf, best, cells):<{cells}}{GAP}{told:>{letters}} {count}".rstrip()
        for day, told, count in zip(days, sums, counts, strict=True)
    ]


def bar(amount: int, best: int, cells: int) -> str:
    """In eighths of a cell; whatever is more than nothing can be seen."""
    if amount <= 0 or best <= 0:
        return ""
    eighths = max(1, round(amount / best * cells * 8))
    return FULL * (eighths // 8) + EIGHTHS[eighths % 8].strip()
