"""A table that is printed while its rows come, page by page, so that a long one needs no more memory than a page.

It looks as `render.print_table` does. Its columns are as wide as the first page needs them.
"""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

from cloudgrpc.clients.render import BOLD, styled

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

GAP = "  "
LEAST_FOLD = 16  # cells; a narrower column is not folded, the terminal breaks it


class StreamTable:
    def __init__(self, titles: Sequence[str], right: Collection[str] = ()) -> None:
        """`right`: the columns that hold figures. At a terminal the last column folds; in a pipe a row is one line."""
        self._titles = titles
        self._right = [title in right for title in titles]
        self._widths = [len(title) for title in titles]
        self._is_begun = False

    def add(self, rows: Sequence[Sequence[str]], styles: Sequence[str] = ()) -> None:
        """Print rows. `styles`: of their last cells, an ANSI style each."""
        if not rows:
            return
        for index in range(len(self._titles) - 1):
            self._widths[index] = max(self._widths[index], *(cells(row[index]) for row in rows))
        if not self._is_begun:
            self._is_begun = True
            print(styled(self._line(self._titles).rstrip(), BOLD))
        for index, row in enumerate(rows):
            self._print(row, styles[index] if styles else "")

    def _print(self, row: Sequence[str], style: str) -> None:
        start = self._line((*row[:-1], ""))
        room = terminal_width() - len(start) if sys.stdout.isatty() else 0
        parts = folded(row[-1], room) if room >= LEAST_FOLD else [row[-1]]
        for part in parts:
            print(f"{start}{styled(part, style)}".rstrip())
            start = " " * len(start)

    def _line(self, row: Sequence[str]) -> str:
        padded = [self._padded(index, cell) for index, cell in enumerate(row[:-1])]
        return GAP.join([*padded, row[-1]])

    def _padded(self, index: int, cell: str) -> str:
        space = " " * (self._widths[index] - cells(cell))
        return space + cell if self._right[index] else cell + space


def cells(text: str) -> int:
    """How wide a terminal shows it."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def folded(text: str, room: int) -> list[str]:
    """In pieces of at most `room` cells."""
    if len(text) <= room and cells(text) <= room:
        return [text]
    from rich.cells import chop_cells

    return chop_cells(text, room)


def terminal_width() -> int:
    return shutil.get_terminal_size().columns
