"""Which nodes get a chunk, and how many copies there are to be."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


@dataclass(frozen=True)
class Candidate:
    """An online node that takes chunks; `free_bytes` by its own last word."""

    node_id: str
    free_bytes: int
    is_suspect: bool = False  # failed a moment ago: used only when the others do not suffice
    zone: str = ""

    @property
    def zone_key(self) -> str:
        return zone_key(self.node_id, self.zone)


def zone_key(node_id: str, zone: str) -> str:
    """What fails together with the node: its zone, or without one the node alone (":" is in no zone's name)."""
    return zone or f"node:{node_id}"


def wanted_copies(factor: int, staying: int) -> int:
    """Copies a chunk is to have. `staying`: nodes that are not on their way out; being offline lowers nothing.

    Never none, also when every node is on its way out: what nothing is wanted of could be given up.
    """
    return max(1, min(factor, staying))


def write_quorum(setting: int, wanted: int) -> int:
    """Copies that must be on disk before an upload is acknowledged; never none."""
    return max(1, min(setting, wanted))


def order(
    candidates: Sequence[Candidate], length: int, draws: Sequence[float], taken: Collection[str] = ()
) -> list[Candidate]:
    """The nodes with room for `length` bytes, in the order to try them: other zones first, empty ones more often first.

    One node of each zone, then a second of each, and so on; so the first k are in k zones where there are as many.
    `taken`: the `zone_key` of each copy that the chunk has already, a zone named as often as it holds one: zones that
    hold fewer come first. Suspects come after all others, even at the price of a second copy in one zone: it is they
    that keep an upload waiting.

    Among zones, and within one, weighted random sampling without replacement, each node's weight its free space
    (Efraimidis and Spirakis, 2006: sort by u^(1/w); here by its logarithm, since the power itself is 0.0 for every
    small node beside a huge one). Chance spreads chunks that are placed at the same moment, where "emptiest first"
    would send all of them to one node. `draws`: as many numbers in (0, 1) as candidates.
    """
    roomy = [(node, draw) for node, draw in zip(candidates, draws, strict=True) if node.free_bytes >= max(length, 1)]

    def rank(pair: tuple[Candidate, float]) -> tuple[bool, float]:
        node, draw = pair
        return node.is_suspect, -math.log(draw) / node.free_bytes

    held = Counter(taken)
    rounds = []
    for node, _ in sorted(roomy, key=rank):
        rounds.append((node, held[node.zone_key]))
        held[node.zone_key] += 1
    # The sort is stable: within a round the ranks stay in order.
    return [node for node, _ in sorted(rounds, key=lambda pair: (pair[0].is_suspect, pair[1]))]
