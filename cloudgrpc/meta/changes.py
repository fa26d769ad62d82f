"""Changing the tree: making folders, moving, deleting. Each is one transaction that holds the drive's lock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cloudgrpc.core import paths
from cloudgrpc.errors import FolderCycle, FolderNotEmpty, Missing, NameTaken, OtherDrive, VersionMoved
from cloudgrpc.meta import events, room, tree
from cloudgrpc.meta.db import now
from cloudgrpc.meta.files import Folder
from cloudgrpc.meta.models import Entry, Version, new_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudgrpc.meta.tree import Limits, Person, Reached


@dataclass(frozen=True)
class Move:
    """Where something is to go, and under which name ("" keeps it)."""

    folder_id: str | None  # None: the folder it is in; "" is the root folder
    name: str = ""
    expected_version: int | None = None


@dataclass(frozen=True)
class Removal:
    """What must be so for something to be deleted."""

    expected_version: int | None = None  # of a file
    is_of_folder: bool = False
    only_empty: bool = False

    @property
    def what(self) -> str:
        return "Folder" if self.is_of_folder else "File"


ANY = Removal()


def make_folder(person: Person, parent_id: str, name: str, limits: Limits) -> Folder:
    """Raises: Missing (the parent), ReadOnlyShare, NameTaken, TooDeep, PathTooLong."""
    parent = reach_to_change(person, parent_id, "Folder").check_writable()
    if not parent.is_folder:
        raise Missing(what=f"Folder {parent_id}")
    tree.check_free(parent, name)
    tree.check_place(parent, name, limits)
    moment = now()
    entry = Entry.create(
        entry_id=new_id(),
        account=parent.owner_id,
        parent=parent.entry_id,
        kind="folder",
        name=name,
        name_key=paths.name_key(name),
        created_at=moment,
        modified_at=moment,
    )
    record(
        "folder.made",
        f"folder {inside(parent.owner_path, name)} was made",
        person,
        parent.owner_id,
        seen=f"folder {inside(parent.seen_path, name)} was made",
        folder_id=entry.entry_id,
    )
    return Folder(entry.entry_id, parent.entry_id, name, moment, moment)


def move(person: Person, entry_id: str, to: Move, limits: Limits) -> str:
    """Move or rename a file or folder; returns its new path as the person sees it.

    Raises: Missing, InvalidField for the root folder, ReadOnlyShare, OwnerOnly (the very thing that was shared),
    OtherDrive, NameTaken, FolderCycle, VersionMoved, TooDeep, PathTooLong.
    """
    moved = reach_to_change(person, entry_id).check_movable("file_id")
    if to.folder_id is None:
        target = tree.reach_folder(person, moved.parent_id or "")
    else:
        target = tree.reach_folder(person, to.folder_id).check_writable()
    if target.owner_id != moved.owner_id:
        raise OtherDrive(name=moved.name)
    check_version(moved.version_id, moved.name, to.expected_version)
    name = to.name or moved.name
    if moved.is_folder and tree.is_within(moved.entry_id, target.entry_id):
        raise FolderCycle(name=moved.name)
    standing = tree.live_child(target.entry_id, name)
    if standing is not None and standing.entry_id != moved.entry_id:
        raise NameTaken(name=name)
    _check_fits(moved, target, name, limits)
    Entry.update(parent=target.entry_id, name=name, name_key=paths.name_key(name), modified_at=_stamp(moved)).where(
        Entry.entry_id == moved.entry_id
    ).execute()
    record(
        "entry.moved",
        f"{moved.owner_path} was moved to {inside(target.owner_path, name)}",
        person,
        moved.owner_id,
        seen=f"{moved.seen_path} was moved to {inside(target.seen_path, name)}",
        entry_id=moved.entry_id,
    )
    return inside(target.path, name)


def trash(person: Person, entry_id: str, how: Removal = ANY) -> None:
    """Move a file, or a folder with all it holds, to its owner's trash.

    Raises: Missing, also for what is in the trash already; InvalidField for the root folder; ReadOnlyShare, OwnerOnly,
    VersionMoved, FolderNotEmpty.
    """
    entry = reach_to_change(person, entry_id, how.what).check_movable("file_id")
    _check_removal(Entry.get_by_id(entry.entry_id), how)
    folder = tree.reach_folder(person, entry.parent_id or "")
    Entry.update(parent=None, trashed_at=now(), trashed_from_id=entry.parent_id, trashed_path=folder.owner_path).where(
        Entry.entry_id == entry.entry_id
    ).execute()
    record(
        "entry.trashed",
        f"{entry.owner_path} was moved to the trash",
        person,
        entry.owner_id,
        seen=f"{entry.seen_path} was moved to the trash",
        entry_id=entry.entry_id,
    )


def purge(person: Person, entry_id: str, how: Removal = ANY) -> int:
    """Delete a file, or a folder with all it holds, for good, live or in the trash; returns the bytes that are free.

    Quota is free at once; the rows go little by little (see `sweeping`), and the chunks age towards collection.
    Raises: as `trash`; OwnerOnly for whatever is somebody else's.
    """
    tree.lock([person.account_id])
    if tree.trashed_top(person, entry_id) is None:
        path = tree.reach(person, entry_id, how.what).check_own().check_movable("file_id").path
    else:
        path = tree.told_path(entry_id)
    _check_removal(Entry.get_by_id(entry_id), how)
    (size,) = take_out(person.account_id, [entry_id]).values()
    record("entry.purged", f"{path} was deleted for good", person, person.account_id, entry_id=entry_id, bytes=size)
    return size


def take_out(account_id: str, entry_ids: Sequence[str]) -> dict[str, int]:
    """Purge entries with all they hold; returns the bytes that each frees. They are of one account, whose lock is held,
    and none holds another."""
    sizes: dict[str, int] = {}
    for batch in tree.batches(entry_ids):
        tops = Entry.entry_id.in_(batch)
        sizes |= dict.fromkeys(batch, 0) | tree.bytes_below(tops)
        Entry.update(parent=None, trashed_at=None, trashed_from_id=None, purged_at=now()).where(tops).execute()
    room.give_back(account_id, sum(sizes.values()))
    return sizes


def reach_to_change(person: Person, entry_id: str, what: str = "File") -> Reached:
    """A live entry, looked at again once its drive is locked. Raises: Missing."""
    owner_id = tree.reach(person, entry_id, what).owner_id
    tree.lock([owner_id])
    return tree.reach(person, entry_id, what)


def inside(folder_path: str, name: str) -> str:
    return f"{folder_path.rstrip('/')}/{name}"


def check_version(version_id: str | None, name: str, expected: int | None) -> None:
    """`version_id`: the newest of a file; None for a folder, which has none. `expected`: None for any.

    Raises: VersionMoved.
    """
    if expected is None or version_id is None:
        return
    version = Version.get_by_id(version_id).number
    if version != expected:
        raise VersionMoved(name=name, version=version, expected=expected)


def record(kind: str, message: str, person: Person, owner_id: str, *, seen: str = "", **details: Any) -> None:
    """An event of the owner's drive; when somebody else did it, who that was. `seen`: the message for that person, when
    it differs: what lies above a share is not theirs to know."""
    actor_id = person.account_id if person.account_id != owner_id else ""
    if actor_id:
        details |= {"by": person.email, "seen": seen or message}
    events.record(kind, message, account_id=owner_id, actor_id=actor_id, **details)


def _check_fits(moved: Reached, target: Reached, name: str, limits: Limits) -> None:
    """Raises: TooDeep, PathTooLong."""
    if target.depth < moved.depth and target.path_bytes + tree.path_bytes(name) <= moved.path_bytes:
        return  # neither deeper nor longer than it is: what it holds need not be looked at
    height, longest = tree.extent_below(moved.entry_id) if moved.is_folder else (0, 0)
    tree.check_place(target, name, limits, height, longest)


def _check_removal(entry: Entry, how: Removal) -> None:
    if how.is_of_folder and entry.kind != "folder":
        raise Missing(what=f"{how.what} {entry.entry_id}")
    check_version(entry.version_id, entry.name, how.expected_version)
    if how.only_empty and Entry.get_or_none(Entry.parent == entry.entry_id) is not None:
        raise FolderNotEmpty(name=entry.name)


def _stamp(moved: Reached) -> int:
    """A file's time is that of its content, which does not change by moving."""
    return now() if moved.is_folder else moved.modified_at
