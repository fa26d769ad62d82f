"""The lock files: everything is pinned by digest, fits pyproject.toml, and comes from wherever a machine gets it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLAVOURS = ("run", "build", "dev")


def locked(flavour: str) -> dict[str, list[str]]:
    """Package with its version and conditions -> digests."""
    text = (ROOT / "scripts" / "locks" / f"{flavour}.txt").read_text(encoding="utf-8")
    entries = re.findall(r"^([\w.-]+==.*?)(?: \\)?\n((?:    --hash=.*\n)*)", text, re.MULTILINE)
    return {name: re.findall(r"sha256:([0-9a-f]{64})", digests) for name, digests in entries}


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_every_package_is_pinned_with_digests_and_no_registry_is_named(flavour: str) -> None:
    text = (ROOT / "scripts" / "locks" / f"{flavour}.txt").read_text(encoding="utf-8")
    packages = locked(flavour)
    assert len(packages) > 30
    assert [name for name, digests in packages.items() if not digests] == []
    assert not re.search(r"://|--index|--find-links|--extra-index|--trusted", text)


def test_a_package_is_the_same_in_every_flavour() -> None:
    run, build, dev = (locked(flavour) for flavour in FLAVOURS)
    assert run.items() <= build.items() <= dev.items()


def test_a_lock_that_does_not_fit_is_told(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for wanted, exit_code in ((project, 0), (project.replace('"pytest>=9', '"pytest>=8'), 1)):
        (tmp_path / "pyproject.toml").write_text(wanted)
        told = subprocess.run(
            [sys.executable, tmp_path / "scripts" / "lock.py", "--check"], capture_output=True, text=True, check=False
        )
        assert told.returncode == exit_code, told.stderr
    assert told.stdout == ("pyproject.toml asks for something else than dev.txt; run: python3 scripts/lock.py\n")
