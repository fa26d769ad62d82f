"""What `ls` tells: folders as tables or as facts, page by page as they come."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from cloudgrpc.clients import render
from cloudgrpc.errors import Missing
from cloudgrpc.shell.attempts import Attempts
from cloudgrpc.shell.entries import (
    facts,
    id_cell,
    modified_cell,
    name_cell,
    name_style,
    shared_cell,
    size_cell,
    version_cell,
)
from cloudgrpc.shell.stream_table import GAP, StreamTable, cells, terminal_width

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from cloudgrpc.clients.places import Place, Places

    Columns: TypeAlias = "dict[str, Callable[[Place], str]]"

SHORT: Columns = {"Size": size_cell, "Modified": modified_cell}
LONG: Columns = {**SHORT, "Version": version_cell, "Shared": shared_cell}


@dataclass(frozen=True)
class Wish:
    is_long: bool = False
    is_recursive: bool = False
    with_trash: bool = False


class Listing:
    def __init__(self, places: Places, wish: Wish) -> None:
        self._places = places
        self._wish = wish

    def show(self, words: Sequence[str]) -> None:
        """Files first, then each folder. Raises: as `Attempts.finish`."""
        attempts = Attempts()
        found = attempts.named(self._places, words)
        files = [place for place in found if not place.is_folder]
        folders = [place for place in found if place.is_folder]
        if files:
            self._print([files], self._places.near)
        is_headed = len(found) > 1 or self._wish.is_recursive
        for number, top in enumerate(folders):
            with attempts.one():
                self._show_folder(top, is_headed, is_first=not files and not number)
        attempts.finish("listed")

    def facts(self, words: Sequence[str]) -> Iterator[dict[str, object]]:
        """Of what the words name, and of what folders among it hold. Raises: Missing."""
        for found in self._places.expand(words):
            if not found.is_folder:
                yield facts(found)
                continue
            for _, pages in self._levels(found):
                yield from (facts(place) for page in pages for place in page)

    def _show_folder(self, top: Place, is_headed: bool, is_first: bool) -> None:
        for folder, pages in self._levels(top):
            if is_headed:
                print(("" if is_first else "\n") + f"{render.shown(folder.path)}:")
            is_first = False
            self._print(pages, lambda place: place.name)

    def _levels(self, top: Place) -> Iterator[tuple[Place, Iterator[list[Place]]]]:
        """A folder with its pages; then, if that is wished, the folders below it, each as soon as it was read."""
        waiting = [top]
        while waiting:
            folder = waiting.pop()
            inner: list[Place] = []
            yield folder, self._noting(inner, folder, folder is top)
            waiting += reversed(inner)

    def _noting(self, inner: list[Place], folder: Place, is_top: bool) -> Iterator[list[Place]]:
        """The pages of a folder; the folders on them that are to be listed as well come into `inner`."""
        try:
            for page in self._places.pages(folder, with_trash=self._wish.with_trash):
                if self._wish.is_recursive:
                    inner += [place for place in page if place.is_folder and not place.is_deleted]
                yield page
        except Missing:
            # Somebody may delete a folder while those before it are listed.
            if is_top:
                raise

    def _print(self, pages: Iterable[list[Place]], name: Callable[[Place], str]) -> None:
        table, columns = None, LONG
        for page in filter(None, pages):
            names = [name_cell(place, name(place)) for place in page]
            if table is None:
                columns = self._columns(page, names)
                table = StreamTable([*columns, "Name"], right=["Size", "Version"])
            rows = [
                [*(cell(place) for cell in columns.values()), shown] for place, shown in zip(page, names, strict=True)
            ]
            table.add(rows, [name_style(place) for place in page])
        if table is None:
            print("Nothing here.")

    def _columns(self, page: Sequence[Place], names: Sequence[str]) -> Columns:
        """IDs are left out where the names would have to be folded beside them; what was deleted needs them."""
        if page[0].is_shared_list:
            return {}
        without = LONG if self._wish.is_long else SHORT
        columns = {**without, "ID": id_cell}
        if not sys.stdout.isatty() or self._wish.with_trash:
            return columns
        widths = [max(cells(title), *(cells(cell(place)) for place in page)) for title, cell in columns.items()]
        room = terminal_width() - sum(widths) - len(GAP) * len(widths)
        return columns if max(map(cells, names)) <= room else without
