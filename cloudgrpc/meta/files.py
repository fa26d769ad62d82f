"""Looking at the tree of folders and files: what stands where, what a folder holds, what is used."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from peewee import JOIN, Case, fn

from cloudgrpc.core import paths
from cloudgrpc.errors import Missing, VersionUnknown
from cloudgrpc.meta import sealing, tree
from cloudgrpc.meta.db import now, rows
from cloudgrpc.meta.models import Account, Chunk, Copy, Entry, Extent, Share, Version
from cloudgrpc.meta.prepared import Prepared, blank

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import peewee

    from cloudgrpc.core.sealing import Seal
    from cloudgrpc.meta.tree import Person, Reached


KINDS = ("folder", "file")  # as lists have them


@dataclass(frozen=True)
class File:
    """A file with its newest content, or the version of it that was asked for; times are microseconds since 1970."""

    file_id: str
    parent_id: str  # "" where the one who asked cannot look
    name: str
    size_bytes: int
    mime_type: str
    digest: str
    version: int
    created_at: int
    modified_at: int
    is_trashed: bool
    is_shared: bool
    version_id: str
    chunk_count: int = 0
    seal: Seal | None = field(default=None, repr=False, compare=False)  # None: its content is not sealed


@dataclass(frozen=True)
class Folder:
    folder_id: str
    parent_id: str  # "" for the root folder, and where the one who asked cannot look
    name: str
    created_at: int
    modified_at: int
    file_count: int = 0
    is_trashed: bool = False
    is_shared: bool = False


@dataclass(frozen=True)
class Standing:
    """A file or folder, and where it stands for the one who asked."""

    entry: File | Folder
    reached: Reached


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
    seal: Seal | None = field(default=None, repr=False, compare=False)  # None: the chunk is not sealed


@dataclass(frozen=True)
class Room:
    """What an account has and uses."""

    allocated_bytes: int
    used_bytes: int  # with what open uploads have reserved


@dataclass(frozen=True)
class Usage:
    """What uses it."""

    by_type: dict[str, int]
    total_files: int  # live ones, as the folders are
    total_folders: int
    live_bytes: int
    trash_bytes: int
    version_bytes: int  # older contents of live files
    reserved_bytes: int


def find_file(person: Person, file_id: str, version: int = 0) -> File:
    """A live file, with the content of a version (0: the newest). Raises: Missing."""
    reached = tree.reach_file(person, file_id)
    wanted = (Version.entry == reached.entry_id) & (Version.number == version) if version else _IS_NEWEST
    row = _files(wanted).where(Entry.entry_id == reached.entry_id).first()
    if row is None:
        raise VersionUnknown(version=version, name=reached.name)
    shared = _shared([reached.entry_id]) if reached.is_own else set()
    return _opened(row, shared, is_top=reached.is_top)


def find_with_trash(person: Person, file_id: str) -> File:
    """The newest content of a file, also of one in the person's trash. Raises: Missing."""
    if tree.trashed_top(person, file_id) is None:
        return find_file(person, file_id)
    row = _files(_IS_NEWEST).where(Entry.entry_id == tree.sound(file_id)).first()
    if row is None:
        raise Missing(what=f"File {file_id}")
    return replace(_opened(row, set()), is_trashed=True)


def resolve(person: Person, folder_id: str, names: Iterable[str]) -> Standing:
    """What stands at a path that starts in a folder (or is a file itself), given as the names along it.

    Raises: Missing naming the path.
    """
    reached = tree.reach(person, folder_id, "Folder")
    entry_id, kind, walked = reached.entry_id, reached.kind, ""
    for name in names:
        walked += f"/{name}"
        found = tree.live_child(entry_id, name) if kind == "folder" else None
        if found is None:
            raise Missing(what=walked)
        entry_id, kind = found.entry_id, found.kind
    return _standing(tree.reach(person, entry_id) if walked else reached)


def page(
    person: Person,
    folder_id: str,
    *,
    with_trash: bool,
    after: tuple[str, str, str] | None,
    limit: int,
    prefix: str = "",
) -> Page:
    """Up to `limit` entries of a folder whose names begin with `prefix`, folders first, each kind by name.

    `with_trash`: also what was deleted from it, for its owner. Raises: Missing.
    """
    folder = tree.reach_folder(person, folder_id)
    places = [Entry.parent == folder.entry_id]
    if with_trash and folder.is_own:
        places.append((Entry.trashed_from_id == folder.entry_id) & Entry.trashed_at.is_null(False))
    found: list[dict[str, Any]] = []
    for kind in KINDS[KINDS.index(after[0]) if after else 0 :]:
        # Each kind and place is asked for by itself: so an index has them in order, and a page reads no more than that.
        query = _of_kind(kind, prefix, after).limit(limit + 1 - len(found))
        rows_of_kind = [row for place in places for row in query.where(place)]
        found += sorted(rows_of_kind, key=lambda row: (row["name_key"], row["entry_id"]))
        if len(found) > limit:
            break
    more, found = len(found) > limit, found[:limit]
    return Page(
        *views(found, is_own=folder.is_own),
        last=(found[-1]["kind"], found[-1]["name_key"], found[-1]["entry_id"]) if more else None,
    )


