"""Other roles of this program as child processes: started, watched, started again, ended.

A child's stderr goes to its log file; its stdout is read line by line and handed on, never to a log, since the gateway
prints sign-in codes there. Its stdin is a pipe that closes with us, so that no child outlives us, whatever kills us.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

import cloudgrpc
from cloudgrpc import executable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

LOG_TAIL = 5  # lines of a dead child's log that are shown
STOP_S = 5.0  # a child may take to stop before it is killed
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0  # between two starts of a child that keeps dying
STEADY_S = 60.0  # a child that ran so long is not one that keeps dying
CHECKOUT = Path(cloudgrpc.__file__).parents[1]


def own_command(*words: str) -> list[str]:
    """What starts this same program with other words."""
    if getattr(sys, "frozen", False):
        return [sys.executable, *words]
    return [sys.executable, "-m", "cloudgrpc", *words]


def typed_command() -> str:
    """What a person types to start this program in the way they started us."""
    script = CHECKOUT / "scripts" / "run.py"
    started_as = Path(sys.argv[0])
    if getattr(sys, "frozen", False):
        return shlex.quote(sys.argv[0])
    if started_as.name in {"cloudgrpc", "cloudgrpc.py"}:
        named = shlex.quote(sys.argv[0])
        return f"python3 {named}" if started_as.suffix else started_as.name
    if script.is_file():
        with contextlib.suppress(ValueError):
            script = script.relative_to(Path.cwd())
        return f"python3 {shlex.quote(str(script))}"
    return "python3 -m cloudgrpc"


class Child:
    """One child process. `on_line(line)` gets each line of its standard output."""

    def __init__(
        self,
        name: str,
        words: Sequence[str],
        log: Path,
        environment: Mapping[str, str],
        on_line: Callable[[str], None],
    ) -> None:
        self.name = name
        self.log = log
        self._command = own_command(*words, "--exit-with-parent")
        self._environment = {**os.environ, **executable.library_path(), **environment}
        if not getattr(sys, "frozen", False):
            self._environment["PYTHONPATH"] = os.pathsep.join(
                filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH", "")])
            )
        self._on_line = on_line
        self._process: subprocess.Popen[str] | None = None
        self._started_at = 0.0
        self._pause_s = FIRST_PAUSE_S
        self.is_wanted = False  # false once it was ended on purpose

    def start(self) -> None:
        self.is_wanted = True
        self._started_at = time.monotonic()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self._environment,
                text=True,
                errors="replace",
                start_new_session=True,  # Ctrl-C is ours: we end the children in order
            )
        threading.Thread(target=self._read, args=(self._process,), name=f"{self.name}-stdout", daemon=True).start()

    @property
    def death(self) -> str:
        """How it ended, in words; "" while it runs."""
        code = self._process.poll() if self._process else None
        if code is None:
            return ""
        return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"

    @property
    def may_start(self) -> bool:
        """Whether a dead one has rested long enough."""
        return time.monotonic() - self._started_at >= self._pause_s

    def start_again(self) -> None:
        ran_s = time.monotonic() - self._started_at
        self._pause_s = FIRST_PAUSE_S if ran_s > STEADY_S else min(self._pause_s * 2, LONGEST_PAUSE_S)
        self.start()

    def last_words(self) -> list[str]:
        with contextlib.suppress(OSError), self.log.open(errors="replace") as log:
            return [line.rstrip("\n") for line in deque(log, LOG_TAIL)]
        return []

    def kill(self) -> None:
        """As a power cut would; it is not started again."""
        self.is_wanted = False
        if self._process:
            self._process.kill()
            self._process.wait()

    def ask_to_stop(self) -> None:
        self.is_wanted = False
        if self._process and self._process.poll() is None:
            self._process.terminate()

    def wait_stopped(self) -> None:
        if self._process is None:
            return
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None  # noqa: S101 - it was asked for
        with process.stdout as lines:
            for line in lines:
                self._on_line(line.rstrip("\n"))
