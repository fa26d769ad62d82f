"""Scrubbing: which nodes are to be read, how far each pass is, and what it found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudgrpc.core import scrub
from cloudgrpc.core.scrub import Claim
from cloudgrpc.errors import NodeUnknown
from cloudgrpc.meta import copies, events, tree
from cloudgrpc.meta.db import locked, now, rows
from cloudgrpc.meta.models import Chunk, Copy, Node

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Pass:
    """A pass over a node's chunks that is to go on now."""

    node_id: str
    began_at: int
    after: str  # the last chunk id that was read; "" for none
    is_asked: bool  # by an operator, so it does not wait


@dataclass(frozen=True)
class Noted:
    """`bad`: copies that were good until now; `is_going_on`: the pass was not begun anew or ended meanwhile."""

    bad: int
    is_going_on: bool


def due(span_us: float) -> list[Pass]:
    """Passes of online nodes that are to go on now, or to begin. `span_us`: in which each chunk is to be read once."""
    moment = now()
    nodes = [
        node for node in Node.select().where(Node.is_online).order_by(Node.node_id) if _is_due(node, moment, span_us)
    ]
    return [
        Pass(node.node_id, node.scrub_began_at or 0, node.scrub_after, node.scrub_asked_at is not None)
        for node in nodes
    ]


def begin(node_id: str) -> int | None:
    """Open a pass where none is under way; returns when the one that is began. None: there is no such node."""
    node = locked(Node.select().where(Node.node_id == node_id)).first()
    if node is None:
        return None
    moment: int = node.scrub_began_at or now()
    if node.scrub_began_at is not None:
        return moment
    Node.update(scrub_began_at=moment, scrub_after="", scrub_bad=0).where(Node.node_id == node_id).execute()
    return moment


def next_claims(node_id: str, after: str, limit: int) -> list[Claim]:
    """The node's next good copies by chunk id, and what they should be. What a dead upload planned and may never have
    sent has no checksum, and is passed over."""
    query = (
        Copy.select(Copy.chunk, Chunk.checksum, Chunk.length)
        .join(Chunk)
        .where((Copy.node == node_id) & (Copy.chunk > after) & (Copy.state == "good") & (Chunk.checksum != ""))
        .order_by(Copy.chunk)
        .limit(limit)
    )
    return [Claim(*row) for row in rows(query)]


def note(node_id: str, began_at: int, after: str, bad: Sequence[tuple[str, str]]) -> Noted:
    """A pass has read up to `after`; the bad copies it found, each with a reason, are noted."""
    node = locked(Node.select().where((Node.node_id == node_id) & (Node.scrub_began_at == began_at))).first()
    found = sum(copies.mark_bad(chunk_id, node_id, reason) for chunk_id, reason in bad)
    if node is not None:
        # Never back: another gateway may have gone on from here at the same time.
        Node.update(scrub_after=max(after, node.scrub_after), scrub_bad=Node.scrub_bad + found).where(
            Node.node_id == node_id
        ).execute()
    return Noted(found, node is not None)


def end(node_id: str, began_at: int) -> bool:
    """A pass has read everything. False: it is not under way any more."""
    node = locked(Node.select().where((Node.node_id == node_id) & (Node.scrub_began_at == began_at))).first()
    if node is None:
        return False
    moment = now()
    Node.update(scrub_after="", scrub_began_at=None, scrub_asked_at=None, scrubbed_at=moment).where(
        Node.node_id == node_id
    ).execute()
    seconds = (moment - began_at) // 1_000_000
    events.record(
        "scrub.done",
        f"every chunk on {node_id} was read: {node.scrub_bad or 'no'} bad copies",
        node_id=node_id,
        bad=node.scrub_bad,
        chunks=Copy.select().where(Copy.node == node_id).count(),
        seconds=seconds,
    )
    return True


def ask(node_id: str, operator: str) -> list[str]:
    """Passes begin anew, and do not wait; of one node, or with "" of all. Returns their nodes. Raises: NodeUnknown."""
    which = Node.node_id == tree.sound(node_id) if node_id else True
    asked = [node.node_id for node in locked(Node.select().where(which).order_by(Node.node_id))]
    if node_id and not asked:
        raise NodeUnknown(node_id=node_id)
    moment = now()
    for one in asked:
        Node.update(scrub_asked_at=moment, scrub_began_at=moment, scrub_after="", scrub_bad=0).where(
            Node.node_id == one
        ).execute()
        events.record(
            "scrub.asked",
            f"every chunk on {one} is to be read now",
            node_id=one,
            by=events.OPERATOR,
            operator=operator,
        )
    return asked


def _is_due(node: Node, moment: int, span_us: float) -> bool:
    if node.scrub_asked_at is not None:
        return True
    if node.scrub_began_at is not None:
        return scrub.wait_us(node.scrub_began_at, node.scrub_after, moment, span_us) <= 0
    # What came to a new node was whole then.
    return scrub.next_pass_at(node.scrubbed_at or node.registered_at, span_us) <= moment
