"""Which chunks need copies, from where to where, and how much of it at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cloudgrpc.core.placement import Candidate, order, zone_key

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

LEAST_PART = 0.25  # of its rate that repair keeps however busy the gateway is: a lost copy must not wait for the night
REST_PARTS = 20  # a look at all copies takes at most one part in so many of the time
FIRST_SETBACK_S, LONGEST_SETBACK_S = 30.0, 3600.0


@dataclass(frozen=True)
class Shortage:
    """A chunk with fewer good copies than wanted, or with all of them in fewer zones than they could be."""

    chunk_id: str
    length: int
    checksum: str
    holders: tuple[str, ...]  # nodes whose copy is good
    barred: frozenset[str]  # nodes that must not get a copy: they hold one, or are told to delete theirs
    missing: int
    spread: int = 0  # so many of the missing only in zones that have none yet
    counted: tuple[str, ...] = ()  # those of the holders whose zones are taken
    is_urgent: bool = True  # else it has enough that can be read yet, and making more may be slow


@dataclass(frozen=True)
class CopyOrder:
    chunk_id: str
    length: int
    checksum: str
    sources: tuple[str, ...]
    target: str
    is_urgent: bool = True


def plan(
    shortages: Sequence[Shortage],
    nodes: Mapping[str, Candidate],
    online: frozenset[str],
    draw: Callable[[], float],
    zones: Mapping[str, str] | None = None,
) -> list[CopyOrder]:
    """Copy orders, urgent ones first, the rarest chunk first. A chunk with no online copy, or with no node left to take
    one, is passed over.

    `nodes`: those that take chunks; `online`: those that can be read from; `draw`: a fresh number in (0, 1); `zones`:
    the zone of each node that is in one.
    """
    orders = []
    planned: dict[str, int] = {}
    for shortage in sorted(shortages, key=lambda one: (not one.is_urgent, len(one.holders))):
        sources = tuple(node for node in shortage.holders if node in online)
        if not sources:
            continue
        room = [
            replace(node, free_bytes=node.free_bytes - planned.get(node.node_id, 0))
            for node in nodes.values()
            if node.node_id not in shortage.barred and node.node_id not in shortage.holders
        ]
        taken = [zone_key(node_id, (zones or {}).get(node_id, "")) for node_id in shortage.counted]
        for target in _targets(shortage, room, taken, draw):
            planned[target.node_id] = planned.get(target.node_id, 0) + shortage.length
            orders.append(
                CopyOrder(
                    shortage.chunk_id,
                    shortage.length,
                    shortage.checksum,
                    sources,
                    target.node_id,
                    shortage.is_urgent,
                )
            )
    return orders


def adapted(mib_s: float, busy: float) -> float:
    """The rate at which to copy beside people's transfers. `busy`: the share of the gateway's chunk slots that are
    taken, 0 to 1; an idle gateway copies at the whole rate, a full one at a quarter."""
    return mib_s * max(LEAST_PART, 1 - busy)


def rest_s(looked_s: float) -> float:
    """How long not to look again after a look at all copies that found nothing to do. `looked_s`: how long it took."""
    return looked_s * REST_PARTS


def setback_s(failures: int) -> float:
    """How long others go before a chunk of which no copy could be made so many times in a row."""
    return float(min(FIRST_SETBACK_S * 2 ** min(failures - 1, 20), LONGEST_SETBACK_S))


def _targets(
    shortage: Shortage, room: Sequence[Candidate], taken: Collection[str], draw: Callable[[], float]
) -> list[Candidate]:
    """Where the missing copies go. `order` gives zones without a copy first, as long as nodes there are well; a copy
    that is missed only for the sake of a zone goes to none else."""
    held = list(taken)
    targets: list[Candidate] = []
    for target in order(room, shortage.length, [draw() for _ in room], held):
        is_new_zone = target.zone_key not in held
        if len(targets) < shortage.missing - shortage.spread or (len(targets) < shortage.missing and is_new_zone):
            targets.append(target)
            held.append(target.zone_key)
    return targets
