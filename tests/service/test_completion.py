"""Completion in the real shells: what Tab makes of a line that somebody began to type."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from cloudgrpc import cli
from cloudgrpc.about import for_bash, for_fish, for_zsh
from cloudgrpc.about.words import Word, tree
from executable_run import AT_HOME
from person import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCRIPTS = {"bash": for_bash.script, "zsh": for_zsh.script, "fish": for_fish.script}
SHOW = "cloudgrpc() { printf '<%s>' \"$@\"; echo ' shown'; }\n"  # in the program's place: what the line came to
PROMPT = "ready> "
SPELT = "re''ady> "  # in another way than it is shown, since what is typed is shown, too
INTERACTIVE = {
    "bash": ["--norc", "--noprofile", "-i"],
    "zsh": ["-f", "-i"],
}
LINES = {
    "demo": "demo-cluster",
    "gateway --log-level=d": "--log-level=debug",
    "gateway --log-level w": "warning",
    "node --join ticket": "ticket.code",
    "--versi": "--version",
    "admin pay": "payment",
    "admin payment rec": "reconcile",
    "admin --gateway drive.example.org:50051 migrate": "migrate-database",
    "admin reset-database --y": "--yes",
    "certs --config ticket.code ca sh": "show",
    "secrets add m": "master",
    "shell up": "upload",
    "shell upload tick": "ticket.code",
    "shell sync tick": "ticket.code",
    "shell help unsh": "unshare",
    "pay sandb": "sandbox",
    "pay buy --provider o": "orange",
    "shell pay his": "history",
    "completion f": "fish",
    "gateway --data-dir fold": "folder",
}
# Nothing is offered where only a gateway could tell, nor what people are not meant to type.
NOTHING = ["node ", "shell ls ti", "gateway --exit-with-p", "gateway --port fo"]


@pytest.fixture(scope="module")
def words() -> Word:
    args = cli.parsed(["completion", "bash"])
    return tree(args.parser, args.further)


@pytest.fixture
def folder(tmp_path: Path, words: Word) -> Path:
    """With the scripts, and two names to complete."""
    here = tmp_path / "here"
    (here / "folder").mkdir(parents=True)
    (here / "ticket.code").touch()
    for shell, script in SCRIPTS.items():
        (tmp_path / f"script.{shell}").write_text(script(words), encoding="utf-8")
    return here


@pytest.fixture(params=INTERACTIVE)
def terminal(request: pytest.FixtureRequest, folder: Path) -> Iterator[Terminal]:
    """A person's shell that has read its script."""
    shell = request.param
    path = shutil.which(shell)
    if not path:
        pytest.skip(f"no {shell} on this machine; its script is looked at below")
    environment = {"PATH": "/usr/bin:/bin", "TERM": "dumb", "HOME": str(folder), "LANG": "C.UTF-8"}
    child = Terminal([sys.executable, "-c", AT_HOME, path, *INTERACTIVE[shell]], folder, environment)
    prepare = ["bind 'set enable-bracketed-paste off'"] if shell == "bash" else ["autoload -U compinit; compinit -u -D"]
    source = f"source {folder.parent}/script.{shell}"
    child.send("\n".join([*prepare, source, SHOW, f"PS1='{SPELT}'", ""]))
    yield child
    child._process.kill()
    child.left()


def typed_and_entered(terminal: Terminal, keys: str) -> str:
    """The words of the line that it came to, each in <>."""
    terminal.expect_exact(PROMPT)
    terminal.send(f"cloudgrpc {keys}\n")
    terminal.expect(r"(<[^\r\n]*>) shown")
    assert terminal.match is not None
    return str(terminal.match.group(1))


def test_tab_goes_on_with_what_a_person_types(terminal: Terminal) -> None:
    assert typed_and_entered(terminal, "dem\t--sel\t") == "<demo-cluster><--self-test>"
    assert typed_and_entered(terminal, "admin user dis\tbob --y\t") == "<admin><user><disable><bob><--yes>"
    for typed, expected in LINES.items():
        # A / at a folder's end stays in bash; zsh takes it off again with Enter.
        assert typed_and_entered(terminal, f"{typed}\t").replace("/>", ">").endswith(f"{expected}>"), typed
    for typed in NOTHING:
        assert typed_and_entered(terminal, f"{typed}\t") == "".join(f"<{word}>" for word in typed.split()), typed


def in_fish(folder: Path, typed: str) -> list[str]:
    told = f"source {folder.parent}/script.fish; complete -C 'cloudgrpc {typed}'"
    ran = subprocess.run(["fish", "-N", "-c", told], cwd=folder, capture_output=True, text=True, check=False)
    assert ran.stderr == ""
    return [each.partition("\t")[0] for each in ran.stdout.splitlines()]


@pytest.mark.skipif(not shutil.which("fish"), reason="no fish on this machine; its script is looked at below")
def test_fish_offers_what_can_follow(folder: Path) -> None:
    for typed, expected in LINES.items():
        assert expected in [each.rstrip("/") for each in in_fish(folder, typed)], typed
    for typed in NOTHING:
        assert [each for each in in_fish(folder, typed) if not each.startswith("-h")] == [], typed


@pytest.mark.parametrize("shell", SCRIPTS)
def test_a_script_holds_all_words_and_options_but_those_that_are_hidden(words: Word, shell: str) -> None:
    script = SCRIPTS[shell](words)
    for word in words.all():
        assert all(re.search(rf"(?<![\w-]){re.escape(each.name)}(?![\w-])", script) for each in word.words), word.path
        names = [name for option in word.options for name in option.names]
        assert [name for name in names if name not in script] == [], word.path
    assert "--exit-with-parent" not in script
    assert {"gateway", "doctor", "completion", "man"} <= {word.name for word in words.words}
    assert ("admin", "migrate-database") in {word.path for word in words.all()}
