"""The acts of operators at the command line, by the real program against a real gateway with real nodes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from cloudgrpc import cli
from cloudgrpc.admin import backup_file
from cloudgrpc.admin.care_desk import CareDesk
from cloudgrpc.admin.desk import Desk
from cloudgrpc.clients.session import Gateway
from cloudgrpc.errors import BackupUnreadable, Exit, QuotaMoved
from cluster_harness import PATIENT, Cluster
from operating import admin, admin_json, admin_key, admin_words
from person import Terminal
from user import refused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from user import User

MB = 1 << 20
OWN_KEY = "the gateway's own key"
REPAIR_S = 90.0  # see test_admin_nodes


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    settings: dict[str, Any] = {**PATIENT, "upkeep_repair_delay_s": 600, "upkeep_inventory_s": 3600}
    cluster = Cluster(tmp_path_factory.mktemp("site"), nodes=3, **settings)
    try:
        yield cluster.start()
    finally:
        cluster.close()


@pytest.fixture
def alice(site: Cluster, tmp_path: Path) -> User:
    return site.enroll(f"{tmp_path.name.replace('_', '-')}@example.org")


def terminal(cluster: Cluster, folder: Path, *words: object) -> Terminal:
    """An operator who can be asked."""
    place = ["--gateway", cluster.address, "--data-dir", str(cluster.data)]
    command = [sys.executable, "-m", "cloudgrpc", "admin", *place, *map(str, words)]
    return Terminal(command, folder, {**cluster.environment(), "TERM": "xterm"})


def go_on(cluster: Cluster, *nodes: str) -> None:
    """Nodes that were paused, until they were heard again: they may count as offline for a moment even now."""
    ((last,),) = cluster.rows("SELECT max(last_heartbeat_at) FROM node")
    cluster.resume(*nodes)
    late = f"SELECT 1 FROM node WHERE NOT is_online OR last_heartbeat_at <= {last}"
    cluster.wait(lambda: not cluster.rows(late), what="all nodes back")


def settled(cluster: Cluster) -> bool:
    """Whether each chunk is on two nodes, and on their disks is what the metadata says."""
    held: dict[str, list[str]] = {}
    for chunk_id, node_id, state in cluster.rows("SELECT chunk_id, node_id, state FROM copy ORDER BY node_id"):
        held.setdefault(chunk_id, []).append(node_id if state == "good" else state)
    return all(len(where) == 2 and where == cluster.holders(chunk_id) for chunk_id, where in held.items())


def events(cluster: Cluster, kind: str) -> list[dict[str, object]]:
    """Their details, the newest first."""
    found = cluster.rows(f"SELECT details FROM event WHERE kind = '{kind}' ORDER BY event_id DESC")
    return [json.loads(details) for (details,) in found]


@pytest.mark.parametrize(
    "words",
    [
        "quota alice@example.org 1GB",
        "user disable alice@example.org",
        "user enable alice@example.org",
        "node drain node1",
        "node undrain node1",
        "node remove node1",
        "node remove node1 --lost",
        "repair",
        "scrub",
        "scrub node1",
        "restore some.backup",
        "reconcile --open",
        "key add bob --role view",
        "key revoke bob",
    ],
)
def test_a_script_must_be_sure(site: Cluster, words: str) -> None:
    assert "--yes" in admin(site, *words.split(), exit_code=Exit.USAGE)


@pytest.mark.parametrize("words", ["drian node1", "quotas alice@example.org 1GB"])
def test_an_act_that_is_none_is_told_with_those_there_are(site: Cluster, words: str) -> None:
    told = admin(site, *words.split(), exit_code=Exit.USAGE)
    for name in ("quota", "node", "check", "key", "payment"):
        assert name in told


@pytest.mark.parametrize(
    "words",
    [
        "quota",
        "user disable",
        "node drain",
        "node remove",
        "repair",
        "scrub",
        "check",
        "backup",
        "restore",
        "reconcile",
    ],
)
def test_every_act_has_help_with_an_example(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.run(["admin", *words.split(), "--help"])
    assert f"examples:\n  cloudgrpc admin {words.split(maxsplit=1)[0]}" in capsys.readouterr().out


# Accounts


def test_a_quota_is_set_raised_and_lowered_and_what_was_bought_meanwhile_is_not_lost(
    site: Cluster, alice: User
) -> None:
    told = admin(site, "quota", alice.email, "500MB", "--yes")
    assert alice.quota() == 500 * MB
    assert "500.0 MB now" in told
    assert "it had 1.0 GB" in told
    assert "promised to all" in told
    admin(site, "quota", alice.email, "+1.5", "GB", "--yes")
    assert alice.quota() == 2036 * MB
    admin(site, "quota", alice.user_id, "-1GB", "--yes")
    assert alice.quota() == 1012 * MB
    assert events(site, "quota.changed")[0]["operator"] == OWN_KEY
    with Gateway(site.address) as gateway, pytest.raises(QuotaMoved):
        CareDesk(Desk(gateway, admin_key(site))).set_quota(alice.email, 3 * MB, expected_bytes=2036 * MB)
    assert alice.quota() == 1012 * MB


def test_a_quota_below_what_is_used_deletes_nothing_and_says_so(site: Cluster, alice: User) -> None:
    kept = alice.upload("kept.bin", b"k" * MB).file_id
    told = admin(site, "quota", alice.email, "0.5MB", "--yes")
    assert "read-only" in told
    assert alice.download(kept) == b"k" * MB
    with refused("RESOURCE_EXHAUSTED", "quota_exceeded"):
        alice.upload("more.bin", b"m")


def test_a_person_sees_before_and_after_and_may_say_no(site: Cluster, alice: User, tmp_path: Path) -> None:
    asked = terminal(site, tmp_path, "quota", alice.email, "+500MB")
    asked.expect_exact("1.0 GB -> 1.5 GB, 0 B used")
    asked.expect_exact("that may be")
    asked.expect_exact("Change it? [y/N]")
    asked.sendline("")
    asked.expect_exact("Nothing was changed.")
    assert asked.left() == Exit.OK
    assert alice.quota() == 1024 * MB


def test_an_account_is_shut_out_with_a_reason_and_let_in_again(site: Cluster, alice: User) -> None:
    kept = alice.upload("kept.txt", b"kept").file_id
    told = admin(site, "user", "disable", alice.email, "--reason", "the bill is open", "--yes")
    assert f"user enable {alice.email}" in told
    for call in (alice.names, lambda: site.login(alice.email)):
        with pytest.raises(grpc.RpcError, match=r"bill is open|not signed in"):
            call()
    assert "already" in admin(site, "user", "disable", alice.email, "--yes")
    admin(site, "user", "enable", alice.email, "--yes")
    assert site.login(alice.email).download(kept) == b"kept"
    assert "not disabled" in admin(site, "user", "enable", alice.email, "--yes")
    assert [events(site, f"user.{kind}")[0]["operator"] for kind in ("disabled", "enabled")] == [OWN_KEY] * 2


def test_who_does_not_exist_is_not_found(site: Cluster) -> None:
    for words in (["quota", "nobody@example.org", "1GB"], ["user", "disable", "nobody@example.org"]):
        assert "--users" in admin(site, *words, "--yes", exit_code=Exit.NOT_FOUND)
    for words in (["node", "drain", "node77"], ["node", "remove", "node77"], ["scrub", "node77"]):
        assert "--nodes" in admin(site, *words, "--yes", exit_code=Exit.NOT_FOUND)


# Nodes


def test_a_drain_is_waited_for_taken_back_and_told_of(site: Cluster, alice: User) -> None:
    for number in range(9):
        (chunk,) = site.chunks_of(alice.upload(f"{number}.bin", os.urandom(5000)).file_id)
    leaving, other = site.holders(chunk)
    told = admin(site, "node", "drain", leaving, "--yes", "--wait")
    assert f"{leaving} is empty" in told
    assert f"admin node remove {leaving}" in told
    assert site.rows(f"SELECT count(*) FROM copy WHERE node_id = '{leaving}' AND state = 'good'") == [(0,)]
    assert "is drained since" in admin(site, "node", "drain", leaving, "--yes")
    admin(site, "node", "undrain", leaving, "--yes")
    assert "not drained" in admin(site, "node", "undrain", leaving, "--yes")
    admin(site, "node", "remove", other, "--yes", exit_code=Exit.NOT_NOW)


def test_who_leaves_a_wait_leaves_the_drain_going_on(site: Cluster, alice: User, tmp_path: Path) -> None:
    """With the others paused nothing can leave, so the wait is long enough to be left."""
    (chunk,) = site.chunks_of(alice.upload("kept.bin", os.urandom(5000)).file_id)
    leaving = site.holders(chunk)[0]
    others = {"node1", "node2", "node3"} - {leaving}
    site.pause(*others)
    try:
        waiting = terminal(site, tmp_path, "node", "drain", leaving, "--wait", "--yes")
        waiting.expect_exact("yet to leave")
        waiting.expect_exact("yet to leave")
        waiting._process.send_signal(signal.SIGINT)
        waiting.expect_exact(f"the drain of {leaving} goes on")
        waiting.expect_exact("admin --nodes")
        assert waiting.left() == Exit.INTERRUPTED
        assert site.rows(f"SELECT 1 FROM node WHERE node_id = '{leaving}' AND draining_at IS NOT NULL")
        admin(site, "node", "undrain", leaving, "--yes")
    finally:
        go_on(site, *others)


def test_a_lost_node_is_removed_after_what_is_lost_was_shown_and_agreed_to_twice(tmp_path: Path) -> None:
    one_copy: dict[str, Any] = {**PATIENT, "cluster_replication_factor": 1, "cluster_write_quorum": 1}
    with closing(Cluster(tmp_path / "small", nodes=2, **one_copy)) as cluster:
        cluster.start()
        alice = cluster.enroll("alice@example.org")
        (chunk,) = cluster.chunks_of(alice.upload("only copy.txt", b"only copy").file_id)
        (lost,) = cluster.holders(chunk)
        (other,) = {"node1", "node2"} - {lost}
        cluster.silence(lost)
        admin(cluster, "node", "remove", lost, "--yes", exit_code=Exit.NOT_NOW)
        admin(cluster, "node", "remove", other, "--lost", "--yes", exit_code=Exit.NOT_NOW)
        asked = terminal(cluster, tmp_path, "node", "remove", lost, "--lost")
        asked.expect_exact("only copy.txt")
        asked.expect_exact("for good? [y/N]")
        asked.sendline("y")
        asked.expect_exact(f"Type {lost}")
        asked.sendline("yes")
        asked.expect_exact("Nothing was changed.")
        assert asked.left() == Exit.OK
        assert cluster.rows("SELECT count(*) FROM node") == [(2,)]
        told = admin(cluster, "node", "remove", lost, "--lost", "--yes")
        assert f"{lost} is removed" in told
        assert "only copy.txt" in told
        assert cluster.rows("SELECT node_id FROM node") == [(other,)]


def test_repair_begins_at_once_when_an_operator_wants_it(site: Cluster, alice: User) -> None:
    """The usual delay is ten minutes here."""
    chunks = [site.chunks_of(alice.upload(f"{number}.bin", os.urandom(5000)).file_id)[0] for number in range(9)]
    away = site.holders(chunks[0])[0]
    held = [chunk for chunk in chunks if away in site.holders(chunk)]
    try:
        site.silence(away)
        told = admin(site, "repair", "--now", "--yes")
        assert "fewer copies than wanted" in told
        living = {"node1", "node2", "node3"} - {away}
        site.wait(lambda: all(living <= set(site.holders(one)) for one in held), REPAIR_S, "the copies made again")
        assert events(site, "repair.asked")[0]["operator"] == OWN_KEY
    finally:
        site.start_node(away)
        site.wait(lambda: settled(site), REPAIR_S, "the third copies given up")


def test_a_scrub_that_is_waited_for_tells_what_it_found(site: Cluster, alice: User) -> None:
    (chunk,) = site.chunks_of(alice.upload("flipped.bin", os.urandom(5000)).file_id)
    holder = site.holders(chunk)[0]
    assert "every copy is good" in admin(site, "scrub", "--wait", "--yes")
    path = site.chunk_files(holder)[chunk]
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert f"1 on {holder}" in admin(site, "scrub", holder, "--wait", "--yes")
    site.wait(lambda: not path.exists() or path.read_bytes() == data, what="the bad copy put away")
    site.wait(lambda: settled(site), REPAIR_S, "the copy made again")


# The whole


def test_a_check_is_clean_until_a_copy_goes_and_its_exit_code_says_so(site: Cluster, alice: User) -> None:
    (chunk,) = site.chunks_of(alice.upload("checked.bin", os.urandom(5000)).file_id)
    assert "All is well." in admin(site, "check")
    clean = admin_json(site, "check")
    assert clean["findings"] == []
    assert clean["summary"]["files"] >= 1
    held = [site.chunk_files(node)[chunk] for node in site.holders(chunk)]
    content = held[0].read_bytes()
    held[0].unlink()
    told = admin(site, "check", exit_code=Exit.MISSING)
    assert chunk in told
    for path in held:
        path.unlink(missing_ok=True)
    found = admin_json(site, "check", exit_code=Exit.LOST)
    assert found["summary"]["lost"] == 1
    assert any("checked.bin" in finding["subject"] + finding["message"] for finding in found["findings"])
    for path in held:
        path.write_bytes(content)


def test_metadata_that_contradicts_itself_is_told_of(site: Cluster, alice: User) -> None:
    site.change(f"UPDATE account SET used_bytes = used_bytes + 1 WHERE email = '{alice.email}'")
    found = admin_json(site, "check", exit_code=Exit.FAILED)
    assert found["summary"]["wrong"] == 1
    (finding,) = found["findings"]
    assert (finding["level"], alice.email in finding["subject"] + finding["message"]) == ("wrong", True)
    site.change(f"UPDATE account SET used_bytes = used_bytes - 1 WHERE email = '{alice.email}'")
    admin(site, "check")


def test_a_node_that_cannot_be_asked_is_told_of(site: Cluster) -> None:
    site.pause("node2")
    try:
        told = admin(site, "check", exit_code=Exit.FAILED)
        assert "node2" in told
    finally:
        go_on(site, "node2")


def test_a_backup_is_whole_private_and_never_replaces_a_file_unasked(
    site: Cluster, alice: User, tmp_path: Path
) -> None:
    alice.upload("kept.txt", b"kept")
    path = tmp_path / "drive.backup"
    told = admin(site, "backup", path)
    assert "cluster.key" in told
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    content = backup_file.read(path)
    assert content.rows["account"] >= 1
    assert content.rows["entry"] >= 2
    before = path.read_bytes()
    assert "--force" in admin(site, "backup", path, exit_code=Exit.EXISTS)
    assert path.read_bytes() == before
    admin(site, "backup", path, "--force")
    assert path.read_bytes() != before
    assert [each.name for each in tmp_path.iterdir()] == ["drive.backup"]
    assert events(site, "backup.made")[0]["operator"] == OWN_KEY


def test_a_backup_that_is_cut_or_damaged_is_refused_before_anything_is_sent(site: Cluster, tmp_path: Path) -> None:
    path = tmp_path / "drive.backup"
    admin(site, "backup", path)
    whole = path.read_bytes()
    flipped = whole[:100] + bytes([whole[100] ^ 1]) + whole[101:]
    for damaged in (whole[:-1], whole[: len(whole) // 2], b"", flipped, b"words" * 50):
        path.write_bytes(damaged)
        assert "cannot be used" in admin(site, "restore", path, "--yes", exit_code=Exit.NOT_NOW)
    admin(site, "restore", tmp_path / "none", "--yes", exit_code=Exit.NOT_NOW)


def test_what_comes_over_the_wire_broken_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "drive.backup"
    with pytest.raises(BackupUnreadable):
        backup_file.write(path, iter([b"half of", b" a backup"]))
    assert list(tmp_path.iterdir()) == []


def test_a_gateway_that_is_not_empty_is_not_restored_to(site: Cluster, alice: User, tmp_path: Path) -> None:
    path = tmp_path / "drive.backup"
    admin(site, "backup", path)
    admin(site, "restore", path, "--yes", exit_code=Exit.NOT_NOW)
    assert alice.names() == []
    assert "not restored" in admin(site, "reconcile", exit_code=Exit.NOT_NOW)


def test_a_restore_says_what_the_file_is_and_what_comes_next(site: Cluster, alice: User, tmp_path: Path) -> None:
    alice.upload("kept.txt", b"kept")
    path = tmp_path / "drive.backup"
    admin(site, "backup", path)
    ((cluster_id,),) = site.rows("SELECT cluster_id FROM cluster")
    with closing(Cluster(tmp_path / "new", nodes=0)) as empty:
        shutil.copytree(site.data / "secrets", empty.data / "secrets")
        empty.start_gateway()
        asked = terminal(empty, tmp_path, "restore", path)
        asked.expect_exact("drive.backup")
        asked.expect_exact(cluster_id)
        asked.expect_exact("account")
        asked.expect_exact("Restore it? [y/N]")
        asked.sendline("y")
        asked.expect_exact("start the nodes")
        asked.expect_exact("admin reconcile")
        assert asked.left() == Exit.OK
        state = admin_json(empty, "reconcile")
        assert (state["is_open"], state["nodes_waiting"]) == (False, ["node1", "node2", "node3"])
        told = admin(empty, "reconcile", "--open", "--yes", exit_code=Exit.NOT_NOW)
        assert "--force" in told
        assert "takes writes again" in admin(empty, "reconcile", "--open", "--force", "--yes")
        assert admin(empty, "reconcile", "--force", exit_code=Exit.USAGE)


# Keys


def test_a_key_is_shown_once_alone_and_may_what_its_role_says_until_it_is_revoked(
    site: Cluster, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.run(admin_words(site, "key", "add", "bob", "--role", "view", "--yes")) == Exit.OK
    made = capsys.readouterr()
    (key,) = made.out.splitlines()
    assert "ADMIN_KEY" in made.err
    assert key not in made.err

    with monkeypatch.context() as bob:
        bob.setenv("ADMIN_KEY", key)
        admin(site, "--nodes")
        admin(site, "repair", "--yes", exit_code=Exit.NOT_ALLOWED)
        admin(site, "key", "add", "eve", "--role", "view", "--yes", exit_code=Exit.NOT_ALLOWED)
    listed = admin(site, "key", "list")
    assert key not in listed
    (told,) = [each for each in admin_json(site, "key", "list") if each["name"] == "bob"]
    assert (told["role"], told["created_by"], told["revoked_at"]) == ("view", OWN_KEY, None)
    assert told["last_used_at"]

    admin(site, "key", "add", "bob", "--role", "operate", "--yes", exit_code=Exit.EXISTS)
    admin(site, "key", "revoke", "bob", "--yes")
    with monkeypatch.context() as bob:
        bob.setenv("ADMIN_KEY", key)
        admin(site, "--nodes", exit_code=Exit.NOT_SIGNED_IN)
    assert "already" in admin(site, "key", "revoke", "bob", "--yes")
    assert "revoked" in admin(site, "key", "list")
    admin(site, "key", "revoke", "eve", "--yes", exit_code=Exit.NOT_FOUND)
