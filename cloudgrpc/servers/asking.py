"""What acts on the database itself ask a person, and how they show how far they are."""

from __future__ import annotations

import sys
import time

from cloudgrpc.errors import UsageWrong

YES = {"y", "yes"}
UNCHANGED = "Nothing was changed."
DRAWN_EVERY_S, TOLD_EVERY_S = 0.2, 10.0


def check_can_ask(*, yes: bool) -> None:
    """Before anything else is done. Raises: UsageWrong in a script that is not sure."""
    if not yes and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageWrong(reason="a script is asked nothing: add --yes to act without a question")


def is_agreed(question: str) -> bool:
    return _typed(f"{question} [y/N] ").lower() in YES or _left()


def is_named(prompt: str, name: str) -> bool:
    """For what cannot be taken back: whether the person types the very name."""
    return _typed(prompt) == name or _left()


def _typed(prompt: str) -> str:
    print(prompt, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()


def _left() -> bool:
    print(UNCHANGED, file=sys.stderr)
    return False


class Progress:
    """One line on stderr that is drawn over, or in a log a line now and then."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._told_at = time.monotonic()

    def tell(self, words: str) -> None:
        now = time.monotonic()
        if now - self._told_at < (DRAWN_EVERY_S if self._is_terminal else TOLD_EVERY_S):
            return
        self._told_at = now
        begin, end = ("\r", "\x1b[K") if self._is_terminal else ("", "\n")
        print(f"{begin}{words[:79]}{end}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._is_terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
