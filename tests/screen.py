"""What a person sees: the screen of a terminal, after everything that moves the cursor and paints over."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pexpect
import pyte

from program import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from person import Terminal

LINES, COLUMNS = 40, 100  # of a Terminal


class Screen:
    def __init__(self, terminal: Terminal) -> None:
        self.terminal = terminal
        self._screen = pyte.Screen(COLUMNS, LINES)
        self._stream = pyte.Stream(self._screen)

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip()

    @property
    def last_line(self) -> str:
        return self.text.rpartition("\n")[2]

    def type(self, keys: str, until: str) -> None:
        """Press keys, and wait until the last line ends with `until`."""
        self.terminal.send(keys)
        self._wait(lambda: self.last_line.endswith(until), until)

    def enter(self, until: str) -> None:
        """Press Enter, and wait until the screen, empty but for what follows, holds `until` and a prompt.

        What is typed before the prompt is there, the terminal would take for itself.
        """
        self._screen.reset()
        self.terminal.send("\r")
        self._wait(lambda: until in self.text and self.last_line.endswith(">"), until)

    def wait(self, until: str) -> None:
        self._wait(lambda: until in self.text, until)

    def wait_for_end(self, patterns: list[str]) -> None:
        """Until the last lines are these regular expressions."""

        def is_there() -> bool:
            told = self.text.split("\n")[-len(patterns) :]
            return len(told) == len(patterns) and all(map(re.fullmatch, patterns, told))

        self._wait(is_there, "\n".join(patterns))

    def _wait(self, is_there: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not is_there():
            assert time.monotonic() < deadline, f"{what!r} never came:\n{self.text}"
            with suppress(pexpect.TIMEOUT):
                self._stream.feed(self.terminal.read_nonblocking(65536, timeout=0.2))
