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
    from collections.abc import Callable, Iterator

    from cloudgrpc.meta.files import File, Folder
    from cloudgrpc.meta.tree import Person, Reached

LOOKED_AT = 5000  # entries, in one call


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
    parts, last = _parts(folder, after)
    paths: dict[str, str] = {}
    for entry_id, names in _fitting(folder.entry_id, parts, wanted):
        paths[entry_id] = f"{folder.path.rstrip('/')}/{'/'.join(names)}"
        if len(paths) > limit:
            break
    count = min(limit, how_many_fit(len(path.encode()) for path in paths.values()))
    told = list(paths)[:count]
    return _views(told, paths, is_own=folder.is_own), told[-1] if count < len(paths) else last


def _parts(folder: Reached, after: str) -> tuple[list[Any], str]:
    """The entries to look at in this call, as conditions on Entry, each of a few hundred; and the last of them if there
    are more.

    They are all that the folder holds when that is little, else the next ones of the whole drive: so no call costs more
    than a bounded part of a drive, and a small folder no more than itself.
    """
    held = None if folder.is_own and folder.is_top else _held(folder.entry_id)
    if held is not None:
        return [Entry.entry_id.in_(batch) for batch in tree.batches(sorted(one for one in held if one > after))], ""
    in_drive = Entry.account == folder.owner_id
    query = Entry.select(Entry.entry_id).where(in_drive & (Entry.entry_id > after)).order_by(Entry.entry_id)
    ids = [entry_id for (entry_id,) in rows(query.limit(LOOKED_AT))]
    parts = [in_drive & Entry.entry_id.between(batch[0], batch[-1]) for batch in tree.batches(ids)]
    return parts, ids[-1] if len(ids) == LOOKED_AT else ""


def _held(folder_id: str) -> list[str] | None:
    """The ids of all below a folder; None for more than a call looks at."""
    held: list[str] = []
    folders = [folder_id]
    while folders:
        found: list[tuple[str, str]] = []
        for batch in tree.batches(folders):
            query = Entry.select(Entry.entry_id, Entry.kind).where(Entry.parent.in_(batch))
            found += rows(query.limit(LOOKED_AT + 1 - len(held) - len(found)))
            if len(held) + len(found) > LOOKED_AT:
                return None
        held += [entry_id for entry_id, _ in found]
        folders = [entry_id for entry_id, kind in found if kind == "folder"]
    return held


def _fitting(folder_id: str, parts: list[Any], wanted: Wanted) -> Iterator[tuple[str, list[str]]]:
    """The ids of what is wanted below a folder, with the names along the way, in order."""
    query = Entry.select(Entry.entry_id, Entry.parent, Entry.name)
    query = query.join(Version, JOIN.LEFT_OUTER, on=(Version.version_id == Entry.version_id)).where(_fits(wanted))
    ancestry = Ancestry()
    for part in parts:
        found = rows(query.where(part).order_by(Entry.entry_id))
        named = [row for row in found if wanted.is_named is None or wanted.is_named(row[2])]
        ancestry.learn(parent_id for _, parent_id, _ in named)
        for entry_id, parent_id, name in named:
            names = ancestry.names_below(parent_id, folder_id)
            if names is not None:
                yield entry_id, [*names, name]


def _fits(wanted: Wanted) -> Any:
    """A condition on Entry and Version: what is wanted, but for its name, wherever it stands."""
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


def _views(entry_ids: list[str], paths: dict[str, str], *, is_own: bool) -> list[Found]:
    found = []
    for batch in tree.batches(entry_ids):
        folders, the_files = files.views(list(files.listed().where(Entry.entry_id.in_(batch))), is_own=is_own)
        found += [Found(folder, paths[folder.folder_id]) for folder in folders]
        found += [Found(file, paths[file.file_id]) for file in the_files]
    return found
