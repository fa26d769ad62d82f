"""Where an entry stands, and what somebody may do with it: the one way to an entry that a client named.

Every change of a drive takes the drive's lock first, so that a look and the change that follows from it are one: moves
make no cycle, nothing comes into a folder that is being deleted, and the quota is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from peewee import JOIN, Value, fn

from cloudgrpc.core import paths
from cloudgrpc.errors import InvalidField, Missing, NameTaken, OwnerOnly, PathTooLong, ReadOnlyShare, TooDeep
from cloudgrpc.meta.db import is_postgres, locked, now, rows
from cloudgrpc.meta.models import Account, Entry, Share, Version
from cloudgrpc.meta.prepared import Prepared, blank

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

IDS_PER_STATEMENT = 500
MOST_STEPS = 1000  # more than any max_depth: a walk ends whatever the rows say


class Person(Protocol):
    """Somebody signed in, as far as drives care."""

    @property
    def account_id(self) -> str: ...
    @property
    def email(self) -> str: ...
    @property
    def root_id(self) -> str: ...


@dataclass(frozen=True)
class Limits:
    """How far a tree may go: folders above an entry (in the root folder: 0), and bytes of a path from the root."""

    max_depth: int
    max_path_bytes: int


@dataclass(frozen=True)
class Reached:
    """A live entry, and what the one who asked may do with it. Times are microseconds since 1970."""

    entry_id: str
    kind: str
    name: str
    owner_id: str
    owner_email: str
    parent_id: str | None
    version_id: str | None
    created_at: int
    modified_at: int
    permission: str  # "own", "write" or "read"
    share_id: str  # by which it is reached; "" for one's own
    is_top: bool  # the root folder, or the very thing that was shared: it stays where it is
    owner_names: tuple[str, ...]  # along the path from its owner's root folder
    hidden: int  # of them lie above what was shared

    @property
    def path(self) -> str:
        """As the one who asked sees it: from their root folder, or from what was shared."""
        return "/" + "/".join(self.owner_names[self.hidden :])

    @property
    def owner_path(self) -> str:
        return "/" + "/".join(self.owner_names)

    @property
    def seen_path(self) -> str:
        """As `path`, in words that tell another's drive from one's own; the shell takes them as they are."""
        return self.path if self.is_own else f"shared:{self.owner_email}{self.path}"

    @property
    def depth(self) -> int:
        """In its owner's drive; the root folder is 0."""
        return len(self.owner_names)

    @property
    def path_bytes(self) -> int:
        """Of its whole path in its owner's drive."""
        return sum(map(path_bytes, self.owner_names))

    @property
    def is_folder(self) -> bool:
        return self.kind == "folder"

    @property
    def is_own(self) -> bool:
        return self.permission == "own"

    def check_writable(self) -> Reached:
        """Raises: ReadOnlyShare."""
        if self.permission == "read":
            raise ReadOnlyShare(name=self.name)
        return self

    def check_movable(self, field: str) -> Reached:
        """To be moved, renamed or deleted. Raises: ReadOnlyShare, InvalidField for a root folder, OwnerOnly for the
        very thing that was shared: that is in a folder of its owner's."""
        if self.is_top and self.is_own:
            raise InvalidField(field=field, reason="is the root folder, which stays")
        if self.check_writable().is_top:
            raise OwnerOnly(name=self.name)
        return self

    def check_own(self) -> Reached:
        """Raises: OwnerOnly."""
        if not self.is_own:
            raise OwnerOnly(name=self.name)
        return self


@dataclass(frozen=True)
class Child:
    entry_id: str
    kind: str
    name: str
    version_id: str | None


def _chain() -> Any:
    """The entry and all that hold it, from it upwards."""
    first = Entry.select(Entry.entry_id, Entry.parent, Value(0)).where(Entry.entry_id == blank("entry_id"))
    chain = first.cte("chain", recursive=True, columns=("entry_id", "parent_id", "step"))
    above = Entry.alias()
    following = (
        above.select(above.entry_id, above.parent, chain.c.step + 1)
        .join(chain, on=(above.entry_id == chain.c.parent_id))
        .where(chain.c.step < MOST_STEPS)
    )
    return chain.union_all(following)


def _reach() -> Any:
    chain = _chain()
    shared = (
        (Share.entry == Entry.entry_id)
        & (Share.email == blank("email"))
        & (Share.until_at.is_null() | (Share.until_at > blank("now")))
    )
    return (
        Entry.select(
            Entry.entry_id,
            Entry.kind,
            Entry.name,
            Entry.parent,
            Entry.version_id,
            Entry.created_at,
            Entry.modified_at,
            Account.account_id,
            Account.email,
            Account.root_id,
            Account.closes_at,
            Share.share_id,
            Share.permission,
        )
        .join(chain, on=(chain.c.entry_id == Entry.entry_id))
        .switch(Entry)
        .join(Account)
        .switch(Entry)
        .join(Share, JOIN.LEFT_OUTER, on=shared)
        .order_by(chain.c.step)
        .with_cte(chain)
    )


