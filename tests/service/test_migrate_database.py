"""`admin migrate-database` and `admin reset-database` as an operator meets them: real gateways, killed processes."""

from __future__ import annotations

import io
import re
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, Any

import psycopg2
import pytest

from cloudgrpc import cli
from cloudgrpc.errors import Exit
from cloudgrpc.meta import copy_target
from cloudgrpc.meta.models import DATABASE
from cluster_harness import CALM
from upgrades.kept import unpack
from upgrades.test_upgrades import KEPT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cluster_harness import Cluster
    from postgres import Database

    Made = Callable[..., Cluster]

# The command, which dies once two batches of the table `pace` are there and a third is on its way.
DYING = """
import os
import signal
from cloudgrpc import cli
from cloudgrpc.meta import copy_target

copy_in, copied = copy_target._copy_in, []

def copy_in_and_die(heading, rows):
    copy_in(heading, rows)
    copied.append(heading.table)
    if copied.count("pace") == 3:
        os.kill(os.getpid(), signal.SIGKILL)

copy_target._copy_in = copy_in_and_die
cli.main()
"""


@pytest.fixture(autouse=True)
def whole() -> Iterator[None]:
    """The database that other tests have open stays theirs."""
    before = DATABASE.obj
    yield
    DATABASE.initialize(before)


def url(database: Database) -> str:
    return f"postgresql://{database.user}@{database.host}:{database.port}/{database.name}"


def words(folder: Path, act: str, *more: str) -> list[str]:
    return ["admin", act, "--data-dir", str(folder), *more]


def told(folder: Path, act: str, *more: str, exit_code: int = Exit.OK) -> str:
    """What is told; in this process, which saves the start of a program each time."""
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(out):
        left = cli.run(words(folder, act, *more))
    assert left == exit_code, out.getvalue()
    return out.getvalue()


def ask(database: Database, sql: str) -> list[tuple[Any, ...]]:
    place = {"host": database.host, "port": database.port, "user": database.user, "dbname": database.name}
    with closing(psycopg2.connect(**place)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else []


def test_a_drive_goes_on_where_it_is_moved_to(make_cluster: Made, postgres_database: Database) -> None:
    cluster = make_cluster(nodes=2, **CALM)
    alice = cluster.enroll("alice@example.org")
    file_id = alice.upload("a.bin", b"what she has" * 1000).file_id
    to = ["migrate-database", "--to", url(postgres_database), "--yes"]
    assert "in use by a gateway" in told(cluster.data, *to, exit_code=Exit.NOT_NOW)
    cluster.stop_gateway()
    assert "alike on both sides" in told(cluster.data, *to)
    cluster.database = postgres_database
    cluster.start_gateway()
    cluster.wait(lambda: len(cluster.online()) == 2, what="both nodes online")
    assert alice.download(file_id) == b"what she has" * 1000
    assert alice.upload("b.bin", b"more").success
    cluster.stop_gateway()
    assert "this drive, copied before, with 1 accounts" in told(cluster.data, *to, exit_code=Exit.NOT_NOW)


def test_a_copy_that_is_killed_goes_on_where_it_was(make_cluster: Made, postgres_database: Database) -> None:
    cluster = make_cluster(start=False, nodes=0, **CALM)
    unpack(KEPT[-1], "sqlite", cluster.folder)
    rows = 5 * copy_target.BATCH
    many = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})"
    path = cluster.data / "metadata.sqlite3"
    _sqlite(path, f"{many} INSERT INTO pace SELECT 'made ' || i, i FROM n")
    environment = cluster.environment()
    command = [*words(cluster.data, "migrate-database"), "--to", url(postgres_database), "--yes"]

    def run(*program: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *program, *command],
            cwd=cluster.logs,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    killed = run("-c", DYING)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert _copied(postgres_database) == 2 * copy_target.BATCH

    cluster.database = postgres_database
    refused = cluster.start_gateway(ready=False)
    assert refused.wait(60) == Exit.NOT_NOW
    assert "goes on where it was" in refused.tail()

    ran = run("-m", "cloudgrpc")
    assert ran.returncode == Exit.OK, ran.stderr
    assert "goes on after" in ran.stdout
    assert ask(postgres_database, "SELECT COUNT(*) FROM pace WHERE name LIKE 'made %'") == [(rows,)]
    cluster.start_gateway()
    assert cluster.login("alice@example.org").resolve("/letter.txt").file.filename == "letter.txt"


