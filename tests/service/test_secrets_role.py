"""`cloudgrpc secrets` beside a real gateway: what its operator is told, and what is refused."""

from __future__ import annotations

import io
import json
import os
import time
from contextlib import redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING

import pytest

from cloudgrpc import cli
from cloudgrpc.errors import Exit
from cloudgrpc.trust import secret_files
from cluster_harness import Cluster
from operating import admin_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CONCERN = "If the master key is lost, so is every file"


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("secrets"), nodes=0)
    try:
        yield cluster.start()
    finally:
        cluster.close()


def secrets(data: Path, *words: object, exit_code: int = Exit.OK) -> str:
    told = io.StringIO()
    with redirect_stdout(told), redirect_stderr(told):
        left = cli.run(["secrets", "--data-dir", str(data), *map(str, words)])
    assert left == exit_code, f"{left} instead of {exit_code}:\n{told.getvalue()}"
    return told.getvalue()


def concerns(cluster: Cluster) -> list[str]:
    return [each for each in admin_json(cluster, "--status")["warnings"] if each.startswith(CONCERN)]


def test_the_gateway_warns_until_its_master_key_was_saved(idle: Cluster, tmp_path: Path) -> None:
    advice = "cloudgrpc secrets backup FILE"
    assert advice in idle.gateway.out.read_text()
    assert [each.endswith(advice) for each in concerns(idle)] == [True]
    assert "secrets/master.key" in secrets(idle.data, "backup", tmp_path / "saved.tar")
    idle.wait(lambda: not concerns(idle), what="the concern gone, without a restart")
    secrets(idle.data, "add", "master")
    idle.wait(lambda: concerns(idle), what="the concern about the new one")


def test_what_is_listed_are_fingerprints_and_no_secret(idle: Cluster) -> None:
    told = secrets(idle.data, "list") + secrets(idle.data, "list", "--json")
    found = json.loads(secrets(idle.data, "list", "--json"))
    assert [each["name"] for each in found] == ["cluster", "master", "digest", "admin"]
    for each in found:
        assert each["fingerprints"][0] in told
        assert (idle.data / "secrets" / f"{each['name']}.key").read_text().strip() not in told


def test_a_gateway_whose_master_key_others_can_read_does_not_start(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(start=False)
    secrets(cluster.data, "add", "master")
    key = cluster.data / "secrets" / "master.key"
    key.chmod(0o640)
    left = cluster.run("gateway", "--data-dir", str(cluster.data), "--port", str(cluster.port))
    assert left.returncode == Exit.USAGE
    assert f"chmod 600 {key}" in left.stderr


def test_a_secret_is_given_by_a_file_or_stdin_and_never_by_an_argument(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = secrets(tmp_path / "data", "add", "cluster", "a secret of 16 letters", exit_code=Exit.USAGE)
    assert not (tmp_path / "data").exists(), told
    monkeypatch.setattr("sys.stdin", io.StringIO("a secret of 16 letters\n"))
    secrets(tmp_path / "data", "add", "cluster", "--from", "-")
    assert (tmp_path / "data" / "secrets" / "cluster.key").read_text() == "a secret of 16 letters\n"
    (tmp_path / "two").write_text("one secret of 16 letters\nanother of 16 letters\n")
    secrets(tmp_path / "data", "add", "cluster", "--from", tmp_path / "two", exit_code=Exit.USAGE)


def test_an_old_master_key_is_removed_unasked_only_by_who_is_sure(tmp_path: Path) -> None:
    data = tmp_path / "data"
    secrets(data, "add", "master")
    secrets(data, "add", "master")
    os.utime(data / "secrets" / "master.key", (0, 0))  # long ago: all processes go by it
    (master,) = (each for each in json.loads(secrets(data, "list", "--json")) if each["name"] == "master")
    nobody = ("--gateway", "127.0.0.1:9", "remove", "master", master["fingerprints"][1])
    told = secrets(data, *nobody, exit_code=Exit.USAGE)
    assert "could not be asked" in told
    assert "--yes" in told
    secrets(data, *nobody, "--yes")
    assert len((data / "secrets" / "master.key").read_text().split()) == 1


def test_who_needs_an_old_master_key_is_asked_only_when_no_process_uses_it_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secret_files, "SETTLED_S", 0.1)
    data = tmp_path / "data"
    secrets(data, "add", "master")
    secrets(data, "add", "master")
    (master,) = (each for each in json.loads(secrets(data, "list", "--json")) if each["name"] == "master")
    old, new = master["fingerprints"]
    secrets(data, "use", "master", new)
    in_an_hour = time.time() + 3600
    os.utime(data / "secrets" / "master.key", (in_an_hour, in_an_hour))  # so that it is a moment ago, whenever we look
    told = secrets(data, "--gateway", "127.0.0.1:9", "remove", "master", old, "--yes")
    assert -1 < told.find("Waiting") < told.find("could not be asked")
