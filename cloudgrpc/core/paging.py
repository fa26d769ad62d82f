"""How much of a list one reply takes: as much as was asked for, and as fits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudgrpc.errors import InvalidField

if TYPE_CHECKING:
    from collections.abc import Iterable

PAGE_BYTES = 2 << 20  # of what can be long in a list: half of the largest message


def check_page_size(told: int, most: int, usual: int) -> int:
    """How many a page has; 0 means the usual. Raises: InvalidField."""
    if not 0 <= told <= most:
        raise InvalidField(field="page_size", reason=f"must be 0 to {most}")
    return told or usual


def how_many_fit(sizes: Iterable[int]) -> int:
    """How many things of these sizes, the first of them and those that follow, one reply takes; one at least."""
    count = total = 0
    for count, size in enumerate(sizes, 1):
        total += size
        if total > PAGE_BYTES and count > 1:
            return count - 1
    return count
