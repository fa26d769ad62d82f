"""What a command of the shell is: how its words are read, how its help looks, and what runs it.

Plain argparse, since cmd2 alone takes longer to load than most commands take to run; only the prompt needs cmd2.
"""

from __future__ import annotations

import argparse
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from cloudgrpc.errors import UsageWrong

if TYPE_CHECKING:
    from collections.abc import Callable


class Parser(argparse.ArgumentParser):
    """Refuses by raising UsageWrong, so that wrong words are told as every other failure is."""

    def __init__(self, name: str, description: str, examples: str) -> None:
        """`examples`: a line each, as typed inside the shell."""
        super().__init__(
            prog=name,
            description=inspect.cleandoc(description),
            epilog=f"examples:\n{_indented(examples)}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        raise UsageWrong(reason=f"{self.prog}: {message}")


@dataclass(frozen=True)
class Command:
    summary: str
    parser: Parser
    run: Callable[[argparse.Namespace], None]
    takes_local_paths: bool = False  # what Tab completes

    @property
    def name(self) -> str:
        return self.parser.prog


def version_number(word: str) -> int:
    """What `--version` and the like take."""
    number = int(word) if word.isascii() and word.isdigit() else 0
    if not 1 <= number < 1 << 31:
        raise argparse.ArgumentTypeError(f"{word} is not the number of a version")
    return number


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in inspect.cleandoc(text).splitlines())
