"""What the README shows can be typed, its links lead somewhere, and the words it quotes are the program's."""

from __future__ import annotations

import functools
import importlib
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cloudgrpc import cli
from cloudgrpc.admin import certs_role, secrets_role, views
from cloudgrpc.admin.role import ACTS
from cloudgrpc.clients.session import Gateway, SessionStore
from cloudgrpc.errors import CATALOGUE
from cloudgrpc.shell.shell import Shell

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BEFORE = re.compile(r"^(?:\w*\$ +|ExecStart=\S*/)")  # a prompt, such as gateway$, or what systemd wants
PLACEHOLDER = re.compile(
    r"[…\[|]|\b(?:PORT CAPACITY_GB|SIZE|SHELL)\b"
)  # where a parser wants one of few words or a number


def lines_to_type() -> Iterator[str]:
    """Of every code block."""
    for _, block in FENCED.findall(README):
        yield from block.splitlines()
    for line in FENCED.sub("", README).splitlines():
        if line.startswith("    "):
            yield line.strip()


def commands() -> Iterator[list[str]]:
    """The words of every cloudgrpc command, from code blocks and from within sentences."""
    for typed in lines_to_type():
        line = BEFORE.sub("", typed).replace("python3 scripts/run.py", "cloudgrpc")
        if line.startswith("cloudgrpc "):
            lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            words = list(lexer)
            yield words[1 : next((at for at, word in enumerate(words) if word in {">", "<", "&&", "|"}), None)]
    for words in re.findall(r"`([^`\n]+)`", FENCED.sub("", README)):
        if words.startswith("cloudgrpc ") and not PLACEHOLDER.search(words):
            yield shlex.split(words.partition(" < ")[0])[1:]


ALL = sorted({tuple(words) for words in commands()})


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_a_command_that_the_readme_shows_is_understood(words: tuple[str, ...], tmp_path: Path) -> None:
    """By the parser of the role, and by that of the command or act behind it. Those refuse by an exception."""
    args = cli.parsed(words)
    behind = list(getattr(args, "words", None) or [])
    if args.module == cli.SANDBOX:
        return
    if args.role in {"shell", "pay"} and behind:
        with Gateway("127.0.0.1:1") as gateway:
            shell = Shell(gateway, SessionStore(tmp_path))
            shell.commands[behind[0]].parser.parse_args(behind[1:])
    elif args.role == "admin" and behind and behind[0] not in cli.ON_DATABASE:
        importlib.import_module(ACTS[behind[0]]).parsed(behind)
    elif args.role == "admin" and views.given(args):
        views.chosen(args)
    elif args.role == "certs" and behind:
        certs_role.build_parser().parse_args(behind)
    elif args.role == "secrets" and behind:
        secrets_role.build_parser().parse_args(behind)


def test_the_readme_shows_commands_of_every_part() -> None:
    """Else the search above has become blind."""
    assert {words[0] for words in ALL} >= {
        "demo-cluster",
        "gateway",
        "node",
        "shell",
        "pay",
        "admin",
        "certs",
        "secrets",
    }
    assert len(ALL) >= 50


def test_every_script_that_the_readme_names_exists() -> None:
    named = set(re.findall(r"(?:scripts|tests)/[\w./-]*\w", README))
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def slug(heading: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def test_every_link_within_the_readme_leads_somewhere() -> None:
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", README), flags=re.MULTILINE)
    anchors = [slug(heading) for heading in headings]
    assert len(set(anchors)) == len(anchors), "a second heading of one name has another anchor"
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert [link for link in links if link.startswith("#") and link[1:] not in anchors] == []
    assert [link for link in links if not link.startswith(("#", "http")) and not (ROOT / link).exists()] == []


def test_every_chapter_is_in_the_contents() -> None:
    contents = README[README.index("## Contents") :].partition("\n## ")[0]
    chapters = README[README.index("## Contents") + 3 :]
    missing = [
        name for name in re.findall(r"^## (.+)$", chapters, flags=re.MULTILINE) if f"(#{slug(name)})" not in contents
    ]
    assert missing == ["Licence"]


def quoted() -> list[str]:
    table = README[README.index("## Troubleshooting") :].partition("\n## ")[0]
    return re.findall(r"^\| `([^`]+)` \|", table, flags=re.MULTILINE)


@functools.cache
def spoken() -> str:
    """All that the program and its starter say, as it stands in the source."""
    sources = [*(ROOT / "cloudgrpc").rglob("*.py"), ROOT / "scripts" / "environment.py"]
    return "".join(path.read_text(encoding="utf-8") for path in sources)


@pytest.mark.parametrize("words", quoted())
def test_the_words_of_a_symptom_are_those_that_the_program_prints(words: str) -> None:
    """Wherever one looks them up: in a table of errors filled with facts, or, between facts, in the source."""
    if words == "cloudgrpc: command not found":  # bash's
        return
    pieces = [piece for piece in re.split(r"…|\d[\d.:]*(?: [GM]B)?", words) if len(piece) > 3]
    assert pieces, "nothing but facts"
    is_error = any(re.match(pattern, words) for pattern in patterns())
    assert is_error or all(piece.rstrip(".") in spoken() for piece in pieces)


@functools.cache
def patterns() -> list[str]:
    """Of the words of each error that has some of its own."""
    told = [kind.words for kind in CATALOGUE.values() if re.search(r"[a-z]{3}", re.sub(r"\{.*?\}", "", kind.words))]
    return [re.sub(r"\\{[^}]*\\}", ".+", re.escape(words)) for words in told]


def test_the_readme_tells_enough_symptoms() -> None:
    assert len(quoted()) >= 15
