"""How a person watches a transfer: one bar on stderr, of a file or of many in all, with speed and time left.

rich is imported when a bar is drawn, since it takes longer to load than most commands take to run.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from cloudgrpc.clients.render import shown, span
from cloudgrpc.core.units import size_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.progress import Progress, Task

WINDOW_S, LEAST_S = 10.0, 0.5


class Meter(Protocol):
    """What a transfer tells about its progress, from any thread."""

    def moved(self, count: int) -> None:
        """`count` bytes travelled; negative for bytes that must travel again."""

    def kept(self, count: int) -> None:
        """`count` bytes need not travel: they are there from before."""

    def file_done(self) -> None: ...


class Unwatched:
    """The meter of a transfer that nobody watches."""

    def moved(self, count: int) -> None:
        pass

    def kept(self, count: int) -> None:
        pass

    def file_done(self) -> None:
        pass


@contextmanager
def metered(title: str, size: int, files: int = 1) -> Iterator[Meter]:
    """A bar while the block runs, gone after it; nothing when stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield Unwatched()
        return
    pace = Pace()
    with _progress(pace) as progress:
        yield _Bar(progress, pace, shown(title), size, files)


class Pace:
    """How fast it goes of late. Only what travels counts, or a transfer that goes on would seem to fly."""

    def __init__(self) -> None:
        self._moved = 0
        self._lock = threading.Lock()  # between those who move bytes
        self._samples: deque[tuple[float, int]] = deque()

    def moved(self, count: int) -> None:
        with self._lock:
            self._moved += count

    def speed(self, now: float) -> float | None:
        """Bytes a second over the last few seconds. `now`: seconds of a clock that never goes back. None: too early."""
        self._samples.append((now, self._moved))
        while now - self._samples[0][0] > WINDOW_S:
            self._samples.popleft()
        then, before = self._samples[0]
        took_s = now - then
        return (self._moved - before) / took_s if took_s >= LEAST_S and self._moved > before else None


class _Bar:
    def __init__(self, progress: Progress, pace: Pace, title: str, size: int, files: int) -> None:
        self._progress = progress
        self._pace = pace
        self._files = files
        self._done = 0
        self._title = title
        self._task = progress.add_task(self._words(), total=size)

    def moved(self, count: int) -> None:
        self._pace.moved(count)
        self._progress.update(self._task, advance=count)

    def kept(self, count: int) -> None:
        self._progress.update(self._task, advance=count)

    def file_done(self) -> None:
        self._done += 1
        if self._files > 1:
            self._progress.update(self._task, description=self._words())

    def _words(self) -> str:
        return self._title if self._files == 1 else f"{self._title} {self._done:,}/{self._files:,}"


def _progress(pace: Pace) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, TaskProgressColumn, TextColumn
    from rich.table import Column
    from rich.text import Text

    class Moved(ProgressColumn):
        def render(self, task: Task) -> Text:
            total = size_words(int(task.total or 0))
            return Text(f"{size_words(int(task.completed))} of {total}", style="progress.download")

    class Speed(ProgressColumn):
        """With the time left, as one: both come from the same figure."""

        def render(self, task: Task) -> Text:
            speed = pace.speed(time.monotonic())
            if not speed:
                return Text()
            left = span(max(0.0, (task.total or 0) - task.completed) / speed)
            return Text.assemble(
                (f"{size_words(int(speed))}/s", "progress.data.speed"), "  ", (f"{left} left", "progress.remaining")
            )

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
        console=Console(stderr=True),
        transient=True,
    )
