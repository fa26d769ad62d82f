"""Secrets that nobody configured: made once, the same for all who ask, and closed to others."""

from __future__ import annotations

import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from cloudgrpc.config import Cluster, Config, Data
from cloudgrpc.errors import LocalFile, SettingsWrong
from cloudgrpc.servers.secrets_store import shared_secret

if TYPE_CHECKING:
    from pathlib import Path

CLUSTER = ("cluster", "secret")
DIGEST = ("gateway", "digest_key")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(data=Data(folder=str(tmp_path / "data")))


def test_a_configured_secret_is_used_and_none_is_made(tmp_path: Path) -> None:
    config = Config(data=Data(folder=str(tmp_path / "data")), cluster=Cluster(secret="configured by a person"))
    assert shared_secret(config, CLUSTER) == "configured by a person"
    assert list(tmp_path.iterdir()) == []


def test_a_secret_is_made_once_and_kept(config: Config) -> None:
    made = shared_secret(config, CLUSTER)
    assert len(made) >= 32
    assert shared_secret(config, CLUSTER) == made
    assert shared_secret(config, DIGEST) != made
    assert sorted(path.name for path in (config.data_folder / "secrets").iterdir()) == ["cluster.key", "digest.key"]


def test_only_its_owner_may_read_a_secret(config: Config) -> None:
    shared_secret(config, CLUSTER)
    folder = config.data_folder / "secrets"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "cluster.key").stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_secret_that_others_may_touch_is_refused(config: Config, mode: int) -> None:
    shared_secret(config, CLUSTER)
    path = config.data_folder / "secrets" / "cluster.key"
    path.chmod(mode)
    with pytest.raises(SettingsWrong, match=f"chmod 600 {path}"):
        shared_secret(config, CLUSTER)


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 40])
def test_a_damaged_secret_is_refused_and_not_replaced(config: Config, content: bytes) -> None:
    shared_secret(config, CLUSTER)
    path = config.data_folder / "secrets" / "cluster.key"
    path.write_bytes(content)
    with pytest.raises(SettingsWrong, match="damaged"):
        shared_secret(config, CLUSTER)
    assert path.read_bytes() == content


def test_all_who_find_no_secret_at_once_agree_on_one(config: Config) -> None:
    gate = threading.Barrier(8)

    def ask() -> str:
        gate.wait()
        return shared_secret(config, CLUSTER)

    with ThreadPoolExecutor(8) as threads:
        answers = [future.result() for future in [threads.submit(ask) for _ in range(8)]]
    assert len(set(answers)) == 1
    assert [path.name for path in (config.data_folder / "secrets").iterdir()] == ["cluster.key"]


def test_a_data_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file stands in the way")
    with pytest.raises(LocalFile, match="data"):
        shared_secret(Config(data=Data(folder=str(tmp_path / "data"))), CLUSTER)
