"""The end of what was deleted for good: its rows go little by little, and its chunks age towards collection.

What is purged can be reached by nobody, so nobody but another sweep touches these rows, and no drive is locked.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from cloudgrpc.meta.db import locked, now
from cloudgrpc.meta.models import Chunk, Entry, Extent, Version
from cloudgrpc.meta.prepared import Prepared, blank, some, spread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    _Extent = tuple[str, int, str]  # version, position, chunk


def sweep(limit: int) -> int:
    """A step: delete purged entries, what folders hold before them, and files' extents before their versions before
    them; about `limit` rows of each. Returns how many rows moved on, 0 at the end."""
    # Two sweeps at once take turns.
    tops = _TOPS.all(limit=limit)
    folders = [entry_id for entry_id, kind in tops if kind == "folder"]
    held = _first(_HELD, folders, limit)
    moved = _take_out([entry_id for entry_id, kind in held if kind == "folder"])
    files = [entry_id for entry_id, kind in [*held, *tops] if kind == "file"]
    return moved + _delete_files(files, limit) + _delete_empty(folders)


def _first(query: Prepared, ids: Sequence[str], limit: int) -> list[Any]:
    """The first rows that belong to these ids."""
    found: list[Any] = []
    for batch in spread("id", ids):
        found += query.all(limit=limit - len(found), **batch)
    return found


def _all(query: Prepared, ids: Sequence[str]) -> list[Any]:
    return [row for batch in spread("id", ids) for row in query.all(**batch)]


def _run(query: Prepared, ids: Sequence[str], **values: object) -> int:
    return sum(query.run(**batch, **values) for batch in spread("id", ids))


def _take_out(folders: Sequence[str]) -> int:
    """Folders in purged ones become purged ones themselves, which the next steps find."""
    return _run(_TAKE_OUT, folders, now=now())


def _delete_files(files: Sequence[str], limit: int) -> int:
    """Of files that hold more than `limit` versions or extents some go, and the rest in the next steps."""
    extents = _first(_EXTENTS, files, limit + 1)
    if len(extents) > limit:
        _let_go(extents[:limit], partial(_delete_each, extents[:limit]))
        return limit
    _let_go(extents, partial(_all, _DELETE_EXTENTS_OF, files))
    versions = [version_id for (version_id,) in _first(_VERSIONS, files, limit + 1)]
    _run(_DELETE_VERSIONS, versions[:limit])
    if len(versions) > limit:
        return limit
    return _run(_DELETE_ENTRIES, files)


def _let_go(extents: Sequence[_Extent], delete: Callable[[], list[tuple[str]]]) -> None:
    """Delete extents, and start the grace time of those chunks that no other names. `delete` returns the chunks that
    they named."""
    chunks = {chunk_id for _, _, chunk_id in extents}
    # Two who let go of one chunk at once would each see the other's reference: they take turns.
    _all(_LOCK_CHUNKS, sorted(chunks))
    # Before that lock, sealed chunks may have come into their places.
    came = {chunk_id for (chunk_id,) in delete()} - chunks
    _all(_LOCK_CHUNKS, sorted(came))
    _run(_RELEASE, sorted(chunks | came), now=now())


def _delete_each(extents: Sequence[_Extent]) -> list[tuple[str]]:
    return [
        row
        for version_id, position, _ in extents
        for row in _DELETE_EXTENT.all(version_id=version_id, position=position)
    ]


def _delete_empty(folders: Sequence[str]) -> int:
    """Looked at again: those that hold nothing any more."""
    full = {parent_id for batch in spread("id", folders) for (parent_id,) in _FULL.all(**batch)}
    return _run(_DELETE_ENTRIES, [folder_id for folder_id in folders if folder_id not in full])


_TOPS = Prepared(
    lambda: locked(
        Entry.select(Entry.entry_id, Entry.kind)
        .where(Entry.purged_at.is_null(False))
        .order_by(Entry.purged_at, Entry.entry_id)
        .limit(blank("limit"))
    )
)
_HELD = Prepared(
    lambda: Entry.select(Entry.entry_id, Entry.kind).where(Entry.parent.in_(some("id"))).limit(blank("limit"))
)
_FULL = Prepared(lambda: Entry.select(Entry.parent).distinct().where(Entry.parent.in_(some("id"))))
_TAKE_OUT = Prepared(lambda: Entry.update(parent=None, purged_at=blank("now")).where(Entry.entry_id.in_(some("id"))))
_EXTENTS = Prepared(
    lambda: (
        Extent.select(Extent.version, Extent.position, Extent.chunk)
        .join(Version)
        .where(Version.entry.in_(some("id")))
        .limit(blank("limit"))
    )
)
_VERSIONS = Prepared(
    lambda: Version.select(Version.version_id).where(Version.entry.in_(some("id"))).limit(blank("limit"))
)
_LOCK_CHUNKS = Prepared(
    lambda: locked(Chunk.select(Chunk.chunk_id).where(Chunk.chunk_id.in_(some("id"))).order_by(Chunk.chunk_id))
)
_RELEASE = Prepared(
    lambda: Chunk.update(unreferenced_at=blank("now")).where(
        Chunk.chunk_id.in_(some("id"))
        & Chunk.chunk_id.not_in(Extent.select(Extent.chunk).where(Extent.chunk.in_(some("id"))))
    )
)
_DELETE_EXTENT = Prepared(
    lambda: (
        Extent.delete()
        .where((Extent.version == blank("version_id")) & (Extent.position == blank("position")))
        .returning(Extent.chunk)
    )
)
_DELETE_EXTENTS_OF = Prepared(
    lambda: (
        Extent.delete()
        .where(Extent.version.in_(Version.select(Version.version_id).where(Version.entry.in_(some("id")))))
        .returning(Extent.chunk)
    )
)
_DELETE_VERSIONS = Prepared(lambda: Version.delete().where(Version.version_id.in_(some("id"))))
_DELETE_ENTRIES = Prepared(lambda: Entry.delete().where(Entry.entry_id.in_(some("id"))))