def _purged() -> Any:
    """When the top that an entry hangs below was deleted for good."""
    chain = _chain()
    tops = Entry.select(Entry.purged_at).join(chain, on=(chain.c.entry_id == Entry.entry_id))
    return tops.order_by(chain.c.step.desc()).limit(1).with_cte(chain)


_REACH = Prepared(_reach)
_PURGED = Prepared(_purged)
_LOCK = Prepared(lambda: locked(Account.select(Account.account_id).where(Account.account_id == blank("account_id"))))
_CHILD = Prepared(
    lambda: Entry.select(Entry.entry_id, Entry.kind, Entry.name, Entry.version_id).where(
        # What has a parent is live; said again, for SQLite to see the index of live names. By that of lists it would
        # read the whole folder.
        (Entry.parent == blank("parent_id")) & (Entry.name_key == blank("name_key")) & Entry.trashed_at.is_null()
    )
)


def reach(person: Person, entry_id: str, what: str = "File") -> Reached:
    """A live entry that is the person's own or shared with them; "" is their root folder.

    `what` it is called when it is Missing, which is also what nobody shares with them, what lies in the trash, and what
    a closed account holds.
    """
    chain = _REACH.all(entry_id=sound(entry_id or person.root_id), email=person.email, now=now())
    if not chain:
        raise Missing(what=f"{what} {entry_id}")
    kind, name, parent_id, version_id, created_at, modified_at, owner_id, owner_email, root_id, closes_at = chain[0][
        1:11
    ]
    is_live = chain[-1][0] == root_id
    permission, share, top = _right(person, owner_id, chain)
    if not is_live or not permission or (owner_id != person.account_id and closes_at is not None):
        raise Missing(what=f"{what} {entry_id}")
    names = [row[2] for row in chain[:-1]]  # the root folder has none
    return Reached(
        entry_id=chain[0][0],
        kind=kind,
        name=name,
        owner_id=owner_id,
        owner_email=owner_email,
        parent_id=parent_id,
        version_id=version_id,
        created_at=created_at,
        modified_at=modified_at,
        permission=permission,
        share_id=share,
        is_top=top == 0,
        owner_names=tuple(reversed(names)),
        hidden=len(names) - len(names[: top + 1]),
    )


def trashed_top(person: Person, entry_id: str) -> str | None:
    """What was deleted when the entry went to the person's trash: the entry itself, or a folder around it; None when it
    is not there."""
    chain = _REACH.all(entry_id=sound(entry_id), email="", now=0)
    if not chain or chain[0][7] != person.account_id:
        return None
    top_id: str = chain[-1][0]
    in_trash = Entry.select().where((Entry.entry_id == top_id) & Entry.trashed_at.is_null(False)).exists()
    return top_id if in_trash else None


def told_path(entry_id: str) -> str:
    """Where an entry stands in its owner's drive, or where it was before it was deleted: for the owner's eyes. Its name
    alone, or with what of the way to it is left, when that is not known any more."""
    chain = _REACH.all(entry_id=entry_id, email="", now=0)
    top_id, names, root_id = chain[-1][0], [row[2] for row in reversed(chain)], chain[0][9]
    if top_id == root_id:
        return "/" + "/".join(names[1:])
    folder: str = Entry.get_by_id(top_id).trashed_path
    return "/".join([*([folder.rstrip("/")] if folder else []), *names])


def reach_folder(person: Person, folder_id: str) -> Reached:
    """The same for a folder. Raises: Missing, also for a file."""
    reached = reach(person, folder_id, "Folder")
    if not reached.is_folder:
        raise Missing(what=f"Folder {folder_id}")
    return reached


def reach_file(person: Person, file_id: str) -> Reached:
    """The same for a file. Raises: Missing, also for a folder."""
    reached = reach(person, file_id)
    if reached.is_folder:
        raise Missing(what=f"File {file_id}")
    return reached


def lock(account_ids: Iterable[str]) -> None:
    """Take the locks of drives to the transaction's end, always in the same order. SQLite has one writer anyway."""
    if is_postgres():
        for account_id in sorted(set(account_ids)):
            _LOCK.one(account_id=account_id)


def live_child(parent_id: str, name: str) -> Child | None:
    """What has this name in a folder."""
    row = _CHILD.one(parent_id=parent_id, name_key=paths.name_key(name))
    return Child(*row) if row else None


def check_free(folder: Reached, name: str) -> None:
    """Raises: NameTaken."""
    if live_child(folder.entry_id, name):
        raise NameTaken(name=name)


