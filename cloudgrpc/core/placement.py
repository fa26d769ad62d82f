"""Which nodes get a chunk, and how many copies there are to be."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Candidate:
    """An online node that takes chunks; `free_bytes` by its own last word."""

    node_id: str
    free_bytes: int
    is_suspect: bool = False  # failed a moment ago: used only when the others do not suffice


def wanted_copies(factor: int, staying: int) -> int:
    """Copies a chunk is to have. `staying`: nodes that are not on their way out; merely being offline lowers nothing."""
    return min(factor, staying)


def write_quorum(setting: int, wanted: int) -> int:
    """Copies that must be on disk before an upload is acknowledged; never none."""
    return max(1, min(setting, wanted))


def order(candidates: Sequence[Candidate], length: int, draws: Sequence[float]) -> list[Candidate]:
    """The nodes with room for `length` bytes, in the order to try them: empty ones more often first.

    Weighted random sampling without replacement, each node's weight its free space (Efraimidis and Spirakis, 2006:
    sort by u^(1/w); here by its logarithm, since the power itself is 0.0 for every small node beside a huge one).
    Chance spreads chunks that are placed at the same moment, where "emptiest first" would send all of them to one
    node. `draws`: as many numbers in (0, 1) as candidates.
    """
    roomy = [(node, draw) for node, draw in zip(candidates, draws, strict=True) if node.free_bytes >= max(length, 1)]

    def rank(pair: tuple[Candidate, float]) -> tuple[bool, float]:
        node, draw = pair
        return node.is_suspect, -math.log(draw) / node.free_bytes

    return [node for node, _ in sorted(roomy, key=rank)]
