"""`cloudgrpc version`: what it tells of this copy, of the database, and on which terms everything in it may be used."""

from __future__ import annotations

import json
import re
import sqlite3
import tomllib
from contextlib import closing
from importlib import metadata
from typing import TYPE_CHECKING

import msgspec
from packaging.requirements import Requirement

from cloudgrpc import __version__, cli
from cloudgrpc.about import bundle, licences
from program import HOST, ROOT, free_port

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from postgres import Database


# Where libraries are from, that come within packages.
LIBRARIES = {
    **dict.fromkeys(["libgssapi_krb5", "libk5crypto", "libkrb5", "libkrb5support"], "krb5"),
    **dict.fromkeys(["libcrypto", "libssl"], "openssl"),
    **dict.fromkeys(["liblber", "libldap"], "openldap"),
    "libcom_err": "libcom_err",
    "libcrypt": "libxcrypt",
    "libkeyutils": "keyutils",
    "libpcre": "pcre",
    "libpq": "libpq",
    "libsasl2": "cyrus-sasl",
    "libselinux": "libselinux",
}


def version(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli.run(["version", *words]) == 0
    return capsys.readouterr().out


def needed() -> set[str]:
    """All packages that are needed to run here, as pip reads it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted, found = [Requirement(each) for each in project["dependencies"]], set()
    while wanted:
        package = wanted.pop()
        key = re.sub(r"[-_.]+", "-", package.name).lower()
        is_for_us = package.marker is None or package.marker.evaluate({"extra": ""})
        if key not in found and is_for_us:
            found.add(key)
            wanted += [Requirement(each) for each in metadata.requires(package.name) or []]
    return found


def test_every_package_has_its_licence_with_a_text() -> None:
    told = {re.sub(r"[-_.]+", "-", each.name).lower(): each for each in licences.gather()}
    assert needed() - told.keys() == set()
    assert len(needed()) > 30
    assert {"cloudgrpc", "python", "openssl", "libpq"} <= told.keys()
    for each in told.values():
        assert len(each.text) > 300, each.name
        assert each.licence, each.name
    assert "Permission is hereby granted" in told["cloudgrpc"].text
    assert "GNU LESSER GENERAL PUBLIC LICENSE" in told["the text of lgpl-3"].text


def test_every_library_that_a_package_brings_has_its_licence() -> None:
    told = {each.name for each in licences.gather()}
    brought = [file.name for package in licences.packages() for file in package.files or [] if ".libs/" in str(file)]
    unknown = {name for name in brought if LIBRARIES.get(re.split(r"[-.]", name)[0]) not in told}
    assert unknown == set()
    assert brought


def test_licences_are_shown_as_a_list_and_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = version(capsys, "--licences")
    assert re.search(r"^  grpcio [\d.]+ +Apache-2.0$", told, re.MULTILINE)
    assert "Python Software Foundation" in told
    listed = json.loads(version(capsys, "--licences", "--json"))
    assert {"name", "version", "licence", "text"} == listed[0].keys()


def test_an_executable_tells_what_was_written_at_its_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has no git and no metadata of packages, but the file."""
    made = bundle.Bundle("0123456789ab", [licences.Licence("grpcio", "9.9.9", "Apache-2.0", "its text")])
    (tmp_path / "bundle.json").write_bytes(msgspec.json.encode(made))
    monkeypatch.setattr(bundle, "FILE", tmp_path / "bundle.json")
    monkeypatch.setattr("sys.frozen", True, raising=False)
    told = json.loads(version(capsys, "--json"))
    assert (told["commit"], told["form"], told["packages"]) == ("0123456789ab", "executable", {"grpcio": "9.9.9"})
    assert "its text" in version(capsys, "--licences")


def test_it_tells_the_newest_step_and_the_one_that_the_database_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    told = json.loads(version(capsys, "--json", "--data-dir", "data"))
    assert told["version"] == __version__
    assert re.fullmatch(r"\d{4}_\w+", told["schema"]["known"])
    assert told["schema"]["here"] is None
    assert not (tmp_path / "data").exists()
    (tmp_path / "data").mkdir()
    with closing(sqlite3.connect(tmp_path / "data" / "metadata.sqlite3")) as line:
        line.execute("CREATE TABLE schema_step (name TEXT)")
        line.execute("INSERT INTO schema_step VALUES ('0001_first'), ('0002_accounts')")
        line.commit()
    told = json.loads(version(capsys, "--json", "--data-dir", "data"))
    assert told["schema"]["here"] == "0002_accounts"
    words = version(capsys, "--data-dir", "data")
    assert words.startswith(f"cloudgrpc {__version__}")
    assert "at step 0002_accounts" in words


def test_it_asks_postgres_and_does_not_need_it(
    postgres_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in postgres_database.environment.items():
        monkeypatch.setenv(name, str(value))
    assert re.match(r"\d+", json.loads(version(capsys, "--json"))["schema"]["server"])
    monkeypatch.setenv("DB_PORT", str(free_port()))
    assert (
        f"PostgreSQL {postgres_database.name} on {HOST}" in json.loads(version(capsys, "--json"))["schema"]["database"]
    )
    assert "refused" in version(capsys)


def test_wrong_settings_do_not_stop_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CLOUDGRPC_NODE_ZONE", "a b")
    assert "CLOUDGRPC_NODE_ZONE" in version(capsys)
