"""Secrets that nobody configured: made once, kept in the data folder, readable by their owner only.

<data folder>/secrets/    mode 0700
  cluster.key             what gateway and nodes know each other by, mode 0600
  digest.key              what codes and session tokens are digested with
  admin.key               what operators show
"""

from __future__ import annotations

import os
import secrets
import stat
from typing import TYPE_CHECKING

from cloudgrpc.chunks.durable import Os
from cloudgrpc.errors import LocalFile, SettingsWrong

if TYPE_CHECKING:
    from pathlib import Path

    from cloudgrpc.config import Config, Key

NAMES: dict[Key, str] = {
    ("cluster", "secret"): "cluster",
    ("gateway", "digest_key"): "digest",
    ("admin", "key"): "admin",
}
SHORTEST = 16  # as for configured ones


def shared_secret(config: Config, section_key: Key) -> str:
    """The configured secret, else the data folder's; made now if there is none.

    Raises: SettingsWrong when the file is open to others or damaged; LocalFile.
    """
    section, key = section_key
    configured = str(getattr(getattr(config, section), key))
    if configured:
        return configured
    path = _path(config, section_key)
    try:
        if not path.exists():
            _create(path)
        return _read(path)
    except OSError as error:
        raise LocalFile(path=path, reason=error.strerror or error) from error


def secret_place(config: Config, section_key: Key) -> str:
    """Where a secret is kept, for people."""
    section, key = section_key
    is_configured = bool(getattr(getattr(config, section), key))
    return f"as configured in [{section}] {key}" if is_configured else f"in {_path(config, section_key)}"


def _path(config: Config, section_key: Key) -> Path:
    return config.data_folder / "secrets" / f"{NAMES[section_key]}.key"


def _create(path: Path) -> None:
    """Of two processes that both find none, the first to link its file wins, and both read that one."""
    disk = Os()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    aside = path.parent / f".{path.name}.{secrets.token_hex(4)}"
    descriptor = disk.create(aside)
    try:
        disk.write(descriptor, [secrets.token_urlsafe(32).encode() + b"\n"])
        disk.fdatasync(descriptor)
        # A link, since it appears with its content and never replaces a file that is there.
        path.hardlink_to(aside)
        disk.fsync_folder(path.parent)
    except FileExistsError:
        pass
    finally:
        disk.close(descriptor)
        disk.unlink(aside)


def _read(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
            raise SettingsWrong(faults=f"{path}: others may read this secret; close it with: chmod 600 {path}")
        try:
            secret = file.read().strip()
        except UnicodeDecodeError:
            secret = ""
    if len(secret) < SHORTEST:
        raise SettingsWrong(faults=f"{path}: is damaged: it needs at least {SHORTEST} characters")
    return secret
