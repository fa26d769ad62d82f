"""How long something takes yet, by how it shrank."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudgrpc.core import trends
from cloudgrpc.core.trends import UNKNOWN, Sample

Points = list[tuple[float, float]]


def samples(points: Points) -> list[Sample]:
    return [Sample(at, left) for at, left in points]


@pytest.mark.parametrize(
    ("points", "seconds"),
    [
        ([], 0),
        ([(0, 100)], UNKNOWN),
        ([(0, 100), (10, 100)], UNKNOWN),
        ([(0, 100), (10, 120)], UNKNOWN),
        ([(0, 100), (10, 50)], 10),
        ([(0, 100), (60, 100), (70, 50)], 10),  # it began a moment ago: the wait before says nothing
        ([(0, 100), (10, 90), (20, 190), (30, 180)], 270),  # more came meanwhile: 20 went in 30 s
        ([(0, 100), (10, 0)], 0),
    ],
)
def test_the_time_left_is_told_by_what_went(points: Points, seconds: float) -> None:
    assert trends.seconds_left(samples(points)) == pytest.approx(seconds)


def test_once_all_is_done_what_comes_later_is_another_story() -> None:
    done = trends.recent(samples([(0, 100), (10, 50)]), Sample(20, 0))
    assert done == [Sample(20, 0)]
    assert trends.seconds_left(trends.recent(done, Sample(30, 1000))) == UNKNOWN


def test_what_is_old_is_forgotten() -> None:
    kept = trends.recent(samples([(0, 100), (trends.WINDOW_S, 90)]), Sample(trends.WINDOW_S + 1, 80))
    assert [one.at_s for one in kept] == [trends.WINDOW_S, trends.WINDOW_S + 1]


def test_samples_that_come_seldom_tell_a_trend_all_the_same() -> None:
    seldom = 2 * trends.WINDOW_S
    kept = trends.recent(samples([(0, 200), (seldom, 100)]), Sample(2 * seldom, 50))
    assert trends.seconds_left(kept) == pytest.approx(seldom)


@given(st.floats(0.1, 1e6), st.floats(0.1, 100), st.integers(2, 20))
def test_what_shrinks_evenly_is_told_exactly(speed: float, span_s: float, count: int) -> None:
    total = speed * span_s * count * 2
    even = [Sample(index * span_s, total - speed * span_s * index) for index in range(count)]
    assert trends.seconds_left(even) == pytest.approx(even[-1].left / speed)


@given(st.lists(st.floats(0, 1e12), max_size=20))
def test_whatever_happens_the_time_left_is_a_time_or_unknown(lefts: list[float]) -> None:
    told = trends.seconds_left([Sample(float(at), left) for at, left in enumerate(lefts)])
    assert told == UNKNOWN or told >= 0
