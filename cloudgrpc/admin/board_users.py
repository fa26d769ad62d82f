"""The dashboard's users: a list that can be searched, and all about one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.message import Message
from textual.widgets import Input

from cloudgrpc.admin import user_view, user_words
from cloudgrpc.admin.board_page import Drawn, Page, Table, Title
from cloudgrpc.admin.board_text import WARN, event_line, labelled, lines, section, table
from cloudgrpc.admin.board_watch import Question
from cloudgrpc.clients import render
from cloudgrpc.core.units import size_words
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.shell import receipt

if TYPE_CHECKING:
    from textual.app import ComposeResult
    from textual.binding import BindingType
    from textual.widgets import DataTable

    from cloudgrpc.admin.lookout import Lookout
    from cloudgrpc.errors import CloudError

MOST = 200  # in the list; to find others one searches
EVERY_S = 5.0
BAR = 12  # cells


class UsersPage(Page):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "search", "Search", show=False),
        Binding("escape", "leave", "Back", show=False),
    ]

    class Chosen(Message):
        def __init__(self, who: str) -> None:
            super().__init__()
            self.who = who

    def __init__(self, lookout: Lookout) -> None:
        super().__init__(id="users")
        self._lookout = lookout
        self._search = Input(placeholder="a part of the address or the name", compact=True)
        self._table = Table()
        self._title = Title("Users", [("/", "search"), ("Enter", "all about one")])

    def compose(self) -> ComposeResult:
        self._search.display = False
        yield self._title
        yield self._search
        yield self._table

    def question(self) -> Question:
        search = self._search.value.strip()
        return Question(lambda: list(self._lookout.users(search, MOST)), EVERY_S)

    def entered(self) -> None:
        self._table.focus()

    def answered(self, answer: object) -> None:
        if not isinstance(answer, list):
            return
        now = datetime.now(UTC)
        bar = BAR if self.is_wide else 0
        rows = {user.user_id: user_words.row(user, now, bar) for user in answer}
        self._table.show_rows(user_words.titles(bar), rows, user_words.RIGHT)
        cut = f"the first {MOST}; search for others" if len(answer) == MOST else ""
        self._title.say("Users", cut if answer else "nobody is called so" if self._search.value else "nobody yet")

    def action_search(self) -> None:
        self._search.display = True
        self._search.focus()

    def on_input_changed(self) -> None:
        self.post_message(Page.Asked())

    async def action_leave(self) -> None:
        """The search, or the page."""
        if not self._search.display:
            await self.app.run_action("back")
            return
        self._search.value = ""
        await self._search.action_submit()

    def on_input_submitted(self) -> None:
        self._search.display = bool(self._search.value)
        self._table.focus()

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        self.post_message(self.Chosen(str(event.row_key.value)))


class UserPage(Page):
    """All about one account."""

    def __init__(self, lookout: Lookout) -> None:
        super().__init__(id="user")
        self._lookout = lookout
        self.who = ""
        self._title = Title("User", [("Esc", "back to all users")])
        self._drawn = Drawn(is_long=True)
        self._scroll = VerticalScroll(self._drawn)

    def compose(self) -> ComposeResult:
        yield self._title
        yield self._scroll

    def question(self) -> Question:
        who = self.who
        return Question(lambda: self._lookout.user(who), EVERY_S)

    def entered(self) -> None:
        self._title.say("User")
        self._drawn.draw(Text("Asking the gateway …"))
        self._scroll.scroll_home(animate=False)
        self._scroll.focus()

    def answered(self, answer: object) -> None:
        if isinstance(answer, pb.UserDetailsResponse):
            self._title.say(f"User {render.shown(answer.user.email)}")
            self._drawn.draw(lines(_details(answer, self.width)))

    def refused(self, error: CloudError) -> None:
        self._title.say("User", render.shown(f"{error} Press d to name another."))
        self._drawn.draw(Text())


def _details(reply: pb.UserDetailsResponse, width: int) -> list[Text]:
    now = datetime.now(UTC)
    told = labelled(user_words.details(reply, now), width)
    for text in told[2:3]:
        if next(user_words.notes(reply.user), ""):
            text.stylize(WARN)
    files = [[size_words(each.file_size), render.when(each.modified_at), user_view.name(each)] for each in reply.files]
    sessions = [user_view.session(each, now) for each in reply.sessions]
    payments = [receipt.row(each) for each in reply.payments]
    for title, titles, rows, right in (
        ("Open sessions", ["Last used", "From", "Client"], sessions, []),
        ("Newest payments", receipt.TITLES, payments, receipt.FIGURES),
        ("Newest files", ["Size", "Changed", "Name"], files, ["Size"]),
    ):
        if rows:
            told += [section(title, width), *table(titles, rows, width, right)]
    if events := user_words.events(reply):
        told += [section("What happened, the newest first", width)]
        told += [event_line(event, width, "%m-%d %H:%M:%S") for event in reversed(events)]
    return told
