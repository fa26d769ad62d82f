"""What an upload is for: a folder and a name in it, or a file that gets its next content."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudgrpc.errors import NameTaken, VersionMoved
from cloudgrpc.meta import tree, versions
from cloudgrpc.meta.changes import inside

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudgrpc.meta.tree import Limits, Person, Reached

    Reach = Callable[[Person, str], Reached]  # raises: Missing


@dataclass(frozen=True)
class Target:
    folder: Reached | None  # None when `standing` was named itself
    standing: str | None  # the id of the file that gets another version; None: there is none of that name
    name: str
    owner_id: str
    owner_path: str  # of the file
    seen_path: str  # as `Reached` has them

    @property
    def folder_id(self) -> str:
        return self.folder.entry_id if self.folder else ""

    def check_version(self, expected: int | None) -> None:
        """Raises: VersionMoved."""
        version = versions.newest_number(self.standing) if expected is not None and self.standing else 0
        if expected is not None and version != expected:
            raise VersionMoved(name=self.name, version=version, expected=expected)

    def check_place(self, limits: Limits) -> None:
        """Raises: TooDeep, PathTooLong for a file that would be new there."""
        if self.folder is not None and self.standing is None:
            tree.check_place(self.folder, self.name, limits)


def reach(person: Person, parent_id: str) -> Reached:
    """A folder to upload into, or a file to upload over. Raises: Missing."""
    return tree.reach(person, parent_id, "Folder")


class Reaching:
    """`reach`, but walks to each place once, for a transaction that holds the locks of their drives already: nothing
    that it tells changes until the transaction's end, unless by the transaction itself."""

    def __init__(self) -> None:
        self._reached: dict[tuple[str, str], Reached] = {}

    def __call__(self, person: Person, parent_id: str) -> Reached:
        """Raises: Missing."""
        key = person.account_id, parent_id
        if key not in self._reached:
            self._reached[key] = reach(person, parent_id)
        return self._reached[key]


def find_target(person: Person, parent_id: str, name: str, reaching: Reach = reach) -> Target:
    """Raises: Missing, ReadOnlyShare, NameTaken (by a folder)."""
    reached = reaching(person, parent_id).check_writable()
    if not reached.is_folder:
        return Target(None, reached.entry_id, reached.name, reached.owner_id, reached.owner_path, reached.seen_path)
    standing = tree.live_child(reached.entry_id, name)
    if standing is not None and standing.kind == "folder":
        raise NameTaken(name=name)
    return Target(
        reached,
        standing.entry_id if standing else None,
        name,
        reached.owner_id,
        inside(reached.owner_path, name),
        inside(reached.seen_path, name),
    )
