"""What people read: times, names of other parties, figures, and what to try after a failure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudgrpc.clients import render
from cloudgrpc.errors import CATALOGUE, AccountUnknown, CloudError, QuotaExceeded


@given(st.text())
def test_nothing_shown_can_steer_a_terminal(text: str) -> None:
    shown = render.shown(text)
    assert len(shown) == len(text)
    assert all(letter.isprintable() or letter in render.JOINERS for letter in shown)


@given(st.text(alphabet=st.characters(categories=["L", "N", "P", "S"])))
def test_plain_text_is_shown_as_it_is(text: str) -> None:
    assert render.shown(text) == text


def test_a_composed_emoji_stays_whole() -> None:
    assert render.shown("👩\u200d🚀.png") == "👩\u200d🚀.png"


def test_a_time_is_told_without_its_seconds() -> None:
    assert render.when("2026-11-03T12:34:56.789Z")[:8] == "2026-11-"
    assert len(render.when("2026-11-03T12:34:56.789Z")) == len("2026-11-03 12:34")


def test_what_is_no_time_is_shown_as_it_came() -> None:
    assert render.when("soon\x1b[2J") == "soon\N{REPLACEMENT CHARACTER}[2J"


def test_one_is_counted_without_a_plural() -> None:
    assert [render.count(number, "file") for number in (0, 1, 1234)] == ["0 files", "1 file", "1,234 files"]


@pytest.mark.parametrize(
    ("seconds", "words"), [(1.25, "1.2 s"), (59.94, "59.9 s"), (61, "1 min 1 s"), (3661, "1 h 1 min")]
)
def test_a_span_is_told_in_the_largest_units_that_matter(seconds: float, words: str) -> None:
    assert render.span(seconds) == words


def test_speed_is_told_only_of_what_took_a_while() -> None:
    assert render.pace(4096, 0.1) == "4.0 KB"
    assert render.pace(4 << 20, 2) == "4.0 MB, 2.0 s, 2.0 MB/s"


@pytest.mark.parametrize("kind", CATALOGUE.values(), ids=lambda kind: kind.code)
def test_the_advice_of_an_error_told_by_another_process_has_no_hole(kind: type[CloudError]) -> None:
    assert "{" not in kind.told("words").advice


def test_advice_names_what_is_known() -> None:
    assert 'enroll a@b.org "YOUR NAME"' in AccountUnknown(email="a@b.org").advice
    assert "enroll EMAIL " in AccountUnknown.told("words").advice


def test_inside_the_shell_commands_are_advised_as_they_are_typed_there(capsys: pytest.CaptureFixture[str]) -> None:
    render.print_failure(AccountUnknown(email="a@b.org"), is_in_shell=True)
    assert "Enroll first with: enroll a@b.org" in capsys.readouterr().err


def test_who_has_no_room_left_is_told_how_to_make_some(capsys: pytest.CaptureFixture[str]) -> None:
    error = QuotaExceeded(name="film", needed="2.0 MB", left="1.0 MB", quota="1.0 GB")
    assert "cloudgrpc shell storage" in error.advice
    assert "cloudgrpc pay buy" in error.advice
    render.print_failure(error, is_in_shell=True)
    told = capsys.readouterr().err
    assert "with: storage; free room with trash empty, uploads drop or rm --permanent" in told
    assert told.endswith("with: pay buy\n")


def test_a_row_is_one_line_when_a_program_reads_it(capsys: pytest.CaptureFixture[str]) -> None:
    name = "long " * 200
    render.print_table(["Size", "Name"], [("1 B", name), ("20 B", "[b]x[/b]")], right=["Size"])
    assert capsys.readouterr().out.splitlines() == ["Size  Name", f" 1 B  {name.rstrip()}", "20 B  [b]x[/b]"]
