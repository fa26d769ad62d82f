"""Patterns that names are looked for by."""

from __future__ import annotations

import fnmatch
import unicodedata
from typing import TYPE_CHECKING

from cloudgrpc.core.paths import NAME_BYTES
from cloudgrpc.errors import InvalidField

if TYPE_CHECKING:
    from collections.abc import Callable

WILD = frozenset("*?[")


def name_matcher(pattern: str, field: str) -> Callable[[str], bool]:
    """Whether a name is meant by a pattern with * ? [abc], in any case; without those: whether it holds the pattern.

    Raises: InvalidField.
    """
    # Before anything that takes long: composing a megabyte of accents takes minutes.
    if len(pattern.encode("utf-8", "surrogatepass")) > NAME_BYTES:
        raise InvalidField(field=field, reason=f"must not be longer than {NAME_BYTES} bytes")
    wanted = _alike(pattern)
    if WILD.isdisjoint(wanted):
        return lambda name: wanted in _alike(name)
    return lambda name: fnmatch.fnmatchcase(_alike(name), wanted)


def _alike(name: str) -> str:
    """The same for names that differ in case only, or in how their accents are typed."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
