"""How things look: sizes, dates, names, tables and failures to a person, JSON to a program.

rich is imported when something is drawn, since it takes longer to load than most commands take to run.
"""

from __future__ import annotations

import json
import os
import re
import sys
import textwrap
from datetime import datetime
from typing import TYPE_CHECKING

from cloudgrpc.core.units import size_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console, RenderableType

    from cloudgrpc.errors import CloudError

# Joiners have no shape of their own, but hold composed emoji and several scripts together.
JOINERS = "\u200c\u200d"
PIPE_WIDTH = 100_000  # no line is folded where a program reads it
BOLD, DIM, FOLDER = "1", "2", "1;34"  # ANSI styles
NOT_ASCII = re.compile("[^\n -~]")


def shown(text: str) -> str:
    """Text of another party, without what could steer the terminal or reorder the line."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or letter in JOINERS else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


def when(rfc3339: str) -> str:
    """A time of the wire, in this computer's zone; what is no time is shown as it came."""
    try:
        moment = datetime.fromisoformat(rfc3339)
    except ValueError:
        return shown(rfc3339)
    return moment.astimezone().strftime("%Y-%m-%d %H:%M")


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def span(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def pace(size: int, seconds: float) -> str:
    """The size, and for what took a while also how long and how fast that was."""
    if seconds < 1:
        return size_words(size)
    return f"{size_words(size)}, {span(seconds)}, {size_words(round(size / max(seconds, 0.001)))}/s"


def styled(text: str, style: str) -> str:
    """`text` in an ANSI style such as BOLD, if stdout is a terminal and the person wants colours."""
    is_wanted = style and text and sys.stdout.isatty() and "NO_COLOR" not in os.environ
    return f"\x1b[{style}m{text}\x1b[0m" if is_wanted else text


def print_failure(error: CloudError, is_in_shell: bool = False, where: str = "") -> None:
    """What went wrong and what to try, a line each, on stderr.

    `is_in_shell`: the person is inside the shell, where commands are typed without its name before them.
    `where`: said before the words.
    """
    advice = error.advice
    if is_in_shell:
        advice = advice.replace("cloudgrpc shell ", "").replace("cloudgrpc pay ", "pay ")
    words = shown(f"{where}{error}")
    if sys.stderr.isatty() and "NO_COLOR" not in os.environ:
        words = f"\x1b[31m{words}\x1b[0m"
    print(f"{words}\n{advice}", file=sys.stderr)


def print_json(document: object) -> None:
    """One JSON document on stdout."""
    print(_json(document))


def print_json_list(documents: Iterable[object]) -> None:
    """One JSON list on stdout, each member as soon as it is there."""
    before = "[\n"
    for document in documents:
        print(f"{before}{textwrap.indent(_json(document), '  ')}", end="")
        before = ",\n"
    print("[]" if before == "[\n" else "\n]")


def _json(document: object) -> str:
    """Letters stay letters, but for those that a terminal could not show or would obey."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    return NOT_ASCII.sub(lambda found: found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1], text)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> None:
    """`right`: the columns that hold figures. At a terminal the last column folds; in a pipe a row is one line."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(
            column,
            justify="right" if column in right else "left",
            no_wrap=column != columns[-1],
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    _print(table)


def _print(drawn: RenderableType) -> None:
    console = console_on(sys.stdout.isatty())
    with console.capture() as captured:
        console.print(drawn)
    for line in captured.get().splitlines():
        print(line.rstrip())


def console_on(is_terminal: bool) -> Console:
    from rich.console import Console

    return Console(markup=False, highlight=False, emoji=False, width=None if is_terminal else PIPE_WIDTH)


def path_words(path: str, is_folder: bool) -> str:
    """A path for people: a folder's ends with a slash."""
    return shown(f"{path.rstrip('/')}/" if is_folder else path)
