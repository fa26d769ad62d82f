"""What a person sees while a transfer runs: a bar at a terminal, with a speed that only counts what travels."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

from cloudgrpc.clients.progress import LEAST_S, WINDOW_S, Pace, metered

if TYPE_CHECKING:
    import pytest


def test_nothing_is_drawn_when_stderr_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    with metered("a.txt", 100) as meter:
        meter.moved(100)
        meter.file_done()
    assert stderr.getvalue() == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_tells_name_share_and_size_on_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = Terminal()
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    with metered("Uploading", 2048, files=3) as meter:
        meter.moved(4096)
        meter.moved(-3072)
        meter.kept(0)
        meter.file_done()
    assert "Uploading 1/3" in stderr.getvalue()
    assert "1.0 KB of 2.0 KB" in stderr.getvalue()
    assert "50%" in stderr.getvalue()


def test_the_speed_is_that_of_the_last_seconds() -> None:
    pace = Pace()
    assert pace.speed(0) is None
    pace.moved(1000)
    assert pace.speed(LEAST_S / 2) is None, "a moment tells nothing"
    pace.moved(9000)
    assert pace.speed(1) == 10_000
    for second in range(2, 30):
        pace.moved(100)
        pace.speed(second)
    pace.moved(100)
    assert pace.speed(30) == 100
    assert pace.speed(30 + WINDOW_S) is None, "nothing moved"
