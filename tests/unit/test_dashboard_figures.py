"""Figures for operators as words, bars and graphs."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudgrpc.admin import figures

GB = 1 << 30
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@given(st.integers(0, 1 << 60), st.integers(0, 1 << 60), st.integers(2, 200))
def test_a_bar_has_its_width_and_only_what_is_full_looks_full(part: int, whole: int, width: int) -> None:
    bar = figures.meter(part, whole, width)
    assert len(bar) == width
    filled = bar.count(figures.FULL)
    assert (filled == width) == (whole > 0 and part >= whole)
    assert (filled > 0) == (part > 0 and whole > 0)


@given(st.lists(st.floats(0, 1e12), max_size=100), st.integers(1, 90), st.integers(1, 6))
def test_a_graph_fills_its_room_and_its_highest_reaches_the_top(values: list[float], width: int, height: int) -> None:
    lines = figures.graph(values, width, height)
    assert [len(line) for line in lines] == [width] * height
    assert ("█" in lines[0]) == (max(values, default=0) > 0)
    assert " " not in lines[-1], "what is nothing is a line"


def test_a_graph_shows_all_values_and_ends_with_the_newest() -> None:
    assert figures.graph([1, 2, 4, 8], 6) == ["▁▁▁▂▄█"]
    assert figures.graph([0, 8, 2, 1, 4, 2], 3) == ["█▂▄"], "of those that share a cell the highest"
    assert figures.graph([4, 8], 2, 2) == [" █", "██"]


@pytest.mark.parametrize(
    ("part", "whole", "words"),
    [(0, 100, "0%"), (1, 1000, "1%"), (999, 1000, "99%"), (1000, 1000, "100%"), (3, 2, "150%"), (1, 0, "0%")],
)
def test_only_what_is_all_is_100_percent(part: int, whole: int, words: str) -> None:
    assert figures.percent(part, whole) == words


@pytest.mark.parametrize(
    ("part", "whole", "words"),
    [
        (GB, 2 * GB, "1.0 of 2.0 GB"),
        (GB // 2, 2 * GB, "512.0 MB of 2.0 GB"),
        (0, 2 * GB, "0 B of 2.0 GB"),
        (5, 9, "5 of 9 B"),
    ],
)
def test_two_sizes_say_their_unit_once(part: int, whole: int, words: str) -> None:
    assert figures.sizes(part, whole) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h"), (47 * 3600, "47 h"), (172800, "2 d")],
)
def test_an_age_has_one_unit(seconds: float, words: str) -> None:
    assert figures.age(seconds) == words


def test_what_cannot_be_told_is_said_so() -> None:
    assert figures.left(-1) == "time left not known yet"
    assert figures.left(190) == "about 3 min left"
    assert figures.latency(-1) == "-"
    assert figures.ago("", NOW) == "never"
    assert figures.ago("2026-11-23T11:57:00.000Z", NOW) == "3 min ago"


def test_a_table_is_aligned_with_figures_at_the_right() -> None:
    told = figures.aligned(["Node", "Used"], [["node1", "9"], ["ñ", "10"]], ["Used"])
    assert told == ["Node   Used", "node1     9", "ñ        10"]
