"""Copying: new entries and versions that share their chunks with what was copied. No byte travels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from peewee import JOIN, Value, ValuesList, fn

from cloudgrpc.core import paths
from cloudgrpc.errors import CopyTooLarge, FolderCycle, InvalidField, NameTaken, VersionMoved
from cloudgrpc.meta import room, sealing, tree, versions
from cloudgrpc.meta.changes import inside, record
from cloudgrpc.meta.db import now, rows
from cloudgrpc.meta.models import Entry, Extent, Version, new_id
from cloudgrpc.meta.prepared import Prepared, blank

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudgrpc.core.sealing import AccountKey
    from cloudgrpc.meta.tree import Child, Limits, Person, Reached

ENTRIES_MOST = 100_000
TWINS_AT_ONCE = 100


@dataclass(frozen=True)
class CopyTo:
    """Where a copy is to go."""

    folder_id: str  # "" is the root folder
    name: str = ""  # "" keeps it
    replace: bool = False  # a file of that name gets the content as its next version
    expected_version: int | None = None  # of that file; 0: there must be none; None: any


@dataclass(frozen=True)
class Copied:
    entry_id: str  # of the copy
    files: int
    folders: int
    size_bytes: int


@dataclass(frozen=True)
class _Twin:
    """An entry below the folder that is copied, and the ids of its copy."""

    like_id: str
    entry_id: str
    parent_id: str
    like_version_id: str | None  # None for a folder
    version_id: str | None
    wrapped_key: str


@dataclass(frozen=True)
class _Held:
    """An entry below the folder that is copied, with its newest version."""

    entry_id: str
    parent_id: str
    version_id: str | None  # None for a folder, which has no bytes and no key
    size_bytes: int
    wrapped_key: str


class _Rewrapping:
    """Makes the keys of what one account owns the keys of another one's copies; within one account they stay."""

    def __init__(self, from_id: str, to_id: str) -> None:
        self._from_id, self._to_id = from_id, to_id

    def key(self, wrapped_key: str) -> str:
        if self._from_id == self._to_id or not wrapped_key:
            return wrapped_key
        return sealing.rewrapped(wrapped_key, self._from, self._to)

    @cached_property
    def _from(self) -> str:
        return sealing.wrapped_of(self._from_id)

    @cached_property
    def _to(self) -> AccountKey:
        return sealing.account_key(self._to_id)


def copy(person: Person, entry_id: str, to: CopyTo, limits: Limits, keep: int) -> Copied:
    """Copy a file's newest content, or a folder with all it holds, each file with its newest content.

    `keep`: versions that are kept of a file that is replaced. Raises: Missing, ReadOnlyShare (the folder it is to go
    to), NameTaken, VersionMoved, FolderCycle, CopyTooLarge, QuotaExceeded, TooDeep, PathTooLong, InvalidField.
    """
    tree.lock([tree.reach(person, entry_id).owner_id, tree.reach_folder(person, to.folder_id).owner_id])
    source = tree.reach(person, entry_id)
    target = tree.reach_folder(person, to.folder_id).check_writable()
    name = to.name or source.name
    if source.is_folder and tree.is_within(source.entry_id, target.entry_id):
        raise FolderCycle(name=source.name or "The root folder")
    if not name:
        raise InvalidField(field="new_name", reason="must not be empty for a copy of a root folder")
    standing = tree.live_child(target.entry_id, name)
    _check_standing(source, standing, to, name)
    if standing is not None:
        copied = _replace(person, source, standing, target, keep)
    else:
        height, longest = tree.extent_below(source.entry_id) if source.is_folder else (0, 0)
        tree.check_place(target, name, limits, height, longest)
        copied = (_copy_folder if source.is_folder else _copy_file)(person, source, target, name)
    if source.owner_id == target.owner_id:
        like = source.owner_path
    else:
        # The owner of the target need not be allowed to know where the source lies.
        like = source.seen_path if target.is_own else source.name
    record(
        "entry.copied",
        f"{like} was copied to {inside(target.owner_path, name)}",
        person,
        target.owner_id,
        seen=f"{source.seen_path} was copied to {inside(target.seen_path, name)}",
        entry_id=copied.entry_id,
        files=copied.files,
        folders=copied.folders,
        bytes=copied.size_bytes,
    )
    return copied


def _check_standing(source: Reached, standing: Child | None, to: CopyTo, name: str) -> None:
    """Raises: NameTaken, VersionMoved."""
    if standing is not None:
        can_replace = to.replace and {source.kind, standing.kind} == {"file"} and standing.entry_id != source.entry_id
        if not can_replace:
            raise NameTaken(name=name)
    version = versions.newest_number(standing.entry_id) if standing else 0
    if to.expected_version is not None and version != to.expected_version:
        raise VersionMoved(name=name, version=version, expected=to.expected_version)


def _replace(person: Person, source: Reached, standing: Child, target: Reached, keep: int) -> Copied:
    like = Version.get_by_id(source.version_id)
    room.charge(target.owner_id, standing.name, like.size_bytes)
    wrapped_key = _Rewrapping(source.owner_id, target.owner_id).key(like.wrapped_key)
    number = versions.add(standing.entry_id, like.version_id, person.email, wrapped_key)
    path = inside(target.owner_path, standing.name)
    versions.prune(target.owner_id, standing.entry_id, path, number, keep)
    return Copied(standing.entry_id, 1, 0, like.size_bytes)


def _copy_file(person: Person, source: Reached, target: Reached, name: str) -> Copied:
    like = Version.get_by_id(source.version_id)
    room.charge(target.owner_id, name, like.size_bytes)
    entry_id = _make_top(source, target, name)
    wrapped_key = _Rewrapping(source.owner_id, target.owner_id).key(like.wrapped_key)
    versions.add(entry_id, like.version_id, person.email, wrapped_key)
    return Copied(entry_id, 1, 0, like.size_bytes)


