"""One process of the real program, and what it is started with."""

from __future__ import annotations

import fcntl
import functools
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from cloudgrpc import rpc

if TYPE_CHECKING:
    from collections.abc import Iterable

# Containers often set it. Each of the hundreds of processes would compile every module anew: 0.4 s.
WITHOUT_BYTECODE = "PYTHONDONTWRITEBYTECODE"

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
PATIENCE_S = 20.0  # for what takes a second on an idle machine


class Program:
    """One process of the cluster, which can be started again under its name."""

    def __init__(self, name: str, words: list[str], environment: dict[str, str], logs: Path) -> None:
        self.name = name
        self.words = words
        self.environment = environment
        self.out = logs / f"{name}.out"
        self.err = logs / f"{name}.err"
        self.launcher: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._said_before = 0

    def start(self) -> None:
        if self.is_running:
            raise RuntimeError(f"{self.name} is running already")
        entry = [str(self.launcher)] if self.launcher else ["-m", "cloudgrpc"]
        with self.out.open("ab") as out, self.err.open("ab") as err:
            self._said_before = out.tell()
            # A session of its own: Ctrl-C is for pytest, whose fixtures end us.
            self._process = subprocess.Popen(
                [sys.executable, *entry, *self.words],
                cwd=self.out.parent,  # no config.toml and no .env there
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._running().pid

    @property
    def said(self) -> str:
        """What it printed since it was started last."""
        with self.out.open("rb") as out:
            out.seek(self._said_before)
            return out.read().decode(errors="replace")

    def wait(self, seconds: float = PATIENCE_S) -> int:
        """The exit code; negative for the signal that ended it."""
        return self._running().wait(seconds)

    def stop(self, seconds: float = PATIENCE_S) -> int:
        """SIGTERM, as an operator does it; returns the exit code."""
        self._running().terminate()
        return self.wait(seconds)

    def kill(self) -> None:
        """kill -9; a process that is not running stays so."""
        kill_all([self])

    def pause(self) -> None:
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._running().send_signal(signal.SIGCONT)

    def tail(self, lines: int = 60) -> str:
        told = [f"--- {path.name}\n" + _last(path, lines) for path in (self.out, self.err) if path.exists()]
        return "\n".join(told)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError(f"{self.name} was never started")
        return self._process


def kill_all(programs: Iterable[Program]) -> None:
    """Side by side, for a process takes a moment to end."""
    processes = [program._process for program in programs if program._process is not None]
    for process in processes:
        process.kill()
    for process in processes:
        process.wait()


def clean_environment() -> dict[str, str]:
    """The environment without what would configure the program, and with this checkout as `-m cloudgrpc`."""
    names = ("CLOUDGRPC_", "DB_", "GRPC_", "GMAIL_", "CAMPAY_", "ADMIN_KEY", "COV_", WITHOUT_BYTECODE)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(names)}
    # Unbuffered: what a process printed before it was killed is in its log.
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}


# Below what systems give to outgoing connections, one of which could else take the port of a node that is away.
PORTS = range(20_000, 32_000)
_given_ports: set[int] = set()


def free_port() -> int:
    return free_ports(1)


def free_ports(count: int) -> int:
    """The first of `count` ports in a row that nobody listens on; never given twice, nor to another run meanwhile."""
    while True:
        first = random.choice(PORTS)
        row = range(first, first + count)
        if _given_ports.isdisjoint(row) and all(map(_is_ours, row)) and all(map(_is_free, row)):
            _given_ports.update(row)
            return first


def _is_ours(port: int) -> bool:
    """Whether no other process, such as a second worker of this run, was given it: each locks a byte for each."""
    try:
        fcntl.lockf(_port_locks(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except (BlockingIOError, PermissionError):
        return False
    return True


@functools.cache
def _port_locks() -> int:
    """A file that stays open, since the locks end when it is closed."""
    path = Path(tempfile.gettempdir()) / f"cloudgrpc-ports-{os.getuid()}"
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _is_free(port: int) -> bool:
    with closing(socket.socket()) as listener, suppress(OSError):
        listener.bind((HOST, port))
        return True
    return False


def answers(port: int) -> bool:
    """Whether a gRPC server answers there, within a moment."""
    if not _is_heard(port):  # gRPC would find that out, too, but try again only after 0.2 s
        return False
    with closing(grpc.insecure_channel(f"{HOST}:{port}", options=rpc.CHANNEL_OPTIONS)) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=0.3)
        except grpc.FutureTimeoutError:
            return False
        return True


def _is_heard(port: int) -> bool:
    with suppress(OSError), closing(socket.create_connection((HOST, port), timeout=1)):
        return True
    return False


def _last(path: Path, lines: int) -> str:
    return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
