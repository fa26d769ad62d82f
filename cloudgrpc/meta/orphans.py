"""What may be deleted from nodes, and when: the dangerous part.

An orphan is a chunk that no extent names; it ages from `unreferenced_at`. A stray is a file on a node that no copy row
names; it ages from when a round first recorded it. After the grace time one transaction looks again and dooms the pair
(chunk, node); from then on repair and commit refuse the pair. Only then is the node told, and only after its answer do
the rows go. After a restore nothing goes until the drive is reconciled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from peewee import fn

from cloudgrpc.core.placement import wanted_copies
from cloudgrpc.errors import NodeUnknown
from cloudgrpc.meta import events
from cloudgrpc.meta.copies import staying_nodes
from cloudgrpc.meta.db import locked, now, rows
from cloudgrpc.meta.models import Chunk, Copy, Extent, Node, Stray, UploadChunk
from cloudgrpc.meta.spread import NOT_GOOD
from cloudgrpc.meta.standing import is_restored

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

BATCH = 400  # ids in one statement


@dataclass(frozen=True)
class Findings:
    """What one page of a node's inventory came to."""

    unknown: int  # files that no row of any kind names: evidence of a wrong database
    missing: int  # good copies whose file is not there


@dataclass(frozen=True)
class DueStray:
    """A stray past its grace. `keepers`: nodes with good copies of the same chunk, which must prove themselves first;
    none when no file needs the chunk."""

    chunk_id: str
    checksum: str
    keepers: tuple[str, ...]


def doom_orphans(grace_us: int, limit: int) -> int:
    """Mark every copy of chunks unreferenced for longer than the grace as doomed; returns how many copies."""
    if is_restored():
        return 0
    due = [
        chunk.chunk_id
        for chunk in locked(
            Chunk.select(Chunk.chunk_id)
            .where(Chunk.unreferenced_at < now() - grace_us)
            .where(fn.EXISTS(Copy.select().where((Copy.chunk == Chunk.chunk_id) & (Copy.state != "doomed"))))
            .limit(limit)
        )
    ]
    named = {chunk_id for (chunk_id,) in rows(Extent.select(Extent.chunk).where(Extent.chunk.in_(due)))}
    doomed = [chunk_id for chunk_id in due if chunk_id not in named]
    return int(Copy.update(state="doomed").where(Copy.chunk.in_(doomed) & (Copy.state != "doomed")).execute())


def doomed_on(node_id: str, limit: int) -> list[str]:
    """Chunks this node is to delete: doomed copies and doomed strays. None while collecting there is stopped."""
    node = Node.get_or_none(Node.node_id == node_id)
    if node is None or not node.is_collecting or is_restored():
        return []
    copies = Copy.select(Copy.chunk).where((Copy.node == node_id) & (Copy.state == "doomed") & NOT_GOOD).limit(limit)
    strays = Stray.select(Stray.chunk_id).where((Stray.node == node_id) & Stray.doomed_at.is_null(False)).limit(limit)
    return [chunk_id for (chunk_id,) in [*rows(copies), *rows(strays)]][:limit]


def confirm_deleted(node_id: str, chunk_ids: Sequence[str]) -> None:
    """The node has answered that these are gone: their rows go."""
    for start in range(0, len(chunk_ids), BATCH):
        batch = list(chunk_ids[start : start + BATCH])
        Copy.delete().where((Copy.node == node_id) & Copy.chunk.in_(batch) & (Copy.state == "doomed")).execute()
        Stray.delete().where(
            (Stray.node == node_id) & Stray.chunk_id.in_(batch) & Stray.doomed_at.is_null(False)
        ).execute()
    if chunk_ids:
        events.record("chunks.collected", f"{len(chunk_ids)} chunks were deleted from {node_id}", node_id=node_id)


