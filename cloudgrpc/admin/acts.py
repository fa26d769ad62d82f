"""What acts share: a run asks a person once, a script is asked nothing and must be sure, and waiting can be left."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from cloudgrpc.clients import render
from cloudgrpc.errors import CareLeft, TooMany, TooSlow, Unavailable, UsageWrong
from cloudgrpc.shell import at_terminal
from cloudgrpc.shell.stream_table import terminal_width

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from cloudgrpc.admin.care_desk import CareDesk

    Act = Callable[[CareDesk, argparse.Namespace], int | None]  # its exit code; None for done

UNCHANGED = "Nothing was changed."
POLL_S = 1.0
TOLD_EVERY_S = 10.0  # where a log is written, not a line drawn
FROM_THE_START, CLEAR = "\r", "\x1b[K"
# What a wait outlives: the gateway restarts, say, and the cluster goes on meanwhile.
AWAY = (Unavailable, TooSlow, TooMany)


def add_yes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="ask nothing; a script needs it")


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print as JSON, for programs")


def check_can_ask(args: argparse.Namespace) -> None:
    """Before anything else is done. Raises: UsageWrong in a script that is not sure."""
    if not args.yes and not at_terminal.can_ask():
        raise UsageWrong(reason="a script is asked nothing: add --yes to act without a question")


def is_agreed(args: argparse.Namespace, lines: Sequence[str], question: str) -> bool:
    """Whether to act: a person sees the lines first. Raises: as `check_can_ask`."""
    if args.yes:
        return True
    check_can_ask(args)
    for line in lines:
        print(render.shown(line))
    if at_terminal.agreed(question):
        return True
    print(UNCHANGED, file=sys.stderr)
    return False


def is_named(args: argparse.Namespace, prompt: str, name: str) -> bool:
    """For what cannot be taken back: whether the person types the very name."""
    if args.yes or at_terminal.typed(render.shown(prompt)) == name:
        return True
    print(UNCHANGED, file=sys.stderr)
    return False


def told(line: str) -> None:
    """Of another party's words, too."""
    print(render.shown(line))


def watch(look: Callable[[], str], what: str) -> None:
    """Until `look` has no more words for how far it is. Raises: CareLeft for Ctrl-C, and what `look` is refused."""
    line = ProgressLine()
    try:
        while words := _looked(look):
            line.tell(words)
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        line.end()
        raise CareLeft(what=what) from None
    finally:
        line.end()


def _looked(look: Callable[[], str]) -> str:
    try:
        return look()
    except AWAY as error:
        return f"{error} It is asked again."


class ProgressLine:
    """How far something is, on stderr: one line that is drawn over, or in a log a line now and then."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._is_drawn = False
        self._told_at = time.monotonic()

    def tell(self, words: str) -> None:
        words = render.shown(words)
        if self._is_terminal:
            # A line that folds could not be drawn over.
            print(f"{FROM_THE_START}{words[: terminal_width() - 1]}{CLEAR}", end="", file=sys.stderr, flush=True)
            self._is_drawn = True
        elif time.monotonic() - self._told_at >= TOLD_EVERY_S:
            print(words, file=sys.stderr, flush=True)
            self._told_at = time.monotonic()

    def end(self) -> None:
        if self._is_drawn:
            print(f"{FROM_THE_START}{CLEAR}", end="", file=sys.stderr, flush=True)
            self._is_drawn = False
