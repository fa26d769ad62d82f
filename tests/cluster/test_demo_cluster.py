"""demo-cluster as a person meets it: what it says, what it starts again, and that it leaves nothing behind."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import psutil
import pytest

from cloudgrpc.errors import Exit
from program import HOST, PATIENCE_S, clean_environment, free_port, free_ports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NODES = 2
CHILDREN = NODES + 2  # gateway and sandbox
PATIENT_S = 3 * PATIENCE_S  # with several programs that start at once


class Demo:
    """One run of demo-cluster. Everything that was started is ended with `close`."""

    def __init__(self, folder: Path, port: int, node_port: int, nodes: int = NODES) -> None:
        self.folder, self.data, self.port, self.node_port = folder, folder / "data", port, node_port
        self.out, self.err, self.nodes = folder / "demo.out", folder / "demo.err", nodes
        self._seen: set[psutil.Process] = set()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *more: str, ready: bool = True) -> Demo:
        words = ["demo-cluster", "--data-dir", str(self.data), "--nodes", str(self.nodes), *more]
        words += ["--gateway-port", str(self.port), "--node-port", str(self.node_port)]
        said = self.out.stat().st_size if self.out.exists() else 0
        with self.out.open("ab") as out, self.err.open("ab") as err:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "cloudgrpc", *words],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        if ready:
            wait(lambda: "Ctrl-C stops" in self.screen[said:], "the screen", self)
            self.remember()
        return self

    @property
    def environment(self) -> dict[str, str]:
        home = str(self.folder)
        quick = {"CLOUDGRPC_NODE_DISK_RESERVE_MB": "1", "CLOUDGRPC_CLUSTER_HEARTBEAT_S": "1"}
        return {**clean_environment(), "HOME": home, "XDG_CONFIG_HOME": home, **quick}

    @property
    def screen(self) -> str:
        return self.out.read_text()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def child(self, name: str) -> psutil.Process:
        """Waited for: a process that begins just now has no command line for a moment, though it is there."""
        words = {"gateway": ["gateway"], "node1": ["node", "node1"], "node2": ["node", "node2"]}[name]
        found: list[psutil.Process] = []

        def is_there() -> bool:
            with suppress(psutil.NoSuchProcess):  # it ended meanwhile
                found[:] = [child for child in self.children() if child.cmdline()[3 : 3 + len(words)] == words]
            return bool(found)

        wait(is_there, f"{name} among the children", self)
        return found[0]

    def left_over(self) -> list[psutil.Process]:
        """Children ever seen that still run."""
        return [child for child in self._seen if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]

    def remember(self) -> None:
        """Note the children of now, to know later whether they ended."""
        self._seen |= set(self.children())

    def shell(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run("shell", *words)

    def run(self, role: str, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "cloudgrpc", role, "--gateway", f"{HOST}:{self.port}", *words],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(PATIENT_S) == Exit.OK

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(PATIENT_S)
        for child in self.left_over():
            child.kill()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    demo = Demo(tmp_path_factory.mktemp("demo"), free_port(), free_ports(NODES))
    try:
        yield demo.start()
    finally:
        demo.close()


@pytest.fixture(scope="module")
def alice(demo: Demo) -> str:
    """The code by which she enrolled. She is signed in from then on, and has kept.txt in her drive."""
    person = start_shell(demo, "enroll", "alice@example.com", "Alice")
    wait(lambda: "OTP code for alice@example.com: " in demo.screen, "the code", demo)
    code = demo.screen.partition("OTP code for alice@example.com: ")[2][:6]
    answer, _ = person.communicate(f"{code}\n", timeout=60)
    assert person.returncode == Exit.OK, answer
    (demo.folder / "kept.txt").write_text("kept over restarts")
    assert demo.shell("upload", "kept.txt").returncode == Exit.OK
    return code


def test_its_screen_says_where_everything_is_and_what_to_type(demo: Demo) -> None:
    for told in (f"{HOST}:{demo.port}", f"{HOST}:{demo.node_port}", f"{HOST}:{demo.node_port + 1}", str(demo.data)):
        assert told in demo.screen
    typed = re.search(r"^  (\S.* shell --gateway \S+) ls$", demo.screen, re.MULTILINE)
    assert typed
    assert f"--gateway {HOST}:{demo.port}" in typed[1]
    assert len(demo.children()) == CHILDREN


def test_what_it_keeps_is_for_its_owner_only(demo: Demo) -> None:
    assert demo.data.stat().st_mode & 0o077 == 0


def test_it_shows_the_code_that_a_person_needs_and_keeps_it_out_of_the_logs(demo: Demo, alice: str) -> None:
    assert f"OTP code for alice@example.com: {alice} (valid 5 minutes)\n" in demo.screen
    assert all(alice not in log.read_text() for log in (demo.data / "logs").iterdir())


@pytest.mark.usefixtures("alice")
def test_a_person_buys_room_with_a_test_number(demo: Demo) -> None:
    tier, phone = re.findall(r"pay --gateway \S+ buy --tier (\w+) --phone (\d+)", demo.screen)[0]
    bought = demo.shell("pay", "buy", "--tier", tier, "--phone", phone, "--yes", "--json")
    assert bought.returncode == Exit.OK, bought.stderr
    assert json.loads(bought.stdout)["quota_bytes"] == (1024 + 250) << 20


@pytest.mark.usefixtures("alice")
@pytest.mark.parametrize("name", ["node1", "gateway"])
def test_a_child_that_is_killed_is_named_with_its_last_words_and_started_again(demo: Demo, name: str) -> None:
    killed, log = demo.child(name), demo.data / "logs" / f"{name}.log"
    said_before = log.read_text()
    killed.kill()
    wait(lambda: f"{name} is started again." in demo.screen, f"{name} started again", demo)
    obituary = re.search(
        rf"^{name} ended \(killed by SIGKILL\)\. Its last words, from (\S+):\n((?:    .*\n)*)",
        demo.screen,
        re.MULTILINE,
    )
    assert obituary
    assert obituary[1] == str(log)
    words = [line.removeprefix("    ") for line in obituary[2].splitlines()]
    assert set(words) <= set(log.read_text().splitlines())
    assert words or not said_before
    assert demo.child(name).pid != killed.pid
    demo.remember()
    wait(lambda: demo.shell("ls").returncode == Exit.OK, "the cluster answering", demo)


@pytest.mark.parametrize(("taken", "flag"), [("gateway", "--gateway-port"), ("node", "--node-port")])
def test_a_port_in_use_is_named_with_its_flag_and_nothing_is_started(tmp_path: Path, taken: str, flag: str) -> None:
    demo = Demo(tmp_path, free_port(), free_ports(NODES))
    port = demo.port if taken == "gateway" else demo.node_port + 1
    with closing(socket.create_server((HOST, port))):
        demo.start(ready=False)
        assert demo.process.wait(PATIENT_S) == Exit.NOT_NOW
    assert str(port) in demo.err.read_text()
    assert flag in demo.err.read_text()
    assert "Traceback" not in demo.err.read_text()
    assert not demo.data.exists() or not list(demo.data.glob("logs/*"))


@pytest.mark.usefixtures("alice")
def test_ctrl_c_ends_every_child_and_the_files_are_there_at_the_next_start(demo: Demo) -> None:
    demo.remember()
    assert len(demo.left_over()) == CHILDREN
    demo.stop()
    assert demo.left_over() == []
    assert "Traceback" not in demo.err.read_text()

    demo.start()
    assert demo.shell("download", "kept.txt", "again.txt").returncode == Exit.OK
    assert (demo.folder / "again.txt").read_text() == "kept over restarts"


@pytest.mark.usefixtures("alice")
def test_a_node_that_an_operator_removed_is_told_of_once_and_left_alone(demo: Demo) -> None:
    told = "node2 was removed by an operator; the demo leaves it stopped.\nTo have it again"
    with closing(sqlite3.connect(demo.data / "metadata.sqlite3", timeout=10)) as metadata:
        metadata.execute("INSERT INTO removed_node SELECT instance_id, node_id, 1 FROM node WHERE node_id = 'node2'")
        metadata.execute("DELETE FROM copy WHERE node_id = 'node2'")
        metadata.execute("DELETE FROM node WHERE node_id = 'node2'")
        metadata.commit()
    wait(lambda: told in demo.screen, "the removal told", demo)
    demo.remember()
    demo.stop()
    assert demo.left_over() == []
    said = len(demo.screen)
    demo.start()
    assert demo.screen[said:].startswith(told)
    assert f"{HOST}:{demo.node_port + 1}" not in demo.screen[said:]
    assert len(demo.children()) == CHILDREN - 1
    assert demo.screen.count(told) == 2
    assert "node2 is started again" not in demo.screen
    assert demo.shell("download", "kept.txt", "once more.txt").returncode == Exit.OK


def test_even_when_it_is_killed_itself_no_child_stays(demo: Demo) -> None:
    demo.remember()
    assert len(demo.left_over()) >= CHILDREN - 1  # without node2, once that was removed
    demo.process.kill()
    demo.process.wait()
    wait(lambda: not demo.left_over(), "every child ending", demo)


def test_with_tls_its_nodes_join_and_one_that_was_removed_joins_anew_once_its_folder_is_gone(tmp_path: Path) -> None:
    demo = Demo(tmp_path, free_port(), free_ports(1), nodes=1)
    try:
        demo.start("--tls")
        assert "with TLS" in demo.screen
        assert f"--ca {demo.data / 'certs' / 'ca.crt'}" in demo.screen
        assert certificates(demo) == ["good"]
        done = demo.run("admin", "--data-dir", str(demo.data), "node", "remove", "node1", "--yes")
        assert done.returncode == Exit.OK, done.stderr
        wait(lambda: "node1 was removed by an operator" in demo.screen, "the removal told", demo)
        demo.stop()
        assert not list((demo.data / "certs").glob("*.code"))
        shutil.rmtree(demo.data / "node_storage_node1")
        demo.start()  # there are certificates, so that it speaks TLS without being told
        assert demo.screen.count("with TLS") == 2
        assert certificates(demo) == ["revoked", "good"]
    finally:
        demo.close()


def certificates(demo: Demo) -> list[str]:
    """Their states, as an operator sees them."""
    told = demo.run("certs", "--data-dir", str(demo.data), "list", "--all", "--json")
    assert told.returncode == Exit.OK, told.stderr
    found = json.loads(told.stdout)["certificates"]
    return ["revoked" if one["revoked_at"] else "good" if one["is_good"] else "over" for one in found]


@pytest.mark.soak
@pytest.mark.timeout(320)
def test_the_self_test_passes(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cloudgrpc", "demo-cluster", "--self-test", "--data-dir", str(tmp_path / "data")],
        cwd=tmp_path,
        env={**clean_environment(), "HOME": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == Exit.OK, done.stdout + done.stderr


def start_shell(demo: Demo, *words: str) -> subprocess.Popen[str]:
    """A command that asks for the code on its standard input."""
    return subprocess.Popen(
        [sys.executable, "-m", "cloudgrpc", "shell", "--gateway", f"{HOST}:{demo.port}", *words],
        cwd=demo.folder,
        env=demo.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait(predicate: Callable[[], object], what: str, demo: Demo) -> None:
    deadline = time.monotonic() + PATIENT_S
    while not predicate():
        if time.monotonic() > deadline:
            there = demo.children() if demo.process.poll() is None else []
            children = [child.as_dict(["pid", "status", "cmdline"]) for child in there]
            told = f"{children}\n{demo.screen}\n{demo.err.read_text()}"
            raise AssertionError(f"not within {PATIENT_S:g} s: {what}\n{told}")
        time.sleep(0.05)
