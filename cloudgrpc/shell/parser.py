"""What a command of the shell is: how its words are read, how its help looks, and what runs it.

Plain argparse, since cmd2 alone takes longer to load than most commands take to run; only the prompt needs cmd2.
"""

from __future__ import annotations

import argparse
import inspect
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from cloudgrpc.errors import UsageWrong

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

COLUMNS = 79  # of every help text


class Parser(argparse.ArgumentParser):
    """Refuses by raising UsageWrong, so that wrong words are told as every other failure is."""

    def __init__(self, name: str, description: str, examples: str) -> None:
        """`examples`: a line each, as typed inside the shell."""
        super().__init__(
            prog=name,
            description=_filled(description),
            epilog=f"examples:\n{_indented(examples)}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]  # argparse tells its types by overloads
        """Options may stand between arguments, unless an action follows, which has words of its own."""
        # Python 3.11 loses a -- between them.
        if self._subparsers is not None or "--" in (args or ()):
            return super().parse_args(args, namespace)
        return self.parse_intermixed_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        raise UsageWrong(reason=f"{self.prog}: {message}")


@dataclass(frozen=True)
class Command:
    summary: str
    parser: Parser
    run: Callable[[argparse.Namespace], None]

    @property
    def name(self) -> str:
        return self.parser.prog


def version_number(word: str) -> int:
    """What `--version` and the like take."""
    number = int(word) if word.isascii() and word.isdigit() else 0
    if not 1 <= number < 1 << 31:
        raise argparse.ArgumentTypeError(f"{word} is not the number of a version")
    return number


def version_or_none(word: str) -> int:
    """Where 0 means that there is none."""
    return 0 if word == "0" else version_number(word)


def whole_number(word: str) -> int:
    number = int(word) if word.isascii() and word.isdigit() else -1
    if not 0 <= number < 1 << 31:
        raise argparse.ArgumentTypeError(f"{word} is not a whole number")
    return number


def _filled(text: str) -> str:
    """Paragraphs that fit a terminal; one with lines that are indented stays as it is."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(each if "\n " in each else textwrap.fill(each, COLUMNS) for each in paragraphs)


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in inspect.cleandoc(text).splitlines())
