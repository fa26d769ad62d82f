"""100,000 files of 1,000,000 chunks: what operators ask is answered at once, and the rounds stay small."""

from __future__ import annotations

import hashlib
import re
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from cloudgrpc.pb import cloud_storage_pb2 as pb
from every_rpc import admin_key
from user import CALL_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from cluster_harness import Cluster
    from user import User

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]

FOLDERS, FILES, CHUNKS_OF_A_FILE, ACCOUNTS, EVENTS = 1_000, 100_000, 10, 1_000, 300_000
CHUNKS = FILES * CHUNKS_OF_A_FILE
CHUNK_BYTES = 4096
NODES = 4
QUIET_S = 30
MOST_MIB = 600  # of the gateway; SQLite keeps 64 MB of pages for each of five connections
MOST_IDLE_SHARE = 0.25  # of a core, for the rounds

# {one} counts from 0; md5 makes ids of it that are spread as real ones are.
SERIES = "WITH RECURSIVE series(one) AS (SELECT 0 UNION ALL SELECT one + 1 FROM series WHERE one < {count} - 1) "
FILL = [
    (
        ACCOUNTS,
        """INSERT INTO account
            (account_id, email, full_name, quota_bytes, used_bytes, reserved_bytes, root_id, created_at)
        SELECT md5('a' || one), 'person' || one || '@example.org', 'A Person', 1 << 30, 0, 0, md5('r' || one), one
        FROM series""",
    ),
    (
        ACCOUNTS,
        """INSERT INTO entry (entry_id, account_id, kind, name, name_key, created_at, modified_at)
        SELECT md5('r' || one), md5('a' || one), 'folder', '', '', 1, 1 FROM series""",
    ),
    (
        FOLDERS,
        """INSERT INTO entry (entry_id, account_id, parent_id, kind, name, name_key, created_at, modified_at)
        SELECT md5('d' || one), '{account}', '{root}', 'folder', 'd' || one, 'd' || one, 1, 1 FROM series""",
    ),
    (
        FILES,
        f"""INSERT INTO entry
            (entry_id, account_id, parent_id, kind, name, name_key, version_id, created_at, modified_at)
        SELECT md5('f' || one), '{{account}}', md5('d' || (one % {FOLDERS})), 'file', 'f' || one, 'f' || one,
            md5('v' || one), 1, 1
        FROM series""",
    ),
    (
        FILES,
        f"""INSERT INTO version (version_id, entry_id, number, size_bytes, digest, mime_type, created_at)
        SELECT md5('v' || one), md5('f' || one), 1, {CHUNKS_OF_A_FILE * CHUNK_BYTES}, 'blake3:00', 'text/plain', 1
        FROM series""",
    ),
    (
        CHUNKS,
        f"""INSERT INTO chunk (chunk_id, length, checksum, created_at)
        SELECT md5('c' || one), {CHUNK_BYTES}, '{"0" * 32}', 1 FROM series""",
    ),
    (
        CHUNKS,
        f"""INSERT INTO extent (version_id, position, chunk_id, length)
        SELECT md5('v' || (one / {CHUNKS_OF_A_FILE})), one % {CHUNKS_OF_A_FILE}, md5('c' || one), {CHUNK_BYTES}
        FROM series""",
    ),
    *(
        (
            CHUNKS,
            f"""INSERT INTO copy (chunk_id, node_id, state, created_at)
            SELECT md5('c' || one), 'node' || (1 + (one + {copy}) % {NODES}), 'good', 1 FROM series""",
        )
        for copy in (0, 1)
    ),
    (
        EVENTS,
        f"""INSERT INTO event (at, kind, account_id, message)
        SELECT one, 'copy.made', md5('a' || (one % {ACCOUNTS})), 'something happened' FROM series""",
    ),
]
CALM = {
    "drive_new_account_mb": 8192,
    "upkeep_round_s": 5,
    "upkeep_inventory_s": 1_000_000,  # the nodes do not have these chunks
    "upkeep_scrub_days": 10_000,
    "upkeep_event_days": 36_000,
    "cluster_heartbeat_s": 5,
    "cluster_offline_after_s": 60,
    "cluster_node_timeout_s": 20,
}