def views(found: Sequence[dict[str, Any]], *, is_own: bool) -> tuple[list[Folder], list[File]]:
    """Rows of `listed` as folders and files. `is_own`: for their owner, who alone may know that they are shared."""
    folder_ids = [row["entry_id"] for row in found if row["kind"] == "folder"]
    counts, shared = _file_counts(folder_ids), _shared([row["entry_id"] for row in found]) if is_own else set()
    return (
        [_folder(row, counts, shared) for row in found if row["kind"] == "folder"],
        [_file(row, shared) for row in found if row["kind"] == "file"],
    )


def listed() -> Any:
    """Entries of either kind with what `views` needs of them; conditions are added by the caller."""
    return _files(_IS_NEWEST, JOIN.LEFT_OUTER)


def pieces(version_id: str, after: int, limit: int, seal: Seal | None = None) -> list[Piece]:
    """Extents of a version in order, from the position behind `after` (-1 for the start). `seal`: of the version, None
    when it had none, for it may have got one since."""
    found = _PIECES.all(version_id=version_id, after=after, last=after + limit)
    grouped = itertools.groupby(found, key=lambda row: tuple(row[:5]))
    extents = [(extent, _holders(copies)) for extent, copies in grouped]
    if seal is None and any(is_sealed for (*_, is_sealed), _ in extents):
        seal = sealing.seal_of(*_KEYS.one(version_id=version_id))
    return [
        Piece(position, chunk_id, length, checksum, holders, seal if is_sealed else None)
        for (position, chunk_id, length, checksum, is_sealed), holders in extents
    ]


def room(account_id: str) -> Room:
    account = Account.get_by_id(account_id)
    return Room(account.quota_bytes, account.used_bytes + account.reserved_bytes)


def usage(person: Person) -> Usage:
    """Reads every entry of the account."""
    found = tree.below((Entry.account == person.account_id) & Entry.parent.is_null() & Entry.purged_at.is_null())
    is_live = Case(None, [(found.c.top_id == person.root_id, 1)], 0)
    is_newest = Case(None, [(Version.version_id == Entry.version_id, 1)], 0)
    query = (
        Entry.select(
            is_live, Entry.kind, is_newest, Version.mime_type, fn.COUNT(Entry.entry_id), fn.SUM(Version.size_bytes)
        )
        .join(found, on=(Entry.entry_id == found.c.entry_id))
        .switch(Entry)
        .join(Version, JOIN.LEFT_OUTER, on=(Version.entry == Entry.entry_id))
        .group_by(is_live, Entry.kind, is_newest, Version.mime_type)
        .with_cte(found)
    )
    by_type: dict[str, int] = {}
    counts = {"live": 0, "versions": 0, "trash": 0, "files": 0, "folders": 0}
    for live, kind, newest, mime_type, count, size in rows(query):
        if kind == "folder":
            counts["folders"] += count if live else 0
            continue
        by_type[mime_type] = by_type.get(mime_type, 0) + int(size)
        counts["files"] += count if live and newest else 0
        counts["trash" if not live else "live" if newest else "versions"] += int(size)
    return Usage(
        by_type=by_type,
        total_files=counts["files"],
        total_folders=counts["folders"] - 1,  # the root folder is nobody's making
        live_bytes=counts["live"],
        trash_bytes=counts["trash"],
        version_bytes=counts["versions"],
        reserved_bytes=Account.get_by_id(person.account_id).reserved_bytes,
    )


