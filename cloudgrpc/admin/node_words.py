"""Nodes in words: a row for each, what is to be said about it, and everything there is to know. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudgrpc.admin import figures
from cloudgrpc.clients.render import shown, when

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from cloudgrpc.pb import cloud_storage_pb2 as pb

TITLES = ["Node", "State", "Zone", "Health", "Full", "Used", "Chunks", "Latency", "Seen"]
RIGHT = ["Health", "Used", "Chunks", "Latency", "Seen"]
BAR = 5  # cells
ONLINE, OFFLINE = "online", "offline"


def titles(nodes: Sequence[pb.NodeInfo], bar: int = BAR) -> list[str]:
    """Without zones where nobody names one, and without bars of no cells."""
    has_zones = any(node.zone for node in nodes)
    return [title for title in TITLES if (title != "Zone" or has_zones) and (title != "Full" or bar)]


def rows(nodes: Sequence[pb.NodeInfo], bar: int = BAR) -> list[list[str]]:
    """As the titles."""
    wanted = [TITLES.index(title) for title in titles(nodes, bar)]
    return [[cells[index] for index in wanted] for cells in (_row(node, bar) for node in nodes)]


def state(node: pb.NodeInfo) -> str:
    return shown(node.status.replace("_", "-"))


def is_well(node: pb.NodeInfo) -> bool:
    return node.status == ONLINE and not node.reason


def notes(node: pb.NodeInfo, now: datetime) -> list[str]:
    """What an operator should know beside the figures, the gravest first."""
    return list(_notes(node, now))


def why(node: pb.NodeInfo, now: datetime) -> str:
    """The gravest of it, in few words beside its state; "" when all is well."""
    if node.draining_since and not node.offline_since:
        return drain(node)
    is_plain = node.reason and not node.offline_since and not node.draining_since
    return shown(node.reason) if is_plain else next(_notes(node, now), "")


def details(node: pb.NodeInfo, now: datetime) -> Iterator[tuple[str, str]]:
    """Everything there is to know, by label."""
    yield "Node", shown(node.node_id)
    yield "State", state(node)
    yield "Takes chunks", f"no: {shown(node.reason)}" if node.reason else "yes"
    yield "Health", f"{figures.meter(node.health_score, 1, 10)} {figures.health(node.health_score)}"
    full = figures.percent(node.storage_used, node.storage_capacity)
    used = f"{figures.sizes(node.storage_used, node.storage_capacity)}, {full}"
    yield "Used", f"{figures.meter(node.storage_used, node.storage_capacity, 10)} {used}"
    yield "Chunks", f"{node.chunk_count:,}"
    yield "Address", f"{shown(node.host)}:{node.port}" + (f", {node.cpu_cores} cores" if node.cpu_cores else "")
    yield "Zone", shown(node.zone) or "none"
    yield "Latency", figures.latency(node.latency_ms) if node.latency_ms >= 0 else "not measured yet"
    yield "Errors", f"{node.error_rate:.1%} of the calls of the last minutes"
    yield "Last seen", f"{figures.age(node.heartbeat_age_s)} ago"
    if node.offline_since:
        yield "Offline", f"since {when(node.offline_since)}, {figures.ago(node.offline_since, now)}"
    if node.draining_since:
        yield "Draining", f"since {when(node.draining_since)}: {drain(node)}"
    yield "Scrub", scrub(node, now)
    yield "Compared", f"with the metadata {figures.ago(node.inventory_at, now)}"
    yield "Collecting", "yes" if node.collecting else "stopped: nothing is deleted there, see the events"
    yield "Registered", when(node.registered_at)
    yield "Metrics", shown(node.metrics_address) or "not told"
    yield "Instance", shown(node.instance_id)


def drain(node: pb.NodeInfo) -> str:
    if not node.copies_left:
        return "empty, it can be removed"
    copies = "1 copy has" if node.copies_left == 1 else f"{node.copies_left:,} copies have"
    if not node.copies_stuck:
        return f"{copies} yet to leave, {figures.left(node.drain_seconds_left)}"
    stuck = f"{node.copies_stuck:,} of them cannot" if node.copies_left > node.copies_stuck else "and cannot"
    way = "see which with admin check, then stop the node and remove it with --lost"
    return f"{copies} yet to leave, {stuck}: bad, with no good one anywhere; {way}"


def scrub(node: pb.NodeInfo, now: datetime) -> str:
    last = f"all was read last {figures.ago(node.scrubbed_at, now)}" if node.scrubbed_at else "never done yet"
    bad = f", {node.scrub_bad:,} found bad" if node.scrub_bad else ""
    if 0 < node.scrub_progress < 1:
        bar = figures.meter(node.scrub_progress, 1, 10)
        return f"{bar} {figures.percent(node.scrub_progress, 1)} done{bad}; {last}"
    return f"{last}{bad}"


def _row(node: pb.NodeInfo, bar: int) -> list[str]:
    return [
        shown(node.node_id),
        state(node),
        shown(node.zone) or "-",
        figures.health(node.health_score),
        figures.meter(node.storage_used, node.storage_capacity, bar),
        figures.sizes(node.storage_used, node.storage_capacity),
        f"{node.chunk_count:,}",
        figures.latency(node.latency_ms),
        figures.age(node.heartbeat_age_s),
    ]


def _notes(node: pb.NodeInfo, now: datetime) -> Iterator[str]:
    if node.offline_since:
        yield f"offline for {figures.ago(node.offline_since, now).removesuffix(' ago')}"
    elif node.reason and not node.draining_since:
        yield f"takes no new chunks: {shown(node.reason)}"
    if node.draining_since:
        yield f"draining: {drain(node)}"
    if not node.collecting:
        yield "nothing is deleted there, see the events"
    if 0 < node.scrub_progress < 1:
        yield f"scrubbed: {scrub(node, now)}"
    elif node.scrub_bad:
        yield f"the last scrub found {node.scrub_bad:,} bad"