def _copied(database: Database) -> int:
    if ask(database, "SELECT to_regclass('database_copy')") == [(None,)]:
        return 0
    return int(ask(database, "SELECT rows FROM database_copy WHERE words = 'pace'")[0][0])


def _sqlite(path: Path, sql: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(sql)


def test_a_script_must_be_sure_and_a_source_must_be_there(tmp_path: Path) -> None:
    anywhere = "postgresql://nobody@127.0.0.1:1/none"
    assert "--yes" in told(tmp_path, "migrate-database", "--to", anywhere, exit_code=Exit.USAGE)
    assert "--yes" in told(tmp_path, "reset-database", exit_code=Exit.USAGE)
    assert "[database] host" in told(tmp_path, "migrate-database", "--yes", exit_code=Exit.USAGE)
    assert "no database" in told(tmp_path, "migrate-database", "--to", anywhere, "--yes", exit_code=Exit.NOT_NOW)
    assert "no database" in told(tmp_path, "reset-database", "--yes", exit_code=Exit.NOT_NOW)
    assert list(tmp_path.iterdir()) == []


def test_a_data_folder_that_cannot_be_looked_into_is_told(tmp_path: Path) -> None:
    closed = tmp_path / ("a" * 300)  # as one of another account is, but for root, too
    to = ["--to", "postgresql://nobody@127.0.0.1:1/none", "--yes"]
    assert "File name too long" in told(closed, "migrate-database", *to, exit_code=Exit.NOT_NOW)
    assert "File name too long" in told(closed, "reset-database", "--yes", exit_code=Exit.NOT_NOW)


@pytest.fixture(params=["sqlite", "postgres"])
def old_drive(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of a drive whose gateway is stopped, and which is configured."""
    database = request.getfixturevalue("postgres_database") if request.param == "postgres" else None
    unpack(KEPT[-1], request.param, tmp_path, database)
    for name, value in (database.environment if database else {}).items():
        monkeypatch.setenv(name, value)
    return tmp_path / "data"


def test_a_development_database_is_emptied_and_says_what_is_lost(old_drive: Path) -> None:
    joined = old_drive / "certs" / "joined.json"
    joined.parent.mkdir(exist_ok=True)
    joined.write_text("{}")
    said = told(old_drive, "reset-database", "--yes")
    assert str(joined) in said  # or the nodes would refuse the next cluster
    for line in ("accounts  4", "files     7, 13.5 KB", "payments  3", "nodes     2"):
        assert line in said
    assert str(old_drive / "node_storage_node1") in said
    assert (old_drive / "node_storage_node1").is_dir()
    assert "nobody has an account" in told(old_drive, "reset-database", "--yes")


def test_only_tables_of_ours_go(postgres_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unpack(KEPT[-1], "postgres", tmp_path, postgres_database)
    ask(postgres_database, "CREATE TABLE theirs (a INT)")
    for name, value in postgres_database.environment.items():
        monkeypatch.setenv(name, value)
    place = postgres_database
    with closing(
        psycopg2.connect(
            host=place.host, port=place.port, user=place.user, dbname=place.name, application_name="psql of ann"
        )
    ):
        assert "psql of ann on 127.0.0.1" in told(tmp_path / "data", "reset-database", "--yes", exit_code=Exit.NOT_NOW)
    told(tmp_path / "data", "reset-database", "--yes")
    assert ask(postgres_database, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'") == [("theirs",)]


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("UPDATE payment SET mode = 'production' WHERE state = 'completed'", "1 payments of real money"),
        ("UPDATE node SET host = '192.0.2.4', is_online = TRUE WHERE node_id = 'node2'", r"online \(node2\)"),
    ],
)
def test_what_people_use_is_not_emptied_by_mistake(tmp_path: Path, sql: str, reason: str) -> None:
    unpack(KEPT[-1], "sqlite", tmp_path)
    _sqlite(tmp_path / "data" / "metadata.sqlite3", sql)
    assert re.search(reason, told(tmp_path / "data", "reset-database", "--yes", exit_code=Exit.NOT_NOW))
    assert "accounts  4" in told(tmp_path / "data", "reset-database", "--yes", "--force")


def test_a_gateway_that_runs_keeps_its_database(calm_on_either: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (calm_on_either.database.environment if calm_on_either.database else {}).items():
        monkeypatch.setenv(name, value)
    said = told(calm_on_either.data, "reset-database", "--yes", exit_code=Exit.NOT_NOW)
    assert "gateway" in said
    assert calm_on_either.rows("SELECT COUNT(*) FROM cluster") == [(1,)]
