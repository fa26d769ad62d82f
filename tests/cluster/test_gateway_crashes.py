"""The gateway is killed at each step of the write flow: the old state or the new one, and nothing left over.

A gateway dies, is started again and is looked at, once per crash; the checks that need time (leases, grace) come after
the last crash, once for all. Each crash has a person of its own.
"""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cluster_harness import PATIENT, Cluster
from turned_clocks import end_leases, execute, wait_collected
from user import User, refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloudgrpc.pb import cloud_storage_pb2 as pb
    from postgres import Postgres

pytestmark = pytest.mark.timeout(600)  # the first test waits for all crashes, which take two minutes in a soak

LAUNCHER = Path(__file__).with_name("crash_launcher.py")
NEW = random.Random(1).randbytes((8 << 20) + 1)  # three chunks
OLD = random.Random(2).randbytes((4 << 20) + 1)
# No node dies here; but one pauses up to 2.4 s before it tries again to reach a gateway that was long in coming back.
QUICK: dict[str, Any] = {**PATIENT, "upkeep_inventory_s": 0.3, "cluster_offline_after_s": 15}

COMMITTED = "after commit 1"  # and not yet answered
MOMENTS = ["before begin 1", "after begin 1", "before put 1", "after put_one 1", "after put 1", "after receive 1"]
MOMENTS += [
    "after put 3",
    "before commit 1",
    "before _add_version 1",
    "after _add_version 1",
    COMMITTED,
]

ENGINES = ["sqlite", "postgres"]
EVERY_CRASH = [(engine, kind, moment) for engine in ENGINES for kind in ("over", "new") for moment in MOMENTS]
# What stands for the rest in a short run: the moments between any two steps, over an existing file.
SHORT_RUN = {("sqlite", "over", f"after {what} 1") for what in ("begin", "put_one", "receive")}
SHORT_RUN |= {("sqlite", "over", "before commit 1"), ("sqlite", "over", COMMITTED)}
SHORT_RUN |= {("sqlite", kind, "after _add_version 1") for kind in ("over", "new")}
SHORT_RUN |= {("postgres", kind, "after _add_version 1") for kind in ("over", "new")}
SHORT_RUN |= {("postgres", "over", COMMITTED)}
Crash = tuple[str, str, str]
CRASHES = [
    pytest.param(crash, id=" ".join(crash), marks=[] if crash in SHORT_RUN else [pytest.mark.soak])
    for crash in EVERY_CRASH
]


@dataclass
class Aftermath:
    """What a crash left, seen right after the restart, and what the client's retries came to."""

    user: User
    exit_code: int
    files: list[bytes]
    sizes: list[int]  # of all versions, oldest first
    used_bytes: int
    answers: list[pb.UploadFileResponse]


class Crashes:
    """A cluster whose gateway is killed again and again."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.orders = cluster.logs / "orders"  # where every process of the cluster works
        self.aftermaths: dict[Crash, Aftermath] = {}

    def start(self) -> None:
        self.cluster.start_gateway(launcher=LAUNCHER)
        self.cluster.start_nodes("node1", "node2")

    def run(self, crashes: list[Crash]) -> None:
        for number, crash in enumerate(crashes):
            _, kind, moment = crash
            user = self.cluster.enroll(f"person{number}@example.org")
            if kind == "over":
                user.upload("film.mp4", OLD)
            exit_code = self.crash(user, moment, request_id="once")
            files = [user.download(file.file_id) for file in user.ls().files]
            sizes, used = versions(user), self.cluster.used_bytes(user.email)[0]
            answers = [user.upload("film.mp4", NEW, request_id="once") for _ in range(2)]
            self.aftermaths[crash] = Aftermath(user, exit_code, files, sizes, used, answers)
        # Nobody tries this one again: only its lease ends it.
        self.crash(self.cluster.enroll("gone@example.org"), "after put 2")
        self.settle()

    def crash(self, user: User, moment: str, request_id: str = "") -> int:
        """Upload while the gateway is to die at that moment; start it again. Returns the exit code."""
        self.orders.write_text(moment)
        with refused("UNAVAILABLE"):
            self.send(user, request_id)
        exit_code = self.cluster.gateway.wait()
        self.orders.unlink()
        # A connection that saw the crash would wait out its back-off, and everybody in this process shares it.
        self.cluster.channel.close()
        self.cluster._channel = None
        self.cluster.gateway.start()
        self.cluster.wait_ready(self.cluster.gateway, self.cluster.port)
        return exit_code

    def send(self, user: User, request_id: str) -> object:
        return user.upload("film.mp4", NEW, request_id=request_id)

    def settle(self) -> None:
        """Until upkeep has done its work. It waits for leases to end, of the dead gateway and of the dead uploads."""
        end_leases(self.cluster)
        execute(self.cluster, "UPDATE upload SET lease_until_at = 1 WHERE state = 'open'")
        self.cluster.wait(lambda: self.reserved() == 0, what="dead uploads to be abandoned")
        wait_collected(self.cluster, lambda: not self.needless(), "orphans to be collected")

    def reserved(self) -> int:
        ((total,),) = self.cluster.rows("SELECT sum(reserved_bytes) FROM account")
        return int(total)

    def needless(self) -> set[str]:
        """Chunks on the nodes' disks that no file needs."""
        needed = {chunk_id for (chunk_id,) in self.cluster.rows("SELECT chunk_id FROM extent")}
        return {chunk_id for node in ("node1", "node2") for chunk_id in self.cluster.chunk_files(node)} - needed


