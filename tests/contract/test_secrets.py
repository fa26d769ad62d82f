"""The secrets of this machine: made where none is configured, closed to others, read again when they change."""

from __future__ import annotations

import base64
import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from cloudgrpc.config import Cluster, Config, Data, Encryption
from cloudgrpc.errors import LocalFile, SettingsWrong
from cloudgrpc.trust.secrets import (
    CLUSTER,
    DIGEST,
    MASTER,
    cluster_secret,
    file_of,
    folder_of,
    master_keys,
    shared_secret,
    watched_master_keys,
)
from cloudgrpc.trust.watched import LOOK_S

if TYPE_CHECKING:
    from pathlib import Path

KEY, OTHER_KEY = (base64.b64encode(bytes([filling]) * 32).decode() for filling in (1, 2))
FIRST, SECOND = "the first secret of all", "the second secret of all"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(data=Data(folder=str(tmp_path / "data")))


class Clock:
    """Time passes when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self) -> None:
        """After this a file is looked at again."""
        self.now += LOOK_S


@pytest.fixture
def clock() -> Clock:
    return Clock()


def kept(config: Config) -> list[str]:
    return sorted(path.name for path in folder_of(config).glob("*.key"))


def test_a_configured_secret_is_used_and_none_is_made(tmp_path: Path) -> None:
    config = Config(data=Data(folder=str(tmp_path / "data")), cluster=Cluster(secret="configured by a person"))
    assert shared_secret(config, CLUSTER) == "configured by a person"
    assert list(tmp_path.iterdir()) == []


def test_a_secret_is_made_once_and_kept(config: Config) -> None:
    made = shared_secret(config, CLUSTER)
    assert len(made) >= 32
    assert shared_secret(config, CLUSTER) == made
    assert shared_secret(config, DIGEST) != made
    assert kept(config) == ["cluster.key", "digest.key"]


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
    assert kept(config) == ["cluster.key"]


def test_a_data_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file stands in the way")
    with pytest.raises(LocalFile, match="data"):
        shared_secret(Config(data=Data(folder=str(tmp_path / "data"))), CLUSTER)


def test_a_folder_that_others_may_look_into_is_refused(config: Config) -> None:
    shared_secret(config, CLUSTER)
    folder_of(config).chmod(0o750)
    with pytest.raises(SettingsWrong, match=f"chmod 700 {folder_of(config)}"):
        shared_secret(config, CLUSTER)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_secret_of_another_user_is_refused(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    shared_secret(config, CLUSTER)
    path = folder_of(config) / "cluster.key"
    os.chown(path, 12345, -1)
    with pytest.raises(SettingsWrong, match=f"belongs to another user.* chown 0 {path}"):
        shared_secret(config, CLUSTER)


def test_a_named_file_is_read_and_must_be_closed_to_others_too(tmp_path: Path) -> None:
    path = tmp_path / "elsewhere"
    path.write_text(f"{FIRST}\n")
    path.chmod(0o644)
    config = Config(data=Data(folder=str(tmp_path / "data")), cluster=Cluster(secret_file=str(path)))
    with pytest.raises(SettingsWrong, match=f"chmod 600 {path}"):
        cluster_secret(config)
    path.chmod(0o600)
    assert cluster_secret(config).current == FIRST
    assert not (tmp_path / "data").exists()


def test_old_secrets_of_the_settings_are_accepted_and_not_shown(tmp_path: Path) -> None:
    secret = cluster_secret(Config(cluster=Cluster(secret=FIRST, old_secrets=(SECOND,))))
    assert (secret.current, list(secret.accepted)) == (FIRST, [FIRST, SECOND])


def test_a_master_key_is_made_once_and_its_id_does_not_tell_it(config: Config) -> None:
    made = master_keys(config)
    assert [len(key) for key in made.keys.values()] == [32]
    assert list(made.keys) == [made.current]
    assert master_keys(config) == made
    assert made.current not in (folder_of(config) / "master.key").read_text()


def test_no_master_key_is_made_where_nothing_is_sealed_but_one_that_is_there_still_opens(config: Config) -> None:
    plain = Config(data=config.data, encryption=Encryption(at_rest=False))
    assert master_keys(plain).keys == {}
    assert kept(config) == []
    made = master_keys(config)
    assert master_keys(plain) == made


def test_a_master_key_that_goes_meanwhile_stays_in_use_also_where_nothing_new_is_sealed(
    config: Config, clock: Clock
) -> None:
    made = master_keys(config)
    keys = watched_master_keys(Config(data=config.data, encryption=Encryption(at_rest=False)), clock)
    (folder_of(config) / "master.key").unlink()
    clock.pass_by()
    assert keys.value == made


def test_further_master_keys_open_what_they_wrapped(config: Config) -> None:
    made = master_keys(config)
    path = folder_of(config) / "master.key"
    path.write_text(f"{KEY}\n{path.read_text()}")
    both = master_keys(config)
    assert both.keys == {both.current: bytes([1]) * 32, **made.keys}
    assert both.current != made.current
    configured = Config(encryption=Encryption(master_key=KEY, old_master_keys=(OTHER_KEY,)))
    assert [*master_keys(configured).keys.values()] == [bytes([1]) * 32, bytes([2]) * 32]
    assert master_keys(configured).current == both.current


@pytest.mark.parametrize("content", ["", "short", KEY[:-4], f"{KEY}\nno key at all", "ä" * 44])
def test_a_damaged_master_key_is_refused_and_never_shown_or_replaced(config: Config, content: str) -> None:
    master_keys(config)
    path = folder_of(config) / "master.key"
    path.write_text(content)
    with pytest.raises(SettingsWrong, match="damaged") as refused:
        master_keys(config)
    assert KEY[:8] not in str(refused.value)
    assert path.read_text() == content


def test_a_secret_is_read_again_when_its_file_changes(config: Config, clock: Clock) -> None:
    secret, keys = cluster_secret(config, clock), watched_master_keys(config, clock)
    was, key_was = secret.current, keys.value.current
    path = folder_of(config) / "cluster.key"
    path.write_text(f"{FIRST}\n{was}\n")
    (folder_of(config) / "master.key").write_text(f"{KEY}\n")
    assert list(secret.accepted) == [was]
    clock.pass_by()
    assert (secret.current, list(secret.accepted)) == (FIRST, [FIRST, was])
    assert keys.value.current != key_was


@pytest.mark.parametrize("harm", ["unlink", "chmod", "empty"])
def test_a_file_that_is_spoilt_meanwhile_leaves_the_secret_in_use_and_mends(
    config: Config, clock: Clock, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    secret = cluster_secret(config, clock)
    was, path = secret.current, folder_of(config) / "cluster.key"
    content = path.read_text()
    if harm == "unlink":
        path.unlink()
    elif harm == "chmod":
        path.chmod(0o644)
    else:
        path.write_text("")
    for _ in range(3):
        clock.pass_by()
        assert list(secret.accepted) == [was]
    assert len(caplog.records) == 1, "it is told once"
    assert was not in caplog.text
    path.write_text(f"{SECOND}\n{content}")
    path.chmod(0o600)
    clock.pass_by()
    assert list(secret.accepted) == [SECOND, was]


def test_where_a_secret_is_kept(config: Config, tmp_path: Path) -> None:
    assert file_of(config, MASTER) == folder_of(config) / "master.key"
    assert file_of(Config(encryption=Encryption(master_key=KEY)), MASTER) is None
    named = Config(encryption=Encryption(master_key=KEY, master_key_file=str(tmp_path / "m")))
    assert file_of(named, MASTER) == tmp_path / "m"
