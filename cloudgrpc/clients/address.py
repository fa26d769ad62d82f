"""How a person names a place: absolute, from the current folder, or within what others share. Pure; no look-ups.

/photos/a.jpg                          in one's own drive
../a.jpg                               from the current folder
shared:                                the people who share something with me
shared:alice@example.org               what one of them shares
shared:alice@example.org/photos/a.jpg  within it
"""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudgrpc.core.paths import name_key

if TYPE_CHECKING:
    from collections.abc import Callable

SHARED = "shared:"
ID = re.compile("[0-9a-fA-F]{32}")
WILD = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Address:
    """A place by the names along the way to it, whether it exists or not."""

    names: tuple[str, ...] = ()
    is_shared: bool = False  # then the first name is the owner's e-mail

    @property
    def is_shared_list(self) -> bool:
        """Neither in a drive nor in a share: the list of owners, or of what one of them shares."""
        return self.is_shared and len(self.names) < 2

    @property
    def name(self) -> str:
        """The last name; "" for the root folder and for `shared:`."""
        return self.names[-1] if self.names else ""

    @property
    def parent(self) -> Address:
        """The way up: from `shared:` it leads to the root folder of one's own drive, which is its own parent."""
        return Address(self.names[:-1], self.is_shared) if self.names else Address()

    def child(self, name: str) -> Address:
        return Address((*self.names, name), self.is_shared)

    def __str__(self) -> str:
        return (SHARED if self.is_shared else "/") + "/".join(self.names)


ROOT = Address()
SHARED_LIST = Address(is_shared=True)


def address_of(word: str, current: Address = ROOT) -> Address:
    """What `word` names for somebody in the folder `current`; `.` and `..` mean what they mean to a shell."""
    if word.startswith(SHARED):
        start, rest = SHARED_LIST, word.removeprefix(SHARED)
    else:
        start, rest = (ROOT if word.startswith("/") else current), word
    for name in rest.split("/"):
        if name == "..":
            start = start.parent
        elif name not in {"", "."}:
            start = start.child(name)
    return start


def is_pattern(name: str) -> bool:
    return WILD.search(name) is not None


def matcher(pattern: str) -> Callable[[str], bool]:
    """Whether a name fits `pattern` with `*`, `?` and `[abc]`; names are compared composed, and case counts."""
    fits = re.compile(fnmatch.translate(name_key(pattern))).match
    return lambda name: fits(name_key(name)) is not None


def literal_start(pattern: str) -> str:
    """What every name that fits begins with."""
    found = WILD.search(pattern)
    return pattern[: found.start()] if found else pattern
