"""Writes the tables of README.md that the program itself knows; with `--check`, only tells which of them are stale.

    table       made of
    settings    cloudgrpc/config.py, and the words above each key in config.toml
    exit codes  cloudgrpc/cli.py
    rpcs        proto/
    events      cloudgrpc/core/event_kinds.py
    errors      cloudgrpc/errors.py

Each stands in README.md between two HTML comments, which nobody sees who reads the page.
"""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, get_args, get_origin

import environment
from environment import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

README = ROOT / "README.md"
CONFIG_TOML = ROOT / "config.toml"
PROTO = ROOT / "proto" / "cloudgrpc" / "pb" / "cloud_storage.proto"
BEGIN, END = "<!-- {name}: made by scripts/readme.py -->", "<!-- end of {name} -->"
YEAR_S, CENTURY = 365 * 86400, 100
# What a number counts, by the end of its key; the longest first.
UNITS = {
    "_mib_s": "MiB a second",
    "_percent": "percentage points",
    "_per_hour": "an hour",
    "_per_minute": "a minute",
    "_per_second": "a second",
    "_bytes": "bytes",
    "_days": "days",
    "_xaf": "XAF",
    "_mb": "megabytes",
    "_s": "seconds",
}


def settings() -> str:
    from cloudgrpc.config import Config, sections

    meanings, defaults = _meanings(CONFIG_TOML.read_text(encoding="utf-8")), Config()
    parts = []
    for section, kind in sections().items():
        rows = [
            (
                f"`{key}`",
                _default(getattr(getattr(defaults, section), key)),
                _takes(key, hint),
                " ".join(f"`{name}`" for name in _environment_names(section, key)),
                meanings[section, key],
            )
            for key, hint in _hints(kind).items()
        ]
        table = _table(("key", "default", "takes", "in the environment", "meaning"), rows)
        parts.append(f"**`[{section}]`** {_summary(kind)}\n\n{table}")
    return "\n\n".join(parts)


def _hints(kind: type) -> dict[str, object]:
    from typing import get_type_hints

    return get_type_hints(kind, include_extras=True)


def _summary(kind: type) -> str:
    return (kind.__doc__ or "").partition("\n")[0]


def _meanings(text: str) -> dict[tuple[str, str], str]:
    """The comment above each key, as one line."""
    found: dict[tuple[str, str], str] = {}
    section, words = "", list[str]()
    for line in text.splitlines():
        if header := re.fullmatch(r"\[(\w+)\]", line):
            section = header[1]
        elif key := re.match(r"# (\w+) = ", line):
            found[section, key[1]] = " ".join(words)
        elif line.startswith("# "):
            words.append(line[2:])
        if not line.startswith("# "):
            words = []
    return found


def _default(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:g}" if abs(value) < 1e6 else f"{value:.0f}"
    if isinstance(value, str):
        return f"`{value}`" if value else "empty"
    return ", ".join(f"`{getattr(each, 'tier_id', each)}`" for each in value) or "none"  # type: ignore[attr-defined]  # a list


def _takes(key: str, hint: object) -> str:
    """What may be given, with unit and range."""
    kind, *metas = get_args(hint) if hasattr(hint, "__metadata__") else (hint,)
    if kind is bool:
        return "true or false"
    if get_origin(kind) is tuple:
        return "a list"
    if kind is str:
        return next(map(_words_of, metas), "text")
    unit = next((unit for end, unit in UNITS.items() if key.endswith(end)), "")
    return ", ".join(filter(None, [unit, *map(_range, metas)])) or "a number"


def _words_of(meta: object) -> str:
    choices = re.fullmatch(r"\^\((\w+(?:\|\w+)+)\)\$", getattr(meta, "pattern", None) or "")
    if choices:
        return " or ".join(f"`{each}`" for each in choices[1].split("|"))
    return "text, not empty" if getattr(meta, "min_length", None) else "text"


def _range(meta: object) -> str:
    least, above, most = (getattr(meta, name) for name in ("ge", "gt", "le"))
    start = f"more than {above}" if above is not None else f"{least:,}"
    end = "100 years" if most in (CENTURY * YEAR_S, CENTURY * 365) else f"{most:,}"
    return f"{start}, at most {end}" if above is not None else f"{start} to {end}"


