"""The admin key: the configured one, else the data folder's, else the one that a person types."""

from __future__ import annotations

import getpass
import os
import stat
import sys
from typing import TYPE_CHECKING

from cloudgrpc.errors import AdminKeyMissing, LocalFile, SettingsWrong

if TYPE_CHECKING:
    from pathlib import Path

    from cloudgrpc.config import Config


def admin_key(config: Config) -> str:
    """Raises: AdminKeyMissing, SettingsWrong when others may read the file, LocalFile."""
    path = config.data_folder / "secrets" / "admin.key"
    key = config.admin.key or _of_file(path) or _of_person()
    if not key:
        raise AdminKeyMissing(place=path)
    return key


def _of_file(path: Path) -> str:
    """ "" when there is none: this may be another machine than the gateway's."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise SettingsWrong(faults=f"{path}: others may read this secret; close it with: chmod 600 {path}")
            return file.read().strip()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        raise LocalFile(path=path, reason=error.strerror or error) from error


def _of_person() -> str:
    """ "" when nobody is there, or nothing was typed."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return ""
    try:
        return getpass.getpass("Admin key (it is not shown): ").strip()
    except EOFError:
        return ""
