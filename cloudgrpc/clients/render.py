"""How things look to a person: sizes, dates, names, tables, progress bars, failures.

rich is imported when something is drawn, since it takes longer to load than most commands take to run.
"""

from __future__ import annotations

import json
import os
import re
import sys
import textwrap
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from cloudgrpc.core.units import size_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rich.console import Console, RenderableType
    from rich.progress import Progress, Task

    from cloudgrpc.errors import CloudError

# Joiners have no shape of their own, but hold composed emoji and several scripts together.
JOINERS = "\u200c\u200d"
PIPE_WIDTH = 100_000  # no line is folded where a program reads it
BAR_CELLS = 30
NOT_ASCII = re.compile("[^\n -~]")


class Meter(Protocol):
    """What a transfer tells about its progress."""

    def moved(self, count: int) -> None:
        """`count` bytes more; negative when a try starts over."""

    def file_done(self) -> None: ...


class Unwatched:
    """The meter of a transfer that nobody watches."""

    def moved(self, count: int) -> None:
        pass

    def file_done(self) -> None:
        pass


def shown(text: str) -> str:
    """Text of another party, without what could steer the terminal or reorder the line."""
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


def share_bar(used: int, total: int) -> str:
    part = min(1.0, used / total) if total > 0 else 0.0
    filled = round(part * BAR_CELLS)
    return f"[{'#' * filled}{'.' * (BAR_CELLS - filled)}] {part:.0%}"


def print_failure(error: CloudError, is_in_shell: bool = False) -> None:
    """What went wrong and what to try, a line each, on stderr.

    `is_in_shell`: the person is inside the shell, where commands are typed without its name before them.
    """
    advice = error.advice.replace("cloudgrpc shell ", "") if is_in_shell else error.advice
    words = shown(str(error))
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


@contextmanager
def metered(title: str, size: int, files: int = 1) -> Iterator[Meter]:
    """A bar on stderr with speed and time left while the block runs; nothing when stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield Unwatched()
        return
    with _progress() as progress:
        yield _Bar(progress, shown(title), size, files)


class _Bar:
    """One bar: of a file, or of many files in all."""

    def __init__(self, progress: Progress, title: str, size: int, files: int) -> None:
        self._progress = progress
        self._files = files
        self._done = 0
        self._title = title
        self._task = progress.add_task(self._words(), total=size)

    def moved(self, count: int) -> None:
        self._progress.update(self._task, advance=count)

    def file_done(self) -> None:
        self._done += 1
        if self._files > 1:
            self._progress.update(self._task, description=self._words())

    def _words(self) -> str:
        return self._title if self._files == 1 else f"{self._title} {self._done:,}/{self._files:,}"


def _progress() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.table import Column
    from rich.text import Text

    class Moved(ProgressColumn):
        def render(self, task: Task) -> Text:
            total = size_words(int(task.total or 0))
            return Text(f"{size_words(int(task.completed))} of {total}", style="progress.download")

    class Speed(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{size_words(int(speed))}/s" if speed else "", style="progress.data.speed")

    return Progress(
        TextColumn(
            "{task.description}",
            markup=False,
            table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1, max_width=40),
        ),
        BarColumn(bar_width=20),
        TaskProgressColumn(),
        Moved(),
        Speed(),
        TimeRemainingColumn(compact=True),
        console=Console(stderr=True),
        transient=True,
    )


def path_words(path: str, is_folder: bool) -> str:
    """A path for people: a folder's ends with a slash."""
    return shown(f"{path.rstrip('/')}/" if is_folder else path)