_IS_NEWEST = Entry.version_id == Version.version_id
_PIECES = Prepared(
    lambda: (
        Extent.select(
            Extent.position, Extent.chunk, Extent.length, Chunk.checksum, Chunk.is_sealed, Copy.node, Copy.state
        )
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
_KEYS = Prepared(
    lambda: (
        Version.select(sealing.owners_key(Entry.account), Version.wrapped_key)
        .join(Entry)
        .where(Version.version_id == blank("version_id"))
    )
)


def _holders(copies: Iterable[tuple[Any, ...]]) -> tuple[Holder, ...]:
    """The row of a chunk without copies names no node."""
    return tuple(Holder(node_id, state == "good") for *_, node_id, state in copies if node_id is not None)


def _standing(reached: Reached) -> Standing:
    row = listed().where(Entry.entry_id == reached.entry_id).get()
    shared = _shared([reached.entry_id]) if reached.is_own else set()
    if reached.is_folder:
        counts = _file_counts([reached.entry_id])
        return Standing(_folder(row, counts, shared, is_top=reached.is_top), reached)
    count = _chunk_count(row["version_id"])
    return Standing(_file(row, shared, is_top=reached.is_top, chunk_count=count), reached)


def _of_kind(kind: str, prefix: str, after: tuple[str, str, str] | None) -> Any:
    """Those whose names begin with `prefix`, in their order, from behind `after` if that is of this kind."""
    query = _files(_IS_NEWEST, JOIN.LEFT_OUTER).where(Entry.kind == kind).order_by(Entry.name_key, Entry.entry_id)
    if prefix:
        key = paths.name_key(prefix)
        query = query.where((Entry.name_key >= key) & (Entry.name_key < key + "\U0010ffff"))
    if after and after[0] == kind:
        _, key, entry_id = after
        # What comes first says no more than what follows it, but an index can seek to it.
        query = query.where((Entry.name_key >= key) & ((Entry.name_key > key) | (Entry.entry_id > entry_id)))
    return query


def _files(version: peewee.Expression, join: str = JOIN.INNER) -> Any:
    return (
        Entry.select(
            Entry.entry_id,
            Entry.parent,
            Entry.kind,
            Entry.name,
            Entry.name_key,
            Entry.created_at,
            Entry.modified_at,
            Entry.trashed_at,
            Version.version_id,
            Version.number,
            Version.size_bytes,
            Version.mime_type,
            Version.digest,
            Version.wrapped_key,
            sealing.owners_key(Entry.account).alias("owners_key"),
        )
        .join(Version, join, on=version)
        .dicts()
    )


def _opened(row: dict[str, Any], shared: set[str], *, is_top: bool = False) -> File:
    """To be read. Raises: MasterKeyMissing, KeyDamaged, Missing."""
    seal = sealing.seal_of(row["owners_key"], row["wrapped_key"])
    digest = seal.open_digest(row["digest"]) if seal else row["digest"]
    file = _file(row, shared, is_top=is_top, chunk_count=_chunk_count(row["version_id"]))
    return replace(file, digest=digest, seal=seal)


def _file(row: dict[str, Any], shared: set[str], *, is_top: bool = False, chunk_count: int = 0) -> File:
    """To be looked at."""
    return File(
        file_id=row["entry_id"],
        parent_id=_parent(row, is_top=is_top),
        name=row["name"],
        size_bytes=row["size_bytes"],
        mime_type=row["mime_type"],
        digest=sealing.listed_digest(row["owners_key"], row["wrapped_key"], row["digest"]),
        version=row["number"],
        created_at=row["created_at"],
        modified_at=row["modified_at"],
        is_trashed=row["trashed_at"] is not None,
        is_shared=row["entry_id"] in shared,
        version_id=row["version_id"],
        chunk_count=chunk_count,
        seal=None,
    )


def _folder(row: dict[str, Any], counts: dict[str, int], shared: set[str], *, is_top: bool = False) -> Folder:
    return Folder(
        folder_id=row["entry_id"],
        parent_id=_parent(row, is_top=is_top),
        name=row["name"],
        created_at=row["created_at"],
        modified_at=row["modified_at"],
        file_count=counts.get(row["entry_id"], 0),
        is_trashed=row["trashed_at"] is not None,
        is_shared=row["entry_id"] in shared,
    )


def _parent(row: dict[str, Any], *, is_top: bool) -> str:
    return "" if is_top else row["parent"] or ""


def _chunk_count(version_id: str) -> int:
    return Extent.select().where(Extent.version == version_id).count()


def _shared(entry_ids: Sequence[str]) -> set[str]:
    """Which of them are shared with somebody, now."""
    lasting = Share.until_at.is_null() | (Share.until_at > now())
    return {
        entry_id
        for batch in tree.batches(entry_ids)
        for (entry_id,) in rows(Share.select(Share.entry).where(Share.entry.in_(batch) & lasting))
    }


def _file_counts(folder_ids: Sequence[str]) -> dict[str, int]:
    counts = Entry.select(Entry.parent, fn.COUNT(Entry.entry_id)).where(Entry.kind == "file").group_by(Entry.parent)
    return dict(pair for batch in tree.batches(folder_ids) for pair in rows(counts.where(Entry.parent.in_(batch))))
