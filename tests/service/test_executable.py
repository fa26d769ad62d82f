"""What an executable does beside the program: folders that a kill left are swept, and one Ctrl-C stays one."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from cloudgrpc import executable
from cloudgrpc.executable import LOCK, MARK, once, settle_in, sweep

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

AN_HOUR_S = 3600
# A process as its loader starts it, which is us.
HELD = """
import sys
sys.frozen, sys._MEIPASS = True, sys.argv[1]
from cloudgrpc.executable import settle_in
settle_in()
print("settled in", flush=True)
input()
"""


def unpacked(parent: Path, loader: int, *, age_s: float = 0, runs: bool = True, name: str = "abcDEF") -> Path:
    """A folder as a loader leaves it. `runs`: the program came to run in it."""
    folder = parent / f"_MEI{loader:08x}{name}"
    folder.mkdir(mode=0o700)
    (folder / MARK).touch()
    if runs:
        (folder / LOCK).touch()
    moment = time.time() - age_s
    for path in (folder / MARK, folder):
        os.utime(path, (moment, moment))
    return folder


@pytest.fixture
def dead() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return unpacked(tmp_path, os.getppid(), name="myOWN0")


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_what_a_kill_left_is_swept_at_once(own: Path, dead: int) -> None:
    left = unpacked(own.parent, dead)
    assert sweep(own.parent, own) == [left]
    assert [path.name for path in own.parent.iterdir()] == [own.name]


def test_what_a_process_still_holds_stays_though_its_loader_is_gone(own: Path, dead: int) -> None:
    held = unpacked(own.parent, dead, age_s=AN_HOUR_S)
    with (held / LOCK).open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        assert sweep(own.parent, own) == []
    assert sweep(own.parent, own) == [held]


def test_what_lives_or_is_being_cleared_up_by_its_loader_stays(own: Path, sleeper: subprocess.Popen[bytes]) -> None:
    unpacked(own.parent, sleeper.pid)
    assert sweep(own.parent, own) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells when a process began, and whether it is a zombie")
def test_a_number_that_went_to_another_process_and_a_zombie_keep_nothing(
    own: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    left = unpacked(own.parent, sleeper.pid, age_s=AN_HOUR_S)
    assert sweep(own.parent, own) == [left]
    young = unpacked(own.parent, sleeper.pid)
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert sweep(own.parent, own) == [young]


def test_in_a_container_the_number_of_our_own_loader_says_nothing(own: Path) -> None:
    left = unpacked(own.parent, os.getppid())
    assert sweep(own.parent, own) == [left]
    assert own.exists()


def test_an_unpacking_that_was_broken_off_is_swept_when_it_is_old(own: Path, dead: int) -> None:
    half = unpacked(own.parent, dead, runs=False)
    assert sweep(own.parent, own) == []
    an_hour_ago = time.time() - AN_HOUR_S
    os.utime(half, (an_hour_ago, an_hour_ago))
    assert sweep(own.parent, own) == [half]


def test_what_is_not_ours_is_never_touched(own: Path, dead: int, tmp_path: Path) -> None:
    another = unpacked(own.parent, dead, age_s=AN_HOUR_S, name="otherP")
    (another / MARK).unlink()
    real = tmp_path / "kept"
    real.mkdir()
    (real / MARK).touch()
    (real / LOCK).touch()
    (own.parent / f"_MEI{dead:08x}linked").symlink_to(real)
    (own.parent / f"_MEI{dead:08x}a_file").touch()
    (own.parent / "_MEIabcdef").mkdir()
    before = sorted(own.parent.rglob("*"))
    assert sweep(own.parent, own) == []
    assert sorted(own.parent.rglob("*")) == before


def test_a_folder_in_use_is_locked_for_what_clears_up_tmp(tmp_path: Path) -> None:
    """systemd-tmpfiles skips what is locked, as flock(2) does it, with all below."""
    folder = tmp_path / f"_MEI{os.getpid():08x}abcdef"
    folder.mkdir()
    command = [sys.executable, "-c", HELD, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"settled in\n"
        own = os.open(folder, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(own, fcntl.LOCK_EX | fcntl.LOCK_NB)
        process.communicate(b"\n")
        fcntl.flock(own, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(own)


def test_a_second_signal_within_a_moment_is_the_first_one_passed_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    heard: list[int] = []
    monkeypatch.setattr(executable, "SAME_S", 3600.0)
    monkeypatch.setattr(sys, "_MEIPASS", str(tmp_path / "_MEI00000001abcdef"), raising=False)
    handle = once(lambda number, _: heard.append(number))
    for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
        handle(number, None)
    assert heard == [signal.SIGINT, signal.SIGTERM]
    monkeypatch.setattr(executable, "SAME_S", 0.0)
    handle(signal.SIGINT, None)
    assert heard == [signal.SIGINT, signal.SIGTERM, signal.SIGINT]


def test_from_source_nothing_is_different(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/mine")
    handler = signal.getsignal(signal.SIGINT)
    settle_in()
    assert signal.getsignal(signal.SIGINT) is handler
    assert os.environ["LD_LIBRARY_PATH"] == "/mine"
    assert executable.library_path() == {}
    assert once(handler) is handler  # type: ignore[arg-type]
