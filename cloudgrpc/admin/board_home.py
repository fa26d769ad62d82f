"""The dashboard's home: all that matters at a glance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudgrpc.admin.board_home_text import Room, home
from cloudgrpc.admin.board_page import Drawn, Page
from cloudgrpc.admin.board_watch import KEPT_EVENTS
from cloudgrpc.admin.event_words import runs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual.app import ComposeResult
    from textual.events import Resize

    from cloudgrpc.admin.board_watch import Pulse
    from cloudgrpc.admin.event_words import Run
    from cloudgrpc.pb import cloud_storage_pb2 as pb


class HomePage(Page):
    DEFAULT_CSS = "HomePage Drawn { height: 1fr; }"

    def __init__(self) -> None:
        super().__init__(id="home")
        self._pulse: Pulse | None = None
        self._events: list[Run] = []
        self._drawn = Drawn("Asking the gateway …")

    def compose(self) -> ComposeResult:
        yield self._drawn

    def on_resize(self, event: Resize) -> None:
        self._draw(event.size.width, event.size.height)

    def entered(self) -> None:
        self.screen.set_focus(None)

    def pulsed(self, pulse: Pulse) -> None:
        self._pulse = pulse
        self._draw(self.size.width, self.size.height)

    def happened(self, events: Sequence[pb.SystemEvent]) -> None:
        self._events = runs(events, self._events)[-KEPT_EVENTS:]
        self._draw(self.size.width, self.size.height)

    def _draw(self, width: int, height: int) -> None:
        if self._pulse is not None and width and height:
            pulse = self._pulse
            self._drawn.draw(home(pulse.status, pulse.nodes, self._events, Room(width, height)))