def versions(user: User) -> list[int]:
    query = "SELECT size_bytes FROM version JOIN entry USING (entry_id)"
    return [size for (size,) in user.cluster.rows(f"{query} WHERE account_id = '{user.user_id}' ORDER BY number")]


@pytest.fixture(scope="module")
def crashed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, postgres: Postgres
) -> Iterator[dict[str, Crashes]]:
    """All crashes that the chosen tests are about, on both engines at the same time."""
    wanted = {item.callspec.params["crash"] for item in request.session.items if "crash" in callspec_of(item)}
    database = postgres.fresh_database()
    done = {
        engine: Crashes(
            Cluster(
                tmp_path_factory.mktemp(engine),
                nodes=0,
                capacity_gb=200,
                database=database if engine == "postgres" else None,
                **QUICK,
            )
        )
        for engine in ENGINES
    }

    def run(engine: str) -> None:
        done[engine].start()
        done[engine].run([crash for crash in EVERY_CRASH if crash in wanted and crash[0] == engine])

    try:
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("CRASH_ORDERS", "orders")
            with ThreadPoolExecutor(len(ENGINES)) as pool:
                list(pool.map(run, ENGINES))
            yield done
    finally:
        for crashes in done.values():
            crashes.cluster.close()
        postgres.drop(database)


@pytest.fixture
def aftermath(crashed: dict[str, Crashes], crash: Crash) -> Aftermath:
    return crashed[crash[0]].aftermaths[crash]


def callspec_of(item: pytest.Item) -> dict[str, object]:
    return item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}


@pytest.mark.parametrize("crash", CRASHES)
def test_after_a_crash_there_is_the_old_file_or_the_new_one_whole(aftermath: Aftermath, crash: Crash) -> None:
    _, kind, moment = crash
    assert aftermath.exit_code == -9, "it did crash"
    before = [OLD] if kind == "over" else []
    expected = [NEW] if moment == COMMITTED else before
    assert aftermath.files == expected
    history = [*before, NEW] if moment == COMMITTED else before
    assert aftermath.sizes == [len(version) for version in history], "quota and versions say the same"
    assert aftermath.used_bytes == sum(aftermath.sizes)


@pytest.mark.parametrize("crash", CRASHES)
def test_a_retry_after_a_crash_makes_exactly_one_new_version(aftermath: Aftermath, crash: Crash) -> None:
    before = [len(OLD)] if crash[1] == "over" else []
    first, second = aftermath.answers
    assert first == second
    assert versions(aftermath.user) == [*before, len(NEW)]
    assert aftermath.user.names() == ["film.mp4"]
    assert aftermath.user.download(first.file_id) == NEW
    assert aftermath.user.cluster.used_bytes(aftermath.user.email) == (sum(before) + len(NEW), 0)


@pytest.mark.parametrize("engine", ENGINES)
def test_when_all_is_settled_quotas_equal_a_recount_and_no_orphan_is_left(
    crashed: dict[str, Crashes], engine: str
) -> None:
    """Also of uploads that nobody tried again."""
    cluster = crashed[engine].cluster
    recount = "SELECT sum(size_bytes) FROM version JOIN entry USING (entry_id) WHERE account_id = account.account_id"
    accounts = cluster.rows(f"SELECT email, used_bytes, reserved_bytes, coalesce(({recount}), 0) FROM account")
    assert len(accounts) >= 2
    assert [row for row in accounts if row[1] != row[3] or row[2] != 0] == []
    assert cluster.rows("SELECT * FROM upload WHERE state = 'open'") == []
    assert cluster.rows("SELECT * FROM upload_chunk") == []
    assert crashed[engine].needless() == set()
    assert cluster.rows("SELECT * FROM node WHERE NOT is_collecting") == [], "nobody took it for a wrong database"


@pytest.mark.parametrize("engine", ENGINES)
def test_after_all_crashes_every_chunk_of_every_file_is_on_both_nodes(crashed: dict[str, Crashes], engine: str) -> None:
    cluster = crashed[engine].cluster
    needed = {chunk_id for (chunk_id,) in cluster.rows("SELECT chunk_id FROM extent")}
    assert set(cluster.chunk_files("node1")) == set(cluster.chunk_files("node2")) == needed
