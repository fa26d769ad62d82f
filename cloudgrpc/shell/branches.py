"""A folder drawn as a tree, line by line as it is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING, TypeVar

from cloudgrpc.errors import Missing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cloudgrpc.clients.places import Place, Places

Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Branch:
    lines: str  # what is drawn before the name
    place: Place
    depth: int  # 1: directly in the folder


@dataclass
class Tree:
    places: Places
    depth: int  # how deep it is drawn; 0: all of it
    are_files_left_out: bool
    folders: int = field(default=0, init=False)  # drawn so far
    files: int = field(default=0, init=False)

    def branches(self, top: Place) -> Iterator[Branch]:
        """Raises: Missing."""
        growing = [(with_last(self._inside(top)), "")]
        while growing:
            inner, lines = growing[-1]
            try:
                place, is_last = next(inner)
            except StopIteration:
                growing.pop()
                continue
            except Missing:
                # Somebody may delete a folder while it is drawn.
                growing.pop()
                if not growing:
                    raise
                continue
            yield Branch(lines + ("└── " if is_last else "├── "), place, len(growing))
            if not place.is_folder:
                self.files += 1
                continue
            self.folders += 1
            if not self.depth or len(growing) < self.depth:
                growing.append((with_last(self._inside(place)), lines + ("    " if is_last else "│   ")))

    def _inside(self, folder: Place) -> Iterator[Place]:
        children = self.places.children(folder)
        # Folders come first.
        return takewhile(lambda place: place.is_folder, children) if self.are_files_left_out else children


def with_last(things: Iterable[Thing]) -> Iterator[tuple[Thing, bool]]:
    """Each with whether it is the last."""
    waiting: list[Thing] = []
    for thing in things:
        if waiting:
            yield waiting.pop(), False
        waiting.append(thing)
    if waiting:
        yield waiting.pop(), True
