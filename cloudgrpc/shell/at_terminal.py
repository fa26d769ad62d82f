"""What only a person at a terminal meets: questions, and hints about what to do next. A script is asked nothing."""

from __future__ import annotations

import shlex
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from cloudgrpc.clients import render
from cloudgrpc.shell.sign_in import AtStdin

if TYPE_CHECKING:
    from collections.abc import Sequence

YES = {"y", "yes"}


def can_ask() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def can_hint() -> bool:
    return sys.stdout.isatty()


def hint(*lines: str) -> None:
    if can_hint():
        for line in lines:
            print(render.styled(render.shown(line), render.DIM))


def typable(word: str) -> str:
    """A word as it is typed, quoted if it must be."""
    if "'" in word and not set(word) & set('"\\$`!'):
        return f'"{word}"'  # shlex would write 'it'"'"'s'
    return shlex.quote(word)


def agreed(question: str) -> bool:
    """Whatever is not yes means no."""
    with suppress(EOFError):
        return AtStdin().ask(f"{render.shown(question)} [y/N] ").lower() in YES
    return False


def typed(prompt: str) -> str:
    """A line; "" when the person left."""
    with suppress(EOFError):
        return AtStdin().ask(prompt)
    return ""


def chosen(title: str, choices: Sequence[str]) -> int | None:
    """The index of the choice; Enter takes the first. None: the person left."""
    person = AtStdin()
    person.tell(title)
    for number, choice in enumerate(choices, 1):
        person.tell(f"{number:3}  {choice}")
    while True:
        try:
            answer = person.ask("Your choice [1]: ") or "1"
        except EOFError:
            return None
        if answer.isascii() and answer.isdigit() and 1 <= int(answer) <= len(choices):
            return int(answer) - 1
        person.tell(f"Type a number from 1 to {len(choices)}; Ctrl-D leaves everything as it is.")
