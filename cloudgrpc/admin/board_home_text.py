"""The dashboard's home page as styled text that fits the room: figures, speeds, nodes, and what happened. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.text import Text

from cloudgrpc.admin import figures, node_words, status_words
from cloudgrpc.admin.board_text import BAD, DOWN, FAINT, GOOD, LABEL, UP, WARN, bar, event_line, fitted, lines, section

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudgrpc.admin.event_words import Run
    from cloudgrpc.pb import cloud_storage_pb2 as pb

WIDE = 120  # from here on, speeds stand beside the figures
LABEL_LETTERS = 10
LEAST_EVENTS = 4
WIDE_BAR = 12  # of a node
TALL = 4  # lines of a graph, where there is room


@dataclass(frozen=True)
class Room:
    width: int
    height: int


def home(status: pb.SystemStatusResponse, nodes: Sequence[pb.NodeInfo], events: Sequence[Run], room: Room) -> Text:
    top = _wide_top(status, room.width) if room.width >= WIDE else _narrow_top(status, room.width)
    # Two lines are titles.
    left = room.height - len(top) - 2
    known = _nodes(nodes, room.width, max(2, left - LEAST_EVENTS))
    count = max(1, left - len(known) + 1)
    told = [event_line(event, room.width, "%H:%M:%S", run) for event, run in events[-count:]]
    if not told:
        told = [Text("nothing yet", FAINT)]
    return lines([*top, *known, section("What happened", room.width), *told][: room.height])


def _figures(status: pb.SystemStatusResponse, width: int) -> list[Text]:
    cells = min(40, width - LABEL_LETTERS - 32)
    chunks = status.chunks
    grave = BAD if chunks.lost else WARN if chunks.missing else GOOD
    return [
        _share("Pool used", status.global_used_bytes, status.global_capacity_bytes, cells),
        _share("Promised", status.promised_bytes, status.promisable_bytes, cells),
        _line("Chunks", Text(status_words.chunks(chunks), grave)),
        _line("Repair", Text(status_words.repair(chunks), WARN if chunks.copies_missing else "")),
        *([_line("Encrypted", Text(status_words.encryption(status)))] if chunks.unsealed else []),
    ]


def _payments(status: pb.SystemStatusResponse) -> Text:
    return _line("Payments", Text(status_words.payments(status), WARN if status.payments_attention else ""))


def _narrow_top(status: pb.SystemStatusResponse, width: int) -> list[Text]:
    cells = width - LABEL_LETTERS - 2
    half = max(8, (cells - 2 * len(" 1023.9 MB/s ") - 6) // 2)
    (up,), (down,) = (figures.graph(values, half) for values in (status_words.ups(status), status_words.downs(status)))
    speeds = Text.assemble(
        (up, UP),
        (f" {figures.speed(status.up_bytes_s):<12}", UP),
        (" Down ", LABEL),
        (down, DOWN),
        (f" {figures.speed(status.down_bytes_s)}", DOWN),
    )
    people = _line("People", Text(f"{status_words.people(status)}, {status_words.content(status)}"))
    return [fitted(part, width) for part in (*_figures(status, width), _line("Up", speeds), people, _payments(status))]


def _wide_top(status: pb.SystemStatusResponse, width: int) -> list[Text]:
    left = width // 2
    figures_there = [
        *_figures(status, left),
        _line("Copies", Text(status_words.copies(status.chunks))),
        _line("People", Text(status_words.people(status))),
        _line("Content", Text(status_words.content(status))),
        _payments(status),
    ]
    span = status_words.speed_span(status)
    right = [
        *_graph("Up", status_words.ups(status), span, UP, width - left - 2),
        *_graph("Down", status_words.downs(status), span, DOWN, width - left - 2),
    ]
    height = max(len(figures_there), len(right)) + 1  # an empty line below
    beside = zip(_filled(figures_there, height), _filled(right, height), strict=True)
    return [Text.assemble(_padded(fitted(one, left), left + 2), other) for one, other in beside]


def _graph(label: str, values: Sequence[float], span: str, style: str, width: int) -> list[Text]:
    now, most = values[-1], max(values)
    told = Text.assemble(
        (f"{label} ", LABEL),
        (figures.speed(now), f"bold {style}"),
        (f"   at most {figures.speed(most)}" + (f", {span}" if span else ""), FAINT),
    )
    return [fitted(told, width), *(Text(line, style) for line in figures.graph(values, width, TALL - 1))]


def _nodes(nodes: Sequence[pb.NodeInfo], width: int, most: int) -> list[Text]:
    """With a title; as many as there is room for, those first that are not well."""
    if not nodes:
        return [section("Nodes", width), Text("none has joined yet: cloudgrpc node node1 9001 2", WARN)]
    bar_cells = WIDE_BAR if width >= WIDE else node_words.BAR
    head, *rows = figures.aligned(node_words.titles(nodes), node_words.rows(nodes, bar_cells), node_words.RIGHT)
    has_room = len(nodes) <= most - 1
    order = range(len(nodes)) if has_room else sorted(range(len(nodes)), key=lambda at: node_words.is_well(nodes[at]))
    told = [_node(nodes[at], rows[at], width) for at in order][: most - 1 if has_room else most - 2]
    more = [] if has_room else [Text(f"and {len(nodes) - len(told)} more: press n", FAINT)]
    return [fitted(Text(head, f"bold {LABEL}"), width), *told, *more]


def _node(node: pb.NodeInfo, row: str, width: int) -> Text:
    is_away = node.status == node_words.OFFLINE
    style = BAD if is_away else "" if node_words.is_well(node) else WARN
    is_leaving = node.draining_since and not is_away
    why = node_words.drain(node) if is_leaving else node.reason if node.reason != node.status else ""
    told = Text(row, style)
    told.append(f"  {why}" if why else "", style)
    return fitted(told, width)


def _share(label: str, part: int, whole: int, cells: int) -> Text:
    words = f" {figures.sizes(part, whole)}, {figures.percent(part, whole)}"
    return _line(label, bar(part, whole, cells), Text(words))


def _line(label: str, *parts: Text) -> Text:
    return Text.assemble((label.ljust(LABEL_LETTERS), LABEL), *parts)


def _padded(text: Text, width: int) -> Text:
    text.pad_right(max(0, width - text.cell_len))
    return text


def _filled(parts: list[Text], height: int) -> list[Text]:
    return [*parts, *(Text() for _ in range(height - len(parts)))]
