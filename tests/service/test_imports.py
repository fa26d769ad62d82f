"""What each role imports of other people's packages, and what its start costs: each as a process of its own.

The times are CPU times, as multiples of what `import grpc` takes at that moment: a busy or slow machine changes little.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from cloudgrpc.errors import Exit
from operating import admin_words
from person import Person, Terminal
from program import HOST, PATIENCE_S, ROOT, free_port, free_ports
from screen import Screen

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cluster_harness import Cluster

PROBE = ROOT / "tests" / "imports_probe"
TRIES = 3
BARE: list[Told] = []  # `import grpc`: the quickest so far will do, and for a second try that of its moment
NO_PACKAGES = ("_cython_", "_sysconfigdata_")  # of whatever was compiled; of this Python
SPEAKS = {"google", "msgspec"}  # beside what gRPC brings
SEALS = {"_cffi_backend", "_openssl", "cryptography"}
SERVES = {"uvloop", "xxhash"}
KEEPS = {"peewee", "playhouse", "psycopg2"}  # the last by peewee itself, on SQLite, too
PROMPT = {"attr", "cmd2", "prompt_toolkit", "pygments", "pyperclip", "rich", "rich_argparse", "wcwidth"}


@dataclass(frozen=True)
class Told:
    """What a process told at its end."""

    words: str
    packages: frozenset[str]
    cpu_s: float


class Start:
    """Starts of one role, each of which tells what it imported and took."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self.folder = folder
        self.person = Person(cluster, folder)
        self.told = folder / "told"
        self.told.mkdir()
        self.person.environment |= {
            "IMPORTS_TOLD": str(self.told),
            "PYTHONPATH": os.pathsep.join([str(PROBE), str(ROOT)]),
            "NO_COLOR": "1",  # so that the prompt ends in what is waited for
        }
        self.environment = self.person.environment

    def run(self, *words: str, exit_code: int = Exit.OK) -> None:
        """To its end."""
        ran = subprocess.run(
            [sys.executable, *words],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert ran.returncode == exit_code, ran.stdout + ran.stderr

    def role(self, *words: str) -> None:
        self.run("-m", "cloudgrpc", *words)

    def until(self, said: str, *words: str) -> None:
        """Until it says that it is ready, then as an operator stops it."""
        with subprocess.Popen(
            [sys.executable, "-m", "cloudgrpc", *words],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                assert process.stdout
                assert any(said in line for line in process.stdout), f"it never said {said}"
                process.send_signal(signal.SIGINT)
                process.stdout.read()
                assert process.wait(PATIENCE_S) == Exit.OK
            finally:
                process.kill()

    def told_of(self, words: str) -> Told:
        """What the newest process with these words told; each is asked for once."""
        for path in self.told.glob("*.json"):
            one = json.loads(path.read_text(encoding="utf-8"))
            line = " ".join(one["words"])
            if words in line:
                path.unlink()
                packages = frozenset(name for name in one["packages"] if not name.startswith(NO_PACKAGES))
                return Told(line, packages, one["cpu_s"])
        raise AssertionError(f"no process told of {words}")


@pytest.fixture
def start(calm: Cluster, tmp_path: Path) -> Start:
    start = Start(calm, tmp_path)
    start.person.is_signed_in_as(calm.enroll(f"imports{free_port()}@example.org"))
    return start


def help_(start: Start) -> None:
    start.role("--help")


def version_flag(start: Start) -> None:
    start.role("--version")


def version(start: Start) -> None:
    start.role("version")


def completion(start: Start) -> None:
    start.role("completion", "bash")


def man(start: Start) -> None:
    start.role("man")


def shell_command(start: Start) -> None:
    start.role("shell", "--gateway", start.cluster.address, "ls")


def shell_prompt(start: Start) -> None:
    terminal = start.person.terminal()
    try:
        terminal.expect_exact("/>")
        terminal.sendline("exit")
        assert terminal.left() == Exit.OK
    finally:
        terminal._process.kill()


def pay(start: Start) -> None:
    start.role("pay", "--gateway", start.cluster.address, "tiers")


def admin_status(start: Start) -> None:
    start.role(*admin_words(start.cluster, "--status"))


def admin_dashboard(start: Start) -> None:
    words = [sys.executable, "-m", "cloudgrpc", *admin_words(start.cluster)]
    terminal = Terminal(words, start.folder, {**start.environment, "TERM": "xterm-256color"})
    try:
        Screen(terminal).wait("q Exit")
        terminal.send("q")
        assert terminal.left() == Exit.OK
    finally:
        terminal._process.kill()


def gateway(start: Start) -> None:
    where = ["--host", HOST, "--port", str(free_port()), "--data-dir", str(start.folder / f"data{free_port()}")]
    start.until("admin key", "gateway", *where)


def node(start: Start) -> None:
    name = f"n{free_port()}"
    where = ["--host", HOST, "--data-dir", str(start.folder / name), "--gateway", f"{HOST}:{free_port()}"]
    start.until("joins the gateway", "node", name, str(free_port()), "1", *where)


def demo_cluster(start: Start) -> None:
    ports = ["--gateway-port", str(free_ports(3)), "--node-port", str(free_port())]  # HTTP and sandbox come next
    data = ["--data-dir", str(start.folder / f"demo{free_port()}")]
    start.until("Ctrl-C stops", "demo-cluster", "--nodes", "1", *ports, *data)


def certs(start: Start) -> None:
    data = ["--data-dir", str(start.folder / f"certs{free_port()}")]
    start.role("certs", *data, "init", "--name", "drive.example.org", "--yes")


def secrets(start: Start) -> None:
    start.role("secrets", "--data-dir", str(start.cluster.data), "list")


# A start; its words; what it imports beside Python's own and, where it speaks, what `import grpc` brings; and how many
# times the CPU time of `import grpc` it may take: about twice what it takes.
ROLES: list[tuple[Callable[[Start], None], str, set[str], float]] = [
    (help_, "--help", set(), 1.5),
    (version_flag, "--version", set(), 1.5),
    (version, "version", {"msgspec"} | SEALS | KEEPS, 5),  # of the schema, and of OpenSSL and SQLite
    (completion, "completion", SPEAKS | {"blake3"}, 6),  # all of the shell's commands
    (man, "man", SPEAKS | {"blake3"}, 6),
    (shell_command, "ls", SPEAKS, 4),
    (shell_prompt, "shell", SPEAKS | PROMPT, 10),
    (pay, "tiers", SPEAKS | {"rich"}, 4),
    (admin_status, "--status", SPEAKS, 4),
    (admin_dashboard, "admin", SPEAKS | {"platformdirs", "rich", "textual"}, 10),
    (node, "node", SPEAKS | SERVES, 5),
    (gateway, "gateway", SPEAKS | SERVES | SEALS | KEEPS | {"blake3", "pyotp"}, 9),
    (demo_cluster, "demo-cluster", SPEAKS, 4),
    (certs, "certs", SPEAKS | SEALS, 5),
    (secrets, "secrets", SPEAKS | {"rich"}, 4),
]


@pytest.mark.parametrize(("begin", "words", "wanted", "most"), ROLES, ids=[one[0].__name__.strip("_") for one in ROLES])
def test_a_role_imports_what_it_needs_and_starts_quickly(
    start: Start, begin: Callable[[Start], None], words: str, wanted: set[str], most: float
) -> None:
    for number in range(TRIES):
        if number or not BARE:
            start.run("-c", "import grpc")
            BARE.append(start.told_of("import grpc"))
        bare = BARE[-1] if number else min(BARE, key=lambda told: told.cpu_s)
        begin(start)
        told = start.told_of(f" {words}")
        print(begin.__name__, told.cpu_s / bare.cpu_s, sorted(told.packages - bare.packages))
        if told.cpu_s <= most * bare.cpu_s:
            break
    else:
        pytest.fail(f"{told.words} took {told.cpu_s:.2f} s of CPU, import grpc {bare.cpu_s:.2f} s")
    assert told.packages - bare.packages - {"cloudgrpc"} == wanted
