"""The README tells everything there is, its tables are those of the program, and what it shows to type can be typed."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from cloudgrpc import __version__, config
from cloudgrpc.cli import build_parser
from cloudgrpc.core.event_kinds import KINDS, REFUSAL
from cloudgrpc.errors import CATALOGUE, CloudError, Exit
from cloudgrpc.pb import cloud_storage_pb2 as pb

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ROLES = next(action.choices for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction))


@pytest.mark.parametrize("role", ROLES)
def test_the_readme_tells_every_role_and_its_flags(role: str) -> None:
    assert f"`cloudgrpc {role}" in README
    flags = [
        action.option_strings[-1]
        for action in ROLES[role]._actions
        if action.option_strings and action.help != argparse.SUPPRESS
    ]
    assert [flag for flag in flags if f"`{flag}" not in README and f" {flag}" not in README] == []


@pytest.mark.parametrize("section", config.sections())
def test_the_readme_tells_every_setting(section: str) -> None:
    told = README[README.index(f"**`[{section}]`**") :].partition("\n\n**")[0].partition("\n\n<!--")[0]
    assert re.findall(r"^\| `(\w+)` \|", told, flags=re.MULTILINE) == list(config._keys(section))
    assert re.findall(r"`(CLOUDGRPC_[A-Z_]+)`", told)[0].startswith(f"CLOUDGRPC_{section.upper()}_")


def test_the_tables_of_the_readme_are_those_of_the_program() -> None:
    """They stay so by scripts/readme.py, which this runs."""
    check = [sys.executable, str(ROOT / "scripts" / "readme.py"), "--check"]
    checked = subprocess.run(check, capture_output=True, text=True, check=False, timeout=60)
    assert (checked.returncode, checked.stdout) == (0, ""), checked.stdout + checked.stderr


@pytest.mark.parametrize("kind", CATALOGUE.values(), ids=lambda kind: kind.code)
def test_the_readme_tells_every_error_with_its_status_and_exit_code(kind: type[CloudError]) -> None:
    assert f"| `{kind.code}` | {kind.status} | {kind.exit_code} |" in README


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.startswith(REFUSAL)])
def test_the_readme_tells_every_type_of_event(kind: str) -> None:
    assert f"| `{kind}` | {KINDS[kind]} |" in README


def test_the_readme_tells_every_exit_code() -> None:
    codes = {value for name, value in vars(Exit).items() if name.isupper()}
    told = {int(code) for code in re.findall(r"\| (\d+) \|(?= [a-z])", README)}
    assert codes <= told


def test_the_package_is_installed_under_the_version_it_tells() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["version"] == __version__


def test_the_readme_tells_every_rpc() -> None:
    services = pb.DESCRIPTOR.services_by_name
    table = README[README.index("\n## RPCs\n") :].partition("\n## Events\n")[0]
    for name, service in services.items():
        assert name in table
        assert [rpc.name for rpc in service.methods if f"`{rpc.name}`" not in table] == []
