"""Pieces of the dashboard's pages as styled text. Pure, but for the clock that is handed in."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from rich.text import Text

from cloudgrpc.admin import event_words, figures
from cloudgrpc.admin.event_words import Weight
from cloudgrpc.admin.status_words import State
from cloudgrpc.clients.render import shown

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from cloudgrpc.pb import cloud_storage_pb2 as pb

GOOD, BAD, WARN, ACT, BAR, UP, DOWN = "#5fd787", "#ff6b6b", "#ffd75f", "#c39bff", "#5fafff", "#5fd7af", "#d7a7ff"
FAINT, TITLE, LABEL = "#8a94a6", "bold #9ecbff", "#9ecbff"
LABEL_LETTERS = 14
WEIGHTS = {Weight.GRAVE: BAD, Weight.GOOD: GOOD, Weight.ACT: ACT, Weight.PLAIN: ""}
# How the banner says it, and its colour.
STATES = {
    State.HEALTHY: ("HEALTHY", GOOD),
    State.MISSING: ("COPIES MISSING", WARN),
    State.NO_WRITES: ("NO WRITES", BAD),
    State.RESTORED: ("READ-ONLY", WARN),
    State.LOST: ("DATA LOST", BAD),
}


def fitted(text: Text, width: int) -> Text:
    """One line, at most so wide; what is cut ends with …"""
    text.truncate(max(1, width), overflow="ellipsis")
    return text


def lines(parts: Iterable[Text]) -> Text:
    return Text("\n").join(parts)


def section(title: str, width: int) -> Text:
    rule = "─" * max(0, width - len(title) - 4)
    return Text.assemble(("─ ", FAINT), (title, TITLE), (f" {rule}", FAINT))


def labelled(pairs: Iterable[tuple[str, str]], width: int) -> list[Text]:
    """Long words go on below themselves."""
    told = []
    for label, words in pairs:
        first, *more = textwrap.wrap(words, width - LABEL_LETTERS) or [""]
        told.append(Text.assemble((label.ljust(LABEL_LETTERS), LABEL), first))
        told += [Text(" " * LABEL_LETTERS + line) for line in more]
    return told


def bar(part: float, whole: float, width: int) -> Text:
    share = part / whole if whole > 0 else 0.0
    style = BAD if share > 0.95 else WARN if share > 0.85 else BAR
    drawn = figures.meter(part, whole, width)
    filled = drawn.count(figures.FULL)
    return Text.assemble((drawn[:filled], style), (drawn[filled:], "#4a5568"))


def table(titles: Sequence[str], rows: Sequence[Sequence[str]], width: int, right: Collection[str] = ()) -> list[Text]:
    head, *body = figures.aligned(titles, rows, right)
    return [fitted(Text(head, LABEL), width), *(fitted(Text(line), width) for line in body)]


def event_line(event: pb.SystemEvent, width: int, form: str, run: int = 1) -> Text:
    """`run`: so many of its type came in a row about its node, of which it is the last."""
    style = WEIGHTS[event_words.weight(event)]
    told = Text.assemble(
        (event_words.moment(event, form), FAINT),
        (f" {event_words.weight(event).value} ", style),
        (event_words.kind(event), style or LABEL),
        (f" {run:,} times{_on(event)}, at last: " if run > 1 else " ", style),
        (event_words.message(event), style),
    )
    return fitted(told, width)


def _on(event: pb.SystemEvent) -> str:
    return f" on {shown(event.node_id)}" if event.node_id else ""
