"""The end of what was deleted for good: its rows go little by little, and its chunks age towards collection.

What is purged can be reached by nobody, so nobody but another sweep touches these rows, and no drive is locked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudgrpc.meta.db import locked, now, rows
from cloudgrpc.meta.models import Chunk, Entry, Extent, Version
from cloudgrpc.meta.prepared import Prepared, blank
from cloudgrpc.meta.tree import batches

if TYPE_CHECKING:
    from collections.abc import Sequence


def sweep(limit: int) -> int:
    """A step: delete purged entries, what folders hold before them, and files' extents before their versions before
    them; about `limit` rows of each. Returns how many rows moved on, 0 at the end."""
    query = Entry.select(Entry.entry_id, Entry.kind).where(Entry.purged_at.is_null(False))
    # Two sweeps at once take turns.
    tops = rows(locked(query.order_by(Entry.purged_at, Entry.entry_id).limit(limit)))
    folders = [entry_id for entry_id, kind in tops if kind == "folder"]
    held = _held_by(folders, limit)
    moved = _take_out([entry_id for entry_id, kind in held if kind == "folder"])
    files = [entry_id for entry_id, kind in [*held, *tops] if kind == "file"]
    for batch in batches(files):
        moved += _delete_files(batch, limit)
    return moved + _delete_empty(folders)


def _held_by(folders: Sequence[str], limit: int) -> list[tuple[str, str]]:
    held: list[tuple[str, str]] = []
    for batch in batches(folders):
        query = Entry.select(Entry.entry_id, Entry.kind).where(Entry.parent.in_(batch))
        held += rows(query.limit(limit - len(held)))
    return held


def _take_out(folders: Sequence[str]) -> int:
    """Folders in purged ones become purged ones themselves, which the next steps find."""
    for batch in batches(folders):
        Entry.update(parent=None, purged_at=now()).where(Entry.entry_id.in_(batch)).execute()
    return len(folders)


def _delete_files(files: Sequence[str], limit: int) -> int:
    """Of files that hold more than `limit` versions or extents some go, and the rest in the next steps."""
    query = Extent.select(Extent.version, Extent.position, Extent.chunk).join(Version).where(Version.entry.in_(files))
    extents = rows(query.limit(limit + 1))
    _delete_extents(extents[:limit])
    if len(extents) > limit:
        return limit
    versions = [
        one for (one,) in rows(Version.select(Version.version_id).where(Version.entry.in_(files)).limit(limit + 1))
    ]
    for batch in batches(versions[:limit]):
        Version.delete().where(Version.version_id.in_(batch)).execute()
    if len(versions) > limit:
        return limit
    return int(Entry.delete().where(Entry.entry_id.in_(files)).execute())


def _delete_extents(extents: Sequence[tuple[str, int, str]]) -> None:
    chunks = sorted({chunk_id for _, _, chunk_id in extents})
    # Two who let go of one chunk at once would each see the other's reference: they take turns.
    for batch in batches(chunks):
        locked(Chunk.select(Chunk.chunk_id).where(Chunk.chunk_id.in_(batch)).order_by(Chunk.chunk_id)).execute()
    for version_id, position, _ in extents:
        _DELETE_EXTENT.run(version_id=version_id, position=position)
    _release(chunks)


def _delete_empty(folders: Sequence[str]) -> int:
    """Looked at again: those that hold nothing any more."""
    gone = 0
    for batch in batches(folders):
        full = {one for (one,) in rows(Entry.select(Entry.parent).distinct().where(Entry.parent.in_(batch)))}
        empty = [one for one in batch if one not in full]
        gone += int(Entry.delete().where(Entry.entry_id.in_(empty)).execute())
    return gone


def _release(chunk_ids: Sequence[str]) -> None:
    """Start the grace time of those chunks that no extent names any more."""
    moment = now()
    for batch in batches(chunk_ids):
        used = Extent.select(Extent.chunk).where(Extent.chunk.in_(batch))
        Chunk.update(unreferenced_at=moment).where(Chunk.chunk_id.in_(batch) & Chunk.chunk_id.not_in(used)).execute()


_DELETE_EXTENT = Prepared(
    lambda: Extent.delete().where((Extent.version == blank("version_id")) & (Extent.position == blank("position")))
)
