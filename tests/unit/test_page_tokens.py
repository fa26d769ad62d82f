"""Tokens of paged lists: what was written is read, and nothing else gets as far as a database."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudgrpc.actions.page_tokens import NUMBER_MOST, read_token, write_token
from cloudgrpc.errors import InvalidField

TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"))
NUMBER = st.integers(0, NUMBER_MOST)


@given(st.lists(st.one_of(TEXT, NUMBER), min_size=1, max_size=3))
def test_a_token_says_what_was_written(last: list[str | int]) -> None:
    assert read_token(write_token(*last), *map(type, last)) == tuple(last)


def test_no_token_is_the_beginning() -> None:
    assert read_token("", int, str) is None


@given(st.one_of(st.text(), st.binary().map(lambda data: base64.urlsafe_b64encode(data).decode())))
def test_whatever_else_comes_is_refused(token: str) -> None:
    try:
        found = read_token(token, int, str)
    except InvalidField:
        return
    assert found is None or read_token(write_token(*found), int, str) == found


@pytest.mark.parametrize(
    "told",
    [
        [],
        [1],
        ["x", 1],
        [1, "x", 2],
        [True, "x"],
        [1.0, "x"],
        [-1, "x"],
        [1 << 63, "x"],
        [1, None],
        [1, ["x"]],
        [1, "a\0b"],
        [1, "\ud800"],
        {"1": "x"},
        "1x",
        None,
    ],
)
def test_what_a_column_cannot_hold_or_of_another_shape_is_refused(told: object) -> None:
    token = base64.urlsafe_b64encode(json.dumps(told).encode()).decode()
    with pytest.raises(InvalidField):
        read_token(token, int, str)


def test_a_token_of_many_brackets_is_refused() -> None:
    with pytest.raises(InvalidField):
        read_token(base64.urlsafe_b64encode(b"[" * 100_000).decode(), int)
