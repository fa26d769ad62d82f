"""Sizes for people, and times on the wire."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cloudgrpc.core.units import STEPS, rfc3339, size_words

UNITS = {"B": 1, **{step: 1024**power for power, step in enumerate(STEPS, 1)}}
SIZES = st.integers(0, 1 << 60)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KB"),
        (1536, "1.5 KB"),
        ((1 << 20) - 1, "1.0 MB"),
        (1 << 30, "1.0 GB"),
        (2_500_000_000, "2.3 GB"),
        (5 << 40, "5.0 TB"),
        (3 << 60, "3072.0 PB"),
        (-2048, "-2.0 KB"),
    ],
)
def test_a_size_is_told_in_the_unit_a_person_would_choose(size: int, words: str) -> None:
    assert size_words(size) == words


@given(SIZES)
@example(1024**2 - 52)  # 1023.949 KB
@example(1024**2 - 51)  # 1023.950 KB, which would be told as 1024.0
def test_the_words_are_the_size_to_a_tenth_of_their_unit(size: int) -> None:
    number, unit = size_words(size).split()
    assert abs(float(number) * UNITS[unit] - size) <= 0.0501 * UNITS[unit]
    assert float(number) < 1024 or unit == STEPS[-1]
    assert float(number) >= 1 or unit == "B"


@given(SIZES, SIZES)
def test_a_bigger_size_is_never_told_as_less(one: int, other: int) -> None:
    def told(size: int) -> float:
        number, unit = size_words(size).split()
        return float(number) * UNITS[unit]

    assert told(min(one, other)) <= told(max(one, other))


@given(SIZES)
def test_a_negative_size_is_told_like_the_positive_with_a_sign(size: int) -> None:
    assert size_words(-size) == ("-" if size else "") + size_words(size)


@given(st.integers(0, 4_000_000_000_000_000))
def test_a_time_on_the_wire_is_the_stored_one_to_the_millisecond(micros: int) -> None:
    text = rfc3339(micros)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)
    read_back = datetime.fromisoformat(text)
    exact = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
    assert timedelta(0) <= exact - read_back < timedelta(milliseconds=1)


def test_never_is_an_empty_text() -> None:
    assert rfc3339(None) == ""
