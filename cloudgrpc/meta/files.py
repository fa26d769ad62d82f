"""The tree of folders and files: look up, list, make, trash, purge."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from peewee import JOIN, fn

from cloudgrpc.core import paths
from cloudgrpc.errors import InvalidField, Missing, NameTaken
from cloudgrpc.meta import events
from cloudgrpc.meta.db import locked, now, rows
from cloudgrpc.meta.models import Account, Chunk, Copy, Entry, Extent, Version, new_id
from cloudgrpc.meta.prepared import Prepared, blank

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import peewee

IDS_PER_STATEMENT = 500


@dataclass(frozen=True)
class File:
    """A file as its owner sees it; times are microseconds since 1970."""

    file_id: str
    name: str
    size_bytes: int
    mime_type: str
    digest: str
    created_at: int
    modified_at: int
    is_trashed: bool
    version_id: str
    chunk_count: int = 0


@dataclass(frozen=True)
class Folder:
    folder_id: str
    name: str
    created_at: int
    file_count: int = 0
    is_trashed: bool = False


@dataclass(frozen=True)
class Child:
    entry_id: str
    kind: str
    name: str
    created_at: int


@dataclass(frozen=True)
class Page:
    folders: list[Folder]
    files: list[File]
    last: tuple[str, str, str] | None  # where the next page goes on: kind, name key, id; None: that was all


@dataclass(frozen=True)
class Holder:
    """A node with a copy."""

    node_id: str
    is_good: bool


@dataclass(frozen=True)
class Piece:
    """One extent of a version, for reading, and who holds its chunk; doomed copies do not count."""

    position: int
    chunk_id: str
    length: int
    checksum: str
    holders: tuple[Holder, ...]


@dataclass(frozen=True)
class Usage:
    allocated_bytes: int
    used_bytes: int  # with what open uploads have reserved
    by_type: dict[str, int]
    total_files: int
    total_folders: int


_ROOT = Prepared(lambda: Account.select(Account.root_id).where(Account.account_id == blank("account_id")))
_FOLDER = Prepared(
    lambda: Entry.select(Entry.entry_id).where(
        (Entry.entry_id == blank("entry_id"))
        & (Entry.account == blank("account_id"))
        & (Entry.kind == "folder")
        & Entry.trashed_at.is_null()
    )
)
_CHILD = Prepared(
    lambda: Entry.select(Entry.entry_id, Entry.kind, Entry.name, Entry.created_at).where(
        (Entry.parent == blank("parent_id")) & (Entry.name_key == blank("name_key")) & Entry.trashed_at.is_null()
    )
)


def find_folder_id(account_id: str, folder_id: str) -> str:
    """The id of a live folder; "" is the root. Raises: Missing."""
    row = (_FOLDER.one if folder_id else _ROOT.one)(account_id=account_id, entry_id=_sound(folder_id))
    if row is None:
        raise Missing(what=f"Folder {folder_id}")
    return str(row[0])


def find_file(account_id: str, file_id: str, *, with_trash: bool = False) -> File:
    """Raises: Missing, also for another account's file."""
    query = _files().where(_mine(account_id, file_id))
    row = (query if with_trash else query.where(Entry.trashed_at.is_null())).first()
    if row is None:
        raise Missing(what=f"File {file_id}")
    chunks = Extent.select().where(Extent.version == row["version_id"]).count()
    return _file(row, chunks)


def pieces(version_id: str, after: int, limit: int) -> list[Piece]:
    """Extents of a version in order, from the position behind `after` (-1 for the start)."""
    found = _PIECES.all(version_id=version_id, after=after, last=after + limit)
    return [
        Piece(position, chunk_id, length, checksum, _holders(copies))
        for (position, chunk_id, length, checksum), copies in itertools.groupby(found, key=lambda row: tuple(row[:4]))
    ]


def _holders(copies: Iterable[tuple[Any, ...]]) -> tuple[Holder, ...]:
    """The row of a chunk without copies names no node."""
    return tuple(Holder(node_id, state == "good") for *_, node_id, state in copies if node_id is not None)


_PIECES = Prepared(
    lambda: (
        Extent.select(Extent.position, Extent.chunk, Extent.length, Chunk.checksum, Copy.node, Copy.state)
        .join(Chunk)
        .join(Copy, JOIN.LEFT_OUTER, on=(Copy.chunk == Chunk.chunk_id) & (Copy.state != "doomed"))
        .where(
            (Extent.version == blank("version_id"))
            & (Extent.position > blank("after"))
            & (Extent.position <= blank("last"))
        )
        .order_by(Extent.position)
    )
)


