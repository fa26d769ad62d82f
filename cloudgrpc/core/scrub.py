"""When which part of a node's chunks is read: evenly, so that each is read at least once in a span of days.

A pass reads a node's chunks in the order of their ids, which are random: its place among all ids is its progress.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudgrpc.errors import CloudError

PASS_PART = 0.8  # of the span that a pass takes; the rest is for nodes that are away for a while
BATCH = 64  # chunks read in one call
BATCH_BYTES = 64 << 20


@dataclass(frozen=True)
class Claim:
    """A chunk that a node should have, and what it should be."""

    chunk_id: str
    checksum: str
    length: int


@dataclass(frozen=True)
class Verified:
    """What reading chunks came to: one outcome for each, None when it is here and whole."""

    outcomes: Sequence[CloudError | None]
    bytes_read: int


def position(after: str) -> float:
    """How far a pass is that has read everything up to this chunk id ("" for none): 0 to 1."""
    return int(after[:8], 16) / 2**32 if after else 0.0


def wait_us(began_at: int, after: str, moment: int, span_us: float) -> float:
    """Microseconds until a pass should go on; 0 or less: it is due, or late. `span_us`: in which each chunk is read."""
    return began_at + position(after) * span_us * PASS_PART - moment


def next_pass_at(ended_at: int, span_us: float) -> float:
    """When the pass after one that ended then begins. However fast that one was, a chunk that it read last is then
    read again within the span."""
    return ended_at + span_us * (1 - PASS_PART)


def batch(claims: Sequence[Claim], most_bytes: int = BATCH_BYTES) -> Sequence[Claim]:
    """The first of them, up to so many bytes; at least one."""
    total = 0
    for number, claim in enumerate(claims):
        total += claim.length
        if number and total > most_bytes:
            return claims[:number]
    return claims
