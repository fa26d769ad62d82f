"""The end of what was deleted for good: its rows go little by little, and its chunks age towards collection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from peewee import fn

from cloudgrpc.meta.db import locked, now, rows
from cloudgrpc.meta.models import Chunk, Entry, Extent, Version
from cloudgrpc.meta.tree import batches

if TYPE_CHECKING:
    from collections.abc import Sequence


def sweep(limit: int, account_id: str | None = None) -> int:
    """Delete up to `limit` purged entries, what folders hold before them; returns how many rows moved on, 0 at the end.

    `account_id`: only of this account.
    """
    query = Entry.select(Entry.entry_id, Entry.kind).where(Entry.purged_at.is_null(False))
    if account_id is not None:
        query = query.where(Entry.account == account_id)
    tops = rows(locked(query.limit(limit)))
    files = [entry_id for entry_id, kind in tops if kind == "file"]
    folders = [entry_id for entry_id, kind in tops if kind == "folder"]
    held = _take_out_of(folders, limit)
    _delete_files(files)
    # Looked at again: those that hold nothing any more.
    empty = [
        entry_id
        for batch in batches(folders)
        for (entry_id,) in rows(Entry.select(Entry.entry_id).where(Entry.entry_id.in_(batch) & ~_holds_anything()))
    ]
    for batch in batches(empty):
        Entry.delete().where(Entry.entry_id.in_(batch)).execute()
    return held + len(files) + len(empty)


def delete_versions(version_ids: Sequence[str]) -> int:
    """Delete contents that nothing shows any more; returns their logical bytes. The caller holds the drive's lock, or
    they were purged."""
    size = 0
    for batch in batches(version_ids):
        named = Version.version_id.in_(batch)
        size += int(Version.select(fn.COALESCE(fn.SUM(Version.size_bytes), 0)).where(named).scalar())
        chunks = sorted(
            {chunk_id for (chunk_id,) in rows(Extent.select(Extent.chunk).where(Extent.version.in_(batch)))}
        )
        # Two who let go of one chunk at once would each see the other's reference: they take turns.
        for some in batches(chunks):
            locked(Chunk.select(Chunk.chunk_id).where(Chunk.chunk_id.in_(some)).order_by(Chunk.chunk_id)).execute()
        Extent.delete().where(Extent.version.in_(batch)).execute()
        Version.delete().where(named).execute()
        _release(chunks)
    return size


def _take_out_of(folders: Sequence[str], limit: int) -> int:
    held = [
        entry_id
        for batch in batches(folders)
        for (entry_id,) in rows(Entry.select(Entry.entry_id).where(Entry.parent.in_(batch)).limit(limit))
    ]
    for batch in batches(held):
        Entry.update(parent=None, purged_at=now()).where(Entry.entry_id.in_(batch)).execute()
    return len(held)


def _delete_files(files: Sequence[str]) -> None:
    for batch in batches(files):
        delete_versions([one for (one,) in rows(Version.select(Version.version_id).where(Version.entry.in_(batch)))])
        Entry.delete().where(Entry.entry_id.in_(batch)).execute()


def _holds_anything() -> Any:
    inner = Entry.alias()
    return fn.EXISTS(inner.select(inner.entry_id).where(inner.parent == Entry.entry_id))


def _release(chunk_ids: Sequence[str]) -> None:
    """Start the grace time of those chunks that no extent names any more."""
    moment = now()
    for batch in batches(chunk_ids):
        used = Extent.select(Extent.chunk).where(Extent.chunk.in_(batch))
        Chunk.update(unreferenced_at=moment).where(Chunk.chunk_id.in_(batch) & Chunk.chunk_id.not_in(used)).execute()
