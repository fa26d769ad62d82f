"""What a name and a path may be, and when two names are the same.

A name is kept as it was given and compared in Unicode's composed form (NFC), so that "é" typed on two systems is one.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from cloudgrpc.errors import InvalidField

if TYPE_CHECKING:
    from collections.abc import Callable

NAME_BYTES = 255
PATH_BYTES = 8192
ENDING_LETTERS = 16  # more is no ending but a name with a dot in it
TOO_LONG = f"must not be longer than {NAME_BYTES} bytes"
# Bidirectional overrides and isolates reorder what a person reads: "exe.gpj" could look like "jpg.exe".
BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def name_key(name: str) -> str:
    """What a name is compared by."""
    return unicodedata.normalize("NFC", name)


def check_name(name: str, field: str) -> str:
    """The name itself. Raises: InvalidField naming `field` and the reason."""
    reason = _fault(name)
    if reason:
        raise InvalidField(field=field, reason=reason)
    return name


def split_path(path: str, field: str = "path") -> list[str]:
    """The names along an absolute path; the root is an empty list. Doubled and trailing slashes mean nothing.

    Raises: InvalidField for a relative path or a part that is no name.
    """
    if not path.startswith("/"):
        raise InvalidField(field=field, reason="must start with /")
    if len(path.encode("utf-8", "surrogatepass")) > PATH_BYTES:
        raise InvalidField(field=field, reason=f"is longer than {PATH_BYTES} bytes")
    return [check_name(part, field) for part in path.split("/") if part]


def free_name(name: str, is_taken: Callable[[str], bool]) -> str:
    """The name with a number, such as "a (2).jpg", of which nothing else is called; mostly the lowest that is free."""
    free = 2
    while is_taken(numbered(name, free)):
        free *= 2
    taken = free // 2
    while free - taken > 1:
        middle = (taken + free) // 2
        if is_taken(numbered(name, middle)):
            taken = middle
        else:
            free = middle
    return numbered(name, free)


def numbered(name: str, number: int) -> str:
    """The name with a number before its ending, cut so that it stays a name."""
    stem, dot, ending = name.rpartition(".")
    if not stem or len(ending) > ENDING_LETTERS:
        stem, dot, ending = name, "", ""
    tail = f" ({number}){dot}{ending}"
    while stem and _fault(stem + tail):
        stem = stem[:-1]
    return stem + tail


def _fault(name: str) -> str:
    if name in {"", ".", ".."}:
        return f"must not be {name or 'empty'}"
    if "/" in name:
        return "must not contain /"
    # Before anything that takes long: composing a megabyte of accents takes minutes.
    if len(name) > NAME_BYTES:
        return TOO_LONG
    if any(unicodedata.category(letter) in {"Cc", "Cs"} or letter in BIDI for letter in name):
        return "must not contain control characters"
    # The composed form counts too: it is what the database compares.
    if max(len(name.encode()), len(name_key(name).encode())) > NAME_BYTES:
        return TOO_LONG
    return ""
