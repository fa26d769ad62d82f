"""Storage nodes: who they are, whether they are there, what they can take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from peewee import fn

from cloudgrpc.core.units import size_words
from cloudgrpc.errors import NodeIdTaken, NodeRemoved, NodeUnknown
from cloudgrpc.meta import events
from cloudgrpc.meta.db import locked, now
from cloudgrpc.meta.models import Copy, Lease, Node, Receipt, RemovedNode, Stray

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cloudgrpc.core.introductions import Introduction


@dataclass(frozen=True)
class NodeState:
    """A node as the gateway knows it: its row; sizes in bytes, by the node's last word."""

    node_id: str
    instance_id: str
    host: str
    port: int
    capacity_bytes: int
    used_bytes: int
    chunk_count: int
    cpu_cores: int
    is_online: bool
    is_read_only: bool
    registered_at: int
    last_heartbeat_at: int
    offline_since_at: int | None
    inventory_at: int | None
    is_collecting: bool
    zone: str
    read_only_reason: str
    metrics_address: str
    draining_at: int | None
    scrub_after: str
    scrub_began_at: int | None
    scrubbed_at: int | None
    scrub_asked_at: int | None
    scrub_bad: int
    read_at: int  # by the database's clock, as all times here: what the age of a heartbeat is counted from

    @property
    def free_bytes(self) -> int:
        return max(0, self.capacity_bytes - self.used_bytes)

    @property
    def barred(self) -> str:
        """Why it gets no new chunks however well it is, for operators; "" when nothing bars it."""
        if self.draining_at is not None:
            return "draining: its copies move to other nodes"
        return (self.read_only_reason or "it says that it is read-only") if self.is_read_only else ""

    @property
    def heartbeat_age_s(self) -> float:
        return max(0, self.read_at - self.last_heartbeat_at) / 1_000_000


def register(intro: Introduction) -> int:
    """Take a node in, or back; returns the capacity of the pool with it.

    Raises: NodeIdTaken when the id belongs to another folder whose node is online; NodeRemoved when an operator removed
    the node with this folder.
    """
    moment = now()
    standing = locked(Node.select().where(Node.node_id == intro.node_id)).first()
    # After the lock: a removal that was under way may have waited there, and is to be seen.
    if RemovedNode.get_or_none(RemovedNode.instance_id == intro.instance_id):
        raise NodeRemoved(node_id=intro.node_id)
    if standing is not None and standing.instance_id != intro.instance_id:
        if standing.is_online:
            raise NodeIdTaken(node_id=intro.node_id)
        _forget_folder(intro.node_id)
    facts = {
        "instance_id": intro.instance_id,
        "host": intro.host,
        "port": intro.port,
        "capacity_bytes": intro.capacity_bytes,
        "used_bytes": intro.used_bytes,
        "chunk_count": intro.chunk_count,
        "cpu_cores": intro.cpu_cores,
        "is_online": True,
        "is_read_only": intro.is_read_only,
        "read_only_reason": intro.read_only_reason,
        "zone": intro.zone,
        "metrics_address": intro.metrics_address,
        "last_heartbeat_at": moment,
        "offline_since_at": None,
    }
    if standing is None:
        Node.insert(node_id=intro.node_id, registered_at=moment, **facts).execute()
    else:
        Node.update(**facts).where(Node.node_id == intro.node_id).execute()
    if standing is None or not standing.is_online:
        events.record(
            "node.joined" if standing is None else "node.returned",
            f"{intro.node_id} {'joined' if standing is None else 'is back'} with {size_words(intro.capacity_bytes)}",
            node_id=intro.node_id,
        )
    if standing is not None and standing.zone != intro.zone:
        words = f"is in zone {intro.zone} now" if intro.zone else "is in no zone any more"
        events.record("node.zone", f"{intro.node_id} {words}", node_id=intro.node_id, zone=intro.zone)
    _tell_read_only(standing, intro.node_id, is_read_only=intro.is_read_only, reason=intro.read_only_reason)
    return pool_capacity()


