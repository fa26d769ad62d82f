"""Patterns that names are looked for by."""

from __future__ import annotations

import fnmatch
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudgrpc.core.name_patterns import WILD, name_matcher
from cloudgrpc.errors import InvalidField

LETTERS = st.text("aAbÄä.é\u0301*?[]!-^ß", max_size=8)
PLAIN = st.text("aAb.*?[]!-^", max_size=8)


def matches(pattern: str, name: str) -> bool:
    return name_matcher(pattern, "name")(name)


@given(LETTERS, LETTERS)
def test_case_and_the_way_accents_are_typed_make_no_difference(pattern: str, name: str) -> None:
    wanted = matches(pattern, name)
    for other in (str.upper, str.lower, lambda text: unicodedata.normalize("NFD", text)):
        assert matches(pattern, other(name)) == matches(other(pattern), name) == wanted


@given(PLAIN, PLAIN)
def test_a_pattern_means_what_the_shell_means_by_it_and_anything_else_a_part_of_the_name(
    pattern: str, name: str
) -> None:
    if WILD.isdisjoint(pattern):
        assert matches(pattern, name) == (pattern.lower() in name.lower())
    else:
        assert matches(pattern, name) == fnmatch.fnmatchcase(name.lower(), pattern.lower())


def test_a_pattern_takes_no_more_time_the_more_stars_it_has() -> None:
    assert not matches("*a" * 120, "a" * 119 + "b" * 136)


@pytest.mark.parametrize("pattern", ["a" * 256, "é" * 128, "\u0301\u0327" * 500_000])
def test_a_pattern_is_no_longer_than_a_name(pattern: str) -> None:
    with pytest.raises(InvalidField, match="name"):
        name_matcher(pattern, "name")
