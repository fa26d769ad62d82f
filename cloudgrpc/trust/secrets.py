"""The secrets this machine knows: as configured, or made once and kept in the data folder, for their owner alone.

<data folder>/secrets/    mode 0700; each file 0600
  cluster.key             what gateway and nodes know each other by
  master.key              what the keys of accounts are wrapped with: without it no stored file can be read
  digest.key              what codes and session tokens are digested with
  admin.key               what operators show
  backed-up.json          what the last backup of them held (see secrets_backup.py)

The files of the first two may hold several lines: the first is used, the others are accepted (see core/rotation.py).
"""

from __future__ import annotations

import base64
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING

from cloudgrpc.core import rotation
from cloudgrpc.core.rotation import MASTER_BYTES, Lines, MasterKeys
from cloudgrpc.errors import LocalFile
from cloudgrpc.trust import private
from cloudgrpc.trust.watched import Watched

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cloudgrpc.config import Config, Key

CLUSTER: Key = ("cluster", "secret")
MASTER: Key = ("encryption", "master_key")
DIGEST: Key = ("gateway", "digest_key")
ADMIN: Key = ("admin", "key")
NAMES: dict[Key, str] = {CLUSTER: "cluster", MASTER: "master", DIGEST: "digest", ADMIN: "admin"}
SUFFIX = ".key"
NO_KEYS = MasterKeys({}, "")


class Secret:
    """What parties know each other by: `current` is shown, all `accepted` are taken, as the file says just now."""

    def __init__(self, lines: Watched[Lines]) -> None:
        self._lines = lines

    @classmethod
    def of(cls, *accepted: str) -> Secret:
        return cls(Watched(None, lambda: accepted))

    @property
    def current(self) -> str:
        return self._lines.value[0]

    @property
    def accepted(self) -> Sequence[str]:
        return self._lines.value


def folder_of(config: Config) -> Path:
    return config.data_folder / "secrets"


def file_of(config: Config, section_key: Key) -> Path | None:
    """The file that holds it, which may have to be made; None when it is given in the settings themselves."""
    section, key = section_key
    settings = getattr(config, section)
    if named := getattr(settings, f"{key}_file", ""):
        return Path(named).expanduser().absolute()
    return None if getattr(settings, key) else folder_of(config) / f"{NAMES[section_key]}{SUFFIX}"


def secret_place(config: Config, section_key: Key) -> str:
    """Where a secret is kept, for people."""
    path = file_of(config, section_key)
    return f"in {path}" if path else "as configured in [{}] {}".format(*section_key)


def shared_secret(config: Config, section_key: Key) -> str:
    """The configured secret, else the data folder's; made now if there is none.

    Raises: SettingsWrong when the file is open to others or damaged; LocalFile.
    """
    return rotation.secret_lines(_text(config, section_key, new_secret), secret_place(config, section_key))[0]


def cluster_secret(config: Config, clock: Callable[[], float] = time.monotonic) -> Secret:
    """As the settings say, else the data folder's; made now if there is none. Raises: SettingsWrong, LocalFile."""

    def read(make: Callable[[], str] | None = None) -> Lines:
        lines = rotation.secret_lines(_text(config, CLUSTER, make), secret_place(config, CLUSTER))
        return tuple(dict.fromkeys([*lines, *config.cluster.old_secrets]))

    read(new_secret)
    return Secret(Watched(file_of(config, CLUSTER), read, clock))


def master_keys(config: Config) -> MasterKeys:
    """As the settings say, else the data folder's; made now if there is none, unless nothing is to be sealed: then
    there may be none. Raises: SettingsWrong, LocalFile."""
    return watched_master_keys(config).value


def watched_master_keys(config: Config, clock: Callable[[], float] = time.monotonic) -> Watched[MasterKeys]:
    """The same, as the file says just now."""
    path, place = file_of(config, MASTER), secret_place(config, MASTER)

    def read(make: Callable[[], str] | None = None) -> MasterKeys:
        # One that was there at first and goes meanwhile has sealed what is there.
        if may_lack and path and not path.exists():
            return NO_KEYS
        lines = rotation.lines_of(_text(config, MASTER, make))
        return rotation.master_keys("\n".join([*lines, *config.encryption.old_master_keys]), place)

    may_lack = not config.encryption.at_rest
    may_lack = read(new_master_key) is NO_KEYS
    return Watched(path, read, clock)


def is_generated(config: Config, section_key: Key) -> bool:
    """Whether it lies in the data folder, where nobody may know of it."""
    path = file_of(config, section_key)
    return path is not None and path.parent == folder_of(config)


def _text(config: Config, section_key: Key, make: Callable[[], str] | None) -> str:
    """What is configured or in its file; `make`: for a file of the data folder that is not there."""
    path = file_of(config, section_key)
    if path is None:
        section, key = section_key
        return str(getattr(getattr(config, section), key))
    if is_generated(config, section_key):
        private.check_folder(path.parent)
        if make and private.read(path) is None:
            _create(path, make)
    content = private.read(path)
    if content is None:
        raise LocalFile(path=path, reason="is gone")
    try:
        return content.decode()
    except UnicodeDecodeError:
        return ""  # which is told as damaged


def _create(path: Path, make: Callable[[], str]) -> None:
    """Of two processes that both find none, the first makes it, and both read that one."""
    with private.changing(path.parent):
        if private.read(path) is None:
            private.write(path, f"{make()}\n".encode())


def new_secret() -> str:
    return secrets.token_urlsafe(32)


def new_master_key() -> str:
    return base64.b64encode(secrets.token_bytes(MASTER_BYTES)).decode()