def _copy_folder(person: Person, source: Reached, target: Reached, name: str) -> Copied:
    held = _held(source)
    size = sum(one.size_bytes for one in held)
    room.charge(target.owner_id, name, size)
    top_id = _make_top(source, target, name)
    twins = _twins(source.entry_id, top_id, held, _Rewrapping(source.owner_id, target.owner_id))
    _insert(twins, target.owner_id, person.email)
    files = sum(twin.version_id is not None for twin in twins)
    return Copied(top_id, files, len(twins) - files + 1, size)


def _held(source: Reached) -> list[_Held]:
    """All below a folder, what holds before what is held. Raises: CopyTooLarge."""
    found = tree.below(Entry.entry_id == source.entry_id)
    query = (
        Entry.select(
            Entry.entry_id,
            Entry.parent,
            Entry.version_id,
            fn.COALESCE(Version.size_bytes, 0),
            fn.COALESCE(Version.wrapped_key, ""),
        )
        .join(found, on=(found.c.entry_id == Entry.entry_id))
        .switch(Entry)
        .join(Version, JOIN.LEFT_OUTER, on=(Version.version_id == Entry.version_id))
        .where(found.c.step > 0)
        .order_by(found.c.step)
        .limit(ENTRIES_MOST + 1)
        .with_cte(found)
    )
    held = [_Held(*row) for row in rows(query)]
    if len(held) > ENTRIES_MOST:
        raise CopyTooLarge(name=source.name, most=ENTRIES_MOST)
    return held


def _twins(source_id: str, top_id: str, held: Sequence[_Held], rewrapping: _Rewrapping) -> list[_Twin]:
    folders = {source_id: top_id}
    twins = []
    for one in held:
        twin_id = new_id()
        if one.version_id is None:
            folders[one.entry_id] = twin_id
        version_id = new_id() if one.version_id else None
        key = rewrapping.key(one.wrapped_key)
        twins.append(_Twin(one.entry_id, twin_id, folders[one.parent_id], one.version_id, version_id, key))
    return twins


def _make_top(source: Reached, target: Reached, name: str) -> str:
    """The copy itself, still empty; its id."""
    moment = now()
    entry = Entry.create(
        entry_id=new_id(),
        account=target.owner_id,
        parent=target.entry_id,
        kind=source.kind,
        name=name,
        name_key=paths.name_key(name),
        created_at=moment,
        modified_at=moment,
    )
    return str(entry.entry_id)


def _insert(twins: Sequence[_Twin], owner_id: str, made_by: str) -> None:
    """Made by the database out of what it holds; only the ids go there, so many at once."""
    moment = now()
    for start in range(0, len(twins), TWINS_AT_ONCE):
        ids = dict.fromkeys(_NO_IDS) | {
            f"{column}{place}": getattr(twin, column)
            for place, twin in enumerate(twins[start : start + TWINS_AT_ONCE])
            for column in _COLUMNS
        }
        _ENTRIES.run(owner_id=owner_id, now=moment, **ids)
        _VERSIONS.run(made_by=made_by, now=moment, **ids)
        _EXTENTS.run(**ids)


def _entries() -> Any:
    twin = _twin_rows()
    held = Entry.select(
        twin.c.entry_id,
        blank("owner_id"),
        twin.c.parent_id,
        Entry.kind,
        Entry.name,
        Entry.name_key,
        twin.c.version_id,
        blank("now"),
        blank("now"),
    )
    return Entry.insert_from(
        held.join(twin, on=(twin.c.like_id == Entry.entry_id)).with_cte(twin),
        [
            Entry.entry_id,
            Entry.account,
            Entry.parent,
            Entry.kind,
            Entry.name,
            Entry.name_key,
            Entry.version_id,
            Entry.created_at,
            Entry.modified_at,
        ],
    )


def _versions() -> Any:
    twin = _twin_rows()
    held = Version.select(
        twin.c.version_id,
        twin.c.entry_id,
        Value(1),
        Version.size_bytes,
        Version.digest,
        Version.mime_type,
        blank("now"),
        blank("made_by"),
        twin.c.wrapped_key,
    )
    return Version.insert_from(
        held.join(twin, on=(twin.c.like_version_id == Version.version_id)).with_cte(twin),
        [
            Version.version_id,
            Version.entry,
            Version.number,
            Version.size_bytes,
            Version.digest,
            Version.mime_type,
            Version.created_at,
            Version.made_by,
            Version.wrapped_key,
        ],
    )


def _extents() -> Any:
    twin = _twin_rows()
    held = Extent.select(twin.c.version_id, Extent.position, Extent.chunk, Extent.length)
    return Extent.insert_from(
        held.join(twin, on=(twin.c.like_version_id == Extent.version)).with_cte(twin),
        [Extent.version, Extent.position, Extent.chunk, Extent.length],
    )


def _twin_rows() -> Any:
    """A table of twins, as many as go at once; those that are missing are NULL, and find nothing."""
    lines = [tuple(blank(f"{column}{place}") for column in _COLUMNS) for place in range(TWINS_AT_ONCE)]
    return ValuesList(lines).cte("twin", columns=_COLUMNS)


_COLUMNS = ("like_id", "entry_id", "parent_id", "like_version_id", "version_id", "wrapped_key")
_NO_IDS = [f"{column}{place}" for place in range(TWINS_AT_ONCE) for column in _COLUMNS]
_ENTRIES, _VERSIONS, _EXTENTS = Prepared(_entries), Prepared(_versions), Prepared(_extents)