def check_place(folder: Reached, name: str, limits: Limits, height: int = 0, longest: int = 0) -> None:
    """Whether a new entry may lie there. `height`, `longest`: of what it holds, as `extent_below` tells.

    Raises: TooDeep, PathTooLong.
    """
    depth = folder.depth + height  # of folders above the deepest
    if depth > limits.max_depth:
        raise TooDeep(name=name, depth=depth, most=limits.max_depth)
    length = folder.path_bytes + path_bytes(name) + longest
    if length > limits.max_path_bytes:
        raise PathTooLong(name=name, length=length, most=limits.max_path_bytes)


def path_bytes(name: str) -> int:
    """What a name adds to a path: itself and a slash."""
    return len(name.encode()) + 1


def below(tops: Any) -> Any:
    """A recursive CTE of entries and all they hold: entry_id, top_id (which of the tops), kind, step. `tops`: a
    condition on Entry."""
    first = Entry.select(Entry.entry_id, Entry.entry_id, Entry.kind, Value(0)).where(tops)
    found = first.cte("below", recursive=True, columns=("entry_id", "top_id", "kind", "step"))
    inner = Entry.alias()
    following = (
        inner.select(inner.entry_id, found.c.top_id, inner.kind, found.c.step + 1)
        .join(found, on=(inner.parent == found.c.entry_id))
        .where(found.c.kind == "folder")
    )
    return found.union_all(following)


def extent_below(entry_id: str) -> tuple[int, int]:
    """How deep and how long what an entry holds goes: levels below it, and bytes of the longest path below it."""
    folders = _folders_below(Entry.entry_id == entry_id)
    query = (
        Entry.select(fn.MAX(folders.c.step + 1), fn.MAX(folders.c.length + _name_bytes(Entry.name) + 1))
        .join(folders, on=(Entry.parent == folders.c.entry_id))
        .with_cte(folders)
    )
    ((height, longest),) = rows(query)
    return int(height or 0), int(longest or 0)


def bytes_below(tops: Any) -> dict[str, int]:
    """Logical bytes of every version of entries and all they hold, by these entries' ids; those without a file in them
    may be left out. `tops`: a condition on Entry."""
    size = fn.SUM(Version.size_bytes)
    themselves = Version.select(Version.entry, size).join(Entry).where(tops).group_by(Version.entry)
    folders = _folders_below(tops)
    held = (
        Version.select(folders.c.top_id, size)
        .join(Entry)
        .join(folders, on=(Entry.parent == folders.c.entry_id))
        .where(Entry.kind == "file")
        .group_by(folders.c.top_id)
        .with_cte(folders)
    )
    return {top_id: int(total) for top_id, total in [*rows(themselves), *rows(held)]}


def _folders_below(tops: Any) -> Any:
    """`below` of folders only, of which there are few: entry_id, top_id, step, length (bytes of the path from below the
    top)."""
    first = Entry.select(Entry.entry_id, Entry.entry_id, Value(0), Value(0)).where(tops & (Entry.kind == "folder"))
    found = first.cte("folders", recursive=True, columns=("entry_id", "top_id", "step", "length"))
    inner = Entry.alias()
    length = found.c.length + _name_bytes(inner.name) + 1
    following = (
        inner.select(inner.entry_id, found.c.top_id, found.c.step + 1, length)
        .join(found, on=(inner.parent == found.c.entry_id))
        .where(inner.kind == "folder")
    )
    return found.union_all(following)


def _name_bytes(name: Any) -> Any:
    """In the words of either engine: bytes of UTF-8, not letters."""
    return fn.OCTET_LENGTH(name) if is_postgres() else fn.LENGTH(name.cast("BLOB"))


def is_within(entry_id: str, folder_id: str) -> bool:
    """Whether a folder is an entry or lies anywhere below it."""
    return any(row[0] == entry_id for row in _REACH.all(entry_id=folder_id, email="", now=0))


def is_kept(entry_id: str) -> bool:
    """Whether there is such an entry, live or in the trash: neither it nor what holds it was deleted for good."""
    row = _PURGED.one(entry_id=entry_id)
    return row is not None and row[0] is None


def batches(ids: Sequence[str]) -> Iterator[list[str]]:
    """As many ids as one statement takes on either engine."""
    for start in range(0, len(ids), IDS_PER_STATEMENT):
        yield list(ids[start : start + IDS_PER_STATEMENT])


def sound(entry_id: str) -> str:
    """A client's word for an id. PostgreSQL takes no NUL in a text, and no id holds one."""
    return entry_id.replace("\0", "?")


def _right(person: Person, owner_id: str, chain: list[tuple[Any, ...]]) -> tuple[str, str, int]:
    """The best permission, the share that gives it, and how many steps above the entry the top of it stands."""
    if owner_id == person.account_id:
        return "own", "", len(chain) - 1
    shares = [(row[12] == "write", step, row[11]) for step, row in enumerate(chain) if row[11] is not None]
    if not shares:
        return "", "", 0
    # Of several the one that allows more, and of those the widest: its path is the longest.
    is_write, step, share_id = max(shares)
    return ("write" if is_write else "read"), share_id, step
