"""The house keeps its shape: imports point down, rooms stay small, and nothing lies around on the ground floor."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "cloudgrpc"
LINES_OF_A_MODULE = 400  # past it, it wants to be two
TABLES = {PACKAGE / "errors.py"}  # one table on purpose: six lines an error, read by looking up
SHARE_OF_A_FOLDER = 1 / 3  # a fifth is the aim; past a third a folder is a house of its own
TOP_LEVEL = {
    ".ci",
    ".gitignore",
    "CHANGELOG.md",
    "LICENSE",
    "README.md",
    "build.spec",
    "cloudgrpc",
    "cloudgrpc.py",
    "config.toml",
    "proto",
    "pyproject.toml",
    "scripts",
    "tests",
}


def written_modules(folder: Path = PACKAGE) -> list[Path]:
    """What people wrote; generated code is nobody's prose."""
    return [path for path in sorted(folder.rglob("*.py")) if PACKAGE / "pb" not in path.parents]


def lines_of(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_imports_point_down() -> None:
    lint_imports = Path(sys.executable).with_name("lint-imports")
    checked = subprocess.run([lint_imports, "--no-logo"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_import_laws_name_every_folder() -> None:
    """The tool passes over a folder that its contracts do not name."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (sources,) = (each["source_modules"] for each in contracts if each["name"] == "SQL lives in meta")
    folders = {f"cloudgrpc.{init.parent.name}" for init in PACKAGE.glob("*/__init__.py")}
    assert folders - {*sources} == {"cloudgrpc.meta", "cloudgrpc.pb"}


def test_the_top_level_holds_only_what_belongs_there() -> None:
    # As git sees it, so that what a developer's tools leave behind (and .gitignore names) is nobody's fault.
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert {line.partition("/")[0] for line in listed.stdout.splitlines()} <= TOP_LEVEL


def test_no_module_is_too_long() -> None:
    modules = {*written_modules(), *written_modules(ROOT / "scripts")} - TABLES
    too_long = {str(path.relative_to(ROOT)): lines_of(path) for path in modules if lines_of(path) > LINES_OF_A_MODULE}
    assert too_long == {}


def test_every_module_opens_with_a_sentence() -> None:
    def opening(path: Path) -> str:
        return path.read_text(encoding="utf-8").lstrip()[:3]

    written = [path for path in written_modules() if lines_of(path)]
    assert [str(path.relative_to(ROOT)) for path in written if opening(path) != '"""'] == []


def test_no_folder_outgrows_the_others() -> None:
    lines: Counter[str] = Counter()
    for path in written_modules():
        lines[path.relative_to(PACKAGE).parts[0]] += lines_of(path)
    limit = lines.total() * SHARE_OF_A_FOLDER
    assert [f"{name}: {count} of {lines.total()}" for name, count in lines.items() if count > limit] == []
