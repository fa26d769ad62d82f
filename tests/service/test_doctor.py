"""`cloudgrpc doctor` beside real servers, sound ones and broken ones: it tells what is wrong, and changes nothing."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import psycopg2
import pytest

from cloudgrpc import cli
from cloudgrpc.about import checks_folder, checks_machine, doctor
from cloudgrpc.meta import looking
from cloudgrpc.trust.authority import DAY_S, Authority
from cloudgrpc.trust.gateway_papers import certify
from cloudgrpc.trust.identity import THE_GATEWAY
from cloudgrpc.trust.papers import Papers
from cluster_harness import PATIENT
from program import HOST, free_port
from sandbox import SandboxServer
from smtp import Certificate, MailServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cluster_harness import Cluster
    from postgres import Database, Postgres

    Doctor = Callable[..., "Told"]

NOBODY = 65_534


class Told:
    """What one run told."""

    def __init__(self, code: int, document: dict[str, Any]) -> None:
        self.code = code
        self.document = document

    def of(self, check: str, standing: str) -> str:
        """The words and what to do, of all findings of this kind."""
        found = [each for each in self.document["checks"] if (each["check"], each["standing"]) == (check, standing)]
        return "\n".join(f"{each['words']}\n{each['to_do']}" for each in found)

    @property
    def wrong(self) -> set[str]:
        return {each["check"] for each in self.document["checks"] if each["standing"] == "wrong"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The data folder, which is not there yet."""
    return tmp_path / "data"


