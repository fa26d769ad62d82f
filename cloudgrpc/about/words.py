"""All the words of the command line as one tree: roles, acts, the shell's commands, their options and what those take.

It is read off the parsers that a run uses, so that completion and the manual page tell what is.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloudgrpc.about.second_words import Named, first_sentence, second_words, words_of
from cloudgrpc.shell.completion import Completes, mark_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FILE, FOLDER, NOTHING = "file", "folder", ""
# Of the drive nothing is offered: that would need a start of the program, and a gateway.
ON_DISK = {
    Completes.LOCAL: FILE,
    Completes.LOCAL_FOLDER: FOLDER,
    Completes.LOCAL_TO_REMOTE: FILE,
    Completes.SIDE: FILE,
}
MANY = (argparse.ZERO_OR_MORE, argparse.ONE_OR_MORE)
MAY_LACK = (argparse.ZERO_OR_MORE, argparse.OPTIONAL)


@dataclass(frozen=True)
class Values:
    """What may stand there: one of the choices, else what `kind` says, which is FILE, FOLDER or NOTHING to offer."""

    kind: str = NOTHING
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Option:
    """`metavar`: "" when it takes no value. `may_lack`: its value. `may_repeat`: itself."""

    names: tuple[str, ...]
    meaning: str
    metavar: str
    values: Values
    may_lack: bool
    may_repeat: bool


@dataclass(frozen=True)
class Argument:
    metavar: str
    meaning: str
    values: Values
    may_lack: bool
    is_many: bool


@dataclass(frozen=True)
class Word:
    """`path`: the words that lead here, without the program's name. `meaning`: one line."""

    path: tuple[str, ...]
    meaning: str
    parser: argparse.ArgumentParser
    options: tuple[Option, ...]
    arguments: tuple[Argument, ...]
    words: tuple[Word, ...]

    @property
    def name(self) -> str:
        return self.path[-1]

    def all(self) -> Iterator[Word]:
        """It and all below it."""
        yield self
        for word in self.words:
            yield from word.all()


def tree(parser: argparse.ArgumentParser, further: Mapping[tuple[str, str], argparse.ArgumentParser]) -> Word:
    """`parser`: of the whole command line; `further`: those of acts that it does not hold, by role and act."""
    return _word((), Named("cloudgrpc", "", parser), further)


def _word(path: tuple[str, ...], named: Named, further: Mapping[tuple[str, str], argparse.ArgumentParser]) -> Word:
    below = list(words_of(named.parser))
    if any(action.nargs == argparse.REMAINDER for action in named.parser._actions):  # noqa: SLF001 - argparse tells its arguments in no other way
        below = list(second_words(path[0]))
        below += [
            Named(act, first_sentence(each.description), each)
            for (role, act), each in further.items()
            if role == path[0]
        ]
    shown = [action for action in named.parser._actions if _is_shown(action)]  # noqa: SLF001 - as above
    return Word(
        path,
        named.meaning,
        named.parser,
        tuple(_option(action) for action in shown if action.option_strings),
        tuple(_argument(action) for action in shown if not action.option_strings),
        tuple(_word((*path, each.name), each, further) for each in below),
    )


def _is_shown(action: argparse.Action) -> bool:
    is_for_words = action.nargs in {argparse.REMAINDER, argparse.PARSER}
    return action.help != argparse.SUPPRESS and not is_for_words


def _option(action: argparse.Action) -> Option:
    return Option(
        tuple(action.option_strings),
        action.help or "",
        "" if action.nargs == 0 else _metavar(action),
        _values(action),
        may_lack=action.nargs in MAY_LACK,
        may_repeat=type(action).__name__ == "_AppendAction",
    )


def _argument(action: argparse.Action) -> Argument:
    return Argument(
        _metavar(action),
        action.help or "",
        _values(action),
        may_lack=action.nargs in MAY_LACK,
        is_many=action.nargs in MANY,
    )


def _metavar(action: argparse.Action) -> str:
    if action.metavar is None and action.choices is not None and action.option_strings:
        return f"{{{','.join(map(str, action.choices))}}}"
    return str(action.metavar or action.dest.upper())


def _values(action: argparse.Action) -> Values:
    mark: Any = mark_of(action)
    if action.choices is not None:
        return Values(choices=tuple(map(str, action.choices)))
    if isinstance(mark, tuple):
        return Values(choices=mark)
    if mark is Completes.COMMAND:
        return Values(choices=tuple(named.name for named in second_words("shell")))
    return Values(_kind(action) if mark is None else ON_DISK.get(mark, NOTHING))


def _kind(action: argparse.Action) -> str:
    """Of one without a mark."""
    if action.metavar == "DIR":
        return FOLDER
    return FILE if action.type is Path or "FILE" in str(action.metavar) else NOTHING
