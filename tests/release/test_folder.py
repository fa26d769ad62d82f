"""The folder for those who start it often: whole in its archive, and a gateway on PostgreSQL out of it."""

from __future__ import annotations

import re
import sys
import tarfile
from typing import TYPE_CHECKING

import psutil
import pytest

from cloudgrpc import __version__
from cloudgrpc.errors import Exit
from executable_run import ARCHIVE, FOLDER, HOST, Place, maps
from program import PATIENCE_S, free_port

if TYPE_CHECKING:
    from pathlib import Path

    from postgres import Database


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Unpacked from its archive, elsewhere than where it was made."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return Place(tmp_path, tmp_path / FOLDER.name / "cloudgrpc")


def test_it_holds_what_belongs_to_a_program(place: Place) -> None:
    told = place.run("--version")
    assert told.stdout == f"cloudgrpc {__version__}\n", told.stderr
    beside = {path.relative_to(place.program.parent).as_posix() for path in place.program.parent.rglob("*")}
    wanted = {
        "LICENSE",
        "config.toml",
        "cloudgrpc.1",
        *(f"completion/{name}" for name in ("cloudgrpc.bash", "_cloudgrpc")),
    }
    assert wanted <= beside
    assert place.folders() == []


def test_a_gateway_on_postgres_starts_and_stops_as_from_source(place: Place, postgres_database: Database) -> None:
    port = free_port()
    settings = {f"{name}={value}" for name, value in postgres_database.environment.items()}
    (place.folder / ".env").write_text("\n".join(settings))
    gateway = place.start("gateway", "--port", str(port))
    try:
        assert gateway.stdout
        said = [gateway.stdout.readline() for _ in range(3)]
        assert any(f"{HOST}:{port}" in line for line in said), said
        process = psutil.Process(gateway.pid)
        assert process.children() == []
        if sys.platform == "linux":
            assert re.search(r"_internal/psycopg2_binary\.libs/libpq", maps(process))
        told = place.run("shell", "--gateway", f"{HOST}:{port}", "ls")
        assert told.returncode == Exit.NOT_SIGNED_IN, told.stderr
    finally:
        gateway.terminate()
        code = gateway.wait(PATIENCE_S)
    assert code == Exit.OK


def test_strangers_are_not_trusted_by_the_bundled_roots(place: Place, tmp_path: Path) -> None:
    """TLS has what it needs: certificates are made, and one of nobody's is refused for that reason."""
    made = place.run("certs", "init")
    assert made.returncode == Exit.OK, made.stderr
    gateway = place.start("gateway", "--port", str(port := free_port()))
    try:
        assert gateway.stdout
        while "listens on" not in (line := gateway.stdout.readline()):
            assert line
        refused = place.run("shell", "--gateway", f"{HOST}:{port}", "--tls", "login", "alice@example.com")
        assert refused.returncode == Exit.UNAVAILABLE
        assert "certificate" in refused.stderr
        ca = tmp_path / "cloudgrpc-data" / "certs" / "ca.crt"
        trusted = place.run("shell", "--gateway", f"{HOST}:{port}", "--ca", str(ca), "ls", "--json")
        assert trusted.returncode == Exit.NOT_SIGNED_IN, trusted.stderr
    finally:
        gateway.terminate()
        gateway.wait(PATIENCE_S)


def test_the_archive_names_nobody_and_no_hour() -> None:
    """So that two builds of the same sources are the same."""
    with tarfile.open(ARCHIVE) as archive:
        entries = archive.getmembers()
    assert len({entry.mtime for entry in entries}) == 1
    assert {(entry.uid, entry.gid, entry.uname, entry.gname) for entry in entries} == {(0, 0, "", "")}
    assert [entry.name for entry in entries] == sorted(
        (entry.name for entry in entries), key=lambda name: name.split("/")
    )
