"""What all pages of the dashboard share: what each asks the gateway, and how it gets the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import DataTable, Static

from cloudgrpc.admin.board_text import WARN
from cloudgrpc.shell.stream_table import cells

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from cloudgrpc.admin.board_watch import Pulse, Question
    from cloudgrpc.errors import CloudError
    from cloudgrpc.pb import cloud_storage_pb2 as pb


WIDE = 100  # columns; from here on tables have bars


class Page(Vertical):
    """Takes the room between banner and footer. Its `id` names it."""

    DEFAULT_CSS = """
    Page { height: 1fr; }
    Page VerticalScroll { height: 1fr; }
    Page DataTable { height: 1fr; background: $background; scrollbar-size-horizontal: 0; }
    """

    class Asked(Message):
        """There is another question."""

    @property
    def width(self) -> int:
        """Of what is scrolled, also before the page is laid out."""
        return max(20, self.app.size.width - 2)

    @property
    def is_wide(self) -> bool:
        return self.app.size.width >= WIDE

    def question(self) -> Question | None:
        """What it wants to know beside the pulse."""
        return None

    def entered(self) -> None:
        """It is shown now."""

    def pulsed(self, pulse: Pulse) -> None:
        pass

    def answered(self, answer: object) -> None:
        pass

    def refused(self, error: CloudError) -> None:
        self.app.notify(str(error), severity="warning", markup=False)

    def happened(self, events: Sequence[pb.SystemEvent]) -> None:
        pass


class Drawn(Static):
    """Text that is drawn only when it is another; `is_long`: it may be higher than its room, and is scrolled then."""

    def __init__(self, words: str = "", *, is_long: bool = False, name: str = "") -> None:
        super().__init__(words, markup=False, id=name or None)
        self._told: Text | None = None
        self._is_long = is_long

    def draw(self, text: Text) -> None:
        if text != self._told:
            self._told = text
            self.update(text, layout=self._is_long)


class Table(DataTable[Text]):
    """Rows of one key each, changed where they are, so that nothing flickers and the cursor stays."""

    def __init__(self) -> None:
        super().__init__(cursor_type="row", zebra_stripes=True, cell_padding=1)
        self._shape: list[tuple[str, int]] = []  # titles and widths, as they are shown

    def show_rows(self, titles: Sequence[str], rows: Mapping[str, Sequence[str]], right: Collection[str] = ()) -> None:
        """By their keys. `right`: the columns that hold figures."""
        widths = [max(map(cells, column)) for column in zip(titles, *rows.values(), strict=True)]
        columns = list(zip(titles, widths, strict=True))
        told = {key: [_cell(*pair, right) for pair in zip(titles, row, strict=True)] for key, row in rows.items()}
        if columns != self._shape or [str(row.key.value) for row in self.ordered_rows] != list(told):
            self._renew(columns, told, right)
            return
        for key, row in told.items():
            for title, cell in zip(titles, row, strict=True):
                if self.get_cell(key, title) != cell:
                    self.update_cell(key, title, cell)

    @property
    def chosen(self) -> str:
        """The key of the row under the cursor; "" when there is none."""
        if not self.row_count:
            return ""
        return str(self.coordinate_to_cell_key(self.cursor_coordinate).row_key.value)

    def _renew(
        self, columns: list[tuple[str, int]], rows: Mapping[str, Sequence[Text]], right: Collection[str]
    ) -> None:
        """Other rows, or in another order; the cursor stays on its row while that is there."""
        before, at = self.chosen, self.cursor_row
        with self.app.batch_update():
            self.clear(columns=True)
            # Columns that measure themselves were seen to miss rows that came with them.
            for title, width in columns:
                self.add_column(_cell(title, title, right), key=title, width=width)
            for key, row in rows.items():
                self.add_row(*row, key=key)
        self._shape = columns
        keys = list(rows)
        self.move_cursor(row=keys.index(before) if before in rows else max(0, min(at, len(keys) - 1)))


def _cell(title: str, words: str, right: Collection[str]) -> Text:
    return Text(words, justify="right" if title in right else "left")


class Title(Drawn):
    """The line on top of a page: what it is, and its own keys."""

    DEFAULT_CSS = "Title { height: 1; }"

    def __init__(self, words: str, keys: Iterable[tuple[str, str]] = ()) -> None:
        super().__init__()
        self._keys = list(keys)
        self.say(words)

    def say(self, words: str, warning: str = "") -> None:
        told = Text(words, "bold #9ecbff")
        for key, does in self._keys:
            told.append(f"   {key}", "bold")
            told.append(f" {does}")
        if warning:
            told.append(f"   {warning}", WARN)
        self.draw(told)
