"""How the cluster stands, in words: its state, and a line for each thing that an operator looks at. Pure."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from cloudgrpc.admin import figures
from cloudgrpc.clients.render import count
from cloudgrpc.core.payment_states import State as PaymentState
from cloudgrpc.core.units import size_words
from cloudgrpc.errors import Exit
from cloudgrpc.shell.money import xaf

if TYPE_CHECKING:
    from cloudgrpc.pb import cloud_storage_pb2 as pb

RESTORED = "restored"  # SystemStatusResponse.mode


class State(Enum):
    """The worst that is true, and how it is told."""

    LOST = "data is lost"
    RESTORED = "restored from a backup, read-only"
    NO_WRITES = "too few nodes take chunks"
    MISSING = "copies are missing"
    HEALTHY = "healthy"


def state(status: pb.SystemStatusResponse) -> State:
    if status.chunks.lost:
        return State.LOST
    if status.mode == RESTORED:
        return State.RESTORED
    if not status.can_write:
        return State.NO_WRITES
    return State.MISSING if status.chunks.missing else State.HEALTHY


def exit_code(status: pb.SystemStatusResponse) -> int:
    if status.chunks.lost:
        return Exit.LOST
    return Exit.MISSING if status.chunks.missing else Exit.OK


def chunks(counts: pb.ChunkCounts) -> str:
    return f"{counts.whole:,} whole, {counts.missing:,} with too few copies, {counts.lost:,} lost"


def copies(counts: pb.ChunkCounts) -> str:
    return f"{counts.copies_wanted} of each chunk wanted, {counts.write_quorum} needed to write"


def repair(counts: pb.ChunkCounts) -> str:
    if not counts.copies_missing:
        return "nothing to do"
    missing = f"{counts.copies_missing:,} " + ("copy" if counts.copies_missing == 1 else "copies")
    pace = f" at {figures.speed(counts.repair_bytes_s)}" if counts.repair_bytes_s > 0 else ""
    return f"{missing}, {size_words(counts.bytes_missing)}{pace}, {figures.left(counts.repair_seconds_left)}"


def encryption(status: pb.SystemStatusResponse) -> str:
    left, size = status.chunks.unsealed, size_words(status.chunks.bytes_unsealed)
    if not status.encrypts:
        return f"off: {size} are stored plain" if left else "off for what is stored from now on"
    if not left:
        return "all that is stored"
    done = figures.percent(status.total_chunks - left, status.total_chunks)
    return f"encrypting what was stored before: {done}, {size} left"


def nodes(status: pb.SystemStatusResponse) -> str:
    away = status.total_nodes - status.online_nodes
    return f"{status.online_nodes} online" + (f", {away} away" if away else "")


def people(status: pb.SystemStatusResponse) -> str:
    disabled = f" ({status.disabled_users:,} disabled)" if status.disabled_users else ""
    return f"{count(status.total_users, 'user')}{disabled}, {count(status.sessions, 'session')}"


def content(status: pb.SystemStatusResponse) -> str:
    return f"{count(status.total_files, 'file')}, {count(status.uploads, 'upload')} now"


def payments(status: pb.SystemStatusResponse) -> str:
    """What matters most comes first."""
    today = status.payments_today
    kinds = [f"{today[kind]:,} {kind}" for kind in PaymentState if today.get(kind)]
    words = f"{sum(today.values()):,} today" + (f", {xaf(status.revenue_today_xaf)}" if kinds else "")
    waiting = status.payments_attention
    waits = f"; {waiting:,} {'waits' if waiting == 1 else 'wait'} for an operator" if waiting else ""
    return words + waits + (f" ({', '.join(kinds)})" if kinds else "")


def ups(status: pb.SystemStatusResponse) -> list[float]:
    """Bytes a second that people sent, over the last minutes; the newest last."""
    return [*(sample.up_bytes_s for sample in status.speeds), status.up_bytes_s]


def downs(status: pb.SystemStatusResponse) -> list[float]:
    """Bytes a second that people fetched."""
    return [*(sample.down_bytes_s for sample in status.speeds), status.down_bytes_s]


def speed_span(status: pb.SystemStatusResponse) -> str:
    """How far back the graphs go; "" when they tell nothing yet."""
    seconds = sum(sample.span_s for sample in status.speeds)
    return f"last {figures.age(seconds)}" if seconds else ""
