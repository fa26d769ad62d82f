"""The line at the prompt while it is typed: its words, and going on with one of them."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudgrpc.shell.typed import Typed, continued, typed

words = st.text(st.characters(exclude_categories=["Cc", "Cs"]) | st.sampled_from(" '\"\\#*|>;"))


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("", Typed((), "", "")),
        ("l", Typed((), "l", "")),
        ("ls ", Typed(("ls",), "", "")),
        ("  ls  pho", Typed(("ls",), "pho", "")),
        ("ls my\\ ph", Typed(("ls",), "my ph", "")),
        ('ls "my ph', Typed(("ls",), "my ph", '"')),
        ("ls 'it''s", Typed(("ls",), "its", "'")),
        ("ls 'it\\", Typed(("ls",), "it\\", "'")),
        ('ls "a\\"b\\c', Typed(("ls",), 'a"b\\c', '"')),
        ("ls a\u00a0b", Typed(("ls",), "a\u00a0b", "")),
        ('ls "" ', Typed(("ls", ""), "", "")),
    ],
)
def test_a_line_is_read_up_to_the_cursor(line: str, meant: Typed) -> None:
    assert typed(line) == meant


@given(st.lists(words, max_size=4), words)
def test_words_are_split_as_shlex_splits_the_complete_line(before: list[str], word: str) -> None:
    line = "".join(f"{shlex.quote(each)} " for each in before)
    assert typed(line + shlex.quote(word)) == Typed(tuple(before), word, "")


@given(words, words, st.sampled_from(["", "'", '"']))
def test_going_on_with_a_word_gives_the_whole_word_however_it_was_begun(start: str, rest: str, quote: str) -> None:
    line = f"ls {quote}{continued(start, quote)}{continued(rest, quote)}{quote}"
    assert shlex.split(line) == (["ls", start + rest] if quote or start + rest else ["ls"])


@given(words, words, st.sampled_from(["", "'", '"']))
def test_what_was_typed_so_far_is_understood_in_every_quote(start: str, rest: str, quote: str) -> None:
    now = typed(f"ls {quote}{continued(start, quote)}")
    assert now == Typed(("ls",), start, quote)
    assert shlex.split(f"ls {quote}{continued(start, quote)}{continued(rest, now.quote)}{now.quote}")[1:] in (
        [start + rest],
        [],
    )
