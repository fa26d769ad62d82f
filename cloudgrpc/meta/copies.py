"""Chunks and their copies on nodes: where to read, what is short.

What may be deleted stands in `orphans`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from peewee import fn

from cloudgrpc.core.placement import wanted_copies
from cloudgrpc.core.repair import Shortage
from cloudgrpc.core.spread import lacking
from cloudgrpc.meta import events, spread
from cloudgrpc.meta.db import locked, now, rows
from cloudgrpc.meta.files import Holder
from cloudgrpc.meta.models import Chunk, Copy, Node, Receipt, Stray
from cloudgrpc.meta.spread import NOT_GOOD

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from cloudgrpc.core.spread import Group, Lack, Member, Survey
    from cloudgrpc.meta.spread import Held


@dataclass(frozen=True)
class Doubt:
    """A chunk without any good copy on an online node, and an online node where a bad one may yet be readable."""

    chunk_id: str
    checksum: str
    node_id: str


def holders(chunk_ids: Sequence[str]) -> dict[str, list[Holder]]:
    """Who holds the chunks, good copies first. Doomed ones do not count."""
    query = (
        Copy.select(Copy.chunk, Copy.node, Copy.state)
        .where(Copy.chunk.in_(list(chunk_ids)) & (Copy.state != "doomed"))
        .order_by(Copy.state.desc())
    )
    found: dict[str, list[Holder]] = {chunk_id: [] for chunk_id in chunk_ids}
    for chunk_id, node_id, state in rows(query):
        found[chunk_id].append(Holder(node_id, state == "good"))
    return found


def mark_bad(chunk_id: str, node_id: str, reason: str) -> bool:
    """A copy turned out missing or damaged; False if that was known. What an upload has there is no copy yet, and its
    receipt is void."""
    changed = (
        Copy.update(state="bad")
        .where((Copy.chunk == chunk_id) & (Copy.node == node_id) & (Copy.state == "good"))
        .execute()
    )
    void = Receipt.delete().where((Receipt.chunk == chunk_id) & (Receipt.node_id == node_id)).execute()
    if changed or void:
        events.record(
            "copy.bad",
            f"the copy of chunk {chunk_id} on {node_id} is bad: {reason}",
            node_id=node_id,
            chunk_id=chunk_id,
        )
    return bool(changed or void)


def add_good(chunk_id: str, node_id: str) -> bool:
    """A node holds a verified copy now. False, and nothing is noted, when the pair is doomed, or the chunk is going, or
    the node was removed."""
    chunk = locked(Chunk.select().where((Chunk.chunk_id == chunk_id) & Chunk.unreferenced_at.is_null())).first()
    doomed_stray = Stray.get_or_none(
        (Stray.node == node_id) & (Stray.chunk_id == chunk_id) & Stray.doomed_at.is_null(False)
    )
    standing = Copy.get_or_none((Copy.chunk == chunk_id) & (Copy.node == node_id))
    if chunk is None or doomed_stray is not None or (standing is not None and standing.state == "doomed"):
        return False
    if Node.get_or_none(Node.node_id == node_id) is None:
        return False
    Stray.delete().where((Stray.node == node_id) & (Stray.chunk_id == chunk_id)).execute()
    if standing is None:
        Copy.create(chunk=chunk_id, node=node_id, state="good", created_at=now())
    else:
        Copy.update(state="good", created_at=now()).where((Copy.chunk == chunk_id) & (Copy.node == node_id)).execute()
    events.record("copy.made", f"chunk {chunk_id} was copied to {node_id}", node_id=node_id, chunk_id=chunk_id)
    return True


def staying_nodes() -> int:
    """How many nodes there are, online or not, that are not on their way out."""
    return Node.select().where(Node.draining_at.is_null()).count()


def short(survey: Survey, limit: int, waiting: Collection[str] = frozenset()) -> list[Shortage]:
    """Referenced chunks with fewer good copies than wanted, or in fewer zones than they could be; one at least to copy
    from, and a node that can take another; urgent ones first, the rarest first. Those that must wait, and the chunks in
    `waiting`, are left out, else they would fill the list and starve the others.

    A copy counts while its node is online and stays, and for a while after it went.
    """
    lacks = {group: lacking(group.holders, survey.members, survey.wanted) for group in survey.groups}
    found = {group.holders: lack for group, lack in lacks.items() if lack}
    ranks: dict[tuple[bool, int, int], list[Group]] = {}
    for group, lack in lacks.items():
        if lack:
            ranks.setdefault((not lack.is_urgent, lack.counted, -lack.room_bytes), []).append(group)
    found_held = spread.find(survey, [(ranks[rank], -rank[2]) for rank in sorted(ranks)], limit + len(waiting))
    held = [one for one in found_held if one.chunk_id not in waiting][:limit]
    barred = _barred([one.chunk_id for one in held])
    return [
        _shortage(one, found[frozenset(one.holders)], survey.members, barred.get(one.chunk_id, frozenset()))
        for one in held
        if frozenset(one.holders) in found
    ]


def _shortage(held: Held, lack: Lack, members: Mapping[str, Member], barred: frozenset[str]) -> Shortage:
    return Shortage(
        chunk_id=held.chunk_id,
        length=held.length,
        checksum=held.checksum,
        holders=held.holders,
        barred=barred,
        missing=lack.missing,
        spread=lack.missing - lack.copies,
        counted=tuple(node_id for node_id in held.holders if node_id in members and members[node_id].counts),
        is_urgent=lack.is_urgent,
    )


def doubts(limit: int) -> list[Doubt]:
    """Bad copies on online nodes of chunks that no online node has a good copy of: worth another look. In random
    order, so that those that stay bad do not keep the others out of the list."""
    other = Copy.alias()
    its_node = Node.alias()
    readable = (
        other.select()
        .join(its_node, on=(its_node.node_id == other.node))
        .where((other.chunk == Copy.chunk) & (other.state == "good") & its_node.is_online)
    )
    query = (
        Copy.select(Copy.chunk, Chunk.checksum, Copy.node)
        .join(Chunk)
        .switch(Copy)
        .join(Node)
        .where(
            (Copy.state == "bad") & NOT_GOOD & Node.is_online & Chunk.unreferenced_at.is_null() & ~fn.EXISTS(readable)
        )
        .order_by(fn.RANDOM())
        .limit(limit)
    )
    return [Doubt(*row) for row in rows(query)]


def needless_bad(factor: int, limit: int) -> list[tuple[str, str]]:
    """Bad copies, by chunk and node, of chunks that have all their good ones again."""
    bad = Copy.select(Copy.chunk, Copy.node).where((Copy.state == "bad") & NOT_GOOD)
    return rows(bad.where(_has_enough(factor)).limit(limit))


def drop_bad(pairs: Sequence[tuple[str, str]], factor: int) -> None:
    """Look again, and forget those bad copies; a file that is left there ages as a stray.

    They are found apart, since looking through all bad copies of a node that was lost takes seconds, for which SQLite's
    one writer would be held up.
    """
    has_enough = _has_enough(factor)
    for chunk_id, node_id in pairs:
        its = (Copy.chunk == chunk_id) & (Copy.node == node_id) & (Copy.state == "bad")
        Copy.delete().where(its & has_enough).execute()


def _has_enough(factor: int) -> Any:
    """Condition: the copy's chunk has as many good copies as are wanted."""
    good = Copy.alias()
    count = good.select(fn.COUNT(good.node)).where((good.chunk == Copy.chunk) & (good.state == "good"))
    return count >= wanted_copies(factor, staying_nodes())


def _barred(chunk_ids: Sequence[str]) -> dict[str, frozenset[str]]:
    """Nodes that are told, or about to be told, to delete their copy."""
    doomed = Copy.select(Copy.chunk, Copy.node).where(Copy.chunk.in_(list(chunk_ids)) & (Copy.state == "doomed"))
    strays = Stray.select(Stray.chunk_id, Stray.node).where(
        Stray.chunk_id.in_(list(chunk_ids)) & Stray.doomed_at.is_null(False)
    )
    barred: dict[str, frozenset[str]] = {}
    for chunk_id, node_id in [*rows(doomed), *rows(strays)]:
        barred[chunk_id] = barred.get(chunk_id, frozenset()) | {node_id}
    return barred
