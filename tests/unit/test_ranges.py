"""How some of a file's bytes are named."""

from __future__ import annotations

import argparse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudgrpc.clients.ranges import read_range
from cloudgrpc.errors import InvalidField

DATA = bytes(range(100))


@given(st.integers(0, 99), st.integers(0, 200), st.integers(0, 100))
def test_a_range_is_what_its_ends_say(first: int, more: int, size: int) -> None:
    data = DATA[:size]
    last = first + more
    if first < size:
        start, length = read_range(f"{first}-{last}").within(size)
        assert data[start : start + length] == data[first : last + 1]
        start, length = read_range(f"{first}-").within(size)
        assert data[start : start + length] == data[first:]
        assert start + length == size
    start, length = read_range(f"-{more}").within(size)
    assert data[start : start + length] == (data[-more:] if more else b"")


@pytest.mark.parametrize("word", ["", "-", "5", "a-b", "5-3", "1-2-3", "--1", "\u0661-\u0662", "1- 2", "9" * 19 + "-"])
def test_what_is_no_range_is_refused(word: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        read_range(word)


def test_a_range_behind_the_end_is_refused() -> None:
    with pytest.raises(InvalidField, match="has only 10"):
        read_range("10-20").within(10)