def heartbeat(
    node_id: str,
    instance_id: str,
    used_bytes: int,
    chunk_count: int,
    *,
    is_read_only: bool,
    read_only_reason: str = "",
) -> bool:
    """Note a node's word; True when it had been offline. Raises: NodeUnknown (then it registers again)."""
    standing = locked(Node.select().where((Node.node_id == node_id) & (Node.instance_id == instance_id))).first()
    if standing is None:
        raise NodeUnknown(node_id=node_id)
    Node.update(
        used_bytes=used_bytes,
        chunk_count=chunk_count,
        is_read_only=is_read_only,
        read_only_reason=read_only_reason,
        is_online=True,
        last_heartbeat_at=now(),
        offline_since_at=None,
    ).where(Node.node_id == node_id).execute()
    if not standing.is_online:
        events.record("node.returned", f"{node_id} is back", node_id=node_id)
    _tell_read_only(standing, node_id, is_read_only=is_read_only, reason=read_only_reason)
    return not standing.is_online


def call_late(silence_us: int) -> list[str]:
    """Nodes not heard of for `silence_us` go offline; returns those that just did."""
    moment = now()
    late = [
        node.node_id
        for node in locked(Node.select().where(Node.is_online & (Node.last_heartbeat_at < moment - silence_us)))
    ]
    for node_id in late:
        Node.update(is_online=False, offline_since_at=moment).where(Node.node_id == node_id).execute()
        events.record("node.offline", f"{node_id} went offline", node_id=node_id)
    return late


def all_nodes() -> list[NodeState]:
    """By id."""
    moment = now()
    found: Iterable[Any] = Node.select().order_by(Node.node_id).dicts()
    return [NodeState(**row, read_at=moment) for row in found]


def pool_capacity() -> int:
    return int(Node.select(fn.COALESCE(fn.SUM(Node.capacity_bytes), 0)).scalar())


def due_for_inventory(age_us: int) -> list[str]:
    """Online nodes whose files were not compared for `age_us`."""
    long_ago = Node.inventory_at.is_null() | (Node.inventory_at < now() - age_us)
    return [node.node_id for node in Node.select(Node.node_id).where(Node.is_online & long_ago)]


def note_inventory(node_id: str, *, is_collecting: bool, files: int, unknown: int) -> None:
    """An inventory is complete; collecting on the node goes on, or stops with an event.

    Raises: NodeUnknown, when it was removed meanwhile.
    """
    standing = locked(Node.select().where(Node.node_id == node_id)).first()
    if standing is None:
        raise NodeUnknown(node_id=node_id)
    Node.update(inventory_at=now(), is_collecting=is_collecting).where(Node.node_id == node_id).execute()
    if standing.is_collecting != is_collecting:
        events.record(
            "collecting.resumed" if is_collecting else "collecting.stopped",
            f"{unknown} of {files} files on {node_id} are unknown here: "
            + ("collecting goes on" if is_collecting else "nothing is deleted there, is this the right database?"),
            node_id=node_id,
        )


def take_lease(name: str, holder: str, lease_us: int) -> bool:
    """Try to be, or stay, the one who does a job. Two holders by mistake must be harmless."""
    moment = now()
    Lease.insert(name=name, holder=holder, until_at=0).on_conflict_ignore().execute()
    taken = (
        Lease.update(holder=holder, until_at=moment + lease_us)
        .where((Lease.name == name) & ((Lease.holder == holder) | (Lease.until_at < moment)))
        .execute()
    )
    return bool(taken)


def _forget_folder(node_id: str) -> None:
    """The node's folder is another one now: what the old one held counts as lost at once.

    The rows stay as bad copies, since the old folder may come back: they are tried before data is called lost.
    """
    Copy.update(state="bad").where((Copy.node == node_id) & (Copy.state == "good")).execute()
    Copy.delete().where((Copy.node == node_id) & (Copy.state == "doomed")).execute()
    Receipt.delete().where(Receipt.node_id == node_id).execute()
    Stray.delete().where(Stray.node == node_id).execute()
    Node.update(
        inventory_at=None,
        draining_at=None,  # it was the old folder that was to leave
        scrub_after="",
        scrub_began_at=None,
        scrubbed_at=None,
        scrub_asked_at=None,
        scrub_bad=0,
    ).where(Node.node_id == node_id).execute()
    events.record("node.replaced", f"{node_id} came with another folder: its copies count as lost", node_id=node_id)


def _tell_read_only(standing: Node | None, node_id: str, *, is_read_only: bool, reason: str) -> None:
    """`standing`: the node's row before."""
    if is_read_only != (standing is not None and standing.is_read_only):
        events.record(
            "node.read_only" if is_read_only else "node.writable",
            f"{node_id} {'takes no new chunks' if is_read_only else 'takes chunks again'}"
            + (f": {reason}" if reason else ""),
            node_id=node_id,
        )
