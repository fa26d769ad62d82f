"""`admin --status`: how the cluster stands, what an operator should look at first, and an exit code that tells it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cloudgrpc.admin import figures, status_words
from cloudgrpc.admin.status_words import State
from cloudgrpc.clients import render

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from cloudgrpc.admin.lookout import Lookout
    from cloudgrpc.pb import cloud_storage_pb2 as pb

LABEL_LETTERS = 14
BAR, GRAPH = 30, 30  # cells
RED, GREEN, YELLOW = "31", "32", "33"  # ANSI styles
STYLES = {State.HEALTHY: GREEN, State.LOST: RED}


def wanted(args: argparse.Namespace) -> bool:
    """Whether as JSON."""
    return bool(args.json)


def show(lookout: Lookout, is_json: bool) -> int:
    """Returns the exit code."""
    status = lookout.status()
    if is_json:
        render.print_json(facts(status))
        return status_words.exit_code(status)
    for warning in status.warnings:
        print(render.styled(render.shown(f"! {warning}"), YELLOW))
    if status.warnings:
        print()
    for label, words, style in _lines(status, lookout.address, datetime.now(UTC)):
        print(f"{render.styled(label.ljust(LABEL_LETTERS), render.BOLD)}{render.styled(words, style)}")
    return status_words.exit_code(status)


def _lines(status: pb.SystemStatusResponse, address: str, now: datetime) -> Iterator[tuple[str, str, str]]:
    state = status_words.state(status)
    health = figures.health(status.system_health)
    yield "Cluster", f"{state.value} (health {health})", STYLES.get(state, YELLOW)
    up = figures.ago(status.started_at, now).removesuffix(" ago")
    yield "Gateway", f"{address}, version {render.shown(status.version)}, up for {up}", ""
    yield "Pool used", _bar(status.global_used_bytes, status.global_capacity_bytes), ""
    yield "Promised", _bar(status.promised_bytes, status.promisable_bytes), ""
    yield "Nodes", status_words.nodes(status), ""
    yield "Chunks", status_words.chunks(status.chunks), ""
    yield "Copies", status_words.copies(status.chunks), ""
    yield "Repair", status_words.repair(status.chunks), ""
    yield "Encrypted", status_words.encryption(status), ""
    span = status_words.speed_span(status)
    for label, now_bytes_s, values in (
        ("Up", status.up_bytes_s, status_words.ups(status)),
        ("Down", status.down_bytes_s, status_words.downs(status)),
    ):
        (drawn,) = figures.graph(values, GRAPH)
        yield label, f"{drawn}  {figures.speed(now_bytes_s)}" + (f", {span}" if span else ""), ""
    yield "People", status_words.people(status), ""
    yield "Content", status_words.content(status), ""
    yield "Payments", status_words.payments(status), ""


def _bar(part: int, whole: int) -> str:
    bar = figures.meter(part, whole, BAR)
    return f"{bar}  {figures.sizes(part, whole)}, {figures.percent(part, whole)}"


def facts(status: pb.SystemStatusResponse) -> dict[str, object]:
    """state: "healthy", "missing", "no_writes", "restored" or "lost", the worst that is true; health: 0 to 1.

    Sizes in bytes, speeds in bytes a second, times in UTC. mode: "open", or "restored" for read-only after a restore.
    chunks: by their copies; repair: copies to make again, with the seconds left (null when it cannot be told).
    encryption: whether what is stored now is encrypted, and what was stored plain and is to be encrypted.
    speeds: of the last minutes, the oldest first, each over span_s seconds. payments_today: by status.
    """
    chunks = status.chunks
    return {
        "state": status_words.state(status).name.lower(),
        "health": status.system_health,
        "mode": status.mode,
        "can_write": status.can_write,
        "warnings": list(status.warnings),
        "version": status.version,
        "started_at": status.started_at,
        "asked_at": status.asked_at,
        "last_event_id": status.last_event_id,
        "pool": {
            "capacity_bytes": status.global_capacity_bytes,
            "used_bytes": status.global_used_bytes,
            "promised_bytes": status.promised_bytes,
            "promisable_bytes": status.promisable_bytes,
        },
        "nodes": {"total": status.total_nodes, "online": status.online_nodes},
        "chunks": {
            "total": status.total_chunks,
            "whole": chunks.whole,
            "missing": chunks.missing,
            "lost": chunks.lost,
            "copies_wanted": chunks.copies_wanted,
            "write_quorum": chunks.write_quorum,
            "counted_at": chunks.counted_at or None,
        },
        "repair": {
            "copies": chunks.copies_missing,
            "bytes": chunks.bytes_missing,
            "bytes_s": chunks.repair_bytes_s,
            "seconds_left": chunks.repair_seconds_left if chunks.repair_seconds_left >= 0 else None,
        },
        "encryption": {
            "at_rest": status.encrypts,
            "chunks_left": chunks.unsealed,
            "bytes_left": chunks.bytes_unsealed,
        },
        "up_bytes_s": status.up_bytes_s,
        "down_bytes_s": status.down_bytes_s,
        "speeds": [
            {"up_bytes_s": each.up_bytes_s, "down_bytes_s": each.down_bytes_s, "span_s": each.span_s}
            for each in status.speeds
        ],
        "users": status.total_users,
        "disabled_users": status.disabled_users,
        "sessions": status.sessions,
        "files": status.total_files,
        "uploads": status.uploads,
        "payments_today": dict(sorted(status.payments_today.items())),
        "revenue_today_xaf": status.revenue_today_xaf,
        "payments_attention": status.payments_attention,
    }