def test_a_million_chunks_are_steered_as_a_few_are(
    make_cluster: Callable[..., Cluster], postgres_database: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    figures: dict[str, dict[str, float]] = {}
    for engine, database in (("SQLite", None), ("PostgreSQL", postgres_database)):
        cluster = make_cluster(nodes=NODES, database=database, **CALM)
        alice = cluster.enroll("alice@example.org")
        cluster.stop_gateway()
        fill(cluster, alice)
        figures[engine] = measure(cluster, alice)
        cluster.close()
    with capsys.disabled():
        for engine, told in figures.items():
            print(f"\n{engine}, {FILES:,} files, {CHUNKS:,} chunks, {NODES} nodes")
            for name, value in told.items():
                print(f"  {name:44} {value:>10.1f}")
    for told in figures.values():
        assert told["status, ms"] < 500
        assert told["nodes, ms"] < 500
        assert told["users, a page of 100, ms"] < 500
        assert told["user details, ms"] < 2000
        assert told["events, 1,000 from the middle, ms"] < 1000
        assert told["upload of a small file, ms"] < 1000
        assert told["memory of the gateway, MiB"] < MOST_MIB
        assert told["share of a core while nothing happens, %"] < 100 * MOST_IDLE_SHARE


def measure(cluster: Cluster, alice: User) -> dict[str, float]:
    """Milliseconds, MiB and per cent."""
    told: dict[str, float] = {}
    key = admin_key(cluster)

    def take(name: str, work: Callable[[], Any], best_of: int = 5) -> Any:
        times = []
        for _ in range(best_of):
            start = time.perf_counter()
            answer = work()
            times.append((time.perf_counter() - start) * 1000)
        told[f"{name}, ms"] = min(times)
        return answer

    start = time.perf_counter()
    cluster.start_gateway()
    told["gateway ready, ms"] = (time.perf_counter() - start) * 1000
    cluster.wait(lambda: len(cluster.online()) == NODES, what="all nodes online")

    def status() -> pb.SystemStatusResponse:
        return cluster.admin.GetSystemStatus(pb.SystemStatusRequest(admin_key=key), timeout=60)

    counted = take("first status, with the first count", status, 1)
    assert (counted.total_files, counted.total_chunks) == (FILES, CHUNKS)
    assert (counted.chunks.whole, counted.chunks.missing, counted.chunks.lost) == (CHUNKS, 0, 0)
    take("status", status)
    take("nodes", lambda: cluster.admin.ListAllNodes(pb.ListNodesRequest(admin_key=key), timeout=CALL_S))
    users = pb.ListUsersRequest(admin_key=key, page_size=100)
    assert len(take("users, a page of 100", lambda: cluster.admin.ListAllUsers(users, timeout=CALL_S)).users) == 100
    details = pb.UserDetailsRequest(admin_key=key, user_id=alice.email)
    take("user details", lambda: cluster.admin.GetUserDetails(details, timeout=CALL_S))
    events = pb.StreamEventsRequest(admin_key=key, after_id=EVENTS // 2)

    def thousand() -> None:
        call = cluster.admin.StreamSystemEvents(events, timeout=CALL_S)
        for _ in range(1000):
            next(call)
        call.cancel()

    list(cluster.admin.StreamSystemEvents(pb.StreamEventsRequest(admin_key=key, stop_at_end=True), timeout=600))
    take("events, 1,000 from the middle", thousand)
    take("upload of a small file", lambda: alice.upload("new.txt", b"hello"))
    gateway = psutil.Process(cluster.gateway.pid)
    before = sum(gateway.cpu_times()[:2])
    time.sleep(QUIET_S)  # the measure is how much goes by in it
    told["share of a core while nothing happens, %"] = 100 * (sum(gateway.cpu_times()[:2]) - before) / QUIET_S
    status_text = Path(f"/proc/{cluster.gateway.pid}/status").read_text()
    told["memory of the gateway, MiB"] = int(re.findall(r"^VmHWM:\s+(\d+) kB$", status_text, re.MULTILINE)[0]) / 1024
    return told


def fill(cluster: Cluster, alice: User) -> None:
    """As if so much had been uploaded; the nodes hold none of it, and are asked for nothing."""
    ((root,),) = cluster.rows(f"SELECT root_id FROM account WHERE account_id = '{alice.user_id}'")
    place = cluster.data / "metadata.sqlite3"
    opened: Any = cluster._connect() if cluster.database else sqlite3.connect(place, timeout=60)
    with closing(opened) as connection:
        if not cluster.database:
            connection.create_function(
                "md5", 1, lambda text: hashlib.md5(text.encode()).hexdigest(), deterministic=True
            )
        with closing(connection.cursor()) as cursor:
            for count, statement in FILL:
                told = statement.format(account=alice.user_id, root=root)
                if cluster.database:
                    cursor.execute(SERIES.format(count=count) + told)
                else:  # where the words before INSERT may not be followed by it
                    into, _, selected = told.partition("SELECT")
                    cursor.execute(f"{into} {SERIES.format(count=count)} SELECT{selected}")
            used = FILES * CHUNKS_OF_A_FILE * CHUNK_BYTES
            cursor.execute(f"UPDATE account SET used_bytes = {used} WHERE account_id = '{alice.user_id}'")
            cursor.execute("UPDATE node SET inventory_at = 9000000000000000, scrubbed_at = 9000000000000000")
        connection.commit()
        if cluster.database:
            connection.autocommit = True
            with closing(connection.cursor()) as cursor:
                cursor.execute("VACUUM ANALYZE")  # as PostgreSQL does by itself after a while
