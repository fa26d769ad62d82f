"""Completion for fish, from 3.0 on."""

from __future__ import annotations

from string import Template
from typing import TYPE_CHECKING

from cloudgrpc import __version__
from cloudgrpc.about.script_text import in_one_line, is_flag, path_of, told, values_by_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cloudgrpc.about.words import Word

SCRIPT = Template(r"""# Completes cloudgrpc $version in fish; made by: cloudgrpc completion fish

function __cloudgrpc_words --no-scope-shadowing
    set commands
    set flags
    set valued
    set many
    set arguments
    switch $$argv[1]
$words
    end
end

function __cloudgrpc_values --no-scope-shadowing
    switch $$argv[1]
$values
        case '*'
            set values ''
    end
end

function __cloudgrpc_complete
    set -l path ''
    set -l option ''
    set -l place 1
    set -l is_rest ''
    set -l prefix ''
    set -l commands
    set -l flags
    set -l valued
    set -l many
    set -l arguments
    set -l values
    set -l words (commandline -opc)
    set -l cur (commandline -ct)
    __cloudgrpc_words ''
    for word in $$words[2..-1]
        if test -n "$$option"
            set option ''
            continue
        end
        switch "$$is_rest$$word"
            case --
                set is_rest +
            case '-*'
                if contains -- $$word (string replace -r '\t.*' '' -- $$valued)
                    set option $$word
                end
            case '*'
                if test $$place = 1; and contains -- $$word (string replace -r '\t.*' '' -- $$commands)
                    set path "$$path $$word"
                    __cloudgrpc_words $$path
                else
                    set place (math $$place + 1)
                end
        end
    end
    if test -z "$$option$$is_rest"; and string match -q -- '--*=*' $$cur
        set option (string replace -r '=.*' '' -- $$cur)
        set cur (string replace -r '^[^=]*=' '' -- $$cur)
        set prefix $$option=
    end
    if test -n "$$option"
        __cloudgrpc_values "$$path $$option"
    else if test -z "$$is_rest"; and string match -q -- '-*' $$cur
        printf '%s\n' $$flags $$valued
        return
    else if test -n "$$commands"; and test $$place = 1
        printf '%s\n' $$commands
        return
    else
        set -l last (count $$arguments)
        if test -n "$$many"; and test $$place -gt $$last
            set place $$last
        end
        if test $$place -gt $$last
            # Where nothing else stands, the options are what can follow.
            test -z "$$is_rest"; and printf '%s\n' $$flags $$valued
            return
        end
        set values $$arguments[$$place]
    end
    switch "$$values"
        case file
            printf '%s\n' $$prefix(__fish_complete_path $$cur)
        case folder
            printf '%s\n' $$prefix(__fish_complete_directories $$cur '')
        case 'choice *'
            printf '%s\n' $$prefix(string split ' ' -- $$values)[2..-1]
    end
end

complete -c cloudgrpc -f -a '(__cloudgrpc_complete)'
""")
STEP = "    "


def script(root: Word) -> str:
    words = "\n".join(line for word in root.all() for line in _tables(word))
    values = "\n".join(
        f"{STEP * 2}case {' '.join(map(_quoted, keys))}\n{STEP * 3}set values {_quoted(taken)}"
        for taken, keys in values_by_key(root)
    )
    return SCRIPT.substitute(version=__version__, words=words, values=values)


def _tables(word: Word) -> Iterator[str]:
    yield f"{STEP * 2}case {_quoted(path_of(word))}"
    tables = {
        "commands": [_candidate(each.name, each.meaning) for each in word.words],
        "flags": _options(word, are_flags=True),
        "valued": _options(word, are_flags=False),
        "many": ["1"] if any(argument.is_many for argument in word.arguments[-1:]) else [],
        "arguments": [told(argument.values) for argument in word.arguments],
    }
    for name, entries in tables.items():
        if entries:
            yield f"{STEP * 3}set {name} {' '.join(map(_quoted, entries))}"


def _options(word: Word, *, are_flags: bool) -> list[str]:
    chosen: Iterable[tuple[str, str]] = (
        (name, option.meaning) for option in word.options if is_flag(option) == are_flags for name in option.names
    )
    return [_candidate(name, meaning) for name, meaning in chosen]


def _candidate(name: str, meaning: str) -> str:
    return f"{name}\t{in_one_line(meaning)}"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
