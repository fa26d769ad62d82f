"""What is said when many files were moved: how many, how fast, and what failed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from cloudgrpc.clients import render
from cloudgrpc.core.units import size_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudgrpc.clients.many import Outcome
    from cloudgrpc.errors import CloudError


def travel_words(size: int, kept_bytes: int, where: str, seconds: float) -> str:
    """Of one file: its size, what need not travel, and how fast the rest was."""
    travelled = render.pace(size - kept_bytes, seconds)
    if not kept_bytes:
        return travelled
    _, _, pace = travelled.partition(", ")
    told = f"{size_words(size)}, {size_words(kept_bytes)} of it were {where} already"
    return f"{told}, {pace}" if pace else told


def many_words(outcome: Outcome, seconds: float) -> str:
    if not outcome.files:
        return render.count(0, "file")
    rate = f"{outcome.files / max(seconds, 0.001):,.0f} files/s"
    return f"{render.count(outcome.files, 'file')} ({render.pace(outcome.size, seconds)}, {rate})"


def there_words(count: int, where: str) -> str:
    """What need not travel; "" for nothing."""
    if not count:
        return ""
    return f"; {render.count(count, 'file')} {'was' if count == 1 else 'were'} {where} already"


def missing_words(count: int) -> str:
    return "1 file or folder is missing" if count == 1 else f"{count:,} files or folders are missing"


def raise_failures(failures: Sequence[CloudError], words: str, going_on: str = "") -> None:
    """Tell every failure. Raises: one of the first's kind, with its exit code and its advice, in the words of all."""
    if not failures:
        return
    for failure in failures:
        print(render.shown(str(failure)), file=sys.stderr)
    raise type(failures[0]).told(f"{words}; {going_on}." if going_on else f"{words}.")
