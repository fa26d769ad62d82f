"""What a command expects next, by its parser: the value of an option, an option, or the next argument. No I/O."""

from __future__ import annotations

import argparse
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MANY = 1 << 30
AT_MOST = {None: 1, argparse.OPTIONAL: 1, argparse.ZERO_OR_MORE: MANY, argparse.ONE_OR_MORE: MANY}


@dataclass(frozen=True)
class Expected:
    argument: argparse.Action | None  # an argument, or an option whose value comes; None: nothing more
    options: tuple[argparse.Action, ...] = ()  # which can still come; empty where none can
    is_option_begun: bool = False  # what is being typed starts with -
    taken: int = 0  # how many words the argument has already


@dataclass
class _State:
    arguments: deque[argparse.Action]
    options: dict[str, argparse.Action]
    used: list[argparse.Action] = field(default_factory=list)
    awaiting: argparse.Action | None = None  # the option whose value comes next
    taken: int = 0  # how many words the first argument has already
    room: int = 0  # how many it still takes
    are_options_over: bool = False


def expected(parser: argparse.ArgumentParser, words: Sequence[str], word: str) -> Expected:
    """`words`: those behind the command; `word`: the one that is being typed."""
    state = _start(parser)
    for index, each in enumerate(words):
        inner = _pass(state, each)
        if inner:
            return expected(inner, words[index + 1 :], word)
    if state.awaiting:
        return Expected(state.awaiting)
    argument = state.arguments[0] if state.arguments else None
    if state.are_options_over:
        return Expected(argument, taken=state.taken)
    left = {id(action): action for action in state.options.values() if action not in state.used}
    return Expected(argument, tuple(left.values()), word.startswith("-"), state.taken)


def _start(parser: argparse.ArgumentParser) -> _State:
    # argparse has no other way to tell what a parser takes.
    actions = [action for action in parser._actions if action.help != argparse.SUPPRESS]  # noqa: SLF001
    state = _State(
        arguments=deque(action for action in actions if not action.option_strings),
        options={name: action for action in actions for name in action.option_strings},
    )
    _make_room(state)
    return state


def _pass(state: _State, word: str) -> argparse.ArgumentParser | None:
    """Take one word that is complete; the parser of what follows it, if it is the name of an action."""
    if state.awaiting:
        state.awaiting = None
    elif word == "--" and not state.are_options_over:
        state.are_options_over = True
    elif word.startswith("-") and word != "-" and not state.are_options_over:
        _take_option(state, word)
    elif state.arguments:
        return _take_argument(state, word)
    return None


def _take_option(state: _State, word: str) -> None:
    name, equals, _ = word.partition("=")
    option = state.options.get(name)
    if option is None:
        return
    # Those that may come again say so by gathering their values.
    if not isinstance(option, argparse._AppendAction | argparse._CountAction):  # noqa: SLF001
        state.used.append(option)
    if option.nargs != 0 and not equals:
        state.awaiting = option


def _take_argument(state: _State, word: str) -> argparse.ArgumentParser | None:
    argument = state.arguments[0]
    if isinstance(argument, argparse._SubParsersAction):  # noqa: SLF001
        parsers: dict[str, argparse.ArgumentParser] = argument.choices
        if word in parsers:
            return parsers[word]
        state.arguments.popleft()
    else:
        state.room, state.taken = state.room - 1, state.taken + 1
        if state.room > 0:
            return None
        state.arguments.popleft()
    _make_room(state)
    return None


def _make_room(state: _State) -> None:
    state.taken = 0
    if state.arguments:
        nargs = state.arguments[0].nargs
        state.room = nargs if isinstance(nargs, int) else AT_MOST.get(nargs, MANY)
