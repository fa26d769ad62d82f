"""What operators see once or as a stream, as words and as JSON, from a real gateway."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from cloudgrpc.errors import Exit
from cluster_harness import PATIENT, Cluster
from operating import admin, admin_json, admin_words, exit_code_of
from program import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from user import User

MB = 1 << 20


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """With two people and some files."""
    settings: dict[str, Any] = {**PATIENT, "cluster_offline_after_s": PATIENCE_S}
    cluster = Cluster(tmp_path_factory.mktemp("drive"), nodes=2, **settings)
    try:
        cluster.start()
        alice = cluster.enroll("alice@example.org", "Alice Miller")
        cluster.enroll("bob@example.org", "Bob Baker")
        alice.upload("a.bin", os.urandom(5 * MB))
        alice.delete(alice.upload("b.bin", os.urandom(MB)).file_id)
        alice.mkdir("photos")
        cluster.wait(lambda: len(events(cluster, "-n", "0")) >= cluster.rows("SELECT COUNT(*) FROM event")[0][0])
        yield cluster
    finally:
        cluster.close()


def events(cluster: Cluster, *words: str) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = admin_json(cluster, "--events", *words)
    return told


def types(cluster: Cluster, *words: str) -> set[str]:
    return {event["type"] for event in events(cluster, *words)}


# How it stands


def test_status_tells_what_a_recount_finds(drive: Cluster) -> None:
    newest = events(drive)[-1]["event_id"]
    told = admin_json(drive, "--status")
    assert told["state"] == "healthy"
    assert told["mode"] == "open"
    assert told["can_write"] is True
    assert told["nodes"] == {"total": 2, "online": 2}
    assert told["chunks"]["whole"] == drive.rows("SELECT COUNT(*) FROM chunk")[0][0] == 3
    assert told["chunks"]["missing"] == told["chunks"]["lost"] == told["repair"]["copies"] == 0
    assert told["users"] == told["sessions"] == 2
    assert told["pool"]["promised_bytes"] == drive.rows("SELECT SUM(quota_bytes) FROM account")[0][0]
    assert told["pool"]["capacity_bytes"] == 2 * (2 << 30)
    assert told["last_event_id"] >= newest


def test_status_says_it_in_words_that_fit_a_terminal(drive: Cluster) -> None:
    told = admin(drive, "--status")
    assert max(map(len, told.splitlines())) <= 80
    for words in (
        "healthy",
        drive.address,
        "2 online",
        "3 whole, 0 with too few copies, 0 lost",
        "2 users, 2 sessions",
    ):
        assert words in told, words


def test_missing_copies_and_lost_data_have_exit_codes_of_their_own(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(nodes=2, **PATIENT)
    cluster.enroll("alice@example.org").upload("a.bin", os.urandom(5 * MB))

    def leaves_with(code: int) -> Callable[[], bool]:
        return lambda: exit_code_of(cluster, "--status") == code

    cluster.wait(leaves_with(Exit.OK), what="a healthy cluster")
    cluster.silence("node2")
    cluster.wait(leaves_with(Exit.MISSING), what="copies that are missing")
    told = admin(cluster, "--status", exit_code=Exit.MISSING)
    warnings, _, figures = told.partition("\n\n")
    assert "! node2 is offline" in warnings, "what is wrong comes first"
    assert figures.startswith("Cluster")
    assert "1 online, 1 away" in told
    assert "2 copies" in told
    assert "offline for" in admin(cluster, "--nodes")
    for node in ("node1", "node2"):
        for path in cluster.chunk_files(node).values():
            path.unlink()
    cluster.start_node("node2")
    cluster.wait(leaves_with(Exit.LOST), what="data that is lost")

    def lost() -> int:
        told = admin_json(cluster, "--status", exit_code=Exit.LOST)
        assert told["state"] == "lost"
        return int(told["chunks"]["lost"])

    cluster.wait(lambda: lost() == 2, what="all of it")


# Who and where


def test_nodes_are_told_with_all_their_figures(drive: Cluster) -> None:
    one, other = admin_json(drive, "--nodes")
    assert (one["node_id"], other["node_id"]) == ("node1", "node2")
    assert one["status"] == "online"
    assert one["address"] == f"127.0.0.1:{drive.node_port('node1')}"
    assert one["capacity_bytes"] == 2 << 30
    drive.wait(lambda: admin_json(drive, "--nodes")[0]["chunks"] == len(drive.chunk_files("node1")), what="a heartbeat")
    told = admin(drive, "--nodes")
    assert max(map(len, told.splitlines())) <= 80
    assert "node1" in told
    assert "of 2.0 GB" in told


def test_users_are_listed_and_searched_by_address_or_name(drive: Cluster) -> None:
    assert {user["email"] for user in admin_json(drive, "--users")} == {"alice@example.org", "bob@example.org"}
    (alice,) = admin_json(drive, "--users", "--search", "miller")
    assert alice["used_bytes"] == 6 * MB
    assert alice["sessions"] == 1
    told = admin(drive, "--users", "--search", "bob@")
    assert "Bob Baker" in told
    assert "alice" not in told
    assert "Nobody is called zoe" in admin(drive, "--users", "--search", "zoe")


def test_all_about_one_account_is_told(drive: Cluster) -> None:
    told = admin(drive, "--user", "alice@example.org")
    for words in ("Alice Miller", "6.0 MB of 1.0 GB", "1.0 MB in the trash", "a.bin", "127.0.0.1", "file.uploaded"):
        assert words in told, words
    facts = admin_json(drive, "--user", "alice@example.org")
    assert facts["trash_bytes"] == MB
    assert {file["name"] for file in facts["newest_files"]} >= {"a.bin"}
    assert admin_json(drive, "--user", facts["user_id"])["email"] == "alice@example.org"
    told = admin(drive, "--user", "nobody@example.org", exit_code=Exit.NOT_FOUND)
    assert "admin --users --search" in told, "an operator looks on, and enrolls nobody"


# What happened


def test_events_are_told_in_order_the_newest_last(drive: Cluster) -> None:
    found = events(drive, "-n", "0")
    ids = [event["event_id"] for event in found]
    assert ids == sorted(set(ids))
    assert {"node.joined", "account.enrolled", "file.uploaded", "entry.trashed", "folder.made"} <= {
        event["type"] for event in found
    }
    assert events(drive, "-n", "3") == found[-3:]
    assert events(drive, "--since", str(ids[-4])) == found[-3:]
    assert events(drive, "--since", "1h") == found
    assert events(drive, "--since", "1h", "-n", "2") == found[-2:]
    lines = admin(drive, "--events", "-n", "2").splitlines()
    assert [line.split()[0] for line in lines[:2]] == [str(event_id) for event_id in ids[-2:]], "what --since takes"


def test_events_are_filtered_by_type_and_account(drive: Cluster) -> None:
    assert types(drive, "--type", "node.joined") == {"node.joined"}
    assert types(drive, "--type", "node.joined", "--type", "file.") == {"node.joined", "file.uploaded"}
    assert len(events(drive, "--type", "node.joined", "-n", "1")) == 1
    assert types(drive, "--user", "bob@example.org") <= {"account.enrolled", "session.started"}
    assert "file.uploaded" in types(drive, "--user", "alice@example.org")
    assert "Nothing of that kind" in admin(drive, "--events", "--type", "node.removed")
    assert "nonsense" in admin(drive, "--events", "--type", "nonsense", exit_code=Exit.BAD_INPUT)


def test_a_monitor_loses_nothing_over_a_killed_gateway_and_ends_on_ctrl_c(
    make_cluster: Callable[..., Cluster], tmp_path: Path
) -> None:
    cluster = make_cluster(nodes=1)
    alice = cluster.enroll("alice@example.org")
    out, err = tmp_path / "out", tmp_path / "err"
    with out.open("wb") as told, err.open("wb") as said:
        monitor = subprocess.Popen(
            [sys.executable, "-m", "cloudgrpc", *admin_words(cluster, "--monitor", "--since", "0", "--json")],
            cwd=tmp_path,
            env=cluster.environment(),
            stdout=told,
            stderr=said,
        )
    try:

        def seen() -> list[dict[str, Any]]:
            with suppress(json.JSONDecodeError):  # a line is being written
                return [json.loads(line) for line in out.read_text().splitlines()]
            return []

        def has_folders(count: int) -> Callable[[], bool]:
            return lambda: sum(event["type"] == "folder.made" for event in seen()) == count

        _make_folders(alice, "before")
        cluster.wait(has_folders(3), what="what happened before")
        cluster.kill_gateway()
        cluster.wait(lambda: "No gateway answers" in err.read_text(), what="that the gateway is gone")
        cluster.start_gateway()
        _make_folders(alice, "after")
        cluster.wait(has_folders(6), what="what happened after")
        assert "Connected again" in err.read_text()
        ids = [event["event_id"] for event in seen()]
        assert ids == list(range(1, len(ids) + 1)), "none is lost, none comes twice"
        monitor.send_signal(signal.SIGINT)
        assert monitor.wait(20) == Exit.INTERRUPTED
    finally:
        monitor.kill()
        monitor.wait()
    assert "Traceback" not in err.read_text()


def _make_folders(person: User, name: str) -> None:
    for number in range(3):
        person.mkdir(f"{name}-{number}")


# Words


@pytest.mark.parametrize(
    "view", ["--status", "--users", "--nodes", "--user=alice@example.org", "--events", "--monitor"]
)
def test_without_the_right_key_nothing_is_shown(drive: Cluster, view: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADMIN_KEY", "another-key-of-another-gateway")
    told = admin(drive, view, exit_code=Exit.NOT_SIGNED_IN)
    assert told.splitlines()[0] == "That is not the admin key of this gateway."


def test_the_dashboard_needs_a_terminal_and_names_what_a_program_takes(drive: Cluster) -> None:
    told = admin(drive, exit_code=Exit.USAGE)
    assert "needs a terminal" in told
    assert "--status" in told


def test_words_that_make_no_sense_are_refused(drive: Cluster) -> None:
    assert "--payments" in admin(drive, "--status", "failed", exit_code=Exit.USAGE)
    admin(drive, "--users", "--nodes", exit_code=Exit.USAGE)
    admin(drive, "--events", "--since", "yesterday", exit_code=Exit.USAGE)
    admin(drive, "--events", "-n", "-1", exit_code=Exit.USAGE)
    admin(drive, "--status", "check", exit_code=Exit.USAGE)
