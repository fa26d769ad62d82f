"""The memory of gateway and nodes stays small, however much passes and whoever stops reading."""

from __future__ import annotations

import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from cloudgrpc import rpc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cluster_harness import Cluster
    from user import User

MIB = 1 << 20
MOST_MIB = 200.0
AT_ONCE = 8
PIECE = os.urandom(MIB)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="peaks of memory are read from /proc")


@pytest.fixture
def cluster(make_cluster: Callable[..., Cluster]) -> Cluster:
    settings = {"drive_new_account_mb": 4096, "upkeep_inventory_s": 600, "cluster_node_timeout_s": 30}
    return make_cluster(capacity_gb=16, cluster_offline_after_s=30, **settings)


def test_eight_uploads_at_once_take_little_memory(cluster: Cluster) -> None:
    alice = cluster.enroll("alice@example.com")
    idle = resident_mib(cluster)
    upload_at_once(alice, 256)
    check_growth(cluster, idle)


@pytest.mark.soak
def test_a_gib_passes_both_ways_in_little_memory(cluster: Cluster) -> None:
    alice = cluster.enroll("alice@example.com")
    idle = resident_mib(cluster)
    files = upload_at_once(alice, 1024)
    check_growth(cluster, idle)
    with ThreadPoolExecutor(AT_ONCE) as threads:
        assert sum(threads.map(lambda file_id: count_bytes(alice, file_id), files)) == 1024 * MIB
    check_growth(cluster, idle)


@pytest.mark.soak
def test_readers_that_stop_reading_take_little_memory_and_are_dropped(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(capacity_gb=16, drive_new_account_mb=4096, drive_silence_s=3)
    alice = cluster.enroll("alice@example.com")
    file_id = alice.upload("long.bin", pieces(128), size=128 * MIB).file_id
    idle = resident_mib(cluster)
    stalled = [alice.pieces(file_id) for _ in range(AT_ONCE)]
    for reader in stalled[:2]:  # no more of them get through at once: a stalled one keeps what was read ahead for it
        next(reader)
    cluster.wait(lambda: cluster.gateway.err.read_text().count("peer_silent") >= AT_ONCE, 60, "readers being dropped")
    check_growth(cluster, idle)
    for reader in stalled:
        with pytest.raises(grpc.RpcError) as failure:
            sum(len(piece.chunk_data) for piece in reader)
        assert rpc.error_of(failure.value, "the gateway").code == "peer_silent"  # type: ignore[arg-type]
    assert count_bytes(alice, file_id) == 128 * MIB


def upload_at_once(user: User, mib: int) -> list[str]:
    """Eight files that have this size together; returns their ids."""
    each = mib // AT_ONCE
    with ThreadPoolExecutor(AT_ONCE) as threads:
        answers = threads.map(lambda n: user.upload(f"{n}.bin", pieces(each), size=each * MIB), range(AT_ONCE))
        return [answer.file_id for answer in answers]


def pieces(count: int) -> Iterator[bytes]:
    return (PIECE for _ in range(count))


def count_bytes(user: User, file_id: str) -> int:
    return sum(len(piece.chunk_data) for piece in user.pieces(file_id))


def check_growth(cluster: Cluster, idle: dict[str, float]) -> None:
    grown = {name: peak_mib - idle[name] for name, peak_mib in resident_mib(cluster, "VmHWM").items()}
    assert max(grown.values()) > 1, "nothing passed"
    assert max(grown.values()) < MOST_MIB, grown


def resident_mib(cluster: Cluster, which: str = "VmRSS") -> dict[str, float]:
    """`which`: VmRSS for now, VmHWM for the most there ever was."""
    told = {name: Path(f"/proc/{program.pid}/status").read_text() for name, program in cluster.programs.items()}
    return {
        name: int(re.findall(rf"^{which}:\s+(\d+) kB$", text, re.MULTILINE)[0]) / 1024 for name, text in told.items()
    }