def forget_bare_chunks(grace_us: int, limit: int) -> int:
    """Drop chunks that nothing references, of which no copy is left.

    Not before an inventory of every node, twice the grace after the chunk lost its last reference: what a dead upload
    sent, and nobody noted, is then found and known by this row, however long the node or all gateways were away.
    """
    if is_restored():
        return 0
    looked_at = Node.select(fn.MIN(fn.COALESCE(Node.inventory_at, 0))).scalar() or 0
    bare = [
        chunk.chunk_id
        for chunk in Chunk.select(Chunk.chunk_id)
        .where(Chunk.unreferenced_at < looked_at - 2 * grace_us)
        .where(~fn.EXISTS(Copy.select().where(Copy.chunk == Chunk.chunk_id)))
        .where(~fn.EXISTS(Stray.select().where(Stray.chunk_id == Chunk.chunk_id)))
        .limit(limit)
    ]
    named = {chunk_id for (chunk_id,) in rows(Extent.select(Extent.chunk).where(Extent.chunk.in_(bare)))}
    return int(Chunk.delete().where(Chunk.chunk_id.in_([one for one in bare if one not in named])).execute())


def compare_page(node_id: str, listed: Sequence[str], span: tuple[str, str], listed_at: int, wanted: int) -> Findings:
    """Compare a page of a node's inventory with the rows, both ways.

    `span`: the ids behind the first and up to the second, all of which the page covers ("" as the second: to the end).
    `listed_at`: database time before the node was asked; copies noted later say nothing about the list. Raises:
    NodeUnknown, when it was removed meanwhile.
    """
    if Node.get_or_none(Node.node_id == node_id) is None:
        raise NodeUnknown(node_id=node_id)
    here = set(listed)
    # Before the copies: what is committed meanwhile is then seen as on its way, or as a copy, or as both.
    on_the_way = _among(UploadChunk.chunk_id, here)
    copies = rows(Copy.select(Copy.chunk, Copy.state).where((Copy.node == node_id) & _within(Copy.chunk, span)))
    missing = 0
    for chunk_id in [one for one, state in copies if state == "good" and one not in here]:
        still_good = (Copy.chunk == chunk_id) & (Copy.node == node_id) & (Copy.state == "good")
        if Copy.update(state="bad").where(still_good & (Copy.created_at < listed_at)).execute():
            missing += 1
            events.record("copy.bad", f"chunk {chunk_id} is missing on {node_id}", node_id=node_id, chunk_id=chunk_id)
    _forget_strays_that_went(node_id, here, span)
    without_copy = here - on_the_way - {chunk_id for chunk_id, _ in copies}
    return Findings(unknown=_record_strays(node_id, without_copy, wanted), missing=missing)


def due_strays(node_id: str, grace_us: int, factor: int, limit: int) -> list[DueStray]:
    """Strays past their grace, unless collecting on the node is stopped or the chunk is short of good copies."""
    node = Node.get_or_none(Node.node_id == node_id)
    if node is None or not node.is_collecting:
        return []
    wanted = wanted_copies(factor, staying_nodes())
    is_needed = fn.EXISTS(Extent.select().where(Extent.chunk == Stray.chunk_id))
    keepers_count = Copy.select(fn.COUNT(Copy.node)).where((Copy.chunk == Stray.chunk_id) & (Copy.state == "good"))
    query = (
        Stray.select(Stray.chunk_id, is_needed)
        .where((Stray.node == node_id) & Stray.doomed_at.is_null() & (Stray.first_seen_at < now() - grace_us))
        .where(~is_needed | (keepers_count >= wanted))
    )
    due = []
    for chunk_id, needs_keepers in rows(query.limit(limit)):
        if not needs_keepers:
            due.append(DueStray(chunk_id, checksum="", keepers=()))
            continue
        keepers = rows(Copy.select(Copy.node).where((Copy.chunk == chunk_id) & (Copy.state == "good")))
        checksum = Chunk.get_by_id(chunk_id).checksum
        due.append(DueStray(chunk_id, checksum, tuple(keeper for (keeper,) in keepers)))
    return due


