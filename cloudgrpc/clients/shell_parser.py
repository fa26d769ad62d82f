"""How the shell's commands read their words, and how their help looks."""

from __future__ import annotations

import inspect
from typing import NoReturn

import cmd2

from cloudgrpc.errors import UsageWrong


class Parser(cmd2.Cmd2ArgumentParser):
    """Refuses by raising UsageWrong, so that wrong words are told as every other failure is."""

    def __init__(self, description: str, examples: str) -> None:
        """`examples`: a line each, as typed inside the shell."""
        super().__init__(
            description=inspect.cleandoc(description),
            epilog=f"examples:\n{_indented(examples)}",
            formatter_class=cmd2.RawDescriptionCmd2HelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        raise UsageWrong(reason=f"{self.prog}: {message}")


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in inspect.cleandoc(text).splitlines())
