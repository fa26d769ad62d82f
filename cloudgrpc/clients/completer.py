"""What Tab offers at the prompt: commands, actions, options, choices, and paths here and in the drive.

It only ever goes on with what was typed, so that no quote and no letter of it changes. A drive is asked for one page of
the folder in question; when it cannot be asked, there is simply nothing to offer.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cloudgrpc.clients import render
from cloudgrpc.clients.address import SHARED
from cloudgrpc.clients.completion import Completes, mark_of
from cloudgrpc.clients.expected import expected
from cloudgrpc.clients.typed import continued, typed
from cloudgrpc.core.paths import name_key
from cloudgrpc.errors import CloudError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from cloudgrpc.clients.places import Place, Places
    from cloudgrpc.clients.shell_parser import Command

SHOWN = 500  # more could not be read in a menu
LEAST_OF_SHARED = 2  # letters of `shared:` that tell it from a folder whose name begins like it


@dataclass(frozen=True)
class Candidate:
    rest: str  # how the word goes on
    name: str  # in the menu
    meaning: str = ""
    is_whole: bool = True  # a space follows; a folder's path can go on


TOO_MANY = Candidate("", "...", f"more than {SHOWN}; type another letter", is_whole=False)


class Completer:
    def __init__(self, commands: Mapping[str, Command], places: Callable[[], Places]) -> None:
        """`places` may raise any CloudError."""
        self._commands = commands
        self._places = places

    def complete(self, line: str) -> list[Candidate]:
        """`line`: up to the cursor. What `rest` holds is quoted as the line needs it."""
        now = typed(line)
        try:
            found = list(self._candidates(now.words, now.word))
        except (CloudError, OSError):
            return []
        end = f"{now.quote} " if len(found) == 1 and found[0].is_whole else ""
        return [
            Candidate(continued(each.rest, now.quote) + end, each.name, each.meaning, each.is_whole) for each in found
        ]

    def _candidates(self, words: tuple[str, ...], word: str) -> Iterable[Candidate]:
        if not words:
            return self._names_of_commands(word)
        command = self._commands.get(words[0])
        if command is None:
            return []
        wanted = expected(command.parser, words[1:], word)
        if wanted.is_option_begun:
            name, equals, value = word.partition("=")
            option = next((each for each in wanted.options if equals and name in each.option_strings), None)
            return self._values(option, value) if option else _options(wanted.options, word)
        if wanted.argument is None:
            return _options(wanted.options, word)
        return self._values(wanted.argument, word)

    def _names_of_commands(self, word: str) -> Iterator[Candidate]:
        for name in sorted(self._commands):
            if name.startswith(word):
                yield Candidate(name[len(word) :], name, self._commands[name].summary)

    def _values(self, argument: argparse.Action, word: str) -> Iterable[Candidate]:
        mark = mark_of(argument)
        match mark:
            case Completes.REMOTE | Completes.REMOTE_FOLDER:
                return self._remote(word, is_folder_wanted=mark is Completes.REMOTE_FOLDER)
            case Completes.LOCAL | Completes.LOCAL_FOLDER:
                return _local(word, is_folder_wanted=mark is Completes.LOCAL_FOLDER)
            case Completes.COMMAND:
                return self._names_of_commands(word)
        if isinstance(argument, argparse._SubParsersAction):  # noqa: SLF001
            # Their descriptions stand there only.
            actions = argument._choices_actions  # noqa: SLF001
            return _beginning(((each.dest, each.help or "") for each in actions), word)
        return _beginning(((str(choice), "") for choice in mark or argument.choices or ()), word)

    def _remote(self, word: str, *, is_folder_wanted: bool) -> Iterator[Candidate]:
        head, slash, start = word.rpartition("/")
        if word.startswith(SHARED) and not slash:
            head, start = SHARED, word.removeprefix(SHARED)
        elif SHARED.startswith(word) and len(word) >= LEAST_OF_SHARED:
            yield Candidate(SHARED[len(word) :], SHARED, "what others share with you", is_whole=False)
        if start == "..":
            yield Candidate("/", "../", is_whole=False)
        places = self._places()
        folder = places.at(places.address(head + slash))
        for number, place in enumerate(places.children(folder, start, page=SHOWN + 1)):
            if is_folder_wanted and not place.is_folder:
                return  # folders come first
            if number == SHOWN:
                yield TOO_MANY
                return
            yield _of_place(place, start)


def _of_place(place: Place, start: str) -> Candidate:
    # Compared as the drive compares names, what was typed may be shorter or longer than it looks.
    rest, mark = name_key(place.name)[len(name_key(start)) :], "/" if place.is_folder else ""
    return Candidate(rest + mark, render.shown(place.name) + mark, is_whole=not place.is_folder)


def _local(word: str, *, is_folder_wanted: bool) -> Iterator[Candidate]:
    """Raises: OSError."""
    head, slash, start = word.rpartition("/")
    if word == "~":
        yield Candidate("/", "~/", is_whole=False)
        return
    with os.scandir(Path(head + slash or ".").expanduser()) as entries:
        found = sorted(
            (entry.name, entry.is_dir())
            for entry in entries
            if entry.name.startswith(start) and (start or not entry.name.startswith(".")) and _can_be_typed(entry.name)
        )
    for number, (name, is_folder) in enumerate(each for each in found if each[1] or not is_folder_wanted):
        if number == SHOWN:
            yield TOO_MANY
            return
        mark = "/" if is_folder else ""
        yield Candidate(name[len(start) :] + mark, render.shown(name) + mark, is_whole=not is_folder)


def _can_be_typed(name: str) -> bool:
    """Not a name that is no UTF-8, or holds a line break."""
    return name.isprintable()


def _options(options: Iterable[argparse.Action], word: str) -> Iterator[Candidate]:
    # --help is known to everybody and comes last.
    for option in sorted(options, key=lambda option: option.dest == "help"):
        name = next((name for name in reversed(option.option_strings) if name.startswith(word)), None)
        if name:
            yield Candidate(name[len(word) :], ", ".join(option.option_strings), option.help or "")


def _beginning(words: Iterable[tuple[str, str]], start: str) -> Iterator[Candidate]:
    for word, meaning in words:
        if word.startswith(start):
            yield Candidate(word[len(start) :], word, meaning)
