"""What was stored before encryption was switched on is sealed while people read it, through a crash."""

from __future__ import annotations

import io
import json
import random
import threading
from contextlib import redirect_stderr, redirect_stdout, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from cloudgrpc import cli
from cloudgrpc.errors import Exit
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cluster_harness import PATIENT, Cluster
from operating import admin, admin_json
from program import PATIENCE_S
from turned_clocks import end_leases, wait_collected
from user import CALL_S

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from user import User

pytestmark = pytest.mark.timeout(300)  # one long story, which takes two minutes on a machine that is very busy

NODES = ("node1", "node2")
MARKER = b"what nobody but its owner may read"
FILES = 20
CHUNK = 4 << 20
PLAIN = "SELECT count(*) FROM chunk WHERE NOT is_sealed AND unreferenced_at IS NULL"
SEALED = "SELECT count(*) FROM chunk WHERE is_sealed"
NO_KEY = "SELECT count(*) FROM version WHERE wrapped_key = ''"
TRANSIENT = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED, grpc.StatusCode.DEADLINE_EXCEEDED}

Known = list[tuple["User", str, bytes]]


@pytest.fixture
def cluster(make_cluster: Callable[..., Cluster]) -> Cluster:
    """Two nodes that both hold every chunk; what nobody needs goes soon."""
    return make_cluster(
        nodes=2,
        encryption_at_rest="false",
        encryption_background_mib_s=16,
        upkeep_inventory_s=0.5,
        upkeep_repair_delay_s=600,
        **PATIENT,
    )


class Readers:
    """People who read all files again and again, and ask again while the gateway is away."""

    def __init__(self, cluster: Cluster, known: Known) -> None:
        self._cluster = cluster
        self._known = known
        self._over = threading.Event()
        self.is_gateway_up = True
        self.read = 0
        self.wrong: list[str] = []
        self._threads = [threading.Thread(target=self._go, args=(seed,)) for seed in range(2)]

    def __enter__(self) -> Readers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _go(self, seed: int) -> None:
        dice = random.Random(seed)
        while not self._over.is_set():
            person, file_id, content = dice.choice(self._known)
            was_up = self.is_gateway_up
            try:
                if person.download(file_id) != content:
                    self.wrong.append(f"{file_id} reads otherwise")
                self.read += 1
                self._over.wait(0.02)
            except grpc.RpcError as failure:
                if (was_up and self.is_gateway_up) or failure.code() not in TRANSIENT:
                    self.wrong.append(f"{failure.code()}: {failure.details()}")
                self._over.wait(0.1)


def secrets(data: Path, *words: object) -> str:
    told = io.StringIO()
    with redirect_stdout(told), redirect_stderr(told):
        left = cli.run(["secrets", "--data-dir", str(data), *map(str, words)])
    assert left == Exit.OK, told.getvalue()
    return told.getvalue()


def master_keys(data: Path) -> list[str]:
    return next(
        each["fingerprints"] for each in json.loads(secrets(data, "list", "--json")) if each["name"] == "master"
    )


def stored(cluster: Cluster) -> Known:
    """Files of two people, some of which share their chunks."""
    alice, bob = cluster.enroll("alice@example.org"), cluster.enroll("bob@example.org")
    dice = random.Random(7)
    known: Known = []
    for number in range(FILES):
        content = dice.randbytes(700) + MARKER + dice.randbytes(number)
        known.append((alice, alice.upload(f"{number}.txt", content).file_id, content))
    large = MARKER + dice.randbytes(CHUNK)
    large_id = alice.upload(
        "large.bin", [large[at : at + (1 << 20)] for at in range(0, len(large), 1 << 20)], size=len(large)
    ).file_id
    alice.share(large_id, bob.email)
    request = pb.CopyFileRequest(session_token=bob.token, file_id=large_id, new_name="hers")
    copy_id = cluster.files.CopyFile(request, timeout=CALL_S).file_id
    alice.upload("empty", b"")
    return [*known, (alice, large_id, large), (bob, copy_id, large)]


def count(cluster: Cluster, query: str) -> int:
    ((found,),) = cluster.rows(query)
    return int(found)


def is_anywhere(cluster: Cluster, marker: bytes) -> bool:
    for node_id in NODES:
        for path in cluster.node_folder(node_id).rglob("*"):
            with suppress(FileNotFoundError, IsADirectoryError):  # it was deleted, or came to its place, just now
                if marker in path.read_bytes():
                    return True
    return False


def kinds(cluster: Cluster) -> set[str]:
    return {kind for (kind,) in cluster.rows("SELECT DISTINCT kind FROM event")}


def encryption(cluster: Cluster) -> dict[str, Any]:
    told: dict[str, Any] = admin_json(cluster, "--status")["encryption"]
    return told


def test_what_was_stored_plain_is_sealed_while_it_is_read_and_then_the_master_key_is_changed(cluster: Cluster) -> None:
    known = stored(cluster)
    assert is_anywhere(cluster, MARKER)
    cluster.wait(lambda: encryption(cluster)["chunks_left"] == FILES + 2, what="the plain chunks counted")
    assert encryption(cluster)["at_rest"] is False
    old = cluster.chunks_of(known[-1][1])
    cluster.stop_gateway()
    # So slowly that it is in the middle of it for seconds.
    cluster.start_gateway(encryption_at_rest="true", encryption_background_mib_s=2.5)
    with Readers(cluster, known) as readers:
        cluster.wait(lambda: count(cluster, SEALED) >= 3, what="the first chunks sealed")
        readers.is_gateway_up = False
        cluster.kill_gateway()
        assert count(cluster, PLAIN), "it was to be killed in the middle"
        secrets(cluster.data, "add", "master")
        first, second = master_keys(cluster.data)
        end_leases(cluster)
        cluster.start_gateway(encryption_at_rest="true")
        grpc.channel_ready_future(cluster.channel).result(PATIENCE_S)
        readers.is_gateway_up = True
        cluster.wait(lambda: not count(cluster, PLAIN) and not count(cluster, NO_KEY), seconds=40, what="all sealed")
        cluster.wait(lambda: {"sealing.begun", "sealing.done"} <= kinds(cluster), what="its end told")
        secrets(cluster.data, "use", "master", second)
        cluster.wait(lambda: "master_key.rewrapped" in kinds(cluster), what="accounts' keys wrapped anew")
        secrets(cluster.data, "--gateway", cluster.address, "remove", "master", first)
        wait_collected(cluster, lambda: not is_anywhere(cluster, MARKER), "the old chunks collected")
        before = readers.read
        cluster.wait(lambda: readers.read > before + 10, what="files read by the new master key")
    assert readers.wrong == []
    assert readers.read > len(known)
    assert cluster.chunks_of(known[-1][1]) != old
    for person, file_id, content in known:
        assert person.download(file_id) == content
    assert {wrapped for (wrapped,) in cluster.rows("SELECT substr(wrapped_key, 1, 8) FROM account")} == {second}
    assert "all that is stored" in admin(cluster, "--status")
    assert encryption(cluster) == {"at_rest": True, "chunks_left": 0, "bytes_left": 0}
    wait_collected(cluster, partial(is_clean, cluster), "metadata and nodes at one")


def is_clean(cluster: Cluster) -> bool:
    """No finding of any kind; a file that a crash left is one until it is collected."""
    return "no row names" not in admin(cluster, "check")
