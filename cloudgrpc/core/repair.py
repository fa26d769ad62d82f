"""Which chunks need copies, from where to where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudgrpc.core.placement import Candidate, order

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


@dataclass(frozen=True)
class Shortage:
    """A chunk with fewer good copies than wanted."""

    chunk_id: str
    length: int
    checksum: str
    holders: tuple[str, ...]  # nodes whose copy counts as good
    barred: frozenset[str]  # nodes that must not get a copy: they hold one, or are told to delete theirs
    missing: int


@dataclass(frozen=True)
class CopyOrder:
    chunk_id: str
    length: int
    checksum: str
    sources: tuple[str, ...]
    target: str


def plan(
    shortages: Sequence[Shortage], nodes: Mapping[str, Candidate], online: frozenset[str], draw: Callable[[], float]
) -> list[CopyOrder]:
    """Copy orders, rarest chunk first. A chunk with no online copy, or with no node left to take one, is passed over.

    `nodes`: those that take chunks; `online`: those that can be read from; `draw`: a fresh number in (0, 1).
    """
    orders = []
    planned: dict[str, int] = {}
    for shortage in sorted(shortages, key=lambda one: len(one.holders)):
        sources = tuple(node for node in shortage.holders if node in online)
        if not sources:
            continue
        room = [
            Candidate(node.node_id, node.free_bytes - planned.get(node.node_id, 0), node.is_suspect)
            for node in nodes.values()
            if node.node_id not in shortage.barred and node.node_id not in shortage.holders
        ]
        for target in order(room, shortage.length, [draw() for _ in room])[: shortage.missing]:
            planned[target.node_id] = planned.get(target.node_id, 0) + shortage.length
            orders.append(CopyOrder(shortage.chunk_id, shortage.length, shortage.checksum, sources, target.node_id))
    return orders
