"""However it ends, nothing is left over: no server, no child, and no unpacked folder after the next start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from cloudgrpc.errors import Exit
from cloudgrpc.executable import LOCK, MARK
from executable_run import CHILDREN, Demo, Place, family, kill, running, wait
from program import PATIENCE_S, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def sandbox(place: Place) -> Iterator[subprocess.Popen[str]]:
    """A server that is quick to start, in its place."""
    with place.start("pay", "sandbox", "--port", str(free_port())) as started:
        assert started.stdout
        assert "listens on" in started.stdout.readline()
        all_of_them = family(psutil.Process(started.pid))
        yield started
        kill(all_of_them)


@pytest.mark.parametrize(
    ("number", "exit_code"), [(signal.SIGTERM, Exit.OK), (signal.SIGINT, Exit.OK), (signal.SIGHUP, -signal.SIGHUP)]
)
def test_a_server_that_is_told_to_stop_ends_as_from_source(
    place: Place, sandbox: subprocess.Popen[str], number: signal.Signals, exit_code: int
) -> None:
    sandbox.send_signal(number)
    assert sandbox.wait(PATIENCE_S) == exit_code
    assert place.folders() == []


def test_a_kill_of_the_loader_ends_the_server_at_once_and_the_next_start_sweeps(
    place: Place, sandbox: subprocess.Popen[str]
) -> None:
    all_of_them = family(psutil.Process(sandbox.pid))
    assert len(all_of_them) == 2
    (left,) = place.folders()
    sandbox.kill()
    wait(lambda: not running(all_of_them), "their end")
    assert place.folders() == [left]
    assert place.run("--version").returncode == Exit.OK
    assert place.folders() == []


def test_a_kill_of_the_server_is_told_by_the_loader_which_clears_up(
    place: Place, sandbox: subprocess.Popen[str]
) -> None:
    (main,) = psutil.Process(sandbox.pid).children()
    main.kill()
    assert sandbox.wait(PATIENCE_S) == -signal.SIGKILL
    assert place.folders() == []


@pytest.mark.parametrize("victim", [lambda demo: demo.loader, lambda demo: demo.main], ids=["loader", "main"])
def test_a_killed_demo_leaves_no_child(tmp_path: Path, victim: Callable[[Demo], psutil.Process]) -> None:
    demo = Demo(tmp_path).started()
    all_of_them = family(demo.loader)
    assert len(all_of_them) == CHILDREN + 2
    try:
        victim(demo).kill()
        demo.process.wait(PATIENCE_S)
        wait(lambda: not running(all_of_them), "their end")
    finally:
        kill(all_of_them)
    assert demo.run("--version").returncode == Exit.OK
    assert demo.folders() == []


def test_what_others_use_or_made_is_never_swept(place: Place, sandbox: subprocess.Popen[str]) -> None:
    """Two running ones, another program's folder, one whose unpacking began just now, and a file of that name."""
    used = place.folders()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    others, young, old = (f"_MEI{gone.pid:08x}{letters}" for letters in ("others", "young0", "old000"))
    for name in (others, young, old):
        (place.unpacked / name / "base").mkdir(parents=True)
    for name in (young, old):
        (place.unpacked / name / MARK).touch()
    (place.unpacked / f"_MEI{gone.pid:08x}a_file").touch()
    an_hour_ago = time.time() - 3600
    os.utime(place.unpacked / old, (an_hour_ago, an_hour_ago))
    os.utime(place.unpacked / others, (an_hour_ago, an_hour_ago))
    assert place.run("--version").returncode == Exit.OK
    assert place.folders() == sorted([*used, others, young, f"_MEI{gone.pid:08x}a_file"])
    (place.unpacked / young / LOCK).touch()
    assert place.run("--version").returncode == Exit.OK
    assert young not in place.folders()
    assert sandbox.poll() is None
    sandbox.terminate()
    sandbox.wait(PATIENCE_S)
    assert set(used).isdisjoint(place.folders())
