"""A join code: what goes in comes out, and whatever was not copied whole is known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudgrpc.core.join_code import JoinCode, decoded, encoded
from cloudgrpc.errors import JoinCodeUnreadable

CODE = JoinCode("node4", "c" * 32, "192.0.2.5", 50051, "gateway.gateway.cloudgrpc", bytes(420), "s" * 43)
codes = st.builds(
    JoinCode,
    node_id=st.text(),
    cluster_id=st.text(),
    host=st.text(),
    port=st.integers(1, 65535),
    name=st.text(),
    root=st.binary(max_size=600),
    secret=st.text(),
)


@given(codes)
def test_what_goes_in_comes_out(code: JoinCode) -> None:
    assert decoded(encoded(code)) == code


def test_it_may_be_broken_into_lines_and_have_space_around_it() -> None:
    told = encoded(CODE)
    assert decoded(f"  {told[:80]}\n {told[80:200]}\r\n{told[200:]}\n\n") == CODE


@given(st.data())
def test_a_letter_that_is_missing_or_another_is_noticed(data: st.DataObject) -> None:
    told = encoded(CODE)
    place = data.draw(st.integers(0, len(told) - 1))
    instead = data.draw(st.sampled_from(["", "A", "b", "_", "é", "=", "AA"]))
    if instead != told[place]:
        with pytest.raises(JoinCodeUnreadable):
            decoded(told[:place] + instead + told[place + 1 :])


@given(st.text() | st.text().map("join1-".__add__) | st.binary().map(lambda junk: f"join1-{junk.hex()}"))
def test_what_is_none_is_refused(told: str) -> None:
    with pytest.raises(JoinCodeUnreadable):
        decoded(told)


def test_it_fits_the_line_of_any_terminal_and_does_not_show_its_secret() -> None:
    assert len(encoded(CODE)) < 1024  # of macOS; more cannot be typed at once
    assert CODE.secret not in repr(CODE)
