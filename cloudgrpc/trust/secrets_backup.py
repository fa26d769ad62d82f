"""All that this data folder must not lose and no database holds, as one file to be kept elsewhere; and back again.

A tar of    README            what it is, for whoever finds it
            manifest.json     the digests of the others, by which it is known to be whole
            secrets/*.key     as in the data folder
            certs/ca.crt, certs/ca.key    where there is an authority

<data folder>/secrets/backed-up.json     when it was made, where, and of which secrets
"""

from __future__ import annotations

import hashlib
import io
import os
import time
from typing import TYPE_CHECKING

import msgspec

from cloudgrpc.errors import LocalFile, NameTaken, SecretsBackupWrong, SecretsThere
from cloudgrpc.trust import private
from cloudgrpc.trust.secret_files import kept
from cloudgrpc.trust.secrets import MASTER, NAMES, folder_of, is_generated
from cloudgrpc.trust.watched import Watched

if TYPE_CHECKING:
    import tarfile
    from collections.abc import Callable, Collection
    from pathlib import Path

    from cloudgrpc.config import Config

MARKER = "backed-up.json"
MANIFEST, README = "manifest.json", "README"
SECRETS = [f"secrets/{name}.key" for name in NAMES.values()]
AUTHORITY = ["certs/ca.crt", "certs/ca.key"]
MOST_BYTES = 1 << 20  # of one file in it
ABOUT = b"""The secrets of a CloudGrpc gateway. Whoever has them can act as its operator and its nodes, and
read what its database and its nodes' disks hold; without secrets/master.key nobody can read that.

Bring them back, into a data folder that has none yet:   cloudgrpc secrets restore FILE
"""


class Saved(msgspec.Struct, frozen=True):
    """The last backup. `made_at`: in seconds since 1970; `fingerprints`: of all that was in it."""

    made_at: int
    file: str
    fingerprints: list[str]


NEVER = Saved(0, "", [])


def back_up(config: Config, path: Path) -> list[str]:
    """Write all there is to a new file; returns the names of what is in it.

    Raises: NameTaken, SettingsWrong when one is open to others or damaged; LocalFile.
    """
    prints = [fingerprint for one in kept(config) for fingerprint in one.fingerprints]
    files = {name: content for name in SECRETS if (content := private.read(config.data_folder / name)) is not None}
    if not files:
        raise LocalFile(path=folder_of(config), reason="holds no secrets; a gateway makes them at its first start")
    files |= {name: content for name in AUTHORITY if (content := _of_authority(config, name)) is not None}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    _write_new(path, _packed({README: ABOUT, MANIFEST: msgspec.json.encode(digests), **files}))
    _mark(config, Saved(int(time.time()), str(path.absolute()), prints))
    return list(files)


def restore(config: Config, path: Path) -> list[str]:
    """Bring back what a backup holds, into folders that have none of it; returns the names.

    Raises: SecretsBackupWrong, SecretsThere, SettingsWrong, LocalFile.
    """
    files = read(path)
    for folder in (folder_of(config), config.data_folder / "certs"):
        # Those that are the same came by this very backup, before a crash.
        other = [
            there.name for there in _there(folder) if files.get(f"{folder.name}/{there.name}") != private.read(there)
        ]
        if other:
            raise SecretsThere(folder=folder, names=", ".join(other))
    for name, content in files.items():
        target = config.data_folder / name
        with private.changing(target.parent):
            private.write(target, content)
    prints = [fingerprint for one in kept(config) for fingerprint in one.fingerprints]
    _mark(config, Saved(int(path.stat().st_mtime), str(path.absolute()), prints))
    return list(files)


def read(path: Path) -> dict[str, bytes]:
    """Its files by name, all of which are whole. Raises: SecretsBackupWrong, LocalFile."""
    import tarfile

    try:
        with tarfile.open(path, "r:") as tar:
            found = {member.name: _content(tar, member) for member in tar.getmembers()}
        digests = msgspec.json.decode(found.pop(MANIFEST), type=dict[str, str])
    except OSError as error:
        raise LocalFile(path=path, reason=error.strerror or error) from error
    except (tarfile.TarError, KeyError, ValueError) as error:
        raise SecretsBackupWrong(path=path, reason="it is damaged, or something else") from error
    files = {name: found[name] for name in [*SECRETS, *AUTHORITY] if name in found}
    if {name: hashlib.sha256(content).hexdigest() for name, content in files.items()} != digests:
        raise SecretsBackupWrong(path=path, reason="what is in it is not what was put into it")
    return files


def last(config: Config) -> Saved:
    """NEVER when there was none, or nothing is known of it. Raises: SettingsWrong, LocalFile."""
    content = private.read(folder_of(config) / MARKER, is_secret=False)
    try:
        return msgspec.json.decode(content, type=Saved) if content else NEVER
    except ValueError:
        return NEVER


def watch_unsaved(config: Config, ids: Callable[[], Collection[str]]) -> Callable[[], bool]:
    """Tells whether a master key would be lost with this machine: it was made here, and no backup holds it. `ids`: of
    those in use."""
    marker: Watched[Saved] = Watched(folder_of(config) / MARKER, lambda: last(config))

    def is_unsaved() -> bool:
        if not is_generated(config, MASTER):
            return False
        return not set(ids()) <= set(marker.value.fingerprints)

    return is_unsaved


def _there(folder: Path) -> list[Path]:
    """The files in it that a backup may hold."""
    return [path for path in sorted(folder.glob("*")) if f"{folder.name}/{path.name}" in {*SECRETS, *AUTHORITY}]


def _of_authority(config: Config, name: str) -> bytes | None:
    return private.read(config.data_folder / name, is_secret=name.endswith(".key"))


def _mark(config: Config, saved: Saved) -> None:
    with private.changing(folder_of(config)):
        private.write(folder_of(config) / MARKER, msgspec.json.encode(saved))


def _packed(files: dict[str, bytes]) -> bytes:
    import tarfile

    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.mtime = len(content), 0o600, int(time.time())
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """Raises: ValueError for what no backup holds."""
    file = tar.extractfile(member) if member.isreg() and member.size <= MOST_BYTES else None
    if file is None:
        raise ValueError(member.name)
    return file.read()


def _write_new(path: Path, content: bytes) -> None:
    """Raises: NameTaken, LocalFile; then it is not there."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise NameTaken.told(f"{path} exists already; a backup of secrets replaces nothing.") from error
    except OSError as error:
        raise LocalFile(path=path, reason=error.strerror or error) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        private.sync_folder(path.absolute().parent)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise LocalFile(path=path, reason=error.strerror or error) from error
