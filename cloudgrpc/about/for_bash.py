"""Completion for bash, from 3.2 on (which macOS has), without the package bash-completion."""

from __future__ import annotations

from string import Template
from typing import TYPE_CHECKING

from cloudgrpc import __version__
from cloudgrpc.about.script_text import is_flag, path_of, told, values_by_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cloudgrpc.about.words import Word

# The line is split anew, since bash also splits at = and :, as in --gateway=host:50051. Files are left to bash itself
# (-o default), which knows how to quote them; `compopt`, which bash 3.2 lacks, turns that off where no file is meant.
SCRIPT = Template(
    r"""# Completes cloudgrpc $version in bash; made by: cloudgrpc completion bash

_cloudgrpc_words() {
    commands= flags= valued= many= arguments=()
    case $$1 in
$words
    esac
}

_cloudgrpc_values() {
    case $$1 in
$values
    *) values= ;;
    esac
}

_cloudgrpc() {
    local path= option= place=0 is_rest= words word commands flags valued many arguments values prefix= cur
    read -r -a words <<< "$${COMP_LINE:0:COMP_POINT}"
    while ((${#words[@]})) && [[ $${words[0]} != "$$1" ]]; do words=("$${words[@]:1}"); done
    case $${COMP_LINE:0:COMP_POINT} in
    *[[:space:]]) cur= ;;
    *) cur=$${words[${#words[@]}-1]}; unset "words[${#words[@]}-1]" ;;
    esac
    _cloudgrpc_words ''
    for word in "$${words[@]:1}"; do
        if [[ $$option ]]; then option=; continue; fi
        case $$is_rest$$word in
        --) is_rest=+ ;;
        -*) [[ " $$valued " == *" $$word "* ]] && option=$$word ;;
        *) if [[ $$place == 0 && " $$commands " == *" $$word "* ]]; then
               path+=" $$word"
               _cloudgrpc_words "$$path"
           else
               ((place++))
           fi ;;
        esac
    done
    if [[ ! $$option && ! $$is_rest && $$cur == --*=* ]]; then
        option=$${cur%%=*} cur=$${cur#*=}
        [[ $$COMP_WORDBREAKS == *=* ]] || prefix=$$option=
    fi
    if [[ $$option ]]; then
        _cloudgrpc_values "$$path $$option"
    elif [[ ! $$is_rest && $$cur == -* ]]; then
        values="choice $$flags $$valued"
    elif [[ $$commands && $$place == 0 ]]; then
        values="choice $$commands"
    else
        [[ $$many ]] && ((place >= ${#arguments[@]})) && place=$$((${#arguments[@]} - 1))
        values=$${arguments[place]}
        # Where nothing else stands, the options are what can follow.
        [[ $$values || $$is_rest ]] || ((${#arguments[@]} > place)) || values="choice $$flags $$valued"
    fi
    COMPREPLY=()
    case $$values in
    file) [[ $$prefix ]] && COMPREPLY=($$(compgen -P "$$prefix" -f -- "$$cur")) ;;
    folder) compopt +o default -o dirnames 2> /dev/null ;;
    *) compopt +o default 2> /dev/null
       COMPREPLY=($$(compgen -P "$$prefix" -W "$${values#choice}" -- "$$cur")) ;;
    esac
}

complete -o default -F _cloudgrpc cloudgrpc
""".replace("${#", "$${#")
)


def script(root: Word) -> str:
    words = "\n".join(_line(f"'{path_of(word)}'", _tables(word)) for word in root.all())
    values = "\n".join(
        _line("|".join(f"'{key}'" for key in keys), f"values='{taken}'") for taken, keys in values_by_key(root)
    )
    return SCRIPT.substitute(version=__version__, words=words, values=values)


def _line(pattern: str, does: str) -> str:
    return f"    {pattern}) {does} ;;"


def _tables(word: Word) -> str:
    arguments = " ".join(f"'{told(argument.values)}'" for argument in word.arguments)
    tables = {
        "commands": _joined(each.name for each in word.words),
        "flags": _joined(name for option in word.options if is_flag(option) for name in option.names),
        "valued": _joined(name for option in word.options if not is_flag(option) for name in option.names),
        "many": "1" if any(argument.is_many for argument in word.arguments[-1:]) else "",
    }
    parts = [f"{name}='{value}'" for name, value in tables.items() if value]
    return " ".join([*parts, *([f"arguments=({arguments})"] if arguments else [])])


def _joined(names: Iterable[str]) -> str:
    return " ".join(names)