def doom_stray(node_id: str, chunk_id: str, grace_us: int, verified: Iterable[str], factor: int) -> bool:
    """Look again and doom a stray. `verified`: nodes whose good copies were read just now.

    False, and nothing happens, when the file has become a copy, belongs to an open upload, is not past its grace, or
    is of a chunk that is needed and has too few verified copies elsewhere.
    """
    stray = locked(Stray.select().where((Stray.node == node_id) & (Stray.chunk_id == chunk_id))).first()
    locked(Chunk.select().where(Chunk.chunk_id == chunk_id)).execute()
    if stray is None or stray.doomed_at is not None or stray.first_seen_at >= now() - grace_us or is_restored():
        return False
    # In this order, since a commit turns the one into the other.
    if UploadChunk.get_or_none(UploadChunk.chunk_id == chunk_id) is not None:
        return False
    if Copy.get_or_none((Copy.chunk == chunk_id) & (Copy.node == node_id)) is not None:
        return False
    if _is_referenced(chunk_id):
        keepers = {
            keeper
            for (keeper,) in rows(Copy.select(Copy.node).where((Copy.chunk == chunk_id) & (Copy.state == "good")))
        }
        if len(keepers & set(verified)) < wanted_copies(factor, staying_nodes()):
            return False
    Stray.update(doomed_at=now()).where((Stray.node == node_id) & (Stray.chunk_id == chunk_id)).execute()
    return True


def _record_strays(node_id: str, ids: set[str], wanted: int) -> int:
    """Record files without a copy row; returns how many of them no row of any kind names.

    A file of a chunk that is needed and short of copies is noted as a bad copy: it is looked at before anything is
    called lost, and made good by repair; unless it is doomed.
    """
    moment = now()
    good = _good_copies(ids)
    short = {one for one in _among(Extent.chunk, ids) if good.get(one, 0) < wanted}
    short -= _among(Stray.chunk_id, short, (Stray.node == node_id) & Stray.doomed_at.is_null(False))
    for batch in _batches(short):
        Copy.insert_many(
            [{"chunk": one, "node": node_id, "state": "bad", "created_at": moment} for one in batch]
        ).on_conflict_ignore().execute()
        Stray.delete().where((Stray.node == node_id) & Stray.chunk_id.in_(batch)).execute()
    for batch in _batches(ids - short):
        Stray.insert_many(
            [{"node": node_id, "chunk_id": one, "first_seen_at": moment} for one in batch]
        ).on_conflict_ignore().execute()
    return len(ids - _among(Chunk.chunk_id, ids))


def _forget_strays_that_went(node_id: str, here: set[str], span: tuple[str, str]) -> None:
    for (chunk_id,) in rows(
        Stray.select(Stray.chunk_id).where((Stray.node == node_id) & _within(Stray.chunk_id, span))
    ):
        if chunk_id not in here:
            Stray.delete().where((Stray.node == node_id) & (Stray.chunk_id == chunk_id)).execute()


def _within(column: object, span: tuple[str, str]) -> object:
    after, last = span
    return (column > after) & (column <= last) if last else (column > after)  # type: ignore[operator]


def _is_referenced(chunk_id: str) -> bool:
    return Extent.get_or_none(Extent.chunk == chunk_id) is not None


def _good_copies(ids: set[str]) -> dict[str, int]:
    """How many each chunk has; those without any are not in it."""
    counts = Copy.select(Copy.chunk, fn.COUNT(Copy.node)).where(Copy.state == "good").group_by(Copy.chunk)
    return dict(pair for batch in _batches(ids) for pair in rows(counts.where(Copy.chunk.in_(batch))))


def _among(column: Any, ids: set[str], condition: Any = True) -> set[str]:
    """Those ids that stand in a column of rows for which the condition holds."""
    query = column.model.select(column).where(condition)
    return {found for batch in _batches(ids) for (found,) in rows(query.where(column.in_(batch)))}


def _batches(ids: set[str]) -> Iterator[list[str]]:
    """As many ids as one statement takes on either engine, always in the same order."""
    line = sorted(ids)
    for start in range(0, len(line), BATCH):
        yield line[start : start + BATCH]
