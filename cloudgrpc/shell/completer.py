"""What Tab offers at the prompt: commands, actions, options, choices, and paths here and in the drive.

It only ever goes on with what was typed, so that no quote and no letter of it changes. A drive is asked for one page of
the folder in question; when it cannot be asked, there is simply nothing to offer.
"""

from __future__ import annotations

import argparse
import os
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cloudgrpc.clients import render
from cloudgrpc.clients.address import SHARED
from cloudgrpc.core.paths import name_key
from cloudgrpc.errors import CloudError
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.shell.completion import Completes, mark_of
from cloudgrpc.shell.expected import expected
from cloudgrpc.shell.typed import continued, typed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from cloudgrpc.clients.places import Place, Places
    from cloudgrpc.shell.parser import Command

DRIVE = "drive:"  # what a word of sync begins with that is a place in the drive
SHOWN = 500  # more could not be read in a menu
PAYMENTS = 20  # of a person's own; older ones are rarely meant
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
        return self._values(wanted.argument, word, wanted.taken)

    def _names_of_commands(self, word: str) -> Iterator[Candidate]:
        for name in sorted(self._commands):
            if name.startswith(word):
                yield Candidate(name[len(word) :], name, self._commands[name].summary)

    def _values(self, argument: argparse.Action, word: str, taken: int = 0) -> Iterator[Candidate]:
        """`taken`: how many words the argument has already."""
        mark = mark_of(argument)
        if isinstance(argument, argparse._SubParsersAction):  # noqa: SLF001
            # Their descriptions stand there only.
            actions = argument._choices_actions  # noqa: SLF001
            yield from _beginning(((each.dest, each.help or "") for each in actions), word)
        elif mark is None:
            yield from _beginning(((str(choice), "") for choice in argument.choices or ()), word)
        if isinstance(mark, tuple):
            yield from _beginning(((each, "") for each in mark), word)
        elif mark:
            yield from self._marked(mark, word, taken)

    def _marked(self, mark: Completes, word: str, taken: int) -> Iterable[Candidate]:
        sources: dict[Completes, Callable[[str], Iterable[Candidate]]] = {
            Completes.REMOTE: self._remote,
            Completes.REMOTE_FOLDER: partial(self._remote, is_folder_wanted=True),
            Completes.LOCAL: _local,
            Completes.LOCAL_FOLDER: partial(_local, is_folder_wanted=True),
            Completes.LOCAL_TO_REMOTE: self._both if taken else _local,
            Completes.REMOTE_TO_LOCAL: self._both if taken else self._remote,
            Completes.SIDE: self._side,
            Completes.TRASH: self._trash,
            Completes.TIER: self._tiers,
            Completes.PAYMENT: self._payments,
            Completes.COMMAND: self._names_of_commands,
        }
        return sources[mark](word)

    def _both(self, word: str) -> Iterator[Candidate]:
        for side, found in (("on this computer", _local), ("in your drive", self._remote)):
            # What one side cannot tell, the other may.
            with suppress(CloudError, OSError):
                for each in found(word):
                    yield replace(each, meaning=each.meaning or side)

    def _side(self, word: str) -> Iterator[Candidate]:
        if word.startswith(DRIVE):
            yield from self._remote(word.removeprefix(DRIVE), is_folder_wanted=True)
        elif word.startswith(SHARED):
            yield from self._remote(word, is_folder_wanted=True)
        else:
            yield from _beginning([(DRIVE, "your drive"), (SHARED, "what others share with you")], word, is_whole=False)
            yield from _local(word, is_folder_wanted=True)

    def _trash(self, word: str) -> Iterator[Candidate]:
        """The newest only: what was deleted long ago is rarely wanted back."""
        session, start = self._places().session, name_key(word)
        request = pb.ListTrashRequest(session_token=session.token, page_size=SHOWN)
        for entry in session.call(session.gateway.history.ListTrash, request).entries:
            key = name_key(entry.name)
            if key.startswith(start):
                yield Candidate(key[len(start) :], render.shown(entry.name), f"was {render.shown(entry.path)}")

    def _tiers(self, word: str) -> Iterable[Candidate]:
        session = self._places().session
        request = pb.GetStorageTiersRequest(session_token=session.token)
        tiers = session.call(session.gateway.payments.GetStorageTiers, request).tiers
        return _beginning(
            ((tier.tier_id, render.shown(f"{tier.name}, {tier.price_xaf:,} XAF")) for tier in tiers), word
        )

    def _payments(self, word: str) -> Iterable[Candidate]:
        """The newest only."""
        session = self._places().session
        request = pb.GetPaymentHistoryRequest(session_token=session.token, limit=PAYMENTS)
        payments = session.call(session.gateway.payments.GetPaymentHistory, request).payments
        return _beginning(
            ((each.payment_id, render.shown(f"{each.tier_name}, {each.status}")) for each in payments), word
        )

    def _remote(self, word: str, *, is_folder_wanted: bool = False) -> Iterator[Candidate]:
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


def _local(word: str, *, is_folder_wanted: bool = False) -> Iterator[Candidate]:
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


def _actions(argument: argparse.Action, word: str) -> Iterator[Candidate]:
    """None for what is no choice of actions."""
    if isinstance(argument, argparse._SubParsersAction):  # noqa: SLF001
        # Their descriptions stand there only.
        actions = argument._choices_actions  # noqa: SLF001
        yield from _beginning(((each.dest, each.help or "") for each in actions), word)


def _beginning(words: Iterable[tuple[str, str]], start: str, *, is_whole: bool = True) -> Iterator[Candidate]:
    for word, meaning in words:
        if word.startswith(start):
            yield Candidate(word[len(start) :], word, meaning, is_whole)
