"""What the machine gives a process: Python, memory, open files, and a clock that is set."""

from __future__ import annotations

import contextlib
import ctypes
import platform
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from cloudgrpc.about.findings import note, ok, wrong
from cloudgrpc.config import MIB
from cloudgrpc.core.units import size_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloudgrpc.about.findings import Finding
    from cloudgrpc.config import Config

OLDEST = (3, 11)
FEW_FILES, FILES = 256, 1024  # a connection is a file, and each of 20 database connections and 2 of a node
LEAST_MEMORY, MEMORY = 64 * MIB, 300 * MIB  # a gateway takes 150 MiB and more while files travel, a node 100
CGROUP = Path("/sys/fs/cgroup")
SKEW_S = 30.0  # codes are valid for minutes, and certificates from 5 minutes before they were made
TIMEX_BYTES, TIME_ERROR = 256, 5  # of adjtimex(2): more than its struct, and "nothing keeps this clock right"


def look(config: Config) -> Iterator[Finding]:
    yield _python()
    yield from _memory()
    yield _open_files()
    yield from _clock(config)


def judge_skew(ahead_s: float, whose: str) -> Finding:
    """`ahead_s`: how far the clock here is before that of `whose`."""
    if abs(ahead_s) <= SKEW_S:
        return ok("clock", f"within {max(1, round(abs(ahead_s)))} s of {whose}")
    direction = "before" if ahead_s > 0 else "behind"
    return wrong(
        "clock",
        f"{abs(ahead_s):.0f} s {direction} {whose}: codes, sessions and certificates go by it",
        "Set both by the network's time, such as: timedatectl set-ntp true",
    )


def _python() -> Finding:
    words = f"{platform.python_implementation()} {platform.python_version()}, {sys.maxsize.bit_length() + 1}-bit"
    if sys.version_info < OLDEST:
        return wrong("python", words, "CloudGrpc needs Python 3.11 or newer.")
    return ok("python", words)


def _memory() -> Iterator[Finding]:
    free = _free_memory()
    if free is None:
        return
    words = f"{size_words(free)} are free"
    if free < LEAST_MEMORY:
        yield wrong("memory", words, "End other programs, or give this machine more: a gateway takes 150 MB and more.")
    elif free < MEMORY:
        yield note("memory", words, "A gateway takes 150 MB and more while files travel, a node 100 MB.")
    else:
        yield ok("memory", words)


def _free_memory() -> int | None:
    """What new processes may take, within the limit of a container, too; None where it is not told."""
    with contextlib.suppress(OSError, ValueError):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
        with contextlib.suppress(OSError, ValueError):  # no limit, or no container
            most, used = ((CGROUP / name).read_text(encoding="ascii") for name in ("memory.max", "memory.current"))
            free = min(free, int(most) - int(used))
        return free
    return None


def _open_files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return ok("open files", "without a limit")
    words, more = (
        f"{soft} at once for each process",
        f"Allow more, such as: ulimit -n {min(hard, 65536) if hard > 0 else 65536}",
    )
    if soft < FEW_FILES:
        return wrong("open files", words, more)
    return (
        note("open files", f"{words}, which is few for many callers", more) if soft < FILES else ok("open files", words)
    )


def _clock(config: Config) -> Iterator[Finding]:
    """Against what was written here before: a clock that was set back is behind it."""
    for path in (config.data_folder / "metadata.sqlite3", config.data_folder / "gateway.lock"):
        with contextlib.suppress(OSError):
            ahead_s = path.stat().st_mtime - time.time()
            if ahead_s > SKEW_S:
                yield wrong(
                    "clock",
                    f"{ahead_s:.0f} s behind the time at which {path.name} was written: it was set back",
                    "Set it by the network's time, such as: timedatectl set-ntp true",
                )
    if (state := _kernel_clock()) == TIME_ERROR:
        yield note("clock", "nothing keeps it right, says the kernel", "Have it set: timedatectl set-ntp true")
    elif state is not None:
        yield ok("clock", "kept right by the network's time, says the kernel")


def _kernel_clock() -> int | None:
    """The state that Linux tells; None where it does not."""
    if sys.platform != "linux":
        return None
    state = int(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(TIMEX_BYTES)))  # zeros: it sets nothing
    return state if state >= 0 else None
