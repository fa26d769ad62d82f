"""The manual page in roff: all roles, acts and commands with their options, and what holds for all of them."""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING, Any

from cloudgrpc import __version__, config
from cloudgrpc.about import roff
from cloudgrpc.about.roff import bold, entry, example, italic, plain, prose, sentence, title
from cloudgrpc.setting_names import FAMILIAR, PREFIX, SECRET_KEYS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import date

    from cloudgrpc.about.words import Argument, Option, Word

PROG = "cloudgrpc"
ENVIRONMENT = {
    "CLOUDGRPC_CONFIG": "The file of settings, as --config.",
    f"{PREFIX}SECTION_KEY": "One setting, such as CLOUDGRPC_GATEWAY_PORT=50052; it goes over the file. Secrets can be"
    " read from a file, whose name is given with _FILE behind the setting's.",
    "NO_COLOR": "When it is there, nothing is coloured.",
    "XDG_CONFIG_HOME": "Where the shell keeps what it remembers (default: ~/.config).",
}
FILES = {
    "config.toml": "Settings, in the folder that the program is started in.",
    ".env": "Settings as in the environment, in the same folder. The environment itself goes over it.",
    "cloudgrpc-data/": "The data folder, which --data-dir names.",
    "cloudgrpc-data/metadata.sqlite3": "The metadata, unless it is in PostgreSQL.",
    "cloudgrpc-data/secrets/": "What gateway, nodes and operators prove themselves by, and what stored files are"
    " sealed with. Save them elsewhere: cloudgrpc secrets backup FILE",
    "cloudgrpc-data/certs/": "Certificates and their keys, once there are any.",
    "cloudgrpc-data/node_storage_ID/": "What a storage node keeps.",
    "~/.config/cloudgrpc/": "Who is signed in at which gateway, which of them speak TLS, and the lines typed at the"
    " shell's prompt.",
}
EXAMPLES = """\
cloudgrpc demo-cluster
cloudgrpc shell enroll you@example.com "Your Name"
cloudgrpc shell upload -r holidays
cloudgrpc admin --status
cloudgrpc doctor
"""


def page(root: Word, made_on: date) -> str:
    """`made_on`: the day that stands at its foot."""
    shared = _shared_options(root)
    roles = (line for word in root.words for line in _role(word, shared))
    lines = chain(
        _opening(root, made_on),
        _section("OPTIONS OF EVERY ROLE", _options(shared)),
        _section("ROLES", roles),
        _section("SHELL COMMANDS", _shell_commands(root)),
        _section("SETTINGS", _settings()),
        _section("EXIT STATUS", _exit_codes(root)),
        _section("ENVIRONMENT", _environment()),
        _section("FILES", (line for name, meaning in FILES.items() for line in entry(italic(name), meaning))),
        _section("EXAMPLES", example(EXAMPLES)),
    )
    return roff.page(lines)


def _opening(root: Word, made_on: date) -> Iterator[str]:
    description = (root.parser.description or "").strip()
    yield f'.TH CLOUDGRPC 1 "{made_on.isoformat()}" "CloudGrpc {__version__}" "CloudGrpc"'
    yield from (".SH NAME", rf"cloudgrpc \- {plain(description.splitlines()[0].rstrip('.'))}")
    yield ".SH SYNOPSIS"
    for number, word in enumerate(root.words):
        yield from ((".br",) if number else ())
        yield _usage(word)
    yield from (".SH DESCRIPTION", *prose(description))
    yield from prose("One program in several roles, each told by its first word; --help behind any words tells more.")


def _section(name: str, lines: Iterable[str]) -> Iterator[str]:
    yield title("SH", name)
    yield from lines


def _shared_options(root: Word) -> list[Option]:
    return [option for option in root.words[0].options if all(option in word.options for word in root.words)]


def _role(word: Word, shared: list[Option]) -> Iterator[str]:
    yield title("SS", f"{PROG} {word.name}")
    yield _usage(word)
    yield from _about(word)
    yield from _options([option for option in word.options if option not in shared])
    yield from _epilog(word)
    if word.name == "shell":
        yield from prose("Its commands are below, under SHELL COMMANDS.")
    else:
        for each in word.words:
            yield from _act(each, shared)


