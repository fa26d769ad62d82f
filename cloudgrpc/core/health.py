"""How well a storage node is, as one number, and in words why it takes no new chunks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudgrpc.core.units import size_words

if TYPE_CHECKING:
    from cloudgrpc.config import Cluster

BEATS = 2  # heartbeats may be so many spans apart: one that is lost says nothing
AMPLE_SHARE = 0.1  # of the node's space
PROMPT_S = 0.1  # a small call between two machines, with a disk in between
SLOWEST = 0.4  # above the default of `least_health`: a machine that is merely busy must not stop all writing


@dataclass(frozen=True)
class Vitals:
    """What is known of a node. `silence_s`: how much of the heartbeat's age this gateway was there to hear one;
    `latency_s`: of a small call, None before the first."""

    heartbeat_age_s: float
    silence_s: float
    free_bytes: int
    capacity_bytes: int
    error_rate: float
    latency_s: float | None


@dataclass(frozen=True)
class Health:
    """`score` from 0 (dead) to 1; `reason`: why the node takes no new chunks, "" when it takes some; `is_unwell`: the
    reason is neither the operator's nor that it is full."""

    score: float
    latency_s: float | None
    error_rate: float
    heartbeat_age_s: float
    reason: str = ""
    is_unwell: bool = False


def examine(vitals: Vitals, settings: Cluster, barred: str = "") -> Health:
    """The score is the product of four factors, each from 0 to 1:

    - heartbeat: 1 up to two spans of `heartbeat_s`, from there in a line to 0 at `offline_after_s`
    - space: 1 from 10 % free on, below in a line to 0 at none
    - errors: 1 minus the share of calls to the node that failed lately
    - latency of a small call: 1 up to 0.1 s, from there by its logarithm to 0.4 at `node_timeout_s`, never less

    Below `least_health` the node takes no new chunks, and the reason is the lowest factor. `barred`: why it takes none
    whatever its score.
    """
    takes = f"a small call to it takes {vitals.latency_s or 0:.1f} s"
    space = (_space(vitals), _space_words(vitals))
    factors = [
        (_heartbeat(vitals.silence_s, settings), f"its last heartbeat is {vitals.heartbeat_age_s:.0f} s old"),
        space,
        (1 - vitals.error_rate, f"{vitals.error_rate:.0%} of the calls to it failed lately"),
        (_latency(vitals.latency_s, settings.node_timeout_s), takes),
    ]
    score = math.prod(factor for factor, _ in factors)
    is_low = not barred and score < settings.least_health
    return Health(
        score,
        vitals.latency_s,
        vitals.error_rate,
        vitals.heartbeat_age_s,
        min(factors)[1] if is_low else barred,
        is_low and min(factors) != space,
    )


def absent(vitals: Vitals) -> Health:
    """Of a node that is offline."""
    reason = f"offline: its last heartbeat is {_age_words(vitals.heartbeat_age_s)} old"
    return Health(0.0, vitals.latency_s, vitals.error_rate, vitals.heartbeat_age_s, reason)


def _heartbeat(silence_s: float, settings: Cluster) -> float:
    end = settings.offline_after_s
    start = min(BEATS * settings.heartbeat_s, end)
    if silence_s <= start:
        return 1.0
    return max(0.0, (end - silence_s) / (end - start)) if end > start else 0.0


def _space(vitals: Vitals) -> float:
    return min(1.0, max(0, vitals.free_bytes) / (AMPLE_SHARE * vitals.capacity_bytes))


def _latency(latency_s: float | None, timeout_s: float) -> float:
    if latency_s is None or latency_s <= PROMPT_S:
        return 1.0
    if latency_s >= timeout_s:
        return SLOWEST
    return 1 - (1 - SLOWEST) * math.log(latency_s / PROMPT_S) / math.log(timeout_s / PROMPT_S)


def _space_words(vitals: Vitals) -> str:
    free = max(0, vitals.free_bytes)
    return f"almost full: {size_words(free)} of {size_words(vitals.capacity_bytes)} free"


def _age_words(age_s: float) -> str:
    for length_s, word in ((86400, "days"), (3600, "hours"), (60, "min")):
        if age_s >= 2 * length_s:
            return f"{age_s / length_s:.0f} {word}"
    return f"{age_s:.0f} s"
