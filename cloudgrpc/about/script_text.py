"""What the completion scripts of bash and fish share: the tree of words as tables to look up by path and option."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudgrpc.about.words import NOTHING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloudgrpc.about.words import Option, Values, Word


def path_of(word: Word) -> str:
    """As the scripts keep it while they read a line: a space before each word."""
    return "".join(f" {each}" for each in word.path)


def is_flag(option: Option) -> bool:
    """Whether the next word is not surely its value: it takes none, or may go without."""
    return not option.metavar or option.may_lack


def told(values: Values) -> str:
    """As the scripts keep it: `choice` and the words, or the kind."""
    return " ".join(["choice", *values.choices]) if values.choices else values.kind


def values_by_key(root: Word) -> Iterator[tuple[str, list[str]]]:
    """What options take, and "PATH OPTION" of those that take it; those that take nothing to offer are left out."""
    found: dict[str, list[str]] = {}
    for word in root.all():
        for option in word.options:
            if option.metavar and told(option.values) != NOTHING:
                found.setdefault(told(option.values), []).extend(f"{path_of(word)} {name}" for name in option.names)
    yield from found.items()


def in_one_line(text: str, letters: int = 72) -> str:
    line = " ".join(text.split())
    # Plain signs: a shell in the locale C cuts others in two.
    return line if len(line) <= letters else f"{line[: letters - 3].rstrip()}..."
