"""Completion for zsh: a function for each word, by zsh's own _arguments and _describe."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cloudgrpc import __version__
from cloudgrpc.about.script_text import in_one_line
from cloudgrpc.about.words import FILE, FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloudgrpc.about.words import Argument, Option, Values, Word

ACTIONS = {FILE: "_files", FOLDER: "_files -/"}
# Loaded by compinit from a file in fpath it is run at once; read by `source` or `eval` it only makes itself known.
END = """
if [ "$funcstack[1]" = "_cloudgrpc" ]; then
    _cloudgrpc "$@"
else
    compdef _cloudgrpc cloudgrpc
fi
"""


def script(root: Word) -> str:
    opening = f"#compdef cloudgrpc\n# Completes cloudgrpc {__version__} in zsh; made by: cloudgrpc completion zsh\n"
    return "\n".join([opening, *(line for word in root.all() for line in _function(word))]) + END


def _function(word: Word) -> Iterator[str]:
    name = _name(word)
    yield f"{name}() {{"
    if word.words:
        yield "    local curcontext=$curcontext context state state_descr line ret=1"
        yield "    typeset -A opt_args"
    yield "    _arguments -s -S -C : \\"
    for option in word.options:
        yield f"        {_option(option)} \\"
    if word.words:
        yield f"        ':: :{name}_words' '*::: :->rest' && ret=0"
        yield from _rest(word)
    else:
        for place, argument in enumerate(word.arguments, 1):
            yield f"        {_argument(argument, place)} \\"
        yield "        && return 0"
    yield "}"
    if word.words:
        yield f"{name}_words() {{"
        yield "    local -a words_here=("
        for each in word.words:
            yield f"        {_quoted(f'{each.name}:{in_one_line(each.meaning)}')}"
        yield "    )"
        yield f"    _describe -t commands 'cloudgrpc{''.join(f' {each}' for each in word.path)}' words_here"
        yield "}"
    yield ""


def _rest(word: Word) -> Iterator[str]:
    """Hand the line, cut to begin with the next word, to that word's function."""
    yield "    if [[ $state == rest ]]; then"
    yield '        words=("$line[1]" "${words[@]}")'
    yield "        (( CURRENT += 1 ))"
    yield "        curcontext=${curcontext%:*:*}:cloudgrpc-$line[1]:"
    yield "        case $line[1] in"
    for each in word.words:
        yield f"        {each.name}) {_name(each)} && ret=0 ;;"
    yield "        esac"
    yield "    fi"
    yield "    return ret"


def _option(option: Option) -> str:
    """`*` lets it be given again; a list in parentheses, when it was given, takes all its names away."""
    value = (
        f":{':' if option.may_lack else ''}{_plain(option.metavar)}:{_action(option.values)}" if option.metavar else ""
    )
    meaning = f"[{_plain(in_one_line(option.meaning))}]"
    but = "*" if option.may_repeat else f"({' '.join(option.names)})"
    return " ".join(
        _quoted(f"{but}{name}{'=' if option.metavar and name.startswith('--') else ''}{meaning}{value}")
        for name in option.names
    )


def _argument(argument: Argument, place: int) -> str:
    where = "*" if argument.is_many else str(place)
    may_lack = ":" if argument.may_lack and not argument.is_many else ""
    return _quoted(f"{where}:{may_lack}{_plain(argument.metavar)}:{_action(argument.values)}")


def _action(values: Values) -> str:
    """A space: nothing to offer but the message."""
    return f"({' '.join(values.choices)})" if values.choices else ACTIONS.get(values.kind, " ")


def _name(word: Word) -> str:
    return "_cloudgrpc" + "".join(f"__{each.replace('-', '_')}" for each in word.path)


def _plain(text: str) -> str:
    """As it may stand between the signs that _arguments reads."""
    return re.sub(r"([\\\[\]:])", r"\\\1", text)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