def resolve(account_id: str, names: Iterable[str]) -> File | Folder:
    """What stands at a path, given as the names along it. Raises: Missing naming the path."""
    entry = Child(find_folder_id(account_id, ""), "folder", "", 0)
    walked = ""
    for name in names:
        walked += f"/{name}"
        found = live_child(entry.entry_id, name) if entry.kind == "folder" else None
        if found is None:
            raise Missing(what=walked)
        entry = found
    if entry.kind == "file":
        return find_file(account_id, entry.entry_id)
    return Folder(entry.entry_id, entry.name, entry.created_at, _file_counts([entry.entry_id]).get(entry.entry_id, 0))


def live_child(parent_id: str, name: str) -> Child | None:
    """What has this name in a folder."""
    row = _CHILD.one(parent_id=parent_id, name_key=paths.name_key(name))
    return Child(*row) if row else None


def page(account_id: str, folder_id: str, *, with_trash: bool, after: tuple[str, str, str] | None, limit: int) -> Page:
    """Up to `limit` entries of a folder, folders first, each kind by name. Raises: Missing."""
    parent_id = find_folder_id(account_id, folder_id)
    query = _files(JOIN.LEFT_OUTER).where(Entry.parent == parent_id)
    if not with_trash:
        query = query.where(Entry.trashed_at.is_null())
    if after:
        query = query.where(_behind(after))
    rows = list(query.order_by(Entry.kind.desc(), Entry.name_key, Entry.entry_id).limit(limit + 1))
    more, rows = len(rows) > limit, rows[:limit]
    counts = _file_counts([row["entry_id"] for row in rows if row["kind"] == "folder"])
    return Page(
        folders=[
            Folder(
                row["entry_id"],
                row["name"],
                row["created_at"],
                counts.get(row["entry_id"], 0),
                row["trashed_at"] is not None,
            )
            for row in rows
            if row["kind"] == "folder"
        ],
        files=[_file(row) for row in rows if row["kind"] == "file"],
        last=(rows[-1]["kind"], rows[-1]["name_key"], rows[-1]["entry_id"]) if more else None,
    )


def make_folder(account_id: str, parent_id: str, name: str) -> Folder:
    """Raises: Missing (the parent), NameTaken."""
    parent_id = find_folder_id(account_id, parent_id)
    # Locked and looked at again: it may have been deleted a moment ago.
    if not locked(Entry.select().where((Entry.entry_id == parent_id) & Entry.trashed_at.is_null())).first():
        raise Missing(what=f"Folder {parent_id}")
    if live_child(parent_id, name):
        raise NameTaken(name=name)
    moment = now()
    entry = Entry.create(
        entry_id=new_id(),
        account=account_id,
        parent=parent_id,
        kind="folder",
        name=name,
        name_key=paths.name_key(name),
        created_at=moment,
        modified_at=moment,
    )
    events.record("folder.made", f"folder {name} was made", account_id=account_id, folder_id=entry.entry_id)
    return Folder(entry.entry_id, name, moment)


def trash(account_id: str, entry_id: str) -> None:
    """Move a file, or a folder with all it holds, to the trash.

    Raises: Missing, also for what is in the trash already; InvalidField for the root folder.
    """
    entry = _deletable(account_id, entry_id)
    if entry.trashed_at is not None:
        raise Missing(what=f"File {entry_id}")
    moment, count = now(), 0
    for level in _levels(entry):
        for batch in _batches(level):
            live = Entry.entry_id.in_(batch) & Entry.trashed_at.is_null()
            count += Entry.update(trashed_at=moment).where(live).execute()
    events.record(
        "entry.trashed", f"{entry.name} was moved to the trash", account_id=account_id, entry_id=entry_id, entries=count
    )


def purge(account_id: str, entry_id: str) -> None:
    """Delete a file, or a folder with all it holds, for good, live or trashed: quota is free at once, and the chunks
    age towards collection. Raises: Missing, InvalidField for the root folder."""
    entry = _deletable(account_id, entry_id)
    size = sum(_purge_batch(batch) for level in reversed(_levels(entry)) for batch in _batches(level))
    Account.update(used_bytes=Account.used_bytes - size).where(Account.account_id == account_id).execute()
    events.record(
        "entry.purged", f"{entry.name} was deleted for good", account_id=account_id, entry_id=entry_id, bytes=size
    )


def purge_all(account_id: str, root_id: str) -> int:
    """Delete everything in an account for good, its root folder too; returns the logical bytes there were."""
    root = locked(Entry.select().where(_mine(account_id, root_id))).get()
    return sum(_purge_batch(batch) for level in reversed(_levels(root)) for batch in _batches(level))


def usage(account_id: str) -> Usage:
    account = Account.get_by_id(account_id)
    by_type = (
        Version.select(Version.mime_type, fn.SUM(Version.size_bytes))
        .join(Entry)
        .where(Entry.account == account_id)
        .group_by(Version.mime_type)
    )
    live = Entry.select().where((Entry.account == account_id) & Entry.trashed_at.is_null())
    return Usage(
        allocated_bytes=account.quota_bytes,
        used_bytes=account.used_bytes + account.reserved_bytes,
        by_type={mime: int(size) for mime, size in rows(by_type)},
        total_files=live.where(Entry.kind == "file").count(),
        total_folders=live.where((Entry.kind == "folder") & Entry.parent.is_null(False)).count(),
    )


