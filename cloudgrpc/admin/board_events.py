"""The dashboard's events: what happened and happens, all of it or by type."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.suggester import SuggestFromList
from textual.widgets import Input

from cloudgrpc.admin.board_page import Drawn, Page, Title
from cloudgrpc.admin.board_text import FAINT, event_line, lines
from cloudgrpc.admin.board_watch import KEPT_EVENTS, Question
from cloudgrpc.admin.event_words import runs
from cloudgrpc.admin.lookout import Kinds
from cloudgrpc.clients import render
from cloudgrpc.core.event_kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual.app import ComposeResult
    from textual.binding import BindingType

    from cloudgrpc.admin.event_words import Run
    from cloudgrpc.admin.lookout import Lookout
    from cloudgrpc.errors import CloudError
    from cloudgrpc.pb import cloud_storage_pb2 as pb

NEVER_S = 86400.0  # asked once; what comes later comes with the feed
FORM = "%m-%d %H:%M:%S"


class EventsPage(Page):
    """The newest at the end, which stays in sight unless somebody scrolls up. Of many that come in a row each node has
    one line; of a type that is asked for, every event has its own."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "Filter", show=False),
        Binding("escape", "leave", "Back", show=False),
    ]

    def __init__(self, lookout: Lookout) -> None:
        super().__init__(id="events")
        self._lookout = lookout
        self._all: deque[pb.SystemEvent] = deque(maxlen=KEPT_EVENTS)
        self._runs: list[Run] = []
        self._found: list[pb.SystemEvent] = []  # of the wanted type, from before
        self._type = ""
        groups = sorted({f"{kind.partition('.')[0]}." for kind in KINDS})
        self._filter = Input(
            placeholder="all types; such as node. or copy.bad",
            suggester=SuggestFromList([*groups, *sorted(KINDS)]),
            compact=True,
        )
        self._title = Title("Events", [("/", "filter by type"), ("End", "the newest")])
        self._drawn = Drawn(is_long=True)
        self._scroll = VerticalScroll(self._drawn)

    def compose(self) -> ComposeResult:
        self._filter.display = False
        yield self._title
        yield self._filter
        yield self._scroll

    def question(self) -> Question | None:
        if not self._type:
            return None
        kinds = Kinds((self._type,))
        return Question(lambda: self._lookout.last_events(kinds, KEPT_EVENTS), NEVER_S)

    def entered(self) -> None:
        self._scroll.focus()
        self._draw()
        self._scroll.scroll_end(animate=False)

    def answered(self, answer: object) -> None:
        if isinstance(answer, list):
            self._found = answer
            self._draw()

    def refused(self, error: CloudError) -> None:
        self._title.say("Events", render.shown(str(error)))

    def happened(self, events: Sequence[pb.SystemEvent]) -> None:
        self._all.extend(events)
        self._runs = runs(events, self._runs)[-KEPT_EVENTS:]
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    def action_filter(self) -> None:
        self._filter.display = True
        self._filter.focus()

    async def action_leave(self) -> None:
        """The search, or the page."""
        if not self._filter.display:
            await self.app.run_action("back")
            return
        self._filter.value = ""
        await self._filter.action_submit()

    def on_input_submitted(self) -> None:
        self._type, self._found = self._filter.value.strip(), []
        self._filter.display = bool(self._type)
        self._title.say(f"Events of type {self._type}" if self._type else "Events")
        self._scroll.focus()
        self._draw()
        self.post_message(Page.Asked())

    def _draw(self) -> None:
        if not self.display:
            return
        is_at_end = self._scroll.scroll_offset.y >= self._scroll.max_scroll_y
        told = [event_line(event, self.width, FORM, run) for event, run in self._wanted()]
        self._drawn.draw(lines(told or [Text("nothing of that type yet", FAINT)]))
        if is_at_end:
            self._scroll.scroll_end(animate=False)

    def _wanted(self) -> list[Run]:
        if not self._type:
            return self._runs
        last = self._found[-1].event_id if self._found else -1
        newer = [event for event in self._all if event.event_id > last and self._is_wanted(event)]
        return [(event, 1) for event in [*self._found, *newer][-KEPT_EVENTS:]]

    def _is_wanted(self, event: pb.SystemEvent) -> bool:
        kind = self._type
        return event.event_type == kind or (kind.endswith(".") and event.event_type.startswith(kind))
