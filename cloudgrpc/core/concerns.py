"""What an operator should look at, in words, the worst first; and the health of the whole as one number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudgrpc.core.units import minute, size_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudgrpc.core.endings import Ending

NEARLY = 0.9  # of what there is
UNWELL = 0.5  # health score
SAVE_SECRETS = "cloudgrpc secrets backup FILE"


@dataclass(frozen=True)
class NodeFacts:
    """A node, as far as one may have to worry about it."""

    node_id: str
    is_online: bool
    is_draining: bool
    takes_chunks: bool  # an unwell one, too, while the others do not suffice
    is_collecting: bool
    score: float
    reason: str  # why it takes no new chunks, or is unwell
    used_bytes: int
    capacity_bytes: int

    @property
    def fill(self) -> float:
        return self.used_bytes / self.capacity_bytes if self.capacity_bytes else 1.0


@dataclass(frozen=True)
class Facts:
    """The whole, as far as one may have to worry about it."""

    whole: int
    missing: int
    lost: int
    copies_missing: int
    bytes_missing: int
    quorum: int
    promised_bytes: int
    promisable_bytes: int
    payments_attention: int
    restored_at: int | None
    is_key_unsaved: bool  # the master key is on this machine alone
    endings: Sequence[Ending]
    nodes: Sequence[NodeFacts]

    @property
    def takers(self) -> int:
        return sum(node.takes_chunks for node in self.nodes)

    @property
    def can_write(self) -> bool:
        return self.takers >= self.quorum


def health(facts: Facts) -> float:
    """0 to 1: the share of chunks with all their copies, or the mean score of the nodes if that is less; 0 when nothing
    can be written."""
    if not facts.can_write:
        return 0.0
    chunks = facts.whole + facts.missing + facts.lost
    share = facts.whole / chunks if chunks else 1.0
    return min(share, sum(node.score for node in facts.nodes) / len(facts.nodes))


def no_writes(takers: int, quorum: int) -> str:
    return f"Nothing can be stored: nodes that take new chunks: {takers}, needed: {quorum}."


def warnings(facts: Facts) -> list[str]:
    return [
        *_of_data(facts),
        *(line for node in facts.nodes for line in _of_node(node)),
        *_of_copies(facts),
        *_of_keys(facts),
        *(ending.words for ending in facts.endings),
        *_of_room(facts),
        *_of_payments(facts),
    ]


def _of_data(facts: Facts) -> list[str]:
    told = []
    if facts.lost:
        told.append(
            f"Data is lost: {_chunks(facts.lost)} without any good copy. See which files: cloudgrpc admin check"
        )
    if not facts.can_write:
        told.append(no_writes(facts.takers, facts.quorum))
    if facts.restored_at is not None:
        told.append(
            f"Restored from a backup on {minute(facts.restored_at)}, read-only. Open it with: cloudgrpc admin reconcile"
        )
    return told


def _of_keys(facts: Facts) -> list[str]:
    if not facts.is_key_unsaved:
        return []
    return [f"If the master key is lost, so is every file: {SAVE_SECRETS}"]


def _of_node(node: NodeFacts) -> list[str]:
    told = []
    if not node.is_online:
        told.append(f"{node.node_id} is offline.")
    elif not node.takes_chunks and not node.is_draining:
        told.append(f"{node.node_id} takes no new chunks: {node.reason}.")
    elif node.score < UNWELL:
        told.append(f"{node.node_id} is unwell: {node.reason or f'health {node.score:.2f}'}.")
    elif node.fill > NEARLY:
        told.append(f"{node.node_id} is {node.fill:.0%} full.")
    if not node.is_collecting:
        told.append(f"{node.node_id} holds too many files that are unknown here: nothing is deleted there.")
    return told


def _of_copies(facts: Facts) -> list[str]:
    if not facts.missing:
        return []
    work = f"{facts.copies_missing} copies, {size_words(facts.bytes_missing)}, are to be made"
    return [f"{_chunks(facts.missing)} with too few copies: {work}."]


def _of_room(facts: Facts) -> list[str]:
    told = []
    used, capacity = (sum(getattr(node, name) for node in facts.nodes) for name in ("used_bytes", "capacity_bytes"))
    if capacity and used / capacity > NEARLY:
        told.append(f"The pool is {used / capacity:.0%} full: add a node.")
    if facts.promised_bytes > facts.promisable_bytes * NEARLY:
        told.append(
            f"{size_words(facts.promised_bytes)} are promised to accounts, {size_words(facts.promisable_bytes)} may be:"
            " add a node, or nobody can enroll or buy."
        )
    return told


def _of_payments(facts: Facts) -> list[str]:
    if not facts.payments_attention:
        return []
    wait = "1 payment waits" if facts.payments_attention == 1 else f"{facts.payments_attention} payments wait"
    return [f"{wait} for an operator: cloudgrpc admin --payments --attention"]


def _chunks(count: int) -> str:
    return "1 chunk" if count == 1 else f"{count} chunks"
