"""A line at the terminal that counts down while something is waited for; where nobody watches, it is quiet."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cloudgrpc.shell.stream_table import terminal_width

if TYPE_CHECKING:
    from collections.abc import Iterator

TICK_S = 0.5
FROM_THE_START, CLEAR = "\r", "\x1b[K"


@contextmanager
def counting_down(title: str, seconds: float) -> Iterator[None]:
    """While the block runs, in a thread of its own: a call that hangs must not stop the clock."""
    if not sys.stderr.isatty():
        yield
        return
    is_over = threading.Event()
    thread = threading.Thread(target=_draw, args=(title, time.monotonic() + seconds, is_over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
        print(f"{FROM_THE_START}{CLEAR}", end="", file=sys.stderr, flush=True)


def line(title: str, left_s: float, width: int) -> str:
    """As much of it as fits, since a line that folds could not be drawn over."""
    seconds = max(0, round(left_s))
    clock = f"{seconds // 60}:{seconds % 60:02}"
    room = width - len(clock) - 2  # a space, and the last cell, at which terminals fold
    return f"{title[: max(0, room)]} {clock}"


def _draw(title: str, ends_at: float, is_over: threading.Event) -> None:
    while True:
        words = line(title, ends_at - time.monotonic(), terminal_width())
        print(f"{FROM_THE_START}{words}{CLEAR}", end="", file=sys.stderr, flush=True)
        if is_over.wait(TICK_S):
            return
