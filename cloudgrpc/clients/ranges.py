"""Some of a file's bytes, as a person names them: A-B with both ends, A- to the end, -N for the last N. Pure."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass

from cloudgrpc.errors import InvalidField

FORM = re.compile(r"(\d{1,18})-(\d{1,18})?|-(\d{1,18})", re.ASCII)


@dataclass(frozen=True)
class Range:
    first: int | None  # None: the last `last` bytes
    last: int | None  # None: to the end

    def within(self, size: int) -> tuple[int, int]:
        """Where it starts in a file of `size` bytes, and how many bytes it is. Raises: InvalidField if it has none."""
        if self.first is None:
            length = min(self.last or 0, size)
            return size - length, length
        if self.first >= size:
            raise InvalidField(field="range", reason=f"begins at byte {self.first}, but the file has only {size}")
        end = size if self.last is None else min(self.last + 1, size)
        return self.first, end - self.first


def read_range(word: str) -> Range:
    """What --range takes. Raises: argparse.ArgumentTypeError."""
    found = FORM.fullmatch(word)
    if found is None:
        raise argparse.ArgumentTypeError(f"{word} is no range; write it as 0-99, 100- or -50")
    first, last, tail = (None if part is None else int(part) for part in found.groups())
    if tail is not None:
        return Range(None, tail)
    if first is not None and last is not None and last < first:
        raise argparse.ArgumentTypeError(f"{word} ends before it begins")
    return Range(first, last)
