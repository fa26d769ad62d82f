"""The command line: what it says, its exit codes, and how the roles that listen start and stop."""

from __future__ import annotations

import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import psutil
import pytest

from cloudgrpc import __version__, cli
from cloudgrpc.errors import Exit
from program import HOST, ROOT, clean_environment, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cluster_harness import Cluster

HELP_S = 0.15
READY_S = 2.0
INTERRUPTS = """
import os, signal, sys
class Interrupts:
    @staticmethod
    def find_spec(name, *_):
        if name == "cloudgrpc.cli":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupts)
"""


@pytest.fixture
def idle(make_cluster: Callable[..., Cluster]) -> Cluster:
    """A cluster of which nothing runs yet."""
    return make_cluster(nodes=0, start=False)


@pytest.fixture
def taken_port() -> Iterator[int]:
    with closing(socket.create_server((HOST, 0))) as listener:
        yield int(listener.getsockname()[1])


def gateway(cluster: Cluster, *words: str, **settings: object) -> subprocess.CompletedProcess[str]:
    """Start a gateway that is expected to refuse."""
    where = ["--data-dir", str(cluster.data), *([] if "--port" in words else ["--port", str(cluster.port)])]
    return cluster.run("gateway", *where, *words, timeout_s=60, **settings)


def assert_refusal(ran: subprocess.CompletedProcess[str], exit_code: int, *words: str) -> None:
    """The last words: one line saying what went wrong, one saying what to try, and the exit code of the catalogue."""
    assert ran.returncode == exit_code, ran.stderr
    assert "Traceback" not in ran.stderr
    wrong, hint = ran.stderr.strip().splitlines()[-2:]
    assert wrong.endswith(".")
    assert hint
    for word in words:
        assert word in wrong


def seconds_of_cpu(*words: str) -> float:
    """What it took, in CPU time: a busy machine takes little from it."""
    process = subprocess.Popen([sys.executable, *words], cwd=ROOT, env=clean_environment(), stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return used.ru_utime + used.ru_stime


# Help and usage


def test_a_ctrl_c_while_the_program_is_loaded_ends_it_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTS)
    environment = {**clean_environment(), "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    command = [sys.executable, "-m", "cloudgrpc", "--version"]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (-signal.SIGINT, "")


def test_help_lists_every_role_and_every_exit_code(idle: Cluster) -> None:
    ran = idle.run("--help")
    assert ran.returncode == 0
    for role in cli.MODULES:
        assert re.search(rf"^ +{role}\b", ran.stdout, re.MULTILINE), role
    _, _, codes = ran.stdout.partition("exit codes:")
    assert set(re.findall(r"\d+", codes)) == {str(code) for name, code in vars(Exit).items() if name.isupper()}


@pytest.mark.parametrize("role", cli.MODULES)
def test_every_role_explains_itself(role: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([role, "--help"])
    assert ended.value.code == 0
    assert f"cloudgrpc {role}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["nonsense"],
        ["--nonsense"],
        ["gateway", "--nonsense"],
        ["gateway", "--port", "x"],
        ["gateway", "--log-level", "loud"],
        ["gateway", "more"],
        ["node"],
        ["node", "node1", "9001"],
        ["node", "node1", "x", "2"],
        ["node", "node1", "9001", "x"],
    ],
    ids=" ".join,
)
def test_wrong_words_end_with_the_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == Exit.USAGE
    assert capsys.readouterr().err.startswith("usage: cloudgrpc")


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["Node_1", "9001", "2"], "node id"),
        (["../x", "9001", "2"], "node id"),
        (["node1", "70000", "2"], "port 70000"),
        (["node1", "-1", "2"], ""),
        (["node1", "9001", "0"], "capacity"),
        (["node1", "9001", "nan"], "capacity"),
        (["node1", "9001", "inf"], "capacity"),
    ],
)
def test_a_node_that_makes_no_sense_is_wrong_usage(
    words: list[str], what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["node", *words, "--data-dir", str(tmp_path / "data")])
    assert ended.value.code == Exit.USAGE
    assert what in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


