"""The dashboard's nodes: a table of them, and all about one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.text import Text
from textual.containers import VerticalScroll
from textual.message import Message

from cloudgrpc.admin import node_words
from cloudgrpc.admin.board_page import Drawn, Page, Table, Title
from cloudgrpc.admin.board_text import WARN, event_line, labelled, lines, section

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual.app import ComposeResult
    from textual.widgets import DataTable

    from cloudgrpc.admin.board_watch import Pulse
    from cloudgrpc.pb import cloud_storage_pb2 as pb

WHY = "Why"
BAR = 12  # cells
EVENTS = 30  # about one node


class NodesPage(Page):
    class Chosen(Message):
        def __init__(self, node_id: str) -> None:
            super().__init__()
            self.node_id = node_id

    def __init__(self) -> None:
        super().__init__(id="nodes")
        self._table = Table()

    def compose(self) -> ComposeResult:
        yield Title("Nodes", [("Enter", "all about one")])
        yield self._table

    def entered(self) -> None:
        self._table.focus()

    def pulsed(self, pulse: Pulse) -> None:
        now = datetime.now(UTC)
        bar = BAR if self.is_wide else 0
        rows = node_words.rows(pulse.nodes, bar)
        told = {node.node_id: [*row, node_words.why(node, now)] for node, row in zip(pulse.nodes, rows, strict=True)}
        self._table.show_rows([*node_words.titles(pulse.nodes, bar), WHY], told, node_words.RIGHT)

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        self.post_message(self.Chosen(str(event.row_key.value)))


class NodePage(Page):
    """All about one node: why it takes no chunks, how far draining and scrubbing are, and what happened to it."""

    def __init__(self) -> None:
        super().__init__(id="node")
        self.node_id = ""
        self._events: list[pb.SystemEvent] = []
        self._pulse: Pulse | None = None
        self._title = Title("Node", [("Esc", "back to all nodes")])
        self._drawn = Drawn(is_long=True)
        self._scroll = VerticalScroll(self._drawn)

    def compose(self) -> ComposeResult:
        yield self._title
        yield self._scroll

    def entered(self) -> None:
        self._title.say(f"Node {self.node_id}")
        self._scroll.scroll_home(animate=False)
        self._scroll.focus()
        self._draw()

    def pulsed(self, pulse: Pulse) -> None:
        self._pulse = pulse
        self._draw()

    def happened(self, events: Sequence[pb.SystemEvent]) -> None:
        self._events = [*self._events, *(event for event in events if event.node_id)][-1000:]
        self._draw()

    def _draw(self) -> None:
        if self._pulse is None or not self.node_id or not self.display:
            return
        found = next((node for node in self._pulse.nodes if node.node_id == self.node_id), None)
        if found is None:
            self._drawn.draw(Text("This node was removed.", WARN))
            return
        now = datetime.now(UTC)
        warnings = [Text(f"! {note}", WARN) for note in node_words.notes(found, now)]
        mine = [event for event in self._events if event.node_id == self.node_id][-EVENTS:]
        events = [event_line(event, self.width, "%m-%d %H:%M:%S") for event in reversed(mine)]
        shown = [*warnings, *labelled(node_words.details(found, now), self.width)]
        if events:
            shown += [section("What happened, the newest first", self.width), *events]
        self._drawn.draw(lines(shown))
