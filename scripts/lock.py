"""`python3 scripts/lock.py`: pins what pyproject.toml asks for, with digests, for all platforms, in scripts/locks.

    scripts/lock.py              what fits stays as it is
    scripts/lock.py --upgrade    the newest that fit
    scripts/lock.py --check      only tells whether the files fit pyproject.toml; needs no network

scripts/locks/run.txt, build.txt and dev.txt are what scripts/environment.py installs; each holds those before it. They
name no registry, so that each machine takes its own.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tomllib

import environment
from environment import FLAVOURS, ROOT, lock_of

HEAD = "# Made by scripts/lock.py of these requirements, sha256 {digest}\n"


def head_of(flavour: str) -> str:
    """The first line of a lock file that fits pyproject.toml as it is now."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [project["requires-python"], *project["dependencies"]]
    for extra in _extras(flavour):
        wanted += project["optional-dependencies"][extra]
    return HEAD.format(digest=hashlib.sha256("\n".join(wanted).encode()).hexdigest())


def _extras(flavour: str) -> tuple[str, ...]:
    return FLAVOURS[1 : FLAVOURS.index(flavour) + 1]


def lock(flavour: str, *, upgrade: bool) -> None:
    path = lock_of(flavour)
    path.parent.mkdir(exist_ok=True)
    command = [str(environment.VENV / "bin" / "uv"), "pip", "compile", "pyproject.toml", "--quiet", "--no-header"]
    command += ["--universal", "--python-version", oldest_python(), "--generate-hashes", "--output-file", str(path)]
    command += ["--upgrade"] if upgrade else []
    command += [word for extra in _extras(flavour) for word in ("--extra", extra)]
    # A package that two flavours have is the same in both.
    command += [word for smaller in _smaller(flavour) for word in ("--constraint", str(lock_of(smaller)))]
    subprocess.run(command, cwd=ROOT, check=True)
    pinned = "".join(line for line in path.read_text(encoding="utf-8").splitlines(True) if not line.startswith("#"))
    path.write_text(head_of(flavour) + pinned, encoding="utf-8")


def _smaller(flavour: str) -> tuple[str, ...]:
    return FLAVOURS[: FLAVOURS.index(flavour)][-1:]


def oldest_python() -> str:
    return ".".join(map(str, environment.OLDEST))


def stale() -> list[str]:
    """Names of the lock files that do not fit pyproject.toml."""
    return [
        lock_of(flavour).name
        for flavour in FLAVOURS
        if not lock_of(flavour).is_file() or not lock_of(flavour).read_text("utf-8").startswith(head_of(flavour))
    ]


def main(words: list[str]) -> int:
    if words not in ([], ["--check"], ["--upgrade"]):
        print("usage: python3 scripts/lock.py [--upgrade | --check]", file=sys.stderr)
        return 2
    if words == ["--check"]:
        if names := stale():
            print(f"pyproject.toml asks for something else than {', '.join(names)}; run: python3 scripts/lock.py")
        return 1 if names else 0
    environment.ensure("dev")
    for flavour in FLAVOURS:
        lock(flavour, upgrade=bool(words))
        print(f"{lock_of(flavour).relative_to(ROOT)}: {_count(flavour)} packages")
    return 0


def _count(flavour: str) -> int:
    return sum("==" in line for line in lock_of(flavour).read_text(encoding="utf-8").splitlines())


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
    except KeyboardInterrupt:
        sys.exit(130)
