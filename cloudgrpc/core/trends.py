"""How long something that shrinks will take yet, by how it shrank a moment ago."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

WINDOW_S = 180.0  # what is older says nothing about now
UNKNOWN = -1.0


@dataclass(frozen=True)
class Sample:
    """What was left at a moment."""

    at_s: float
    left: float


def recent(samples: Sequence[Sample], latest: Sample) -> list[Sample]:
    """The samples to go on with, `latest` the last of them, and one before it however seldom they come. Once nothing
    is left, what comes later is another story."""
    kept = [one for one in samples if latest.at_s - WINDOW_S <= one.at_s] or list(samples[-1:])
    return [*kept, latest] if latest.left > 0 else [latest]


def rate(samples: Sequence[Sample]) -> float:
    """How much went per second since it began to go; 0 when nothing did. What was added meanwhile takes nothing away
    from what was done."""
    steps = list(pairwise(samples))
    while steps and steps[0][1].left >= steps[0][0].left:
        del steps[0]
    if not steps:
        return 0.0
    done = sum(max(0.0, before.left - after.left) for before, after in steps)
    return done / (steps[-1][1].at_s - steps[0][0].at_s)


def seconds_left(samples: Sequence[Sample]) -> float:
    """0 when nothing is left; UNKNOWN when nothing went yet."""
    if not samples or samples[-1].left <= 0:
        return 0.0
    speed = rate(samples)
    return samples[-1].left / speed if speed > 0 else UNKNOWN
