"""What a drive should do, in dictionaries: the simplest thing that could be right, to compare the real one with.

Every operation raises the error that the real one should raise, and then nothing has changed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cloudgrpc.core import paths
from cloudgrpc.errors import (
    FolderCycle,
    FolderNotEmpty,
    InvalidField,
    Missing,
    NameTaken,
    NotInTrash,
    OtherDrive,
    OwnerOnly,
    PathTooLong,
    PlaceGone,
    QuotaExceeded,
    ReadOnlyShare,
    ShareUnknown,
    TooDeep,
    VersionMoved,
    VersionNewest,
    VersionUnknown,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cloudgrpc.errors import CloudError
    from cloudgrpc.meta.tree import Limits

RANK = {"": 0, "read": 1, "write": 2, "own": 3}


@dataclass
class Thing:
    """A file or a folder."""

    entry_id: str
    owner: str
    name: str
    parent: str | None  # None: a root folder, or in the trash
    versions: dict[int, tuple[str, int]] | None = None  # of a file: digest and size by number
    trashed_from: str | None = None
    made_by: dict[int, str] = field(default_factory=dict)  # by number

    @property
    def is_folder(self) -> bool:
        return self.versions is None

    @property
    def newest(self) -> int:
        return max(self.versions or {0: ("", 0)})


@dataclass(frozen=True)
class View:
    """What somebody finds where an id leads."""

    thing: Thing
    permission: str
    is_top: bool


@dataclass
class Model:
    limits: Limits
    keep: int
    roots: dict[str, str] = field(default_factory=dict)  # by person
    quotas: dict[str, int] = field(default_factory=dict)
    things: dict[str, Thing] = field(default_factory=dict)
    shares: dict[tuple[str, str], str] = field(default_factory=dict)  # by entry and grantee: the permission

    def join(self, person: str, root_id: str, quota: int) -> None:
        self.roots[person], self.quotas[person] = root_id, quota
        self.things[root_id] = Thing(root_id, person, "", None)

    # Looking

    def chain(self, entry_id: str) -> Iterator[Thing]:
        """The thing and what holds it."""
        following: str | None = entry_id
        while following is not None:
            thing = self.things[following]
            yield thing
            following = thing.parent

    def held_by(self, folder_id: str) -> dict[str, Thing]:
        return {thing.name: thing for thing in self.things.values() if thing.parent == folder_id}

    def below(self, entry_id: str) -> list[Thing]:
        """The thing and all it holds, what holds before what is held."""
        return [self.things[entry_id]] + [
            inner for held in self.held_by(entry_id).values() for inner in self.below(held.entry_id)
        ]

    def path(self, entry_id: str) -> str:
        names = [thing.name for thing in self.chain(entry_id)]
        return "/".join(reversed(names)) or "/"

    def view(self, person: str, entry_id: str) -> View | None:
        entry_id = entry_id or self.roots[person]
        if entry_id not in self.things:
            return None
        chain = list(self.chain(entry_id))
        owner = chain[0].owner
        if chain[-1].entry_id != self.roots[owner]:
            return None
        if owner == person:
            return View(chain[0], "own", entry_id == self.roots[person])
        rights = [(RANK[self.shares.get((one.entry_id, person), "")], step) for step, one in enumerate(chain)]
        rank, step = max(rights)
        permission = next(word for word, its_rank in RANK.items() if its_rank == rank)
        return View(chain[0], permission, step == 0) if permission else None

    def used(self, person: str) -> int:
        return sum(
            size
            for thing in self.things.values()
            if thing.owner == person and thing.versions
            for _, size in thing.versions.values()
        )

    def trash_of(self, person: str) -> list[Thing]:
        return [thing for thing in self.things.values() if thing.owner == person and self._is_trashed(thing)]

    def _is_trashed(self, thing: Thing) -> bool:
        return thing.parent is None and thing.entry_id != self.roots[thing.owner]

    def is_in_trash_of(self, person: str, entry_id: str) -> bool:
        return entry_id in self.things and any(
            self._is_trashed(top) and top.owner == person for top in self.chain(entry_id)
        )

    # Changing

    def make_folder(self, person: str, parent_id: str, name: str) -> Callable[[str], None]:
        """What it comes to, once it is known which id the folder got; so with all that make something."""
        parent = self._writable(self._reach(person, parent_id))
        _refuse(not parent.is_folder, Missing)
        _refuse(name in self.held_by(parent.entry_id), NameTaken)
        self._check_place(parent, name)

        def made(entry_id: str) -> None:
            self.things[entry_id] = Thing(entry_id, parent.owner, name, parent.entry_id)

        return made

    def upload(
        self, person: str, parent_id: str, name: str, content: tuple[str, int], expected: int | None
    ) -> Callable[[str], None]:
        parent = self._writable(self._reach(person, parent_id))
        standing = self.held_by(parent.entry_id).get(name) if parent.is_folder else parent
        _refuse(standing is not None and standing.is_folder, NameTaken)
        if standing is None:
            self._check_place(parent, name)
        self._check_version(standing, expected)
        self._check_room(parent.owner, content[1])

        def made(entry_id: str) -> None:
            if standing is None:
                self.things[entry_id] = Thing(
                    entry_id, parent.owner, name, parent.entry_id, {1: content}, made_by={1: person}
                )
            else:
                assert entry_id == standing.entry_id
                self._add_version(standing, content, person)

        return made

    def move(self, person: str, entry_id: str, folder_id: str | None, name: str, expected: int | None) -> None:
        moved = self._movable(person, entry_id)
        if folder_id is None:
            target = self.things[moved.parent or ""]
        else:
            target = self._writable(self._reach_folder(person, folder_id))
        _refuse(target.owner != moved.owner, OtherDrive)
        self._check_version(moved, expected)
        name = name or moved.name
        _refuse(moved in self.chain(target.entry_id), FolderCycle)
        _refuse(self.held_by(target.entry_id).get(name, moved) is not moved, NameTaken)
        self._check_place(target, name, moved)
        moved.parent, moved.name = target.entry_id, name

    def trash(self, person: str, entry_id: str, expected: int | None, *, only_empty: bool) -> None:
        thing = self._movable(person, entry_id)
        self._check_version(thing, expected)
        _refuse(only_empty and bool(self.held_by(entry_id)), FolderNotEmpty)
        thing.parent, thing.trashed_from = None, thing.parent

    def purge(self, person: str, entry_id: str) -> None:
        if not self.is_in_trash_of(person, entry_id):
            view = self._reach(person, entry_id)
            _refuse(view.permission != "own", OwnerOnly)
            _refuse(view.is_top, InvalidField)
        self._remove(entry_id)

    def empty_trash(self, person: str) -> None:
        for thing in self.trash_of(person):
            self._remove(thing.entry_id)

    def restore(self, person: str, entry_id: str, folder_id: str | None, name: str, *, make_room: bool) -> None:
        _refuse(not self.is_in_trash_of(person, entry_id), NotInTrash)
        thing = self.things[entry_id]
        if folder_id is not None:
            target = self._reach_folder(person, folder_id)
            _refuse(target.permission != "own", OtherDrive)
        else:
            place = self.view(person, thing.trashed_from or thing.parent or "")
            _refuse(place is None and not make_room, PlaceGone)
            target = place or self._reach(person, "")
        name = name or thing.name
        taken = self.held_by(target.thing.entry_id)
        _refuse(name in taken and not make_room, NameTaken)
        if name in taken:
            name = paths.free_name(name, taken.__contains__)
        self._check_place(target.thing, name, thing)
        thing.parent, thing.trashed_from, thing.name = target.thing.entry_id, None, name

    def copy(
        self, person: str, entry_id: str, folder_id: str, name: str, *, replace: bool, expected: int | None
    ) -> Callable[[Callable[[str, str], str]], None]:
        """Takes what tells the id of a name in a folder."""
        source, target = self._reach(person, entry_id).thing, self._writable(self._reach_folder(person, folder_id))
        name = name or source.name
        _refuse(source.is_folder and source in self.chain(target.entry_id), FolderCycle)
        _refuse(not name, InvalidField)
        standing = self.held_by(target.entry_id).get(name)
        _refuse(
            standing is not None and (not replace or standing.is_folder or source.is_folder or standing is source),
            NameTaken,
        )
        _refuse(expected is not None and (standing.newest if standing else 0) != expected, VersionMoved)
        if standing is None:
            self._check_place(target, name, source)
        held = self.below(entry_id)
        self._check_room(target.owner, sum(one.versions[one.newest][1] for one in held if one.versions))

        def made(id_of: Callable[[str, str], str]) -> None:
            if standing is not None and source.versions:
                self._add_version(standing, source.versions[source.newest], person)
                return
            twins = {source.parent: target.entry_id}
            for one in held:
                parent_id = twins[one.parent]
                its_name = name if one is source else one.name
                twins[one.entry_id] = twin_id = id_of(parent_id, its_name)
                versions = {1: one.versions[one.newest]} if one.versions else None
                self.things[twin_id] = Thing(twin_id, target.owner, its_name, parent_id, versions, made_by={1: person})

        return made

    def restore_version(self, person: str, file_id: str, number: int, expected: int | None) -> int:
        file = self._writable(self._reach_file(person, file_id))
        assert file.versions is not None
        self._check_version(file, expected)
        _refuse(number not in file.versions, VersionUnknown)
        content = file.versions[number]
        if content[0] != file.versions[file.newest][0]:
            self._check_room(file.owner, content[1])
            self._add_version(file, content, person)
        return file.newest

    def delete_version(self, person: str, file_id: str, number: int) -> None:
        view = self._reach_file(person, file_id)
        _refuse(view.permission != "own", OwnerOnly)
        assert view.thing.versions is not None
        _refuse(number not in view.thing.versions, VersionUnknown)
        _refuse(number == view.thing.newest, VersionNewest)
        del view.thing.versions[number], view.thing.made_by[number]

    def share(self, person: str, entry_id: str, grantee: str, permission: str) -> None:
        view = self._reach(person, entry_id)
        _refuse(view.permission != "own", OwnerOnly)
        _refuse(view.is_top, InvalidField)
        self.shares[entry_id, grantee] = permission

    def unshare(self, person: str, entry_id: str, grantee: str) -> None:
        is_mine = entry_id in self.things and self.things[entry_id].owner == person
        _refuse(not is_mine or (entry_id, grantee) not in self.shares, ShareUnknown)
        del self.shares[entry_id, grantee]

    # Judging

    def _reach(self, person: str, entry_id: str) -> View:
        view = self.view(person, entry_id)
        if view is None:
            raise Missing(what=entry_id)
        return view

    def _reach_folder(self, person: str, folder_id: str) -> View:
        view = self._reach(person, folder_id)
        _refuse(not view.thing.is_folder, Missing)
        return view

    def _reach_file(self, person: str, file_id: str) -> View:
        view = self._reach(person, file_id)
        _refuse(view.thing.is_folder, Missing)
        return view

    def _writable(self, view: View) -> Thing:
        _refuse(view.permission == "read", ReadOnlyShare)
        return view.thing

    def _movable(self, person: str, entry_id: str) -> Thing:
        view = self._reach(person, entry_id)
        _refuse(view.is_top and view.permission == "own", InvalidField)
        thing = self._writable(view)
        _refuse(view.is_top, OwnerOnly)
        return thing

    def _check_version(self, thing: Thing | None, expected: int | None) -> None:
        if expected is not None and not (thing and thing.is_folder):
            _refuse((thing.newest if thing else 0) != expected, VersionMoved)

    def _check_room(self, owner: str, size: int) -> None:
        _refuse(size > self.quotas[owner] - self.used(owner), QuotaExceeded)

    def _check_place(self, folder: Thing, name: str, thing: Thing | None = None) -> None:
        """`thing`: what is to go there with all it holds."""
        stem = "" if folder.parent is None else self.path(folder.entry_id)
        places = [f"{stem}/{name}"]
        if thing is not None:
            cut = len(self.path(thing.entry_id)) if thing.parent else len(thing.name)
            places += [f"{stem}/{name}{self.path(one.entry_id)[cut:]}" for one in self.below(thing.entry_id)[1:]]
        _refuse(any(path.count("/") - 1 > self.limits.max_depth for path in places), TooDeep)
        _refuse(any(len(path.encode()) > self.limits.max_path_bytes for path in places), PathTooLong)

    def _add_version(self, file: Thing, content: tuple[str, int], person: str) -> None:
        assert file.versions is not None
        number = file.newest + 1
        file.versions[number], file.made_by[number] = content, person
        by_owner = [one for one, its_maker in file.made_by.items() if its_maker == file.owner]
        spared = {*sorted(file.versions)[-self.keep :], *([max(by_owner)] if by_owner else [])}
        for one in file.versions.keys() - spared:
            del file.versions[one], file.made_by[one]

    def _remove(self, entry_id: str) -> None:
        for thing in self.below(entry_id):
            del self.things[thing.entry_id]
            self.shares = {key: value for key, value in self.shares.items() if key[0] != thing.entry_id}


def _refuse(is_wrong: bool, error: type[CloudError]) -> None:
    if is_wrong:
        raise error(**dict.fromkeys(FACTS, ""))


FACTS = ["name", "what", "field", "reason", "needed", "left", "quota", "depth", "most", "length", "version", "expected"]
