"""`cloudgrpc man`: the manual page. At a terminal it is shown, in a pipe it is roff for `man -l -`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import cloudgrpc
from cloudgrpc.about.man_text import page
from cloudgrpc.about.words import tree

if TYPE_CHECKING:
    import argparse
    from datetime import date


def run(_load: object, args: argparse.Namespace) -> int:
    text = page(tree(args.parser, args.further), _made_on())
    viewer = shutil.which("man")
    if viewer and sys.stdin.isatty() and sys.stdout.isatty():
        return _show(viewer, text)
    print(text, end="")
    return 0


def _show(viewer: str, text: str) -> int:
    with tempfile.TemporaryDirectory(prefix="cloudgrpc-") as folder:
        file = Path(folder) / "cloudgrpc.1"
        file.write_text(text, encoding="utf-8")
        # One with a / in it is a file to every man there is; -l is man-db's alone.
        return subprocess.run([viewer, str(file)], env=_environment(), check=False).returncode  # noqa: S603 - the system's own


def _environment() -> dict[str, str]:
    """An executable of PyInstaller has its own libraries in the path, which are none for the system's programs."""
    told = dict(os.environ)
    if getattr(sys, "frozen", False):
        original = told.pop("LD_LIBRARY_PATH_ORIG", None)
        told.pop("LD_LIBRARY_PATH", None)
        if original:
            told["LD_LIBRARY_PATH"] = original
    return told


def _made_on() -> date:
    """When this copy of the program was made."""
    place = sys.executable if getattr(sys, "frozen", False) else cloudgrpc.__file__
    return datetime.fromtimestamp(Path(place).stat().st_mtime, UTC).date()