def test_the_launcher_works_from_any_folder(tmp_path: Path) -> None:
    environment = {key: value for key, value in clean_environment().items() if not key.startswith("PYTHON")}
    ran = subprocess.run(
        [sys.executable, str(ROOT / "cloudgrpc.py"), "--version"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == f"cloudgrpc {__version__}\n"


def test_help_is_there_at_once() -> None:
    for words in (["-c", "import cloudgrpc.cli"], ["-m", "cloudgrpc", "--help"]):
        assert any(seconds_of_cpu(*words) < HELP_S for _ in range(10)), words


# Settings


def test_every_fault_of_the_settings_is_told_at_once_with_its_place(idle: Cluster) -> None:
    config = idle.folder / "own.toml"
    config.write_text(
        "[gateway]\nport = 70000\nprot = 1\n[cluster]\nwrite_quorum = 3\nsecret = 'short'\n"
        "[clutser]\nx = 1\n[drive]\nsilence_s = -1\n"
    )
    environment = {"upkeep_round_s": "soon", "upkeep_ronud_s": "1"}
    ran = idle.run("gateway", "--config", str(config), "--data-dir", str(idle.data / "x"), **environment)
    assert ran.returncode == Exit.USAGE
    assert "Traceback" not in ran.stderr
    for fault in (
        "own.toml: [gateway] prot",
        "own.toml: [clutser]",
        "own.toml: [drive] silence_s",
        "[cluster] write_quorum: more than replication_factor",
        "[cluster] secret",
        "CLOUDGRPC_UPKEEP_ROUND_S",
        "CLOUDGRPC_UPKEEP_RONUD_S",
    ):
        assert fault in ran.stderr, fault
    assert not (idle.data / "x").exists()
    assert "short" not in ran.stderr.replace("shorter", ""), "a secret is not repeated"


def test_a_config_file_that_is_not_there_or_no_toml_is_wrong(idle: Cluster) -> None:
    broken = idle.folder / "broken.toml"
    broken.write_text("[gateway\nport=")
    for path in (broken, idle.folder / "missing.toml"):
        ran = idle.run("gateway", "--config", str(path))
        assert ran.returncode == Exit.USAGE
        assert str(path) in ran.stderr
        assert "Traceback" not in ran.stderr


# Starts that are refused


def test_a_port_in_use_is_a_clear_refusal_of_a_gateway(idle: Cluster, taken_port: int) -> None:
    ran = gateway(idle, "--port", str(taken_port))
    assert_refusal(ran, Exit.NOT_NOW, str(taken_port), "in use")
    assert "--port" in ran.stderr


def test_a_port_in_use_is_a_clear_refusal_of_a_node(idle: Cluster, taken_port: int) -> None:
    ran = idle.run("node", "node1", str(taken_port), "1", "--data-dir", str(idle.data))
    assert_refusal(ran, Exit.NOT_NOW, str(taken_port), "in use")


def test_plaintext_stays_on_this_machine_unless_the_settings_allow_it(idle: Cluster) -> None:
    for host in ("0.0.0.0", "192.0.2.7"):
        assert_refusal(gateway(idle, "--host", host), Exit.NOT_NOW, "without TLS", host)
    node = idle.run("node", "node1", str(free_port()), "1", "--data-dir", str(idle.data), "--host", "0.0.0.0")
    assert_refusal(node, Exit.NOT_NOW, "without TLS")
    assert not idle.node_folder("node1").exists()
    port = str(idle.port)
    allowed = subprocess.Popen(
        [sys.executable, "-m", "cloudgrpc", "gateway", "--host", "0.0.0.0", "--port", port],
        env=idle.environment(cluster_allow_plaintext=True, data_folder=idle.data),
        cwd=idle.logs,
        stdout=subprocess.PIPE,
        text=True,
    )
    with allowed:
        try:
            assert allowed.stdout is not None
            assert "gateway" in allowed.stdout.readline()
            assert f"0.0.0.0:{port}" in allowed.stdout.readline()
        finally:
            allowed.terminate()


@pytest.mark.parametrize("name", ["data folder", "database"])
def test_what_stands_in_the_way_of_the_data_is_told_without_a_traceback(idle: Cluster, name: str) -> None:
    place = idle.folder / "place"
    if name == "database":
        place.mkdir()
        (place / "metadata.sqlite3").write_bytes(b"this is no database, but somebody's letter" * 100)
    else:
        place.write_text("a file")
    ran = gateway(idle, "--data-dir", str(place))
    assert_refusal(ran, Exit.UNAVAILABLE if name == "database" else Exit.NOT_NOW)
    if name == "database":
        assert (place / "metadata.sqlite3").read_bytes().startswith(b"this is no database"), "nothing was touched"


def test_a_postgresql_that_does_not_answer_is_told_without_a_traceback_or_the_password(idle: Cluster) -> None:
    password = "a-password-nobody-sees"
    settings = {"database_host": HOST, "database_port": free_port(), "database_password": password}
    ran = gateway(idle, **settings)
    assert ran.returncode == Exit.UNAVAILABLE
    assert "database does not answer" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert password not in ran.stderr + ran.stdout


def test_a_second_gateway_on_one_data_folder_is_refused_and_the_first_goes_on(idle: Cluster) -> None:
    idle.start_gateway()
    ran = gateway(idle, "--port", str(free_port()))
    assert_refusal(ran, Exit.NOT_NOW, "in use by another process", str(idle.data))
    assert idle.send_code("alice@example.org")


def test_a_database_of_a_newer_version_is_refused_untouched(idle: Cluster) -> None:
    idle.start_gateway()
    idle.stop_gateway()
    path = idle.data / "metadata.sqlite3"
    with closing(sqlite3.connect(path)) as connection, connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(schema_step)") if row[5] == 0]
        values = ["9999_future" if column == "name" else "2099-01-01" for column in columns]
        marks = ", ".join("?" * len(values))
        connection.execute(f"INSERT INTO schema_step ({', '.join(columns)}) VALUES ({marks})", values)
    before = idle.rows("SELECT name, sql FROM sqlite_master ORDER BY name"), idle.rows("SELECT * FROM schema_step")
    assert_refusal(gateway(idle), Exit.NOT_NOW, "newer version", "9999_future")
    after = idle.rows("SELECT name, sql FROM sqlite_master ORDER BY name"), idle.rows("SELECT * FROM schema_step")
    assert after == before


# Start and stop


def test_a_gateway_says_at_its_start_what_it_is_and_is_ready_in_two_seconds(idle: Cluster) -> None:
    program = idle.start_gateway()
    used = psutil.Process(program.pid).cpu_times()
    assert used.user + used.system < READY_S
    told = program.out.read_text().splitlines()
    assert told[0] == f"CloudGrpc {__version__} gateway"
    lines = {line[2:13].strip(): line[14:] for line in told[1:]}
    assert lines["listens on"] == idle.address
    assert lines["database"] == f"SQLite in {idle.data / 'metadata.sqlite3'}"
    assert lines["pool"] == "0 GB, grows as nodes join"
    assert "printed here" in lines["mail"]
    assert lines["payments"] == "not configured: nothing can be bought"
    key = idle.data / "secrets" / "admin.key"
    assert lines["admin key"] == f"in {key}"
    assert key.read_text().strip() not in program.out.read_text() + program.err.read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_gateway_and_node_end_well(make_cluster: Callable[..., Cluster], number: signal.Signals) -> None:
    cluster = make_cluster(nodes=1)
    for name in ("node1", "gateway"):
        program = cluster.programs[name]
        os.kill(program.pid, number)
        assert program.wait() == Exit.OK
        assert "Traceback" not in program.err.read_text()


def test_a_node_that_comes_first_makes_the_data_folder_for_its_owner_only(idle: Cluster) -> None:
    idle.data.rmdir()
    idle.start_node("node1", ready=False, cluster_secret="one of the settings, not a file")
    idle.wait(lambda: idle.node_folder("node1").is_dir(), what="its folder")
    assert idle.data.stat().st_mode & 0o077 == 0


def test_what_the_data_folder_holds_is_for_its_owner_only(idle: Cluster) -> None:
    """The database and the secrets; others on the machine read neither."""
    idle.data.rmdir()
    idle.start_gateway()
    assert idle.data.stat().st_mode & 0o077 == 0
    for path in (idle.data / "secrets").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
