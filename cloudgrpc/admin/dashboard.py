"""`cloudgrpc admin`: a live dashboard in the terminal."""

from __future__ import annotations

import os
import sys
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

from textual.app import App
from textual.binding import Binding
from textual.message import Message
from textual.widgets import ContentSwitcher

from cloudgrpc.admin.board_asks import AskWho, Help
from cloudgrpc.admin.board_banner import Link, Sight, banner, keys, warnings
from cloudgrpc.admin.board_events import EventsPage
from cloudgrpc.admin.board_home import HomePage
from cloudgrpc.admin.board_nodes import NodePage, NodesPage
from cloudgrpc.admin.board_page import Drawn, Page
from cloudgrpc.admin.board_payments import PaymentsPage
from cloudgrpc.admin.board_users import UserPage, UsersPage
from cloudgrpc.admin.board_watch import Answer, Lost, News, Over, Pulse, Question, Refusal, Watch
from cloudgrpc.errors import CloudError, Unexpected

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual.app import ComposeResult
    from textual.binding import BindingType
    from textual.events import Resize

    from cloudgrpc.admin.desk import Desk
    from cloudgrpc.admin.lookout import Lookout

FEED_S, CLOCK_S = 0.25, 1.0
TALL = 30  # lines; from here on there is room for more warnings
KEYS = [
    ("s", "how everything stands"),
    ("u", "users: a list; / searches, Enter shows all about one"),
    ("n", "nodes: a table; Enter shows all about one, and why"),
    ("d", "all about one user, by e-mail or ID"),
    ("p", "payments: today, and what waits for an operator"),
    ("e", "events; / shows only one type"),
    ("m", "stop monitoring, and go on with it"),
    ("r", "refresh now"),
    ("Esc", "back"),
    ("q", "exit"),
]


def run(lookout: Lookout, desk: Desk) -> None:
    """Until the person leaves. Raises: what makes no sense to ask on after, such as AdminKeyWrong."""
    app = Dashboard(lookout, desk)
    error = app.run()
    if error is None and app.fault is not None:
        error = Unexpected(fault=f"{type(app.fault).__name__}: {app.fault}")
    if error is not None:
        raise error


