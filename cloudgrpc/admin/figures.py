"""Figures for operators as words, bars and graphs, for a terminal. Pure."""

from __future__ import annotations

import itertools
from datetime import datetime
from typing import TYPE_CHECKING

from cloudgrpc.core.units import size_words
from cloudgrpc.shell.stream_table import cells

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

FULL, EMPTY = "█", "░"
EIGHTHS = " ▁▂▃▄▅▆▇█"
GAP = "  "
MINUTE, HOUR, DAY = 60, 3600, 86400


def meter(part: float, whole: float, width: int) -> str:
    """A bar of `width` cells. Whatever is more than nothing can be seen, and only what is full looks full."""
    if part <= 0 or whole <= 0:
        return EMPTY * width
    if part >= whole:
        return FULL * width
    filled = min(width - 1, max(1, round(part / whole * width)))
    return FULL * filled + EMPTY * (width - filled)


def graph(values: Sequence[float], width: int, height: int = 1) -> list[str]:
    """All of them, the newest at the right, the highest to the top; lines from the top. What is nothing is a line."""
    fitting = _squeezed(values, width)
    shown = [0.0] * (width - len(fitting)) + fitting
    top = max(shown, default=0.0)
    steps = [_steps(value, top, height) for value in shown]
    return ["".join(EIGHTHS[min(8, max(0, step - row * 8))] for step in steps) for row in range(height - 1, -1, -1)]


def _squeezed(values: Sequence[float], width: int) -> list[float]:
    """At most so many: of those that share a cell the highest."""
    if len(values) <= width:
        return list(values)
    edges = [at * len(values) // width for at in range(width + 1)]
    return [max(values[first:end]) for first, end in itertools.pairwise(edges)]


def _steps(value: float, top: float, height: int) -> int:
    """In eighths of a cell."""
    return max(1, round(value / top * height * 8)) if value > 0 and top > 0 else 1


def percent(part: float, whole: float) -> str:
    """Only what is all is 100 %, and only what is nothing 0 %."""
    if whole <= 0 or part <= 0:
        return "0%"
    if part >= whole:
        return f"{round(part / whole * 100)}%"
    return f"{min(99, max(1, round(part / whole * 100)))}%"


def sizes(part: int, whole: int) -> str:
    """Such as "1.2 of 2.0 GB": the unit once, if it is the same."""
    words, all_words = size_words(part), size_words(whole)
    number, _, unit = words.partition(" ")
    return f"{number} of {all_words}" if all_words.endswith(f" {unit}") else f"{words} of {all_words}"


def speed(bytes_s: float) -> str:
    return f"{size_words(round(bytes_s))}/s"


def age(seconds: float) -> str:
    """So long, in one unit."""
    for unit, length in (("d", DAY), ("h", HOUR), ("min", MINUTE)):
        if seconds >= length * (2 if unit == "d" else 1):
            return f"{int(seconds // length)} {unit}"
    return f"{max(0, int(seconds))} s"


def ago(moment: str, now: datetime) -> str:
    """How long a time of the wire is past; "never" for none."""
    if not moment:
        return "never"
    return f"{age((now - datetime.fromisoformat(moment)).total_seconds())} ago"


def left(seconds: float) -> str:
    """How long something still takes; below 0 when that cannot be told."""
    return "time left not known yet" if seconds < 0 else f"about {age(seconds)} left"


def latency(milliseconds: float) -> str:
    """Below 0: not measured yet."""
    if milliseconds < 0:
        return "-"
    return f"{milliseconds:.1f} ms" if milliseconds < 100 else f"{milliseconds:.0f} ms"


def health(score: float) -> str:
    return percent(score, 1)


def aligned(titles: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[str] = ()) -> list[str]:
    """Lines of a table, its titles first. `right`: the columns that hold figures."""
    lines = [titles, *rows]
    widths = [max(cells(line[index]) for line in lines) for index in range(len(titles))]
    return [GAP.join(_padded(line, widths, [title in right for title in titles])).rstrip() for line in lines]


def _padded(line: Sequence[str], widths: Sequence[int], is_right: Sequence[bool]) -> list[str]:
    spaces = [" " * (width - cells(cell)) for cell, width in zip(line, widths, strict=True)]
    return [f"{s}{cell}" if right else f"{cell}{s}" for cell, s, right in zip(line, spaces, is_right, strict=True)]
