"""What operators do with a node: drain it, take that back, and remove it; each a transaction with its event."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from peewee import SQL, fn

from cloudgrpc.core.placement import wanted_copies
from cloudgrpc.errors import LastNode, NodeNotEmpty, NodeNotOffline, NodeUnknown
from cloudgrpc.meta import certificates, events, tree
from cloudgrpc.meta.ancestry import Ancestry
from cloudgrpc.meta.copies import staying_nodes
from cloudgrpc.meta.db import is_postgres, locked, now, rows
from cloudgrpc.meta.models import (
    Account,
    Chunk,
    Cluster,
    Copy,
    Entry,
    Event,
    Extent,
    Node,
    Receipt,
    RemovedNode,
    Stray,
    Version,
)
from cloudgrpc.meta.spread import NOT_GOOD

if TYPE_CHECKING:
    from collections.abc import Sequence

NAMED = 20  # lost files that are told by name


@dataclass(frozen=True)
class Draining:
    """How many copies each chunk is to have with the node on its way out, and how many it was to have before."""

    copies_wanted: int
    copies_before: int
    is_new: bool  # False: it had been asked before
    copies_left: int


@dataclass(frozen=True)
class Loss:
    """What goes with a node. Chunks and files are lost of which there is no other good copy, on any node."""

    copies: int
    chunks: int
    files: int
    names: Sequence[str]  # some of the files: whose, and the path


def drain(node_id: str, factor: int, operator: str) -> Draining:
    """No new chunks go to the node any more, and its copies count for nothing. Raises: NodeUnknown, LastNode."""
    # All of them, in one order: of two that are asked at once to go, the second must see the first.
    everyone = {node.node_id: node for node in locked(Node.select().order_by(Node.node_id))}
    node = everyone.get(node_id)
    if node is None:
        raise NodeUnknown(node_id=node_id)
    staying = {one.node_id for one in everyone.values() if one.draining_at is None}
    if staying <= {node_id}:
        raise LastNode(node_id=node_id)
    after, before = wanted_copies(factor, len(staying - {node_id})), wanted_copies(factor, len(staying | {node_id}))
    if node.draining_at is None:
        Node.update(draining_at=now()).where(Node.node_id == node_id).execute()
        events.record(
            "node.draining",
            f"{node_id} is drained: it gets no new chunks, and its copies go to the others",
            node_id=node_id,
            by=events.OPERATOR,
            operator=operator,
            copies_wanted=after,
        )
    return Draining(after, before, node.draining_at is None, copies_left(node_id))


def undrain(node_id: str, factor: int, operator: str) -> Draining:
    """The node stays after all. Raises: NodeUnknown."""
    node = _locked_node(node_id)
    before = wanted_copies(factor, staying_nodes())
    if node.draining_at is not None:
        Node.update(draining_at=None).where(Node.node_id == node_id).execute()
        events.record(
            "node.undrained",
            f"{node_id} is not drained any more, and takes chunks again",
            node_id=node_id,
            by=events.OPERATOR,
            operator=operator,
        )
    return Draining(wanted_copies(factor, staying_nodes()), before, node.draining_at is not None, copies_left(node_id))


def copies_left(node_id: str) -> int:
    """How many it holds yet: also those it is told to delete and has not confirmed, and those of uploads under way."""
    return sum(
        int(table.select(fn.COUNT(SQL("*"))).where(node == node_id).scalar())
        for table, node in ((Copy, Copy.node), (Receipt, Receipt.node_id))
    )


def copies_stuck(node_id: str) -> int:
    """How many of those cannot leave: bad ones, of chunks that files need and that have no good copy anywhere."""
    return int(_last_copies(node_id).where((Copy.state == "bad") & NOT_GOOD).count())


def note_drained(node_id: str) -> bool:
    """Tell once that a node that is drained is empty; False: it is not, or that was told."""
    node = locked(Node.select().where((Node.node_id == node_id) & Node.draining_at.is_null(False))).first()
    if node is None or _holds_any(node_id):
        return False
    told = (Event.kind == "node.drained") & (Event.node_id == node_id) & (Event.at >= node.draining_at)
    if Event.select().where(told).exists():
        return False
    events.record("node.drained", f"{node_id} is empty, and can be removed", node_id=node_id)
    return True


def loss(node_id: str) -> Loss:
    """What would go with the node. Raises: NodeUnknown."""
    if Node.get_or_none(Node.node_id == tree.sound(node_id)) is None:
        raise NodeUnknown(node_id=node_id)
    return _loss(node_id)


def remove(node_id: str, operator: str, *, is_lost: bool) -> Loss:
    """Forget an empty node, or with `is_lost` one that is gone, with all it holds. Its folder never joins again, its
    certificates are revoked, and a code to join in its place is taken back.

    An upload that commits meanwhile keeps its copies on the other nodes, or ends when these are too few.
    Raises: NodeUnknown, NodeNotEmpty, NodeNotOffline.
    """
    if is_postgres():
        # Waits for whoever is putting copies on the node, and lets nobody begin to: a commit between our look at what
        # it holds and the delete would lose copies that nobody was told of.
        Node.select().where(Node.node_id == tree.sound(node_id)).for_update("FOR UPDATE").execute()  # type: ignore[arg-type]
    node = _locked_node(node_id)
    if is_lost and node.is_online:
        raise NodeNotOffline(node_id=node_id)
    if not is_lost and _holds_any(node_id):
        raise NodeNotEmpty(node_id=node_id, copies=f"{copies_left(node_id):,}")
    lost = _loss(node_id)
    Copy.delete().where(Copy.node == node_id).execute()
    Receipt.delete().where(Receipt.node_id == node_id).execute()
    Stray.delete().where(Stray.node == node_id).execute()
    Node.delete().where(Node.node_id == node_id).execute()
    moment = now()
    RemovedNode.insert(instance_id=node.instance_id, node_id=node_id, removed_at=moment).on_conflict_ignore().execute()
    serials, _ = certificates.shut_out(node_id, moment)
    with_it = f" with {lost.copies} copies, the last of {lost.chunks} chunks" if lost.copies else ""
    events.record(
        "node.removed",
        f"{node_id} was removed{with_it}",
        node_id=node_id,
        by=events.OPERATOR,
        operator=operator,
        copies=lost.copies,
        chunks_lost=lost.chunks,
        files_lost=lost.files,
        serials=serials,
    )
    return lost


def ask_for_repair(operator: str, *, is_now: bool) -> None:
    """An operator wants missing copies made. `is_now`: nodes that are offline by now are not waited for."""
    if is_now:
        Cluster.update(repair_asked_at=now()).execute()
    events.record(
        "repair.asked",
        "missing copies are looked for" + (", and nodes that are offline are not waited for" if is_now else ""),
        by=events.OPERATOR,
        operator=operator,
        now=is_now,
    )


def _locked_node(node_id: str) -> Any:
    """Raises: NodeUnknown."""
    node = locked(Node.select().where(Node.node_id == tree.sound(node_id))).first()
    if node is None:
        raise NodeUnknown(node_id=node_id)
    return node


def _holds_any(node_id: str) -> bool:
    copies, receipts = Copy.select().where(Copy.node == node_id), Receipt.select().where(Receipt.node_id == node_id)
    return copies.exists() or receipts.exists()


def _loss(node_id: str) -> Loss:
    lost = rows(_last_copies(node_id).select(Copy.chunk))
    files = [entry_id for (entry_id,) in rows(_files_of(node_id))] if lost else []
    files = _without_purged(files)
    return Loss(copies_left(node_id), len(lost), len(files), [_name(entry_id) for entry_id in files[:NAMED]])


def _last_copies(node_id: str) -> Any:
    """Copies on the node, also bad ones, which may be readable yet, of chunks without a good one elsewhere."""
    other = Copy.alias()
    elsewhere = other.select().where((other.chunk == Copy.chunk) & (other.node != node_id) & (other.state == "good"))
    return (
        Copy.select()
        .join(Chunk)
        .where(
            (Copy.node == node_id) & (Copy.state != "doomed") & Chunk.unreferenced_at.is_null() & ~fn.EXISTS(elsewhere)
        )
    )


def _files_of(node_id: str) -> Any:
    extents = _last_copies(node_id).select(Version.entry).join(Extent, on=(Extent.chunk == Copy.chunk))
    return extents.join(Version, on=(Version.version_id == Extent.version)).distinct().order_by(Version.entry)


def _without_purged(entry_ids: list[str]) -> list[str]:
    """What was deleted for good is on its way out anyway."""
    ancestry = Ancestry()
    ancestry.learn(entry_ids)
    return [entry_id for entry_id in entry_ids if not ancestry.is_purged(entry_id)]


def _name(entry_id: str) -> str:
    entry = Entry.select(Account.email).join(Account).where(Entry.entry_id == entry_id).tuples().first()
    return f"{entry[0]}: {tree.told_path(entry_id)}"
