"""What lies in the trash: listed, put back, deleted for good by hand or by age."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from peewee import JOIN

from cloudgrpc.core import paths
from cloudgrpc.core.paging import how_many_fit
from cloudgrpc.errors import Missing, NameTaken, NotInTrash, OtherDrive, PlaceGone
from cloudgrpc.meta import changes, events, tree
from cloudgrpc.meta.db import now, rows
from cloudgrpc.meta.models import Entry, Version

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudgrpc.meta.tree import Limits, Person, Reached


@dataclass(frozen=True)
class Trashed:
    """Something that was deleted, alone or with all it holds; times are microseconds since 1970."""

    entry_id: str
    name: str
    is_folder: bool
    path: str  # where it was, in its owner's drive
    trashed_at: int
    size_bytes: int  # of a file's newest content


@dataclass(frozen=True)
class Place:
    """Where something from the trash is to go."""

    folder_id: str | None  # None: where it was; "" is the root folder
    name: str = ""  # "" keeps it
    make_room: bool = False  # use the root folder when its place is gone, and a free name when its own is taken


@dataclass(frozen=True)
class Emptied:
    entries: int
    size_bytes: int


def page(person: Person, after: tuple[int, str] | None, limit: int) -> tuple[list[Trashed], tuple[int, str] | None]:
    """Up to `limit` things in the person's trash, the newest first, from behind `after`; and where to go on (when and
    what), None at the end."""
    query = (
        Entry.select(Entry.entry_id, Entry.name, Entry.kind, Entry.trashed_path, Entry.trashed_at, Version.size_bytes)
        .join(Version, JOIN.LEFT_OUTER, on=(Version.version_id == Entry.version_id))
        .where((Entry.account == person.account_id) & Entry.trashed_at.is_null(False))
    )
    if after:
        moment, entry_id = after
        # What comes first says no more than what follows it, but an index can seek to it.
        query = query.where((Entry.trashed_at <= moment) & ((Entry.trashed_at < moment) | (Entry.entry_id < entry_id)))
    found = [
        Trashed(entry_id, name, kind == "folder", f"{path.rstrip('/')}/{name}", trashed_at, size or 0)
        for entry_id, name, kind, path, trashed_at, size in rows(
            query.order_by(Entry.trashed_at.desc(), Entry.entry_id.desc()).limit(limit + 1)
        )
    ]
    shown = found[: min(limit, how_many_fit(len(one.path.encode()) for one in found))]
    return shown, (shown[-1].trashed_at, shown[-1].entry_id) if len(found) > len(shown) else None


def restore(person: Person, entry_id: str, place: Place, limits: Limits) -> str:
    """Put something back, also a part of a deleted folder; returns its path. What it was shared with can use it again.

    Raises: NotInTrash; PlaceGone; Missing (the folder it is to go to), OtherDrive; NameTaken, TooDeep, PathTooLong.
    """
    tree.lock([person.account_id])
    if tree.trashed_top(person, entry_id) is None:
        raise NotInTrash(name=entry_id)
    entry = Entry.get_by_id(entry_id)
    folder = _folder_for(person, entry, place)
    name = _name_for(entry, folder, place)
    height, longest = tree.extent_below(entry_id) if entry.kind == "folder" else (0, 0)
    tree.check_place(folder, name, limits, height, longest)
    Entry.update(
        parent=folder.entry_id,
        name=name,
        name_key=paths.name_key(name),
        trashed_at=None,
        trashed_from_id=None,
        trashed_path="",
    ).where(Entry.entry_id == entry_id).execute()
    path = f"{folder.path.rstrip('/')}/{name}"
    changes.record(
        "entry.restored", f"{path} was restored from the trash", person, person.account_id, entry_id=entry_id
    )
    return path


def empty(person: Person, until: int, limit: int) -> Emptied:
    """Delete up to `limit` things for good that came to the person's trash by `until`, as `changes.purge` does."""
    tree.lock([person.account_id])
    mine = (Entry.account == person.account_id) & (Entry.trashed_at <= until)
    ids = [one for (one,) in rows(Entry.select(Entry.entry_id).where(mine).order_by(Entry.trashed_at).limit(limit))]
    if not ids:
        return Emptied(0, 0)
    size = sum(changes.take_out(person.account_id, ids).values())
    changes.record(
        "trash.emptied",
        f"{len(ids)} things in the trash were deleted for good",
        person,
        person.account_id,
        entries=len(ids),
        bytes=size,
    )
    return Emptied(len(ids), size)


def due(age_us: int, limit: int) -> list[tuple[str, str]]:
    """What has lain in the trash for longer than `age_us`, with its owners."""
    old = Entry.select(Entry.entry_id, Entry.account).where(Entry.trashed_at < now() - age_us)
    return [(entry_id, owner_id) for entry_id, owner_id in rows(old.order_by(Entry.trashed_at).limit(limit))]


def end(found: Sequence[tuple[str, str]], age_us: int) -> int:
    """Delete those of `due` for good that are still due; returns how many."""
    tree.lock({owner_id for _, owner_id in found})
    before = now() - age_us
    ended = 0
    for owner_id in sorted({owner_id for _, owner_id in found}):
        named = [entry_id for entry_id, its_owner_id in found if its_owner_id == owner_id]
        still = Entry.select(Entry.entry_id, Entry.name, Entry.trashed_path).where(
            Entry.entry_id.in_(named) & (Entry.trashed_at < before)
        )
        names = {entry_id: f"{path.rstrip('/')}/{name}" for entry_id, name, path in rows(still)}
        for entry_id, size in changes.take_out(owner_id, list(names)).items():
            events.record(
                "trash.ended",
                f"{names[entry_id]} was deleted for good: its time in the trash was over",
                account_id=owner_id,
                entry_id=entry_id,
                bytes=size,
                by="",
            )
        ended += len(names)
    return ended


def _folder_for(person: Person, entry: Entry, place: Place) -> Reached:
    """Raises: Missing, OtherDrive, PlaceGone."""
    if place.folder_id is not None:
        folder = tree.reach_folder(person, place.folder_id)
        if not folder.is_own:
            raise OtherDrive(name=entry.name)
        return folder
    try:
        return tree.reach_folder(person, entry.trashed_from_id or entry.parent_id or "")
    except Missing as error:
        if place.make_room:
            return tree.reach_folder(person, "")
        raise PlaceGone(name=entry.name) from error


def _name_for(entry: Entry, folder: Reached, place: Place) -> str:
    """Raises: NameTaken."""
    name = place.name or entry.name
    if tree.live_child(folder.entry_id, name) is None:
        return name
    if not place.make_room:
        raise NameTaken(name=name)
    return paths.free_name(name, lambda told: tree.live_child(folder.entry_id, told) is not None)
