"""The files of secrets as an operator sees and rotates them, while gateway and nodes run and read them again."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudgrpc.core import rotation
from cloudgrpc.errors import SecretsConfigured
from cloudgrpc.trust import private
from cloudgrpc.trust.secrets import (
    CLUSTER,
    MASTER,
    NAMES,
    file_of,
    folder_of,
    new_master_key,
    new_secret,
    secret_place,
)

if TYPE_CHECKING:
    from pathlib import Path

    from cloudgrpc.config import Config, Key
    from cloudgrpc.core.rotation import Lines

ROTATED: dict[str, Key] = {NAMES[key]: key for key in (CLUSTER, MASTER)}
SETTLED_S = 2.0  # after a change, until every process has looked, and every call is over that showed what was before


@dataclass(frozen=True)
class Kept:
    """One secret of this machine, without itself. `fingerprints`: of the one in use, then of those that are accepted;
    none when it is not made yet. `changed_at`: of its file, in seconds since 1970; None when it has none."""

    name: str
    place: str
    fingerprints: list[str]
    changed_at: float | None


def kept(config: Config) -> list[Kept]:
    """Makes none. Raises: SettingsWrong when one is open to others or damaged; LocalFile."""
    found = []
    for key, name in NAMES.items():
        path = file_of(config, key)
        text = (private.read(path) or b"").decode(errors="replace") if path else _configured(config, key)
        lines = rotation.lines_of("\n".join([text, *_old(config, key)]))
        place = path or "[{}] {}".format(*key)
        prints = [rotation.print_of(line, is_key=key == MASTER, place=place) for line in lines]
        changed_at = path.stat().st_mtime if path and lines else None
        found.append(Kept(name, secret_place(config, key), prints, changed_at))
    return found


class SecretFile:
    """One that is rotated. `name`: of ROTATED."""

    def __init__(self, config: Config, name: str) -> None:
        """Raises: SecretsConfigured when it is in no file."""
        self.name = name
        self._key = ROTATED[name]
        path = file_of(config, self._key)
        if path is None:
            section, key = self._key
            raise SecretsConfigured(name=name, section=section, key=key)
        self.path: Path = path.resolve()  # what a link names is replaced, not the link
        self._folder = folder_of(config)

    def fingerprints(self) -> list[str]:
        """Of the one in use, then of the others. Raises: SettingsWrong, LocalFile."""
        return [self._print(line) for line in self._lines()]

    def add(self, line: str = "") -> tuple[str, bool]:
        """Have a further one accepted; the first of all is in use at once. `line`: "" for a new one.

        Returns its fingerprint, and whether it is news. Raises: SettingsWrong, LocalFile.
        """
        line = line or self._fresh()
        added = self._print(line)
        with private.changing(self._folder):
            lines = self._lines()
            if line in lines:
                return added, False
            self._write((*lines, line))
        return added, True

    def use(self, fingerprint: str) -> bool:
        """Whether that changed anything. Raises: SecretUnknown, SettingsWrong, LocalFile."""
        with private.changing(self._folder):
            lines = self._lines()
            place = rotation.place_of(self.fingerprints(), fingerprint)
            if place:
                self._write(rotation.made_first(lines, place))
        return bool(place)

    def remove(self, fingerprint: str) -> None:
        """Raises: SecretUnknown, SecretInUse for the first, SettingsWrong, LocalFile."""
        with private.changing(self._folder):
            prints = self.fingerprints()
            self._write(rotation.without(self._lines(), rotation.place_of(prints, fingerprint), prints))

    def unsettled_s(self) -> float:
        """Seconds until all processes of this machine go by the last change."""
        return max(0.0, min(SETTLED_S, self.path.stat().st_mtime + SETTLED_S - time.time()))

    def _lines(self) -> Lines:
        content = private.read(self.path)
        if content is None:
            return ()
        return rotation.lines_of(content.decode(errors="replace"))

    def _write(self, lines: Lines) -> None:
        private.write(self.path, "".join(f"{line}\n" for line in lines).encode())

    def _print(self, line: str) -> str:
        return rotation.print_of(line, is_key=self._key == MASTER, place=self.path)

    def _fresh(self) -> str:
        return new_master_key() if self._key == MASTER else new_secret()


def _configured(config: Config, key: Key) -> str:
    return str(getattr(getattr(config, key[0]), key[1]))


def _old(config: Config, key: Key) -> tuple[str, ...]:
    return {CLUSTER: config.cluster.old_secrets, MASTER: config.encryption.old_master_keys}.get(key, ())
