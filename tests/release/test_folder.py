"""The folder for those who start it often: whole in its archive, and a gateway on PostgreSQL out of it."""

from __future__ import annotations

import re
import sys
import tarfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil
import pytest

from cloudgrpc import __version__
from cloudgrpc.errors import Exit
from executable_run import ARCHIVE, FOLDER, Place, maps
from program import HOST, PATIENCE_S, free_port

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
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
    settings = [f"{name}={value}" for name, value in postgres_database.environment.items()]
    (place.folder / ".env").write_text("\n".join(settings))
    with gateway_of(place) as (gateway, address):
        process = psutil.Process(gateway.pid)
        assert process.children() == []
        if sys.platform == "linux":
            assert re.search(r"_internal/psycopg2_binary\.libs/libpq", maps(process))
        told = place.run("shell", "--gateway", address, "ls")
        assert told.returncode == Exit.NOT_SIGNED_IN, told.stderr
    assert gateway.returncode == Exit.OK


def test_certificates_are_made_and_whom_nobody_vouches_for_is_refused(place: Place) -> None:
    made = place.run("certs", "init", "--yes")
    assert made.returncode == Exit.OK, made.stderr
    with gateway_of(place) as (_, address):
        # By the roots that are bundled; without them, it would be another reason.
        refused = place.run("shell", "--gateway", address, "--tls", "login", "alice@example.com")
        assert (refused.returncode, "no authority" in refused.stderr) == (Exit.NOT_NOW, True), refused.stderr
        ca = place.folder / "cloudgrpc-data" / "certs" / "ca.crt"
        trusted = place.run("shell", "--gateway", address, "--ca", str(ca), "ls")
        assert trusted.returncode == Exit.NOT_SIGNED_IN, trusted.stderr


@contextmanager
def gateway_of(place: Place) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running gateway and its address; it is told to stop at the end."""
    port = free_port()
    with place.start("gateway", "--port", str(port)) as gateway:
        try:
            assert gateway.stdout
            said = []
            while "listens on" not in (line := gateway.stdout.readline()):
                said.append(line)
                assert line, said
            yield gateway, f"{HOST}:{port}"
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
