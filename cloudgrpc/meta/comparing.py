"""Whether a copy has every row of its source, and no other: both are gone through side by side, by their keys."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING

from cloudgrpc.errors import RowDiffers
from cloudgrpc.meta import copy_target
from cloudgrpc.meta.models import DATABASE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloudgrpc.meta.sqlite_source import Heading, Row, Source

BATCH = 10_000  # rows of each side in memory


def compare(source: Source, heading: Heading) -> Iterator[int]:
    """Tells how many rows of a batch are alike, batch by batch. Raises: RowDiffers."""
    with copy_target.told(), DATABASE.obj.atomic():
        copied = copy_target.in_order(heading, BATCH)
        ours: list[Row]
        theirs: list[Row]
        for ours, theirs in zip_longest(source.in_order(heading, BATCH), copied, fillvalue=[]):
            # True equals 1, as SQLite has it; a text never equals a number.
            if ours != theirs:
                raise _difference(heading, ours, theirs)
            yield len(ours)


def _difference(heading: Heading, ours: list[Row], theirs: list[Row]) -> RowDiffers:
    """Of two batches that begin at the same place."""
    for our, their in zip_longest(ours, theirs):
        if our == their:
            continue
        if their is None or (our is not None and heading.key_of(our) < heading.key_of(their)):
            return _differs(heading, our, "was not copied")
        if our is None or heading.key_of(their) < heading.key_of(our):
            return _differs(heading, their, "is not in SQLite")
        pairs = zip(heading.columns, our, their, strict=True)
        return _differs(heading, our, f"differs in {', '.join(name for name, a, b in pairs if a != b)}")
    raise AssertionError("two batches that differ have a row that does")


def _differs(heading: Heading, row: Row, reason: str) -> RowDiffers:
    return RowDiffers(table=heading.table, key=copy_target.key_words(heading, row), reason=reason)
