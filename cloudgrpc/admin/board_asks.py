"""What the dashboard opens over its pages: a question for whom to look at, and what each key does."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from cloudgrpc.admin.board_text import LABEL, WARN, lines
from cloudgrpc.clients.render import shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from textual.app import ComposeResult
    from textual.binding import BindingType

KEY_LETTERS = 8
CSS = """
    {name} {{ align: center middle; }}
    {name} > Vertical {{
        width: 64; max-width: 95%; height: auto; border: round #5fafff; padding: 0 1; background: $surface;
    }}
"""


class AskWho(ModalScreen[str]):
    """Gives an e-mail address or an id, "" when the person left."""

    DEFAULT_CSS = CSS.format(name="AskWho")
    AUTO_FOCUS = "Input"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Back")]

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(Text("Whose account? An e-mail address or an ID; Esc goes back.", LABEL))
            yield Input(placeholder="alice@example.org", compact=True)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value.strip())

    def action_leave(self) -> None:
        self.dismiss("")


class Help(ModalScreen[None]):
    DEFAULT_CSS = CSS.format(name="Help")
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,question_mark,enter,space,q", "leave", "Back")]

    def __init__(self, keys: Iterable[tuple[str, str]], warnings: Iterable[str]) -> None:
        """`warnings`: in whole, where the page has no room for them."""
        super().__init__()
        self._keys = list(keys)
        self._warnings = list(warnings)

    def compose(self) -> ComposeResult:
        told = [Text.assemble((key.ljust(KEY_LETTERS), f"bold {LABEL}"), does) for key, does in self._keys]
        told += [Text(f"! {shown(warning)}", WARN) for warning in self._warnings]
        with Vertical():
            yield Static(lines(told))

    def action_leave(self) -> None:
        self.dismiss()