def _deletable(account_id: str, entry_id: str) -> Entry:
    entry: Entry | None = locked(Entry.select().where(_mine(account_id, entry_id))).first()
    if entry is None:
        raise Missing(what=f"File {entry_id}")
    if entry.parent_id is None:
        raise InvalidField(field="file_id", reason="is the root folder, which stays")
    return entry


def _levels(top: Entry) -> list[list[str]]:
    """The ids of an entry and of all below it, by depth. Each folder is locked before it is looked into, so that
    nothing can come into it behind our back."""
    levels, folders = [[top.entry_id]], [top.entry_id] if top.kind == "folder" else []
    while folders:
        children = []
        for batch in _batches(folders):
            locked(Entry.select(Entry.entry_id).where(Entry.entry_id.in_(batch))).execute()
            children += rows(Entry.select(Entry.entry_id, Entry.kind).where(Entry.parent.in_(batch)))
        folders = [entry_id for entry_id, kind in children if kind == "folder"]
        levels.append([entry_id for entry_id, _ in children])
    return levels


def _purge_batch(entry_ids: list[str]) -> int:
    """Delete entries whose children are gone; returns the logical bytes of their versions."""
    versions = Version.select(Version.version_id).where(Version.entry.in_(entry_ids))
    chunks = [chunk_id for (chunk_id,) in rows(Extent.select(Extent.chunk).where(Extent.version.in_(versions)))]
    size = Version.select(fn.COALESCE(fn.SUM(Version.size_bytes), 0)).where(Version.entry.in_(entry_ids)).scalar()
    Extent.delete().where(Extent.version.in_(versions)).execute()
    Version.delete().where(Version.entry.in_(entry_ids)).execute()
    Entry.delete().where(Entry.entry_id.in_(entry_ids)).execute()
    _release(chunks)
    return int(size)


def _release(chunk_ids: list[str]) -> None:
    """Start the grace time of those chunks that no extent names any more."""
    moment = now()
    for batch in _batches(chunk_ids):
        used = Extent.select(Extent.chunk).where(Extent.chunk.in_(batch))
        Chunk.update(unreferenced_at=moment).where(Chunk.chunk_id.in_(batch) & Chunk.chunk_id.not_in(used)).execute()


def _batches(ids: list[str]) -> Iterator[list[str]]:
    """As many ids as one statement takes on either engine."""
    for start in range(0, len(ids), IDS_PER_STATEMENT):
        yield ids[start : start + IDS_PER_STATEMENT]


def _mine(account_id: str, entry_id: str) -> peewee.Expression:
    return (Entry.entry_id == _sound(entry_id)) & (Entry.account == account_id)


def _sound(entry_id: str) -> str:
    """A client's word for an id. PostgreSQL takes no NUL in a text, and no id holds one."""
    return entry_id.replace("\0", "?")


def _behind(after: tuple[str, str, str]) -> peewee.Expression:
    """Later in the order of lists: kind descending ("folder" before "file"), then name key, then id."""
    kind, key, entry_id = after
    # What comes first says no more than what follows it, but an index can seek to it.
    same_kind = (Entry.kind == kind) & (Entry.name_key >= key) & ((Entry.name_key > key) | (Entry.entry_id > entry_id))
    return same_kind if kind == "file" else (Entry.kind < kind) | same_kind


def _files(join: str = JOIN.INNER) -> Any:
    return (
        Entry.select(
            Entry.entry_id,
            Entry.kind,
            Entry.name,
            Entry.name_key,
            Entry.created_at,
            Entry.modified_at,
            Entry.trashed_at,
            Entry.version_id,
            Version.size_bytes,
            Version.mime_type,
            Version.digest,
        )
        .join(Version, join, on=(Entry.version_id == Version.version_id))
        .dicts()
    )


def _file(row: dict[str, Any], chunk_count: int = 0) -> File:
    return File(
        file_id=row["entry_id"],
        name=row["name"],
        size_bytes=row["size_bytes"],
        mime_type=row["mime_type"],
        digest=row["digest"],
        created_at=row["created_at"],
        modified_at=row["modified_at"],
        is_trashed=row["trashed_at"] is not None,
        version_id=row["version_id"],
        chunk_count=chunk_count,
    )


def _file_counts(folder_ids: list[str]) -> dict[str, int]:
    query = (
        Entry.select(Entry.parent, fn.COUNT(Entry.entry_id))
        .where(Entry.parent.in_(folder_ids) & (Entry.kind == "file") & Entry.trashed_at.is_null())
        .group_by(Entry.parent)
    )
    return dict(rows(query)) if folder_ids else {}
