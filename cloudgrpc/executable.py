"""What the program must do as an executable, whose loader unpacks it and waits for it; from source none of it happens.

One file is unpacked at every start, and its loader removes it at the end:

    $TMPDIR/_MEI<pid of the loader, hex><6 letters>/
        cloudgrpc-unpacked      unpacked first; by it the folder is known as ours
        cloudgrpc-running       made when the program runs; each process of this start holds a lock on it

A folder whose loader is gone and whose lock is free was left by a kill, and the next start removes it.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import shutil
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

MARK = "cloudgrpc-unpacked"  # as in build.spec
LOCK = "cloudgrpc-running"
NAME = re.compile(r"_MEI([0-9A-Fa-f]{8})\w{6}")
LIBRARIES = "LD_LIBRARY_PATH"
UNPACKED_AT = "_CLOUDGRPC_UNPACKED_AT"  # tells our own children that they share a folder
DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG, from linux/prctl.h
UNPACKING_S = 60.0  # a folder that was written to since may be one that is being unpacked just now
SAME_S = 0.5  # within it a second signal is the first one, which came by another way
LOOK_S = 0.5


def settle_in() -> None:
    """Called once, before anything else, by every process."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # __main__ took Python's handler away
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not getattr(sys, "frozen", False):
        return
    _give_back_libraries()
    folder = Path(getattr(sys, "_MEIPASS", ""))
    loader = loader_of(folder)
    if loader is None:  # a folder that stays where it is
        return
    if os.environ.get(UNPACKED_AT) == str(folder):
        _share(folder)
        return
    _end_with(loader)
    os.environ[UNPACKED_AT] = str(folder)
    _hold(folder)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, once(signal.default_int_handler))
    atexit.register(_hear_no_more)
    sweep(folder.parent, own=folder)


def once(handle: Callable[..., Any]) -> Callable[..., Any]:
    """The signal handler, deaf for a moment after each signal where a loader waits for us.

    Ctrl-C reaches every process of a terminal: us, and the loader, which passes it on to us. The second one would break
    off what the first one began, such as ending the children.
    """
    if loader_of(Path(getattr(sys, "_MEIPASS", ""))) is None:
        return handle
    heard_at: dict[int, float] = {}

    def hear(number: int, frame: object) -> Any:
        now = time.monotonic()
        if now - heard_at.get(number, -SAME_S) < SAME_S:
            return None
        heard_at[number] = now
        return handle(number, frame)

    return hear


def _hear_no_more() -> None:
    """When Python ends it takes its handlers away: a Ctrl-C that is passed on only now would turn our exit code."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def loader_of(folder: Path) -> int | None:
    """The process that unpacked a folder; None when nobody did."""
    found = NAME.fullmatch(folder.name)
    return int(found[1], 16) if found else None


def library_path() -> dict[str, str]:
    """What our own children need in their environment, and nobody else's: where the bundled libraries are."""
    folder = getattr(sys, "_MEIPASS", "")
    if not folder or sys.platform != "linux":
        return {}
    return {LIBRARIES: os.pathsep.join(filter(None, [folder, os.environ.get(LIBRARIES)]))}


def sweep(parent: Path, own: Path) -> list[Path]:
    """Remove what starts that were killed left in `parent`; returns those folders."""
    with contextlib.suppress(OSError):
        found = [Path(entry.path) for entry in os.scandir(parent) if NAME.fullmatch(entry.name)]
        return [folder for folder in found if folder != own and _swept(folder, loader_of(own))]
    return []


def _swept(folder: Path, own_loader: int | None) -> bool:
    """Whether it was a folder of ours that nobody uses, and is gone now."""
    with contextlib.suppress(OSError), contextlib.ExitStack() as files:
        told, mark = folder.lstat(), (folder / MARK).lstat()
        if told.st_uid != os.geteuid() or folder.is_symlink():
            return False
        loader = loader_of(folder) or 0
        # Of our own loader's number, but not ours: in a container every life has the same numbers.
        if loader != own_loader and not _is_gone(loader, mark.st_mtime):
            return False
        try:
            lock = files.enter_context((folder / LOCK).open("rb"))
        except FileNotFoundError:
            # It never came to run. Whoever unpacks it may be in another container, where we cannot see it.
            if abs(time.time() - told.st_mtime) < UNPACKING_S:
                return False
        else:
            if not _is_free(lock.fileno()):
                return False
        # A lock is held until all is gone, so that two starts do not sweep the same.
        shutil.rmtree(folder, ignore_errors=True)
        return True
    return False


def _is_free(lock: int) -> bool:
    import fcntl

    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_gone(loader: int, unpacked_at: float) -> bool:
    """A zombie is gone; and who began after the folder was made is another program, which was given the number."""
    try:
        os.kill(loader, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    try:
        state, *told = Path(f"/proc/{loader}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # there is no such thing on macOS
        return False
    began_at = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + int(told[18]) / os.sysconf("SC_CLK_TCK")
    return state in "ZX" or began_at > unpacked_at + 1


def _hold(folder: Path) -> None:
    """Until this process ends. Where locks are not to be had, the next starts leave the folder alone."""
    new = folder / f"{LOCK}-new"
    with contextlib.suppress(OSError):
        new.touch(mode=0o600)
        _lock(new)
        new.rename(folder / LOCK)  # only now, so that it is never there unlocked while we live
        _lock(folder)  # by that systemd-tmpfiles, which clears /tmp of what is old, knows that it is in use


def _share(folder: Path) -> None:
    with contextlib.suppress(OSError):
        _lock(folder / LOCK)
        _lock(folder)


def _lock(path: Path) -> None:
    import fcntl

    fcntl.flock(os.open(path, os.O_RDONLY | os.O_CLOEXEC), fcntl.LOCK_SH | fcntl.LOCK_NB)


def _end_with(loader: int) -> None:
    """Let a kill -9 of the process that a person started end us too, at once, as from source.

    Our own children notice by their standard input.
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    else:
        threading.Thread(target=_watch, args=(loader,), name="loader", daemon=True).start()
    if os.getppid() != loader:  # it ended before that was agreed
        os.kill(os.getpid(), signal.SIGKILL)


def _watch(loader: int) -> None:
    while os.getppid() == loader:
        time.sleep(LOOK_S)
    os.kill(os.getpid(), signal.SIGKILL)


def _give_back_libraries() -> None:
    """This process found its libraries when it began; a program of the system that it starts must find the system's."""
    before = os.environ.pop(f"{LIBRARIES}_ORIG", None)
    os.environ.pop(LIBRARIES, None)
    if before is not None:
        os.environ[LIBRARIES] = before