def _environment_names(section: str, key: str) -> list[str]:
    from cloudgrpc.setting_names import FAMILIAR, PREFIX

    own = f"{PREFIX}{section}_{key}".upper()
    return [own, *(name for name, meant in FAMILIAR.items() if meant == (section, key))]


def exit_codes() -> str:
    from cloudgrpc.cli import EXIT_CODES

    return _table(("code", "meaning"), re.findall(r"(?<!\S)(\d+) ([a-z ]+?)(?= {2}| \(|\n)", EXIT_CODES))


def errors() -> str:
    from cloudgrpc.errors import CATALOGUE

    kinds = sorted(CATALOGUE.values(), key=lambda kind: (kind.status, kind.code))
    rows = [(f"`{kind.code}`", kind.status, str(kind.exit_code), kind.words, kind.hint) for kind in kinds]
    return _table(("code", "status", "exit", "words", "what to do"), rows)


def events() -> str:
    from cloudgrpc.core.event_kinds import KINDS, REFUSAL

    rows = [(f"`{kind}`", words) for kind, words in KINDS.items() if not kind.startswith(REFUSAL)]
    refusal = "a call was refused: somebody may not, or did something too often; CODE as in the table of errors"
    return _table(("type", "what happened"), [*rows, (f"`{REFUSAL}CODE`", refusal)])


def rpcs() -> str:
    """A row a service, and two of one that both gateway and nodes serve."""
    found: dict[str, list[str]] = {}
    for service, place, rpc in _served(PROTO.read_text(encoding="utf-8")):
        found.setdefault(f"{service}{place}", []).append(f"`{rpc}`")
    return _table(("service", "RPCs"), [(name, " ".join(names)) for name, names in found.items()])


def _served(proto: str) -> Iterator[tuple[str, str, str]]:
    """(service, where, RPC): where is told by comments of the proto, and holds for what follows."""
    service = place = ""
    for line in proto.splitlines():
        if opened := re.match(r"service (\w+) ", line):
            service, place = opened[1], ""
        elif told := re.search(r"served by (?:the|a) (gateway|node)\b", line):
            place = f", {told[1]}"
        elif rpc := re.match(r"  rpc (\w+) ", line):
            yield service, place, rpc[1]


def _table(titles: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    head, *lines = ["| " + " | ".join(map(_cell, line)) + " |" for line in [titles, *rows]]
    return "\n".join([head, "|---" * len(titles) + "|", *lines])


def _cell(words: str) -> str:
    return " ".join(words.split()).replace("|", "\\|")


REGIONS: dict[str, Callable[[], str]] = {
    "settings": settings,
    "exit codes": exit_codes,
    "rpcs": rpcs,
    "events": events,
    "errors": errors,
}


def rewritten(text: str, name: str) -> str:
    """README.md's text with one table made anew. Raises: ValueError when its two comments are not there."""
    begin, end = BEGIN.format(name=name), END.format(name=name)
    before, found, rest = text.partition(f"{begin}\n")
    _, closed, after = rest.partition(f"\n{end}\n")
    if not found or not closed:
        raise ValueError(f"README.md has no {begin} … {end}")
    return f"{before}{begin}\n\n{REGIONS[name]()}\n\n{end}\n{after}"


def stale() -> list[str]:
    text = README.read_text(encoding="utf-8")
    return [name for name in REGIONS if rewritten(text, name) != text]


def main(words: list[str]) -> int:
    if words not in ([], ["--check"]):
        print("usage: python3 scripts/readme.py [--check]", file=sys.stderr)
        return 2
    if words:
        old = stale()
        if old:
            print(f"stale in README.md: {', '.join(old)}; run: python3 scripts/readme.py")
        return 1 if old else 0
    text = README.read_text(encoding="utf-8")
    for name in REGIONS:
        text = rewritten(text, name)
    README.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    if os.path.realpath(sys.prefix) != os.path.realpath(environment.VENV):
        environment.ensure("run")
        os.execv(environment.PYTHON, [str(environment.PYTHON), *sys.argv])
    sys.path.insert(0, str(ROOT))  # the tables are of this checkout
    sys.exit(main(sys.argv[1:]))