def _act(word: Word, shared: list[Option]) -> Iterator[str]:
    """It, or what it consists of."""
    if not word.words or word.arguments:
        yield from (".PP", _usage(word), ".RS 4")
        yield from _about(word)
        yield from _options([option for option in word.options if option not in shared])
        yield from _epilog(word)
        yield ".RE"
    for each in word.words:
        yield from _act(each, shared)


def _shell_commands(root: Word) -> Iterator[str]:
    (shell,) = (word for word in root.words if word.name == "shell")
    for command in shell.words:
        yield title("SS", command.name)
        # The acts of pay are told as a role's.
        for word in [command] if command.name == "pay" else command.all():
            yield from (".PP", _usage(word, from_word=1), ".RS 4")
            yield from _about(word)
            yield from _options(word.options)
            yield from _epilog(word)
            yield ".RE"


def _about(word: Word) -> Iterator[str]:
    yield from prose(word.parser.description or sentence(word.meaning))
    # What metavars mean that the description does not tell.
    for argument in word.arguments:
        if argument.meaning:
            yield from entry(italic(argument.metavar), sentence(argument.meaning))


def _epilog(word: Word) -> Iterator[str]:
    """Examples, most often."""
    told = word.parser.epilog or ""
    yield from prose(f"{told[:1].upper()}{told[1:]}") if told else ()


def _usage(word: Word, from_word: int = 0) -> str:
    """`from_word`: of its path; what a person types at the shell's prompt goes without `cloudgrpc shell`."""
    path = word.path if from_word else (PROG, *word.path)
    parts = [bold(" ".join(path[from_word:]))]
    if any("--help" not in option.names for option in word.options):
        parts.append(r"[\fIOPTION\fR ...]")
    if word.words:
        told = {"shell": "[COMMAND ...]", "admin": "[ACT ...]"}
        parts.append(italic(told.get(word.path[-1] if len(word.path) == 1 else "", "ACT ...")))
    return " ".join([*parts, *map(_argument, word.arguments)])


def _argument(argument: Argument) -> str:
    told = italic(argument.metavar) + (" ..." if argument.is_many else "")
    return f"[{told}]" if argument.may_lack else told


def _options(options: Iterable[Option]) -> Iterator[str]:
    for option in options:
        if "--help" in option.names:
            continue
        names = ", ".join(map(bold, option.names))
        value = italic(option.metavar) if option.metavar else ""
        yield from entry(f"{names} {f'[{value}]' if option.may_lack else value}".rstrip(), sentence(option.meaning))


def _settings() -> Iterator[str]:
    yield from prose(
        "A file of settings is TOML; here are its sections and keys, with their defaults. config.toml of the source"
        " tells what each is for. Of those marked with *, the value can also be the content of a file, whose name is"
        " given with _file behind the key."
    )
    for section, kind in config.sections().items():
        keys = [f"{key}{'*' if (section, key) in SECRET_KEYS else ''} = {_default(kind(), key)}" for key in _keys(kind)]
        yield from (".PP", f"{bold(f'[{section}]')} {plain(kind.__doc__ or '')}", *example("\n".join(keys)))


def _keys(kind: type[Any]) -> tuple[str, ...]:
    return tuple(kind.__struct_fields__)


def _default(section: object, key: str) -> str:
    value = getattr(section, key)
    match value:
        case bool():
            return str(value).lower()
        case str():
            return f'"{value}"'
        case tuple() if value and not isinstance(value[0], str):
            return "[" + ", ".join(each.tier_id for each in value) + "]"
        case tuple():
            return "[" + ", ".join(f'"{each}"' for each in value) + "]"
        case _:
            return f"{value:g}" if isinstance(value, float) else str(value)


def _exit_codes(root: Word) -> Iterator[str]:
    for code, meaning in re.findall(r"(?:^|  ) *(\d+) (.+?)(?=  |$)", root.parser.epilog or "", re.MULTILINE):
        yield from entry(bold(code), sentence(meaning))


def _environment() -> Iterator[str]:
    for name, meaning in ENVIRONMENT.items():
        yield from entry(bold(name), meaning)
    for name, (section, key) in FAMILIAR.items():
        yield from entry(bold(name), f"The same as [{section}] {key}.")