@pytest.fixture
def ask(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Doctor:
    """Run it with settings such as gateway_port=…, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLOUDGRPC_GATEWAY_PORT", str(free_port()))

    def run(**settings: object) -> Told:
        with monkeypatch.context() as environment:
            for name, value in settings.items():
                environment.setenv(name if name.isupper() else f"CLOUDGRPC_{name.upper()}", str(value))
            code = cli.run(["doctor", "--json", "--data-dir", str(folder)])
        return Told(code, json.loads(capsys.readouterr().out))

    return run


def test_where_nothing_is_set_up_nothing_is_wrong_and_nothing_is_made(ask: Doctor, folder: Path) -> None:
    told = ask()
    assert (told.code, told.wrong) == (0, set())
    assert "first start" in told.of("database", "note")
    assert "codes on its console" in told.of("mail", "note")
    assert "nothing can be bought" in told.of("campay", "note")
    assert told.document["wrong"] == 0
    assert list(folder.parent.iterdir()) == []


def test_people_read_a_line_a_finding_and_a_sum(ask: Doctor, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["doctor", "--data-dir", str(folder)]) == 0
    *lines, empty, last = capsys.readouterr().out.splitlines()
    assert all(line.startswith(("ok     ", "note   ", "wrong  ", " " * 21 + "> ")) for line in lines)
    assert (empty, last[:17]) == ("", "Nothing is wrong,")


def test_wrong_settings_are_all_told_and_stop_no_other_check(ask: Doctor) -> None:
    told = ask(node_zone="a b", mail_colour="red", campay_base_url="nowhere")
    assert told.code == 1
    for name in ("CLOUDGRPC_NODE_ZONE", "CLOUDGRPC_MAIL_COLOUR", "CLOUDGRPC_CAMPAY_BASE_URL"):
        assert name in told.of("settings", "wrong")
    assert told.wrong == {"settings"}
    assert told.of("disk", "ok")


def test_beside_a_cluster_that_runs_all_is_well_and_nothing_changes(
    make_cluster: Callable[..., Cluster], ask: Doctor, folder: Path
) -> None:
    cluster = make_cluster(nodes=2, **PATIENT)
    cluster.data.chmod(0o700)
    folder.symlink_to(cluster.data)
    looks: list[Told] = []

    def is_served() -> bool:
        """It tells so a second after the nodes came, and by then what they make at their start is made."""
        looks.append(ask(gateway_port=cluster.port))
        return "and takes files" in looks[-1].of("gateway", "ok")

    cluster.wait(is_served, what="being served")
    before = sorted(cluster.data.rglob("*"))
    cluster.wait(is_served, what="being served")
    told = looks[-1]
    assert (told.code, told.wrong) == (0, set())
    assert "is whole, schema at 0" in told.of("database", "ok")
    assert "node_storage_node2" in told.of("node", "ok")
    assert "backup FILE" in told.of("secrets", "note")
    assert sorted(cluster.data.rglob("*")) == before
    assert cluster.gateway.is_running
    cluster.kill_gateway()
    told = ask(gateway_port=cluster.port)
    assert "none runs here now" in told.of("gateway", "note")
    assert "schema at 0" in told.of("database", "ok")


def test_a_port_that_another_program_holds_is_told_with_its_name(ask: Doctor) -> None:
    with closing(socket.create_server((HOST, 0))) as listener:
        port = listener.getsockname()[1]
        told = ask(gateway_port=port, http_port=port)
    assert told.code == 1
    assert f"{HOST}:{port} is held by" in told.of("ports", "wrong")
    assert f"process {os.getpid()}" in told.of("ports", "wrong")
    assert "[http] port" in told.of("ports", "wrong")


def test_a_damaged_and_a_newer_sqlite_file_are_told(ask: Doctor, folder: Path) -> None:
    folder.mkdir(mode=0o700)
    file = folder / "metadata.sqlite3"
    with closing(sqlite3.connect(file)) as line:
        line.execute("CREATE TABLE schema_step (name TEXT)")
        line.execute("INSERT INTO schema_step VALUES ('0001_first'), ('9999_later')")
        line.execute(
            "CREATE TABLE filler AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n LIMIT 9999)"
            " SELECT x, hex(randomblob(50)) AS y FROM n"
        )
        line.commit()
    assert "schema steps 9999_later are unknown here" in ask().of("database", "wrong")
    with file.open("r+b") as raw:
        raw.seek(40_000)
        raw.write(os.urandom(40_000))
    told = ask()
    assert "damaged" in told.of("database", "wrong") or "malformed" in told.of("database", "wrong")
    file.write_bytes(b"no database at all, but a text of some length" * 100)
    assert "not a database" in ask().of("database", "wrong")
    assert sorted(path.name for path in folder.iterdir()) == ["metadata.sqlite3"]


def test_an_older_schema_is_a_note_and_its_file_is_left_as_it_is(ask: Doctor, folder: Path) -> None:
    folder.mkdir(mode=0o700)
    file = folder / "metadata.sqlite3"
    with closing(sqlite3.connect(file)) as line:
        line.execute("PRAGMA journal_mode = wal")
        line.execute("CREATE TABLE schema_step (name TEXT)")
        line.execute("INSERT INTO schema_step VALUES ('0001_first')")
        line.commit()
    before = file.read_bytes()
    told = ask()
    assert "next start adds 0002_accounts" in told.of("database", "note")
    assert told.code == 0
    assert [path.name for path in folder.iterdir()] == [file.name]
    assert file.read_bytes() == before


def test_postgres_is_asked_for_what_a_gateway_needs(
    postgres: Postgres, postgres_database: Database, ask: Doctor
) -> None:
    name = postgres_database.name
    with closing(psycopg2.connect(host=HOST, port=postgres.port, user=postgres.user, dbname=name)) as line:
        line.autocommit = True
        cursor = line.cursor()
        cursor.execute(f"CREATE ROLE clerk_{name} LOGIN CONNECTION LIMIT 5")
        cursor.execute("CREATE TABLE schema_step (name TEXT)")
        told = ask(**postgres_database.environment)
        assert "empty" in told.of("database", "note")
        assert "does not flush" in told.of("database", "wrong")  # as tests start it
        assert "of the database's" in told.of("clock", "ok")
        told = ask(**{**postgres_database.environment, "DB_USER": f"clerk_{name}"})
        assert "permission denied" in told.of("database", "wrong")
        cursor.execute(f"GRANT SELECT ON schema_step TO clerk_{name}")
        told = ask(**{**postgres_database.environment, "DB_USER": f"clerk_{name}"})
        for words in ("may make no tables", "may not read and write schema_step", "0 of 5 connections", "GRANT ALL"):
            assert words in told.of("database", "wrong")
        cursor.execute(f"REVOKE ALL ON schema_step FROM clerk_{name}")
        cursor.execute(f"DROP ROLE clerk_{name}")
    told = ask(**{**postgres_database.environment, "DB_NAME": "nowhere"})
    assert 'database "nowhere" does not exist' in told.of("database", "wrong")
    told = ask(**{**postgres_database.environment, "DB_PORT": str(free_port())})
    assert "refused" in told.of("database", "wrong")
    assert "DB_HOST" in told.of("database", "wrong")


def test_mail_is_tried_without_sending_any(ask: Doctor, tmp_path: Path) -> None:
    with MailServer(Certificate.make(tmp_path)) as server:
        told = ask(**server.variables())
        assert "lets drive@example.org sign in" in told.of("mail", "ok")
        assert server.received == []
        told = ask(**server.variables(password="a wrong one"))
        assert "not accepted" in told.of("mail", "wrong")
        assert "a wrong one" not in json.dumps(told.document)
        assert "app password" in told.of("mail", "wrong")
        server.manner = "trickling"
        assert "not done within 1 s" in ask(**server.variables(timeout_s=1)).of("mail", "wrong")


def test_campay_is_asked_for_a_token_and_for_nothing_else(ask: Doctor) -> None:
    with SandboxServer() as campay:
        told = ask(**campay.variables())
        assert "sandbox" in told.of("campay", "ok")
        assert campay.sandbox.transactions == {}
        told = ask(**campay.variables(password="another one"))
        assert "no token" in told.of("campay", "wrong")
        assert "another one" not in json.dumps(told.document)
    assert "refused" in ask(**campay.variables()).of("campay", "wrong")


def test_certificates_at_their_end_are_told(ask: Doctor, folder: Path) -> None:
    certs = folder / "certs"
    long_ago = time.time() - 3640 * DAY_S  # ten years it is good for, but some days
    folder.mkdir(mode=0o700)
    authority = Authority.create(certs, 1, clock=lambda: long_ago)
    certify(authority, Papers(certs, THE_GATEWAY), ["localhost"])
    told = ask()
    assert "that of gateway expired on" in told.of("certificates", "wrong")
    assert "Start the gateway" in told.of("certificates", "wrong")
    assert "is good until" in told.of("certificates", "wrong")  # the authority, for days only
    (certs / "gateway.key").chmod(0o644)
    assert "chmod 600" in ask().of("certificates", "wrong")


def test_certificates_that_nobody_believes_are_told(ask: Doctor, folder: Path, tmp_path: Path) -> None:
    certs = folder / "certs"
    folder.mkdir(mode=0o700)
    authority = Authority.create(certs)
    certify(authority, papers := Papers(certs, THE_GATEWAY), ["localhost"])
    assert "that of gateway is good until" in ask().of("certificates", "ok")
    certify(Authority(certs, 90, clock=lambda: time.time() + 5 * DAY_S), papers, ["localhost"])
    assert "is good only from" in ask().of("certificates", "wrong")
    other = Authority.create(tmp_path / "other")
    (certs / "gateway.crt").write_bytes(other.issue(papers.request(), THE_GATEWAY).certificate)
    told = ask().of("certificates", "wrong")
    assert "by no authority" in told
    assert "certs init" in told


def test_a_certificate_for_people_must_fit_its_key(ask: Doctor, folder: Path, tmp_path: Path) -> None:
    folder.mkdir(mode=0o700)
    certify(authority := Authority.create(folder / "certs"), Papers(folder / "certs", THE_GATEWAY), ["localhost"])
    assert authority.known
    (tmp_path / "second").mkdir()
    mine, other = Certificate.make(tmp_path), Certificate.make(tmp_path / "second")
    for each in (mine, other):
        each.key.chmod(0o600)
    told = ask(tls_certificate_file=mine.file, tls_key_file=mine.key)
    assert "is good until" in told.of("certificates", "note")  # for two days
    told = ask(tls_certificate_file=mine.file, tls_key_file=other.key)
    assert "[tls] certificate_file and key_file" in told.of("certificates", "wrong")


def test_secrets_that_others_can_read_are_told(ask: Doctor, folder: Path) -> None:
    (folder / "secrets").mkdir(parents=True, mode=0o700)
    key = folder / "secrets" / "cluster.key"
    key.write_text("a secret of some length\n")
    key.chmod(0o644)
    told = ask()
    assert str(key) in told.of("secrets", "wrong")
    assert "a secret of some length" not in json.dumps(told.document)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can look at what another user's gateway keeps")
def test_to_root_the_secrets_of_another_user_are_no_fault_and_not_to_be_taken(ask: Doctor, folder: Path) -> None:
    for name in ("secrets", "certs"):
        (folder / name).mkdir(parents=True, mode=0o700)
        os.chown(folder / name, NOBODY, NOBODY)
        key = folder / name / "cluster.key"
        key.write_text("a secret of some length\n")
        key.chmod(0o600)
        os.chown(key, NOBODY, NOBODY)
    told = ask()
    assert told.wrong == set()
    assert "another user" in told.of("secrets", "note")
    assert "another user" in told.of("certificates", "note")
    assert "chown" not in json.dumps(told.document)


def test_a_secret_in_the_settings_that_is_wrong_is_told_by_its_place(ask: Doctor) -> None:
    told = ask(cluster_secret="hush")
    assert told.of("secrets", "wrong").startswith("[cluster] secret: is damaged")
    assert "hush" not in json.dumps(told.document)


def test_a_disk_with_less_than_nodes_leave_free_is_told(ask: Doctor, folder: Path) -> None:
    told = ask(node_disk_reserve_mb=1_000_000_000)
    assert "Make room" in told.of("disk", "wrong")
    folder.write_text("a file in its place")
    assert "is no folder" in ask().of("data folder", "wrong")


def test_a_gateway_beyond_this_machine_needs_certificates(ask: Doctor) -> None:
    told = ask(gateway_host="0.0.0.0")
    assert "without TLS" in told.of("certificates", "wrong")


def test_a_clock_beside_others_is_judged_and_told() -> None:
    assert checks_machine.judge_skew(-29, "Campay's").standing == "ok"
    behind = checks_machine.judge_skew(-31.4, "Campay's")
    assert (behind.standing, behind.words[:22]) == ("wrong", "31 s behind Campay's: ")
    assert "31 s before" in checks_machine.judge_skew(31, "the database's").words


def test_a_clock_that_was_set_back_is_told(ask: Doctor, folder: Path) -> None:
    folder.mkdir(mode=0o700)
    (folder / "gateway.lock").touch()
    os.utime(folder / "gateway.lock", (time.time() + 3600,) * 2)
    assert "set back" in ask().of("clock", "wrong")


def test_a_check_that_hangs_or_fails_hides_no_other(ask: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes a connection and says nothing, as PostgreSQL behind a broken balancer."""
    monkeypatch.setattr(looking, "CONNECT_S", 60)  # which would end it first
    monkeypatch.setattr(doctor, "PATIENCE_S", 4.0)
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    with closing(socket.create_server((HOST, 0))) as silent:
        told = ask(DB_HOST=HOST, DB_PORT=silent.getsockname()[1])
        assert "no answer within" in told.of("database", "wrong")
        assert told.of("disk", "ok")
        assert ended == [1]


def test_a_file_system_is_found_by_the_nearest_mount(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    place = f"{tmp_path}/a b"
    shown = place.replace(" ", "\\040")
    mounts.write_text(
        f"none / ext4 rw 0 0\nnone {shown} tmpfs rw 0 0\nnas:/x {shown}/c nfs4 rw 0 0\nnone {shown}/c xfs rw 0 0\n"
    )
    (tmp_path / "a b" / "c" / "d").mkdir(parents=True)
    (tmp_path / "a bc").mkdir()
    kinds = [checks_folder.file_system(tmp_path / name, mounts) for name in ("a b", "a b/c/d", "a bc")]
    assert kinds == ["tmpfs", "xfs", "ext4"]
