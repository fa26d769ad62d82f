"""A gateway that is lost with its database, and a new one that is filled with a backup while its nodes live on."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cloudgrpc.core.backup_format import Packer
from cloudgrpc.errors import Exit
from cluster_harness import PATIENT, Cluster
from operating import admin, admin_json
from truth import Traffic, Truth, check_whole, dice
from user import refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from postgres import Database, Postgres

SMALL = 50_000
SECRET = "known to all processes of this cluster"
SETTINGS: dict[str, Any] = {
    **PATIENT,
    "cluster_secret": SECRET,
    "upkeep_grace_s": 3600,
    "upkeep_inventory_s": 0.5,
    "upkeep_repair_delay_s": 0.5,
}


@pytest.fixture(
    params=[
        ("sqlite", "sqlite"),
        ("postgres", "postgres"),
        pytest.param(("sqlite", "postgres"), marks=pytest.mark.soak),
        pytest.param(("postgres", "sqlite"), marks=pytest.mark.soak),
    ],
    ids=" to ".join,
)
def databases(request: pytest.FixtureRequest) -> Iterator[list[Database | None]]:
    """The old gateway's and the new one's. None: its own file."""
    postgres: Postgres | None = request.getfixturevalue("postgres") if "postgres" in request.param else None
    made = [postgres.fresh_database() if postgres and engine == "postgres" else None for engine in request.param]
    yield made
    for database in made:
        if postgres and database:
            postgres.drop(database)


def test_a_new_gateway_is_filled_with_a_backup_and_goes_on_with_the_same_nodes(
    make_cluster: Callable[..., Cluster], databases: list[Database | None]
) -> None:
    old, new = databases
    cluster, rng = make_cluster(nodes=3, database=old, **SETTINGS), dice()
    alice = Truth(cluster.enroll("alice@example.org"))
    alice.fill(rng, 12, SMALL)
    alice.delete("file000.bin")
    backup = cluster.folder / "drive.backup"
    with Traffic(alice, rng).going_on() as traffic:
        cluster.wait(lambda: traffic.writes > 3, what="uploads before it")
        promised = dict(alice.files)
        admin(cluster, "backup", backup)
        writes = traffic.writes
        cluster.wait(lambda: traffic.writes > writes + 3, what="uploads after it")
    later = alice.upload("later.bin", rng.randbytes(SMALL))
    lost = set(cluster.chunks_of(later))
    deleted_later = min(promised)
    gone = cluster.chunks_of(alice.files[deleted_later][0])
    alice.delete(deleted_later)

    lose_the_gateway(cluster, new)
    admin(cluster, "restore", backup, "--yes")
    assert not cluster.rows("SELECT 1 FROM session"), "a session of before works still"
    state = admin_json(cluster, "reconcile")
    assert not state["is_open"]

    again = Truth(cluster.login("alice@example.org"))
    with refused("UNAVAILABLE", "drive_restored"):
        again.user.upload("too-early.bin", b"words")
    with refused("UNAVAILABLE", "drive_restored"):
        again.user.delete(promised[deleted_later][0])
    cluster.start_nodes("node1", "node2", "node3")
    cluster.wait(lambda: not admin_json(cluster, "reconcile")["nodes_waiting"], what="every node looked at")
    assert "reconcile --open" in admin(cluster, "reconcile")
    admin(cluster, "reconcile", "--open", "--yes")

    # What was promised while the backup was made may be in it or not; what was there before it must be.
    names = set(again.user.names())
    assert set(promised) <= names
    assert "later.bin" not in names
    with refused("NOT_FOUND"):
        again.user.metadata(later)
    again.files = {path: told for path, told in {**alice.files, **promised}.items() if path in names}
    again.deleted = {"file000.bin": alice.deleted["file000.bin"]}
    again.upload("new.bin", rng.randbytes(SMALL))
    check_whole(cluster, again)
    assert all(cluster.holders(chunk) for chunk in [*lost, *gone]), "something was deleted that no backup knows"


def test_what_is_lost_with_the_nodes_is_told_by_name_after_a_restore(make_cluster: Callable[..., Cluster]) -> None:
    cluster, rng = make_cluster(nodes=2, **SETTINGS), dice()
    alice = Truth(cluster.enroll("alice@example.org"))
    alice.fill(rng, 5, SMALL)
    (chunk,) = cluster.chunks_of(alice.files["file003.bin"][0])
    backup = cluster.folder / "drive.backup"
    admin(cluster, "backup", backup)
    lose_the_gateway(cluster, None)
    for node in ("node1", "node2"):
        cluster.chunk_files(node)[chunk].unlink()
    admin(cluster, "restore", backup, "--yes")
    waiting = admin_json(cluster, "reconcile")["nodes_waiting"]
    assert sorted(waiting) == ["node1", "node2"]
    admin(cluster, "reconcile", "--open", "--yes", exit_code=Exit.NOT_NOW)
    cluster.start_nodes("node1", "node2")
    cluster.wait(lambda: not admin_json(cluster, "reconcile")["nodes_waiting"], what="both nodes looked at")
    state = admin_json(cluster, "reconcile")
    assert (state["chunks_lost"], state["files_lost"]) == (1, 1)
    assert "file003.bin" in state["files"][0]
    assert "alice@example.org" in state["files"][0]
    admin(cluster, "reconcile", "--open", "--yes")
    assert "file003.bin" in admin(cluster, "check", exit_code=Exit.LOST)
    again = cluster.login("alice@example.org")
    assert again.download(alice.files["file001.bin"][0])
    with refused("DATA_LOSS"):
        again.download(alice.files["file003.bin"][0])


@pytest.mark.parametrize("engine", ["sqlite", pytest.param("postgres", marks=pytest.mark.soak)])
def test_a_gateway_that_is_killed_in_a_restore_has_all_of_the_backup_or_nothing(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, engine: str
) -> None:
    monkeypatch.setenv("CRASH_ORDERS", "orders")
    database = request.getfixturevalue("postgres_database") if engine == "postgres" else None
    cluster = Cluster(tmp_path, nodes=0, database=database, **SETTINGS)
    backup, orders = tmp_path / "drive.backup", cluster.logs / "orders"
    write_backup(backup)
    cluster.start_gateway(Path(__file__).with_name("crash_launcher.py"))
    try:
        fresh = cluster.rows("SELECT * FROM cluster")
        for moment in ("after _put 2" if engine == "sqlite" else "after _begin_anew 1", "after restore 1"):
            assert cluster.rows("SELECT * FROM cluster") == fresh, "it takes a backup, as any new one"
            orders.write_text(moment)
            admin(cluster, "restore", backup, "--yes", exit_code=Exit.UNAVAILABLE)
            assert cluster.gateway.wait() == -signal.SIGKILL
            orders.unlink()
            cluster.gateway.start()
            cluster.wait_ready(cluster.gateway, cluster.port)
        # The last one was through, and only its answer did not come.
        assert "admin reconcile" in admin(cluster, "restore", backup, "--yes", exit_code=Exit.NOT_NOW)
        alice = cluster.login("alice@example.org")
        assert [folder.folder_name for folder in alice.ls().folders] == ["kept"]
        with refused("UNAVAILABLE", "drive_restored"):
            alice.mkdir("too early")
    finally:
        cluster.close()


def write_backup(path: Path) -> None:
    """Of Alice, who has a folder."""
    header = {"cloudgrpc_backup": 1, "program": "1", "schema": [], "cluster_id": "c", "made_at": 1, "engine": "sqlite"}
    entry = ["entry_id", "account_id", "parent_id", "kind", "name", "name_key", "created_at", "modified_at"]
    lines: list[object] = [
        header,
        {"table": "cluster", "columns": ["cluster_id", "created_at"]},
        ["c", 1],
        {"table": "account", "columns": ["account_id", "email", "full_name", "quota_bytes", "root_id", "created_at"]},
        ["a", "alice@example.org", "Alice", 1000, "root", 1],
        {"table": "entry", "columns": entry},
        ["root", "a", None, "folder", "", "", 1, 1],
        ["kept", "a", "root", "folder", "kept", "kept", 1, 1],
        {"rows": {"cluster": 1, "account": 1, "entry": 2}},
    ]
    packer = Packer()
    path.write_bytes(packer.pack(lines) + packer.finish())


def lose_the_gateway(cluster: Cluster, database: Database | None) -> None:
    """Everything of it but its secrets; a new one starts, with nothing in its database. The nodes are down."""
    cluster.kill(*cluster.programs)
    for path in cluster.data.glob("metadata.sqlite3*"):
        path.unlink()
    cluster.database = database
    cluster.start_gateway()
