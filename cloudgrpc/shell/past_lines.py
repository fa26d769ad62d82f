"""The lines that were typed at the prompt, kept between runs.

<config folder>/cloudgrpc/shell_history     0600; a line each, the newest last

Only lines whose command exists are given here, and none of these takes a secret: a code or a token that was pasted at
the wrong place is not kept. Nor is a line that starts with a space.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from cloudgrpc.clients.session import write_private

if TYPE_CHECKING:
    from pathlib import Path

KEPT = 1000


class PastLines:
    """Failing to remember is no reason to bother a person: then nothing is remembered."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / "shell_history"

    def read(self) -> list[str]:
        """The oldest first. A file that has grown to twice its size is cut."""
        try:
            lines = self._file.read_text(errors="replace").splitlines()
        except OSError:
            return []
        if len(lines) > 2 * KEPT:
            with suppress(OSError):
                write_private(self._file, (f"{line}\n".encode() for line in lines[-KEPT:]))
        return lines[-KEPT:]

    def add(self, line: str) -> None:
        if line.startswith(" ") or not line.isprintable():
            return
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Appended, so that several shells at once lose nothing of each other.
            file = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(file, f"{line}\n".encode())
            finally:
                os.close(file)
