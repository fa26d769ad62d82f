"""The laws of a secret's lines: none is lost or made by a change, and the first is the one in use."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudgrpc.core import rotation
from cloudgrpc.errors import SecretInUse

LINES = st.lists(st.text("abcdef", min_size=16), min_size=1, unique=True).map(tuple)


@given(LINES, st.data())
def test_what_is_made_the_first_stays_once_and_the_others_keep_their_order(
    lines: rotation.Lines, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(lines) - 1))
    changed = rotation.made_first(lines, place)
    assert changed[0] == lines[place]
    assert list(changed[1:]) == [line for line in lines if line != lines[place]]


@given(LINES, st.data())
def test_all_but_the_first_can_be_removed(lines: rotation.Lines, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(lines) - 1))
    prints = [rotation.fingerprint(line.encode()) for line in lines]
    if place == 0:
        with pytest.raises(SecretInUse):
            rotation.without(lines, place, prints)
    else:
        assert set(rotation.without(lines, place, prints)) == set(lines) - {lines[place]}


@given(LINES)
def test_lines_are_read_as_they_are_written_whatever_stands_around(lines: rotation.Lines) -> None:
    assert rotation.lines_of("\n".join(lines)) == lines
    assert rotation.lines_of("".join(f"\n\n  {line}\t\r\n" for line in (*lines, *lines))) == lines
