"""How much folders hold: what `du` tells. The sums are made of one search, however many folders there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudgrpc.clients.address import Address, address_of

if TYPE_CHECKING:
    from cloudgrpc.clients.places import Place


@dataclass
class Sum:
    size: int = 0  # bytes of the newest contents
    files: int = 0


class Sums:
    """Of a folder and of those below it, down to a depth (0: of itself only), by their paths."""

    def __init__(self, top: str, depth: int) -> None:
        self._top = address_of(top)
        self._depth = depth
        self.by_path = {str(self._top): Sum()}

    def add(self, place: Place) -> None:
        """Something that lies below the folder."""
        address = address_of(place.path)
        folder = address if place.is_folder else address.parent
        # Under the names the person typed: Unicode may know the same in another form.
        below = folder.names[len(self._top.names) :][: self._depth]
        for length in range(len(below) + 1):
            path = str(Address(self._top.names + below[:length], self._top.is_shared))
            total = self.by_path.setdefault(path, Sum())
            if place.file:
                total.size += place.file.file_size
                total.files += 1

    def largest_first(self) -> list[tuple[str, Sum]]:
        """The folder itself comes last, as the total of all."""
        top = str(self._top)
        below = [(path, total) for path, total in self.by_path.items() if path != top]
        return [*sorted(below, key=lambda each: (-each[1].size, each[0])), (top, self.by_path[top])]
