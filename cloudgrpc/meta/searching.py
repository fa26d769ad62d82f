"""Finding live files and folders below a folder, a bounded part of the drive at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from peewee import JOIN, fn

from cloudgrpc.core.paging import how_many_fit
from cloudgrpc.meta import files, tree
from cloudgrpc.meta.ancestry import Ancestry
from cloudgrpc.meta.db import rows
from cloudgrpc.meta.models import Entry, Version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from cloudgrpc.meta.files import File, Folder
    from cloudgrpc.meta.tree import Person, Reached

SCANNED_AT_ONCE = 5000  # entries of the drive a call
READ_AT_ONCE = 1000  # of those that fit


@dataclass(frozen=True)
class Wanted:
    """What is looked for; None and "" stand for anything."""

    is_named: Callable[[str], bool] | None
    kind: str  # "file" or "folder"
    mime_type: str  # how it begins, in lower case
    larger_than: int | None  # bytes
    newer_than: int | None  # microseconds since 1970


@dataclass(frozen=True)
class Found:
    entry: File | Folder
    path: str  # as the one who asked sees it


def search(person: Person, folder_id: str, wanted: Wanted, after: str, limit: int) -> tuple[list[Found], str]:
    """Up to `limit` of what lies below a folder, by id from behind `after`, and the id that the next page goes on from
    ("" at the end). It may be none, and not the end. Raises: Missing."""
    folder = tree.reach_folder(person, folder_id)
    part, last = _part(folder, after)
    query = part.where(_fits(wanted)).order_by(Entry.entry_id)
    paths: dict[str, str] = {}
    for entry_id, names in _below(folder.entry_id, _fitting(query, wanted, max(limit + 1, READ_AT_ONCE))):
        paths[entry_id] = f"{folder.path.rstrip('/')}/{'/'.join(names)}"
        if len(paths) > limit:
            break
    count = min(limit, how_many_fit(len(path.encode()) for path in paths.values()))
    told = list(paths)[:count]
    return _views(told, paths, is_own=folder.is_own), told[-1] if count < len(paths) else last


def _part(folder: Reached, after: str) -> tuple[Any, str]:
    """Entries (id, parent's id, name) to look at in this call, and the last of them if there are more.

    All that the folder holds when that is little, else the next of the whole drive: so no call costs more than a
    bounded part of it, and a small folder of a large drive no more than itself.
    """
    query = Entry.select(Entry.entry_id, Entry.parent, Entry.name)
    query = query.join(Version, JOIN.LEFT_OUTER, on=(Version.version_id == Entry.version_id)).switch(Entry)
    in_drive = (Entry.account == folder.owner_id) & (Entry.entry_id > after)
    below = tree.below(Entry.entry_id == folder.entry_id)
    held = rows(Entry.select(below.c.entry_id).from_(below).limit(SCANNED_AT_ONCE + 1).with_cte(below))
    if len(held) <= SCANNED_AT_ONCE:
        return query.join(below, on=(below.c.entry_id == Entry.entry_id)).where(in_drive).with_cte(below), ""
    ids = Entry.select(Entry.entry_id).where(in_drive).order_by(Entry.entry_id)
    last = ids.offset(SCANNED_AT_ONCE - 1).limit(1).scalar() or ""
    return query.where(in_drive & (Entry.entry_id <= last) if last else in_drive), last


def _fits(wanted: Wanted) -> Any:
    """But for its name, and wherever it stands."""
    fits = Entry.parent.is_null(False)
    if wanted.kind:
        fits &= Entry.kind == wanted.kind
    if wanted.mime_type:
        fits &= fn.LOWER(fn.SUBSTR(Version.mime_type, 1, len(wanted.mime_type))) == wanted.mime_type
    if wanted.larger_than is not None:
        fits &= Version.size_bytes > wanted.larger_than
    if wanted.newer_than is not None:
        fits &= Entry.modified_at > wanted.newer_than
    return fits


def _fitting(query: Any, wanted: Wanted, at_once: int) -> Iterator[list[tuple[str, str, str]]]:
    """Those whose name fits too, so many at once."""
    found = rows(query.limit(at_once))
    while found:
        yield [row for row in found if wanted.is_named is None or wanted.is_named(row[2])]
        found = rows(query.where(Entry.entry_id > found[-1][0]).limit(at_once)) if len(found) == at_once else []


def _below(folder_id: str, candidates: Iterable[list[tuple[str, str, str]]]) -> Iterator[tuple[str, list[str]]]:
    """Those that hang below the folder, with the names along the way."""
    ancestry = Ancestry()
    for some in candidates:
        ancestry.learn(parent_id for _, parent_id, _ in some)
        for entry_id, parent_id, name in some:
            names = ancestry.names_below(parent_id, folder_id)
            if names is not None:
                yield entry_id, [*names, name]


def _views(entry_ids: list[str], paths: dict[str, str], *, is_own: bool) -> list[Found]:
    found = []
    for batch in tree.batches(entry_ids):
        folders, the_files = files.views(list(files.listed().where(Entry.entry_id.in_(batch))), is_own=is_own)
        found += [Found(folder, paths[folder.folder_id]) for folder in folders]
        found += [Found(file, paths[file.file_id]) for file in the_files]
    return found
