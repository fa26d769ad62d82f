"""Moments as people write them: what they mean on this computer, and what is none."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from cloudgrpc.errors import UsageWrong
from cloudgrpc.shell.dates import end

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _in_douala(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An hour ahead of UTC, all the year."""
    monkeypatch.setenv("TZ", "WAT-1")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("word", "moment"),
    [
        ("30m", "2026-07-01T12:30:00Z"),
        ("12h", "2026-07-02T00:00:00Z"),
        ("7d", "2026-07-08T12:00:00Z"),
        ("4w", "2026-07-29T12:00:00Z"),
        ("2026-12-31", "2026-12-31T22:59:59Z"),
        ("2026-07-01", "2026-07-01T22:59:59Z"),
        ("2026-12-31 18:00", "2026-12-31T17:00:00Z"),
        ("2026-12-31T18:00:05", "2026-12-31T17:00:05Z"),
        ("2026-12-31T18:00-05:00", "2026-12-31T23:00:00Z"),
        ("2026-12-31T18:00Z", "2026-12-31T18:00:00Z"),
    ],
)
def test_a_moment_is_meant_in_the_zone_of_this_computer(word: str, moment: str) -> None:
    assert end(word, NOW) == moment


@pytest.mark.parametrize(
    "word", ["", "soon", "7", "d", "-1d", "1y", "2026-13-01", "18:00", "99-1-1", "\u0667d", "999999w"]
)
def test_what_is_no_moment_is_refused_with_words_that_would_be(word: str) -> None:
    with pytest.raises(UsageWrong, match="is no moment; write it as 2026-12-31"):
        end(word, NOW)


@pytest.mark.parametrize(
    "word", ["2026-06-30", "2026-07-01 12:59", "2026-07-01T12:00Z", "0d", "0001-01-01", "1970-01-01"]
)
def test_a_moment_that_has_passed_is_refused(word: str) -> None:
    with pytest.raises(UsageWrong):
        end(word, NOW)
