"""Revenue by day, drawn: every day has its line, and none is wider than the terminal."""

from __future__ import annotations

from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from cloudgrpc.admin.revenue import DAYS, FULL, bar, by_day, chart
from cloudgrpc.pb import cloud_storage_pb2 as pb

LAST = date(2026, 3, 2)


def days(*amounts: int) -> list[pb.RevenueDay]:
    told = [
        pb.RevenueDay(day=f"2026-03-{number:02}", amount_xaf=amount, payments=number)
        for number, amount in enumerate(amounts, 1)
    ]
    return by_day(told, LAST)


def test_days_without_revenue_have_a_line_too() -> None:
    told = days(500, 1500)
    assert [day.day for day in told][-4:] == ["2026-02-27", "2026-02-28", "2026-03-01", "2026-03-02"]
    assert len(told) == DAYS
    lines = chart(told, 80)
    assert lines[0].startswith("2026-02-17")
    assert FULL not in lines[0]
    assert lines[-1].endswith("1,500 XAF (2)")


def test_the_best_day_has_the_longest_bar_and_the_others_their_share() -> None:
    first, second = chart(days(500, 1500), 80)[-2:]
    assert second.count(FULL) // 3 == first.count(FULL) > 0


def test_what_is_more_than_nothing_can_be_seen() -> None:
    assert bar(1, 1_000_000_000, 20) == "▏"
    assert bar(0, 1000, 20) == ""


@given(st.lists(st.integers(0, 1 << 40), min_size=2, max_size=2), st.integers(50, 300))
def test_no_line_is_wider_than_the_terminal(amounts: list[int], width: int) -> None:
    assert all(len(line) < width for line in chart(days(*amounts), width))


@given(st.integers(1, 1 << 40), st.integers(1, 1 << 40), st.integers(1, 200))
def test_a_bar_never_leaves_its_cells(amount: int, best: int, cells: int) -> None:
    assert 1 <= len(bar(min(amount, best), best, cells)) <= cells
