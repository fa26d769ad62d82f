"""A secret that is rotated: the lines of its file, of which the first is shown or sealed with and all are accepted.

Three steps, each safe while all runs on: a new one is added behind the others, then it is made the first, and when all
have followed the old one is removed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from cloudgrpc.errors import SecretInUse, SecretUnknown, SettingsWrong

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SHORTEST = 16  # characters, as for configured ones
MASTER_BYTES = 32
FINGERPRINT_DIGITS = 8

Lines = tuple[str, ...]


class AnySecret(Protocol):
    """What parties know each other by, at the time they ask."""

    @property
    def current(self) -> str: ...

    @property
    def accepted(self) -> Sequence[str]: ...


@dataclass(frozen=True)
class MasterKeys:
    """By id. `current`: the id of the one that new account keys are wrapped with; "" when there is none at all."""

    keys: Mapping[str, bytes]
    current: str


def lines_of(text: str) -> Lines:
    """Each once, in order."""
    return tuple(dict.fromkeys(line for line in map(str.strip, text.splitlines()) if line))


def secret_lines(text: str, place: object) -> Lines:
    """Raises: SettingsWrong, which never shows a secret."""
    lines = lines_of(text)
    if not lines or min(map(len, lines)) < SHORTEST:
        raise SettingsWrong(faults=f"{place}: is damaged: each line needs at least {SHORTEST} characters")
    return lines


def master_keys(text: str, place: object) -> MasterKeys:
    """Raises: SettingsWrong, which never shows a key."""
    lines = lines_of(text)
    if not lines:
        raise SettingsWrong(faults=f"{place}: is damaged: it holds no master key")
    keys = [master_key(line, place) for line in lines]
    return MasterKeys({fingerprint(key): key for key in keys}, fingerprint(keys[0]))


def master_key(line: str, place: object) -> bytes:
    """Raises: SettingsWrong."""
    try:
        key = base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != MASTER_BYTES:
        raise SettingsWrong(faults=f"{place}: is damaged: a master key is base64 of {MASTER_BYTES} bytes")
    return key


def fingerprint(secret: bytes) -> str:
    """What people and logs may see of it; a master key's id."""
    return hashlib.sha256(secret).hexdigest()[:FINGERPRINT_DIGITS]


def print_of(line: str, place: object, *, is_key: bool) -> str:
    """`is_key`: it is a master key, whose fingerprint is its id. Raises: SettingsWrong."""
    if is_key:
        return fingerprint(master_key(line, place))
    return fingerprint(secret_lines(line, place)[0].encode())


def place_of(prints: Sequence[str], wanted: str) -> int:
    """Which line that is. Raises: SecretUnknown."""
    if wanted not in prints:
        raise SecretUnknown(fingerprint=wanted, known=", ".join(prints))
    return prints.index(wanted)


def made_first(lines: Lines, place: int) -> Lines:
    return (lines[place], *lines[:place], *lines[place + 1 :])


def without(lines: Lines, place: int, prints: Sequence[str]) -> Lines:
    """Raises: SecretInUse for the first."""
    if place == 0:
        raise SecretInUse(fingerprint=prints[place], reason="it is the one in use")
    return (*lines[:place], *lines[place + 1 :])
