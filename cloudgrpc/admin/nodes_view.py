"""`admin --nodes`: the storage nodes, a line each, and below it what is to be known beside the figures."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cloudgrpc.admin import figures, node_words
from cloudgrpc.clients import render
from cloudgrpc.clients.render import BOLD, styled

if TYPE_CHECKING:
    import argparse

    from cloudgrpc.admin.lookout import Lookout
    from cloudgrpc.pb import cloud_storage_pb2 as pb

RED, YELLOW = "31", "33"  # ANSI styles


def wanted(args: argparse.Namespace) -> bool:
    """Whether as JSON."""
    return bool(args.json)


def show(lookout: Lookout, is_json: bool) -> None:
    nodes = lookout.nodes()
    if is_json:
        render.print_json([facts(node) for node in nodes])
        return
    if not nodes:
        print("No node has joined yet. Start one with: cloudgrpc node node1 9001 2")
        return
    head, *lines = figures.aligned(node_words.titles(nodes), node_words.rows(nodes), node_words.RIGHT)
    print(styled(head, BOLD))
    now = datetime.now(UTC)
    for node, line in zip(nodes, lines, strict=True):
        print(styled(line, RED if node.status == node_words.OFFLINE else ""))
        for note in node_words.notes(node, now):
            print(styled(f"  ! {note}", YELLOW))


def facts(node: pb.NodeInfo) -> dict[str, object]:
    """health and error_rate: 0 to 1; reason: why it takes no new chunks, null when it takes some; latency_ms: of a
    small call, null when not measured yet; copies_left and drain_seconds_left: of a node that is drained;
    copies_stuck: of copies_left, bad ones with no good one anywhere; scrub_progress: of the pass under way, 0 to 1;
    collecting: false when nothing is deleted there. Sizes in bytes, times in UTC, null for never."""
    return {
        "node_id": node.node_id,
        "address": f"{node.host}:{node.port}",
        "zone": node.zone or None,
        "status": node.status,
        "reason": node.reason or None,
        "health": node.health_score,
        "capacity_bytes": node.storage_capacity,
        "used_bytes": node.storage_used,
        "chunks": node.chunk_count,
        "latency_ms": node.latency_ms if node.latency_ms >= 0 else None,
        "error_rate": node.error_rate,
        "last_heartbeat": node.last_heartbeat or None,
        "heartbeat_age_s": node.heartbeat_age_s,
        "registered_at": node.registered_at or None,
        "offline_since": node.offline_since or None,
        "cpu_cores": node.cpu_cores or None,
        "draining_since": node.draining_since or None,
        "copies_left": node.copies_left if node.draining_since else None,
        "copies_stuck": node.copies_stuck if node.draining_since else None,
        "drain_seconds_left": node.drain_seconds_left if node.draining_since and node.drain_seconds_left >= 0 else None,
        "scrubbed_at": node.scrubbed_at or None,
        "scrub_progress": node.scrub_progress,
        "scrub_bad": node.scrub_bad,
        "collecting": node.collecting,
        "inventory_at": node.inventory_at or None,
        "metrics_address": node.metrics_address or None,
        "instance_id": node.instance_id or None,
    }
