"""What an executable knows of its own making, since it holds neither git nor the metadata of packages.

    python -m cloudgrpc.about.bundle > FILE

prints it at the build, which bundles FILE as cloudgrpc/about/bundle.json.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
from msgspec import Struct

from cloudgrpc.about.licences import CHECKOUT, Licence, gather

FILE = Path(__file__).with_name("bundle.json")
GIT_S = 5.0


class Bundle(Struct, frozen=True):
    """`commit`: "" when it is not known; with + behind it when files differ from it."""

    commit: str
    licences: list[Licence]


def bundle() -> Bundle:
    """What was bundled, else what is true of this checkout."""
    if FILE.is_file():
        return msgspec.json.decode(FILE.read_bytes(), type=Bundle)
    if getattr(sys, "frozen", False):
        return Bundle("", [])  # it was built without
    return of_this_checkout()


def of_this_checkout() -> Bundle:
    return Bundle(_commit(), gather())


def _commit() -> str:
    if not (CHECKOUT / ".git").exists():
        return ""
    try:
        commit = _git("rev-parse", "--short=12", "HEAD")
        return f"{commit}+" if _git("status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(*words: str) -> str:
    command = ["git", "-C", str(CHECKOUT), *words]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=GIT_S)  # noqa: S603 - the words are ours
    return ran.stdout.strip()


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(of_this_checkout())) + b"\n")
