"""How the copies of chunks lie over the nodes: which are too few, which too many, and what would lie better elsewhere.

Chunks that lie on the same nodes are judged as one group: there are as many as sets of nodes, not as chunks.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence


@dataclass(frozen=True)
class Member:
    """A node, as far as it matters for spreading."""

    node_id: str
    zone: str  # its placement.zone_key
    is_online: bool
    is_staying: bool  # not on its way out
    counts: bool  # its good copies count: it stays, and is online or went only a moment ago
    takes: bool  # new copies
    free_bytes: int
    used_bytes: int
    capacity_bytes: int

    @property
    def fullness(self) -> float:
        return self.used_bytes / max(self.capacity_bytes, 1)


@dataclass(frozen=True)
class Group:
    """Chunks whose good copies are on the same nodes. `key`: these as the database told them, to find the chunks by."""

    key: str
    chunks: int
    size_bytes: int = 0  # of all its chunks; 0 when it was not asked for
    mixed: int = 0  # of its chunks, those that have copies that are not good, too; 0 when sizes were asked for

    @property
    def holders(self) -> frozenset[str]:
        return frozenset(self.key.split(","))


@dataclass(frozen=True)
class Survey:
    """Where all good copies were at one moment. A chunk without any is in no group."""

    groups: Sequence[Group]
    members: Mapping[str, Member]
    wanted: int  # copies of each chunk

    def without(self, node_ids: Collection[str]) -> Survey:
        """As if these nodes could not be read from."""
        unread = {one: replace(self.members[one], is_online=False) for one in node_ids if one in self.members}
        return replace(self, members={**self.members, **unread})


@dataclass(frozen=True)
class Lack:
    """What chunks of a group are short of."""

    counted: int  # copies there are
    copies: int
    zones: int  # further ones that their copies could be in
    room_bytes: int  # the most that a node which could help has free
    is_urgent: bool  # else enough can still be read, on nodes that are on their way out or in few zones

    @property
    def missing(self) -> int:
        return max(self.copies, self.zones)


@dataclass(frozen=True)
class Move:
    """Copies to be given from one node to another, of chunks of these groups."""

    source: str
    target: str
    most_bytes: int
    groups: Sequence[Group]


def lacking(holders: Collection[str], members: Mapping[str, Member], wanted: int) -> Lack | None:
    """What chunks with good copies on these nodes are short of, as far as some node could help; None: of nothing.

    A node without a zone is a zone of its own, so that without any named one zones ask for nothing more.
    """
    there = [members[node_id] for node_id in holders if node_id in members]
    takers = [member for member in members.values() if member.takes and member.node_id not in holders]
    if not any(member.is_online for member in there):
        return None
    counted = [member for member in there if member.counts]
    zones = {member.zone for member in counted}
    copies = max(0, wanted - len(counted))
    if not copies:
        takers = [member for member in takers if member.zone not in zones]
    more_zones = max(0, min(wanted, len(zones | {member.zone for member in takers})) - len(zones))
    if not takers or not copies + more_zones:
        return None
    readable = sum(member.is_online or member.counts for member in there)
    room_bytes = max(member.free_bytes for member in takers)
    return Lack(len(counted), copies, more_zones, room_bytes, is_urgent=readable < wanted)


def by_scarcest(survey: Survey, groups: Iterable[Group]) -> dict[str, list[Group]]:
    """The groups by one of their nodes each, that with the fewest chunks: there they are found soonest."""
    held: Counter[str] = Counter()
    for group in survey.groups:
        for node_id in group.holders:
            held[node_id] += group.chunks
    found: dict[str, list[Group]] = {}
    for group in groups:
        scarcest = min(group.holders, key=lambda node_id: (held[node_id], node_id))
        found.setdefault(scarcest, []).append(group)
    return found


def surplus(holders: Iterable[str], members: Mapping[str, Member], wanted: int) -> list[str]:
    """The nodes whose copies can go, when those that stay are whole: first those on nodes on their way out, then in
    zones that have another one, then on the fullest node. At least `wanted` stay, on online nodes that stay, in as many
    zones as they can be in. Copies on offline nodes are let be: they count for nothing, and cannot be looked at."""
    there = [members[node_id] for node_id in sorted(holders) if node_id in members and members[node_id].is_online]
    keepers = [member for member in there if member.is_staying]
    if len(keepers) < wanted:
        return []
    going = [member for member in there if not member.is_staying]
    while len(keepers) > wanted:
        held = Counter(member.zone for member in keepers)
        going.append(max(keepers, key=lambda member: (held[member.zone] > 1, member.fullness)))
        keepers.remove(going[-1])
    return [member.node_id for member in going]


def next_move(survey: Survey, gap: float) -> Move | None:
    """What to give from a fuller node to an emptier one whose fullness differs by more than `gap` (0 to 1); None when
    there is nothing that would lie better elsewhere.

    Fullness is by the good copies of the survey, whose groups must tell their sizes: what a node says of itself comes
    late, and counts what is about to be deleted. No move takes either node beyond the mean of all, so nothing ever goes
    back; and only such chunks move whose surplus is then the copy on the fuller node.
    """
    members = _by_copies(survey)
    staying = [member for member in members.values() if member.is_online and member.is_staying]
    mean = sum(member.used_bytes for member in staying) / max(sum(member.capacity_bytes for member in staying), 1)
    by_fullness = sorted(staying, key=lambda member: (member.fullness, member.node_id))
    for target in (member for member in by_fullness if member.takes):
        for source in reversed(by_fullness):
            if source.fullness - target.fullness <= gap:
                break
            too_much = source.used_bytes - mean * source.capacity_bytes
            too_little = mean * target.capacity_bytes - target.used_bytes
            most_bytes = int(min(too_much, too_little, target.free_bytes))
            groups = _movable(survey, members, source.node_id, target.node_id)
            if groups and most_bytes > 0:
                return Move(source.node_id, target.node_id, most_bytes, groups)
    return None


def _by_copies(survey: Survey) -> dict[str, Member]:
    """The members, as full as their good copies make them."""
    held: Counter[str] = Counter()
    for group in survey.groups:
        for node_id in group.holders:
            held[node_id] += group.size_bytes
    return {node_id: replace(member, used_bytes=held[node_id]) for node_id, member in survey.members.items()}


def _movable(survey: Survey, members: Mapping[str, Member], source: str, target: str) -> list[Group]:
    return [
        group
        for group in survey.groups
        if source in group.holders
        and target not in group.holders
        and surplus(group.holders | {target}, members, survey.wanted) == [source]
    ]
