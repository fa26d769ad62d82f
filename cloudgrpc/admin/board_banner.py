"""The dashboard's first lines: how the cluster stands, which gateway tells it, and warnings. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from rich.text import Text

from cloudgrpc.admin import status_words
from cloudgrpc.admin.board_text import BAD, FAINT, GOOD, LABEL, STATES, WARN, fitted, lines
from cloudgrpc.clients.render import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudgrpc.pb import cloud_storage_pb2 as pb

INK = "#10151f"  # on a coloured ground
ROOMY = 110
# And what is added where there is room.
KEYS = [
    ("s", "Status", ""),
    ("u", "Users", ""),
    ("n", "Nodes", ""),
    ("d", "User", " details"),
    ("p", "Payments", ""),
    ("e", "Events", ""),
    ("m", "Pause", ""),
    ("r", "Now", ": refresh"),
    ("?", "Help", ""),
    ("q", "Exit", ""),
]


class Link(Enum):
    """Whether what is shown is of now, and how that is said."""

    CONNECTING = ("connecting", WARN)
    LIVE = ("live", GOOD)
    LOST = ("reconnecting …", BAD)
    PAUSED = ("PAUSED", WARN)


@dataclass(frozen=True)
class Sight:
    """What the banner tells. `seen_at`: the clock when the figures came; `clock`: now."""

    address: str
    link: Link
    status: pb.SystemStatusResponse | None
    seen_at: str
    clock: str


def banner(sight: Sight, width: int) -> Text:
    left = Text()
    if sight.status is None:
        left.append(" CloudGrpc ", f"bold {INK} on {FAINT}")
    else:
        words, colour = STATES[status_words.state(sight.status)]
        left.append(f" {words} ", f"bold {INK} on {colour}")
    left.append(f" {sight.address}", "bold")
    if sight.status is not None:
        left.append(f"  {shown(sight.status.version)}  {shown(sight.status.mode)}", FAINT)
    words, colour = sight.link.value
    right = Text(words, f"bold {colour}")
    if sight.link in (Link.LOST, Link.PAUSED) and sight.seen_at:
        right.append(f" as of {sight.seen_at}", colour)
    right.append(f"  {sight.clock} ", FAINT)
    fitted(left, width - right.cell_len - 1)
    left.pad_right(max(1, width - left.cell_len - right.cell_len))
    return left + right


def keys(width: int, is_paused: bool) -> Text:
    """The last line: which key shows or does what."""
    gap = "   " if width >= ROOMY else " "
    told = Text()
    for key, words, more in KEYS:
        does = "Go on" if key == "m" and is_paused else f"{words}{more}" if width >= ROOMY else words
        told.append(gap if told else "")
        told.append(key, f"bold {WARN if key == 'm' and is_paused else LABEL}")
        told.append(f" {does}")
    return fitted(told, width)


def warnings(told: Sequence[str], width: int, most: int) -> Text:
    """At most so many lines; the last says how many more there are."""
    each = [fitted(Text(f"! {shown(warning)}", WARN), width) for warning in told]
    if len(each) > most:
        more = f"  (and {len(each) - most} more: ?)"
        each = [*each[: most - 1], fitted(each[most - 1], width - len(more)) + Text(more, FAINT)]
    return lines(each)
