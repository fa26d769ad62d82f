"""Storage nodes: who they are, whether they are there, what they can take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from peewee import fn

from cloudgrpc.core.units import size_words
from cloudgrpc.errors import NodeIdTaken, NodeUnknown
from cloudgrpc.meta import events
from cloudgrpc.meta.db import locked, now
from cloudgrpc.meta.models import Copy, Lease, Node, Receipt, Stray

if TYPE_CHECKING:
    from cloudgrpc.core.introductions import Introduction


@dataclass(frozen=True)
class NodeState:
    """A node as the gateway knows it; sizes in bytes, by the node's last word."""

    node_id: str
    instance_id: str
    host: str
    port: int
    capacity_bytes: int
    used_bytes: int
    chunk_count: int
    is_online: bool
    is_read_only: bool
    is_collecting: bool
    offline_since_at: int | None
    zone: str = ""
    draining_at: int | None = None
    read_only_reason: str = ""

    @property
    def free_bytes(self) -> int:
        return max(0, self.capacity_bytes - self.used_bytes)

    @property
    def takes_chunks(self) -> bool:
        return self.is_online and not self.is_read_only and self.draining_at is None


def register(intro: Introduction) -> int:
    """Take a node in, or back; returns the capacity of the pool with it.

    Raises: NodeIdTaken when the id belongs to another folder whose node is online.
    """
    moment = now()
    standing = locked(Node.select().where(Node.node_id == intro.node_id)).first()
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
    return pool_capacity()


def heartbeat(node_id: str, instance_id: str, used_bytes: int, chunk_count: int, *, is_read_only: bool) -> bool:
    """Note a node's word; True when it had been offline. Raises: NodeUnknown (then it registers again)."""
    standing = locked(Node.select().where((Node.node_id == node_id) & (Node.instance_id == instance_id))).first()
    if standing is None:
        raise NodeUnknown(node_id=node_id)
    Node.update(
        used_bytes=used_bytes,
        chunk_count=chunk_count,
        is_read_only=is_read_only,
        is_online=True,
        last_heartbeat_at=now(),
        offline_since_at=None,
    ).where(Node.node_id == node_id).execute()
    if not standing.is_online:
        events.record("node.returned", f"{node_id} is back", node_id=node_id)
    if standing.is_read_only != is_read_only:
        events.record(
            "node.read_only" if is_read_only else "node.writable",
            f"{node_id} {'takes no new chunks' if is_read_only else 'takes chunks again'}",
            node_id=node_id,
        )
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
    return [
        NodeState(
            node_id=node.node_id,
            instance_id=node.instance_id,
            host=node.host,
            port=node.port,
            capacity_bytes=node.capacity_bytes,
            used_bytes=node.used_bytes,
            chunk_count=node.chunk_count,
            is_online=node.is_online,
            is_read_only=node.is_read_only,
            is_collecting=node.is_collecting,
            offline_since_at=node.offline_since_at,
            zone=node.zone,
            draining_at=node.draining_at,
            read_only_reason=node.read_only_reason,
        )
        for node in Node.select().order_by(Node.node_id)
    ]


def pool_capacity() -> int:
    return int(Node.select(fn.COALESCE(fn.SUM(Node.capacity_bytes), 0)).scalar())


def due_for_inventory(age_us: int) -> list[str]:
    """Online nodes whose files were not compared for `age_us`."""
    long_ago = Node.inventory_at.is_null() | (Node.inventory_at < now() - age_us)
    return [node.node_id for node in Node.select(Node.node_id).where(Node.is_online & long_ago)]


def note_inventory(node_id: str, *, is_collecting: bool, files: int, unknown: int) -> None:
    """An inventory is complete; collecting on the node goes on, or stops with an event."""
    standing = locked(Node.select().where(Node.node_id == node_id)).get()
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
    Node.update(inventory_at=None).where(Node.node_id == node_id).execute()
    events.record("node.replaced", f"{node_id} came with another folder: its copies count as lost", node_id=node_id)