class Dashboard(App[CloudError | None]):
    TITLE = "CloudGrpc"
    ENABLE_COMMAND_PALETTE = False
    AUTO_FOCUS = None  # else a search that is not even shown would take the keys
    CSS = """
    Screen { background: #10151f; }
    #banner { height: 1; background: #1c2536; }
    #warnings { height: auto; }
    ContentSwitcher { height: 1fr; }
    ContentSwitcher.-stale { opacity: 55%; }
    #keys { height: 1; background: #1c2536; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "page('home')", "Status"),
        Binding("u", "page('users')", "Users"),
        Binding("n", "page('nodes')", "Nodes"),
        Binding("d", "ask_who", "User"),
        Binding("p", "page('payments')", "Payments"),
        Binding("e", "page('events')", "Events"),
        Binding("m", "monitor", "Monitor"),
        Binding("r", "refresh_now", "Refresh"),
        Binding("question_mark", "explain", "Help", key_display="?"),
        Binding("q,ctrl+c", "quit", "Exit", key_display="q"),
        Binding("escape", "back", "Back", show=False),
    ]

    class Heard(Message):
        """From the threads that ask the gateway."""

        def __init__(self, news: News) -> None:
            super().__init__()
            self.news = news

    def __init__(self, lookout: Lookout, desk: Desk) -> None:
        super().__init__()
        self._lookout = lookout
        self._desk = desk
        self._watch = Watch(lookout, lambda news: self.post_message(self.Heard(news)))
        self._pulse: Pulse | None = None
        self._question: Question | None = None  # of the page that is shown
        self._link = Link.CONNECTING
        self._is_paused = False
        self._seen_at = ""
        self._warnings: Sequence[str] = ()

    def compose(self) -> ComposeResult:
        yield Drawn(name="banner")
        yield Drawn(name="warnings", is_long=True)
        with ContentSwitcher(initial="home"):
            yield HomePage()
            yield UsersPage(self._lookout)
            yield UserPage(self._lookout)
            yield NodesPage()
            yield NodePage()
            yield PaymentsPage(self._desk)
            yield EventsPage(self._lookout)
        yield Drawn(name="keys")

    def on_mount(self) -> None:
        self.set_interval(CLOCK_S, self._draw_head)
        self.set_interval(CLOCK_S, self._leave_with_terminal)
        self.set_interval(FEED_S, self._take_events)
        self._watch.start()

    def on_unmount(self) -> None:
        self._watch.stop()

    def _leave_with_terminal(self) -> None:
        """A terminal that was closed need not send a signal, and reading from it never waits: a core would be busy."""
        if not self.is_headless and not os.isatty(sys.stdin.fileno()):
            self.exit()

    def on_resize(self, _: Resize) -> None:
        self._draw_head()

    def _fatal_error(self) -> None:
        """In place of textual's, which shows a person a traceback."""
        self._close_messages_no_wait()

    @property
    def fault(self) -> Exception | None:
        """A fault of our own, that ended it."""
        return self._exception

    @property
    def page(self) -> Page:
        return self.query_one(f"#{self.query_one(ContentSwitcher).current}", Page)

    # The keys

    def action_page(self, name: str) -> None:
        self.query_one(ContentSwitcher).current = name
        self.page.entered()
        self._ask()

    def action_ask_who(self) -> None:
        self.push_screen(AskWho(), self._show_user)

    def action_monitor(self) -> None:
        self._is_paused = not self._is_paused
        self._watch.pause(self._is_paused)
        self._draw_head()

    def action_refresh_now(self) -> None:
        self._watch.look_again()

    def action_explain(self) -> None:
        self.push_screen(Help(KEYS, self._warnings))

    async def action_back(self) -> None:
        parents = {"user": "users", "node": "nodes"}
        self.action_page(parents.get(str(self.page.id), "home"))

    # What pages want

    def on_users_page_chosen(self, chosen: UsersPage.Chosen) -> None:
        self._show_user(chosen.who)

    def on_nodes_page_chosen(self, chosen: NodesPage.Chosen) -> None:
        self.query_one(NodePage).node_id = chosen.node_id
        self.action_page("node")

    def on_page_asked(self) -> None:
        self._ask()

    def _ask(self) -> None:
        self._question = self.page.question()
        self._watch.ask(self._question)

    def _show_user(self, who: str | None) -> None:
        if who:
            self.query_one(UserPage).who = who
            self.action_page("user")

    # What the gateway tells

    def on_dashboard_heard(self, heard: Heard) -> None:
        if not self.is_running:  # it closes, and parts of the screen are gone
            return
        match heard.news:
            case Pulse() as pulse:
                self._pulsed(pulse)
            case Answer(question, answer) if question is self._question:
                self.page.answered(answer)
            case Refusal(question, error) if question is self._question:
                self.page.refused(error)
            case Lost(error):
                self._lost(error)
            case Over(error):
                self.exit(error)

    def _pulsed(self, pulse: Pulse) -> None:
        self._pulse = pulse
        self._link = Link.LIVE
        self._seen_at = _clock()
        self._warnings = list(pulse.status.warnings)
        self.query_one(ContentSwitcher).remove_class("-stale")
        for page in self.query(Page):
            page.pulsed(pulse)
        self._draw_head()

    def _lost(self, error: CloudError) -> None:
        self._link = Link.LOST
        self._warnings = [str(error)]
        self.query_one(ContentSwitcher).add_class("-stale")
        self._draw_head()

    def _take_events(self) -> None:
        if not self._is_paused and (events := self._watch.events()):
            for page in self.query(Page):
                page.happened(events)

    def _draw_head(self) -> None:
        if not self.is_running:  # as above: a timer, or a terminal that changes its size, may come as late
            return
        link = Link.PAUSED if self._is_paused else self._link
        status = self._pulse.status if self._pulse else None
        sight = Sight(self._lookout.address, link, status, self._seen_at, _clock())
        self.query_one("#banner", Drawn).draw(banner(sight, self.size.width))
        self.query_one("#keys", Drawn).draw(keys(self.size.width, self._is_paused))
        head = self.query_one("#warnings", Drawn)
        head.display = bool(self._warnings)
        if self._warnings:
            head.draw(warnings(self._warnings, self.size.width, 6 if self.size.height >= TALL else 2))


def _clock() -> str:
    return datetime.now().astimezone().strftime("%H:%M:%S")
