"""The admin key: the configured one, else the data folder's, else the one that a person types."""

from __future__ import annotations

import getpass
import sys
from typing import TYPE_CHECKING

from cloudgrpc.errors import AdminKeyMissing
from cloudgrpc.trust import private
from cloudgrpc.trust.secrets import folder_of

if TYPE_CHECKING:
    from cloudgrpc.config import Config


def admin_key(config: Config) -> str:
    """Raises: AdminKeyMissing, SettingsWrong when others may read the file, LocalFile."""
    path = folder_of(config) / "admin.key"
    # This may be another machine than the gateway's, where there is none.
    key = config.admin.key or (private.read(path) or b"").decode(errors="replace").strip() or _of_person()
    if not key:
        raise AdminKeyMissing(place=path)
    return key


def _of_person() -> str:
    """ "" when nobody is there, or nothing was typed."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return ""
    try:
        return getpass.getpass("Admin key (it is not shown): ").strip()
    except EOFError:
        return ""
