"""The built executable as a person starts it: in a folder of its own, and with nothing in its environment."""

from __future__ import annotations

import platform
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from cloudgrpc import __version__
from person import Terminal
from program import HOST, PATIENCE_S, ROOT, free_port, free_ports

if TYPE_CHECKING:
    from collections.abc import Callable

FILE = ROOT / "dist" / "cloudgrpc"
FOLDER = ROOT / "dist" / f"cloudgrpc-{__version__}-{platform.system().lower()}-{platform.machine()}"
ARCHIVE = FOLDER.with_name(f"{FOLDER.name}.tar.gz")
NODES = 2
CHILDREN = NODES + 2  # gateway and sandbox
# Makes the terminal that it stands in its own, as a login does, so that Ctrl-C reaches whoever runs there.
AT_HOME = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"


class Place:
    """A folder to start it in, where it has its home and unpacks itself."""

    def __init__(self, folder: Path, program: Path = FILE) -> None:
        self.folder, self.program = folder, program
        self.unpacked = folder / "tmp"
        self.unpacked.mkdir()

    @property
    def environment(self) -> dict[str, str]:
        """No PATH, so no Python either."""
        return {"TMPDIR": str(self.unpacked), "HOME": str(self.folder)}

    def run(self, *words: str, said: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.program), *words],
            cwd=self.folder,
            env={**self.environment, **environment},
            input=said,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(self.program), *words],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def terminal(self, *words: str) -> Terminal:
        command = [sys.executable, "-c", AT_HOME, str(self.program), *words]
        told = {**self.environment, "TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1"}
        return Terminal(command, self.folder, told)

    def folders(self) -> list[str]:
        """What lies unpacked just now."""
        return sorted(path.name for path in self.unpacked.iterdir())


class Demo(Place):
    """A demo cluster that runs until `close`."""

    def __init__(self, folder: Path, program: Path = FILE) -> None:
        super().__init__(folder, program)
        self.port, self.node_port = free_port(), free_ports(NODES)
        self.address = f"{HOST}:{self.port}"
        self.log = folder / "demo.out"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def words(self) -> list[str]:
        ports = ["--gateway-port", str(self.port), "--node-port", str(self.node_port)]
        return ["demo-cluster", "--nodes", str(NODES), *ports]

    @property
    def environment(self) -> dict[str, str]:
        quick = {"CLOUDGRPC_NODE_DISK_RESERVE_MB": "1", "CLOUDGRPC_CLUSTER_HEARTBEAT_S": "1"}
        return {**super().environment, **quick}

    def started(self) -> Demo:
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [str(self.program), *self.words],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait(lambda: "Ctrl-C stops" in self.screen, "the demo's screen", lambda: self.screen)
        return self

    @property
    def screen(self) -> str:
        return self.log.read_text()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    @property
    def loader(self) -> psutil.Process:
        """The process that a person started."""
        return psutil.Process(self.process.pid)

    @property
    def main(self) -> psutil.Process:
        """The process in which the role runs."""
        (main,) = self.loader.children()
        return main

    def shell(self, *words: str, said: str = "") -> subprocess.CompletedProcess[str]:
        return self.run("shell", "--gateway", self.address, *words, said=said)

    def code(self, email: str, seen: int = 0) -> str:
        """The newest code for an address, once there are more than `seen`."""
        wait(lambda: len(self._codes(email)) > seen, "a code", lambda: self.screen)
        return self._codes(email)[-1]

    def _codes(self, email: str) -> list[str]:
        return re.findall(rf"OTP code for {email}: (\d{{6}}) ", self.screen)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(PATIENCE_S)


def family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def running(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [each for each in processes if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


def kill(processes: list[psutil.Process]) -> None:
    """What a failed test would leave behind."""
    for each in running(processes):
        each.kill()


def maps(process: psutil.Process) -> str:
    """The libraries that a process has loaded. Linux only."""
    return Path(f"/proc/{process.pid}/maps").read_text()


def wait(predicate: Callable[[], object], what: str, told: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + 2 * PATIENCE_S
    while not predicate():
        assert time.monotonic() < deadline, f"it never came: {what}\n{told()}"
        time.sleep(0.05)
