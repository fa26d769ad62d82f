"""How big the executable is and how long it takes to start: one file and folder, beside the same program in Python.

Taken in turns in one run, each round beginning with another of them, so that a machine that is slow for a while is slow
for all; the medians are told, and their ratio to Python's. The first round does not count: then nothing is in memory.

    help        `cloudgrpc --help`
    ls          `cloudgrpc shell ls` of an empty drive, at a gateway that runs
    gateway     until it says that it listens, with a database that is there
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import build
from environment import PYTHON, ROOT

sys.path.insert(0, str(ROOT / "tests"))

from cloudgrpc.clients.session import SessionStore, SignIn
from cluster_harness import Cluster
from program import clean_environment, free_port

if TYPE_CHECKING:
    from collections.abc import Callable

FORMS = {
    "one file": [str(build.FILE)],
    "folder": [str(build.folder() / "cloudgrpc")],
    "Python": [str(PYTHON), "-m", "cloudgrpc"],
}
READY = "  listens on"  # how the line begins by which a gateway says so
PATIENCE_S = 60


@dataclass(frozen=True)
class Start:
    """Median seconds of one thing, by form."""

    what: str
    seconds: dict[str, float]

    def ratio(self, form: str) -> float:
        return self.seconds[form] / self.seconds["Python"]


def sizes() -> dict[str, int]:
    """Bytes, by form; of the archive, too, since that is what travels."""
    inside = (path for path in build.folder().rglob("*") if path.is_file() and not path.is_symlink())
    return {
        "one file": build.FILE.stat().st_size,
        "folder": sum(path.stat().st_size for path in inside),
        "its .tar.gz": build.archive().stat().st_size,
    }


def measure(rounds: int) -> list[Start]:
    with tempfile.TemporaryDirectory(prefix="cloudgrpc-start-") as name:
        folder = Path(name)
        home = folder / "config" / "cloudgrpc"
        environment = {**clean_environment(), "XDG_CONFIG_HOME": str(home.parent)}
        cluster = Cluster(folder / "cluster", nodes=1)
        try:
            cluster.start()
            user = cluster.enroll("start@example.com")
            SessionStore(home).remember(cluster.address, SignIn(user.email, user.token))
            ls = ["shell", "--gateway", cluster.address, "ls"]
            return [
                Start("help", _in_turns(rounds, lambda form: _ran(form, ["--help"], folder, environment))),
                Start("ls", _in_turns(rounds, lambda form: _ran(form, ls, folder, environment))),
                Start("gateway", _in_turns(rounds, lambda form: _ready(form, folder, environment))),
            ]
        finally:
            cluster.close()


def _in_turns(rounds: int, once: Callable[[str], float]) -> dict[str, float]:
    taken: dict[str, list[float]] = {form: [] for form in FORMS}
    line = list(FORMS)
    for _ in range(rounds + 1):
        for form in line:
            taken[form].append(once(form))
        line = [*line[1:], line[0]]
    return {form: median(each[1:]) for form, each in taken.items()}


def _ran(form: str, words: list[str], folder: Path, environment: dict[str, str]) -> float:
    started = time.perf_counter()
    subprocess.run(
        [*FORMS[form], *words], cwd=folder, env=environment, stdout=subprocess.DEVNULL, check=True, timeout=PATIENCE_S
    )
    return time.perf_counter() - started


def _ready(form: str, folder: Path, environment: dict[str, str]) -> float:
    words = ["gateway", "--port", str(free_port()), "--data-dir", str(folder / form)]
    started = time.perf_counter()
    with subprocess.Popen(
        [*FORMS[form], *words],
        cwd=folder,
        env={**environment, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as gateway:
        assert gateway.stdout  # noqa: S101 - it was asked for
        try:
            if not any(line.startswith(READY) for line in gateway.stdout):
                raise RuntimeError(f"the gateway of {form} ended before it listened")
            return time.perf_counter() - started
        finally:
            os.kill(gateway.pid, signal.SIGTERM)


def show(starts: list[Start], told: dict[str, int]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="from start to done, median; in brackets how many times as long as from source")
    for heading in ("", *FORMS):
        table.add_column(heading, justify="right" if heading else "left")
    for start in starts:
        cells = [f"{start.seconds[form] * 1000:,.0f} ms ({start.ratio(form):.1f})" for form in FORMS]
        table.add_row(start.what, *cells)
    console = Console(width=None if sys.stdout.isatty() else 100)
    console.print(table)
    console.print("size: " + ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in told.items()), markup=False)
