"""Sets up .venv beside pyproject.toml, once, and heals it when a set-up was broken off.

    .venv/cloudgrpc-setup.json   what was installed by which lock files; a start that finds it right does no set-up
    .venv/cloudgrpc-unfinished   there while pip works; found at a start, it means that .venv is to be made anew

Three flavours: "run" has what the program needs, "build" what makes an executable of it, "dev" all that checks and
tests need besides. What is installed is what scripts/locks names, by its digest; scripts/lock.py makes those files. The
project itself is not installed: it runs from the checkout, which PYTHONPATH points to. Standard library only, as it
starts before .venv.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "cloudgrpc-setup.json"
UNFINISHED = VENV / "cloudgrpc-unfinished"
OLDEST = (3, 11)
FLAVOURS = ("run", "build", "dev")  # each holds those before it
# Containers often set it. Tests start hundreds of processes, each of which would compile every module anew: 0.4 s.
WITHOUT_BYTECODE = "PYTHONDONTWRITEBYTECODE"


def ensure(flavour: str) -> None:
    """Make .venv hold what `flavour` needs, and the generated code fit its proto. Ends the program when it cannot."""
    require_python()
    if not _is_ready(flavour):
        with _lock() as lock:
            # Whoever held the lock before us may have done the work.
            if not _is_ready(flavour):
                _set_up(flavour, lock)
    if is_generated_stale():
        regenerate()


def require_python() -> None:
    if sys.version_info < OLDEST:
        has = ".".join(map(str, sys.version_info[:3]))
        _give_up(f"CloudGrpc needs Python {OLDEST[0]}.{OLDEST[1]} or newer; this is {has} ({sys.executable}).")


def program_environment() -> dict[str, str]:
    """The environment in which `python -m cloudgrpc` is this checkout's, whatever the working folder holds."""
    # Without PYTHONSAFEPATH a folder called cloudgrpc or grpc where the user stands would come first.
    return {**os.environ, "PYTHONPATH": _joined(ROOT), "PYTHONSAFEPATH": "1"}


def tool_environment() -> dict[str, str]:
    """The environment of checks, tests and the bench, which import each other from scripts/ as well."""
    kept = {key: value for key, value in os.environ.items() if key != WITHOUT_BYTECODE}
    return {**kept, "PYTHONPATH": _joined(ROOT, ROOT / "scripts")}


def _joined(*paths: Path) -> str:
    return os.pathsep.join([*map(str, paths), *filter(None, [os.environ.get("PYTHONPATH")])])


def is_generated_stale() -> bool:
    """Whether cloudgrpc/pb was generated from another proto. Only who edits the proto ever sees True."""
    noted = ROOT / "cloudgrpc" / "pb" / "__init__.py"
    return not noted.exists() or proto_digest() not in noted.read_text(encoding="utf-8")


def proto_digest() -> str:
    digest = hashlib.sha256()
    for proto in sorted((ROOT / "proto").rglob("*.proto")):
        digest.update(proto.read_bytes())
    return digest.hexdigest()


def regenerate() -> None:
    with _lock() as lock:
        if not _is_ready("dev"):
            _set_up("dev", lock)
        say("the proto has changed: generating cloudgrpc/pb again")
        _run([str(PYTHON), str(ROOT / "scripts" / "generate.py")], "the generated code could not be made", lock)


def say(words: str) -> None:
    """To stderr: stdout belongs to the program that is started afterwards."""
    print(words, file=sys.stderr, flush=True)


def _is_ready(flavour: str) -> bool:
    try:
        stamp = json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return not UNFINISHED.exists() and PYTHON.exists() and stamp == {**stamp, **_wanted(flavour)}


def _wanted(flavour: str) -> dict[str, str]:
    """What the stamp must say: the lock files, where .venv stands, and which Python it was made of."""
    return {
        **{each: _digest(lock_of(each)) for each in FLAVOURS[: FLAVOURS.index(flavour) + 1]},
        "venv": str(VENV),  # its scripts hold this path, so a moved checkout is set up anew
        "python": os.path.realpath(PYTHON),
    }


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def lock_of(flavour: str) -> Path:
    """Every package of a flavour, pinned, with the digests of all its files."""
    return ROOT / "scripts" / "locks" / f"{flavour}.txt"


def _set_up(flavour: str, lock: int) -> None:
    say("setting up .venv, this takes about a minute, once")
    if UNFINISHED.exists() or _was_moved() or not PYTHON.exists():
        _make_venv(lock)
    # From here to the end a kill leaves UNFINISHED behind, and half-written packages are never run.
    UNFINISHED.touch()
    STAMP.unlink(missing_ok=True)
    pip = [PYTHON, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--quiet"]
    pinned = ["--require-hashes", "-r", str(lock_of(flavour))]
    _run([*map(str, pip), *pinned], "pip could not install the dependencies", lock)
    STAMP.write_text(json.dumps(_wanted(flavour), indent=1), encoding="utf-8")
    UNFINISHED.unlink()


def _was_moved() -> bool:
    """Whether a stamp says that this .venv was made elsewhere or of another Python. Without a stamp: no."""
    try:
        stamp = json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return (stamp.get("venv"), stamp.get("python")) != (str(VENV), os.path.realpath(PYTHON))


def _make_venv(lock: int) -> None:
    if VENV.is_symlink() or VENV.is_file():
        VENV.unlink()
    shutil.rmtree(VENV, ignore_errors=True)
    VENV.mkdir(exist_ok=True)
    UNFINISHED.touch()
    # Started from within another environment, sys.executable is a link into it and would tie ours to it.
    command = [_base_python(), "-m", "venv", str(VENV)]
    _run(command, "python -m venv failed (on Debian: apt install python3-venv)", lock)


def _base_python() -> str:
    return getattr(sys, "_base_executable", sys.executable) or sys.executable


def _run(command: list[str], failure: str, lock: int) -> None:
    """The child holds the lock too: when we are killed, the next start waits until it has stopped writing."""
    ran = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=tool_environment(),
        pass_fds=[lock],
        check=False,
    )
    if ran.returncode:
        tail = "\n".join("  " + line for line in ran.stdout.strip().splitlines()[-15:])
        _give_up(f"{failure}; its last lines:\n{tail}\nThe next start tries again.")


@contextlib.contextmanager
def _lock() -> Iterator[int]:
    """One set-up at a time. The checkout's folder is locked: .venv may be made anew, and a file would litter."""
    import fcntl

    folder = os.open(ROOT, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another start is setting up .venv; waiting for it")
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield folder
    finally:
        os.close(folder)


def _give_up(words: str) -> None:
    say(f"error: {words}")
    sys.exit(1)
