"""Secrets in files: rotated in three steps, saved as one file, and brought back."""

from __future__ import annotations

import io
import stat
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from cloudgrpc.config import Cluster, Config, Data, Encryption
from cloudgrpc.errors import (
    LocalFile,
    NameTaken,
    SecretInUse,
    SecretsBackupWrong,
    SecretsConfigured,
    SecretsThere,
    SecretUnknown,
    SettingsWrong,
)
from cloudgrpc.trust import private, secrets_backup
from cloudgrpc.trust.secret_files import SETTLED_S, SecretFile, kept
from cloudgrpc.trust.secrets import (
    ADMIN,
    DIGEST,
    cluster_secret,
    folder_of,
    master_keys,
    new_master_key,
    shared_secret,
)
from cloudgrpc.trust.secrets_backup import back_up, last, restore, watch_unsaved
from cloudgrpc.trust.watched import LOOK_S

if TYPE_CHECKING:
    from pathlib import Path

EITHER = pytest.mark.parametrize("name", ["cluster", "master"])


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Of a gateway that has started once."""
    config = Config(data=Data(folder=str(tmp_path / "data")))
    made(config)
    return config


def made(config: Config) -> None:
    cluster_secret(config)
    master_keys(config)
    for key in (DIGEST, ADMIN):
        shared_secret(config, key)


def prints(config: Config, name: str) -> list[str]:
    return next(each.fingerprints for each in kept(config) if each.name == name)


def contents(config: Config) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder_of(config).glob("*.key")}


# Rotation


@EITHER
def test_a_secret_is_changed_in_three_steps_and_both_hold_in_between(config: Config, name: str) -> None:
    file = SecretFile(config, name)
    (old,) = file.fingerprints()
    new, is_news = file.add()
    assert is_news
    assert file.fingerprints() == [old, new] == prints(config, name)
    assert file.use(new)
    assert file.fingerprints() == [new, old]
    assert not file.use(new), "it is already"
    file.remove(old)
    assert file.fingerprints() == [new]


@EITHER
def test_a_secret_of_another_machine_is_taken_over_once(config: Config, tmp_path: Path, name: str) -> None:
    other = SecretFile(Config(data=Data(folder=str(tmp_path / "other"))), name)
    line = new_master_key()
    added, is_news = other.add(line)
    assert (is_news, other.fingerprints()) == (True, [added]), "the first is in use at once"
    assert SecretFile(config, name).add(line) == (added, True)
    assert SecretFile(config, name).add(line) == (added, False)


@EITHER
def test_the_one_in_use_is_never_removed(config: Config, name: str) -> None:
    file = SecretFile(config, name)
    before = contents(config)
    with pytest.raises(SecretInUse, match="the one in use"):
        file.remove(file.fingerprints()[0])
    for act in (file.use, file.remove):
        with pytest.raises(SecretUnknown):
            act("00000000")
    assert contents(config) == before


@pytest.mark.parametrize(("name", "line"), [("cluster", "short"), ("master", "no key but more than 16 letters")])
def test_what_is_no_secret_is_not_added(config: Config, name: str, line: str) -> None:
    before = contents(config)
    with pytest.raises(SettingsWrong) as refused:
        SecretFile(config, name).add(line)
    assert line not in str(refused.value)
    assert contents(config) == before


@EITHER
def test_a_changed_file_stays_closed_to_others(config: Config, name: str) -> None:
    SecretFile(config, name).add()
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder_of(config).glob("*.key")} == {0o600}


def test_two_who_add_at_once_both_do(config: Config) -> None:
    with ThreadPoolExecutor(8) as threads:
        added = list(threads.map(lambda _: SecretFile(config, "cluster").add()[0], range(16)))
    assert sorted(added) == sorted(prints(config, "cluster")[1:])


def test_a_configured_secret_is_changed_in_the_settings_only(tmp_path: Path) -> None:
    config = Config(
        data=Data(folder=str(tmp_path)),
        cluster=Cluster(secret="configured by a person", old_secrets=("the one of before it",)),
        encryption=Encryption(master_key=new_master_key()),
    )
    with pytest.raises(SecretsConfigured, match=r"\[cluster\] secret"):
        SecretFile(config, "cluster")
    with pytest.raises(SecretsConfigured) as refused:
        SecretFile(config, "master")
    assert "old_master_keys" in refused.value.advice
    assert [len(prints(config, name)) for name in ("cluster", "master", "digest")] == [2, 1, 0]


def test_a_file_named_in_the_settings_is_changed_where_it_is_and_links_stay(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    private.write(real, b"the first secret of all\n")
    link.symlink_to(real)
    config = Config(data=Data(folder=str(tmp_path / "data")), cluster=Cluster(secret_file=str(link)))
    added, _ = SecretFile(config, "cluster").add()
    assert link.is_symlink()
    assert len(real.read_text().splitlines()) == 2
    assert prints(config, "cluster")[1] == added


def test_two_changes_are_far_enough_apart_for_everybody_to_look(config: Config) -> None:
    assert SETTLED_S >= 2 * LOOK_S
    file = SecretFile(config, "cluster")
    began = time.time()
    file.add()
    left = file.unsettled_s()
    assert SETTLED_S - 1 - (time.time() - began) < left <= SETTLED_S


def test_nothing_that_is_listed_tells_a_secret(config: Config) -> None:
    SecretFile(config, "cluster").add()
    told = repr(kept(config))
    for content in contents(config).values():
        for line in content.decode().split():
            assert line not in told
            assert line[:8] not in told


# Backup


def test_all_secrets_come_back_from_a_backup(config: Config, tmp_path: Path) -> None:
    SecretFile(config, "master").add()
    certs = config.data_folder / "certs"
    private.make_folder(certs)
    private.write(certs / "ca.key", b"a key")
    private.write(certs / "ca.crt", b"a certificate")
    private.write(certs / "gateway.key", b"made anew when it is missing")
    names = back_up(config, tmp_path / "saved.tar")
    assert names == [
        *(f"secrets/{name}.key" for name in ("cluster", "master", "digest", "admin")),
        *secrets_backup.AUTHORITY,
    ]
    assert stat.S_IMODE((tmp_path / "saved.tar").stat().st_mode) == 0o600
    other = Config(data=Data(folder=str(tmp_path / "other")))
    assert restore(other, tmp_path / "saved.tar") == names
    assert contents(other) == contents(config)
    assert (other.data_folder / "certs" / "ca.key").read_bytes() == b"a key"
    for path in other.data_folder.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert last(other).fingerprints == last(config).fingerprints


def test_a_backup_replaces_nothing(config: Config, tmp_path: Path) -> None:
    path = tmp_path / "saved.tar"
    path.write_text("something else")
    with pytest.raises(NameTaken):
        back_up(config, path)
    assert path.read_text() == "something else"
    assert last(config) == secrets_backup.NEVER


def test_where_there_are_no_secrets_there_is_nothing_to_save(tmp_path: Path) -> None:
    with pytest.raises(LocalFile, match="holds no secrets"):
        back_up(Config(data=Data(folder=str(tmp_path / "data"))), tmp_path / "saved.tar")
    assert list(tmp_path.iterdir()) == []


def test_secrets_that_are_there_are_never_replaced(config: Config, tmp_path: Path) -> None:
    back_up(config, tmp_path / "saved.tar")
    other = Config(data=Data(folder=str(tmp_path / "other")))
    shared_secret(other, ADMIN)
    before = contents(other)
    with pytest.raises(SecretsThere, match=r"admin\.key"):
        restore(other, tmp_path / "saved.tar")
    assert contents(other) == before


def test_half_of_a_restore_is_finished_by_another(config: Config, tmp_path: Path) -> None:
    back_up(config, tmp_path / "saved.tar")
    (folder_of(config) / "master.key").unlink()
    (folder_of(config) / "admin.key").unlink()
    restore(config, tmp_path / "saved.tar")
    assert sorted(contents(config)) == ["admin.key", "cluster.key", "digest.key", "master.key"]


def repacked(path: Path, change: dict[str, bytes | None]) -> None:
    """The same archive, with other files in it; None: without it."""
    with tarfile.open(path) as tar:
        files = {name: tar.extractfile(name).read() for name in tar.getnames()}  # type: ignore[union-attr]
    with tarfile.open(path, "w") as tar:
        for name, content in {**files, **change}.items():
            if content is not None:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize(
    "change",
    [
        {"secrets/master.key": None},
        {"secrets/master.key": b"another"},
        {"certs/ca.key": b"was not in it"},
        {"manifest.json": None},
        {"manifest.json": b"[]"},
    ],
)
def test_a_backup_that_is_not_whole_is_refused(config: Config, tmp_path: Path, change: dict[str, bytes | None]) -> None:
    path, other = tmp_path / "saved.tar", Config(data=Data(folder=str(tmp_path / "other")))
    back_up(config, path)
    repacked(path, change)
    with pytest.raises(SecretsBackupWrong):
        restore(other, path)
    assert not other.data_folder.exists()


@pytest.mark.parametrize("cut", [0, 100, 3000])
def test_a_backup_that_is_cut_off_or_something_else_is_refused(config: Config, tmp_path: Path, cut: int) -> None:
    path = tmp_path / "saved.tar"
    back_up(config, path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(SecretsBackupWrong):
        secrets_backup.read(path)


def test_a_backup_cannot_write_elsewhere(config: Config, tmp_path: Path) -> None:
    path, other = tmp_path / "saved.tar", Config(data=Data(folder=str(tmp_path / "other")))
    back_up(config, path)
    repacked(path, {"../outside": b"x", "/tmp/outside": b"x", "secrets/more.key": b"x"})
    restore(other, path)
    assert sorted(contents(other)) == ["admin.key", "cluster.key", "digest.key", "master.key"]
    assert not (tmp_path / "outside").exists()


# What is on this machine alone


def test_a_master_key_is_told_to_be_on_this_machine_alone_until_it_is_saved(config: Config, tmp_path: Path) -> None:
    def is_unsaved() -> bool:
        return watch_unsaved(config, lambda: master_keys(config).keys)()

    assert is_unsaved()
    back_up(config, tmp_path / "first.tar")
    assert not is_unsaved()
    SecretFile(config, "master").add()
    assert is_unsaved(), "a further one is in no backup"
    back_up(config, tmp_path / "second.tar")
    assert not is_unsaved()


def test_only_a_master_key_that_was_made_here_needs_a_backup(tmp_path: Path) -> None:
    data = Data(folder=str(tmp_path / "data"))
    configured = Encryption(master_key=new_master_key())
    assert not watch_unsaved(Config(data=data, encryption=configured), lambda: ["00000000"])()
    off = Config(data=data, encryption=Encryption(at_rest=False))
    assert not watch_unsaved(off, lambda: master_keys(off).keys)(), "there is none"
    assert watch_unsaved(off, lambda: ["00000000"])(), "it opens what was sealed before"
