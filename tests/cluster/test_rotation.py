"""The cluster's secret and the master key are changed while people work, and nobody notices."""

from __future__ import annotations

import io
import json
import os
import threading
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from cloudgrpc import cli, rpc
from cloudgrpc.errors import Exit
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.pb.cloud_storage_pb2_grpc import NodeServiceStub
from cluster_harness import PATIENT, Cluster
from program import HOST
from user import CALL_S

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from user import User

TRIES = 3
TRANSIENT = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED, grpc.StatusCode.DEADLINE_EXCEEDED}


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """The data folder of another machine."""
    return tmp_path / "elsewhere"


@pytest.fixture
def cluster(make_cluster: Callable[..., Cluster], elsewhere: Path) -> Cluster:
    """The gateway shares its folder with node1; node2 is on another machine, to which the secret was carried."""
    # Upkeep rests, so that no account's key is wrapped anew behind our back.
    settings = {**PATIENT, "upkeep_round_s": 3600, "cluster_offline_after_s": 60}
    cluster = make_cluster(nodes=1, start=False, **settings)
    cluster.start()
    secrets(elsewhere, "add", "cluster", "--from", cluster.data / "secrets" / "cluster.key")
    cluster.start_node("node2", data=elsewhere)
    return cluster


def secrets(data: Path, *words: object, exit_code: int = Exit.OK) -> str:
    """What `cloudgrpc secrets` tells on the machine with this data folder."""
    told = io.StringIO()
    with redirect_stdout(told), redirect_stderr(told):
        left = cli.run(["secrets", "--data-dir", str(data), *map(str, words)])
    assert left == exit_code, f"{left} instead of {exit_code}:\n{told.getvalue()}"
    return told.getvalue()


def fingerprints(data: Path, name: str) -> list[str]:
    return next(each["fingerprints"] for each in json.loads(secrets(data, "list", "--json")) if each["name"] == name)


class Work:
    """Somebody who uploads and downloads without rest, and tries again as clients do."""

    def __init__(self, user: User) -> None:
        self._user = user
        self._over = threading.Event()
        self.done: Counter[str] = Counter()
        self.lost: list[str] = []
        self._threads = [threading.Thread(target=self._go, args=(number,)) for number in range(3)]

    def __enter__(self) -> Work:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _go(self, number: int) -> None:
        turn = 0
        while not self._over.is_set():
            turn += 1
            self._there_and_back(f"{number}-{turn}", os.urandom(150_000))

    def _there_and_back(self, name: str, data: bytes) -> None:
        uploaded = self._persist("upload", lambda: self._user.upload(name, data, request_id=name))
        if uploaded and self._persist("download", lambda: self._user.download(uploaded.file_id)) != data:
            self.lost.append(f"{name} differs")

    def _persist(self, what: str, act: Callable[[], Any]) -> Any:
        """None when it was lost."""
        for left in reversed(range(TRIES)):
            try:
                answer = act()
            except grpc.RpcError as failure:
                if left and failure.code() in TRANSIENT:
                    self.done[f"{what} again"] += 1
                    continue
                self.lost.append(f"{what}: {failure.details()}")
                return None
            self.done[what] += 1
            return answer
        raise AssertionError("the last try answers or is lost")


def is_refused(port: int, secret: str) -> bool:
    """Whether whoever listens there lets nobody in who shows this secret; what is asked makes no sense anyway."""
    with grpc.insecure_channel(f"{HOST}:{port}", options=rpc.CHANNEL_OPTIONS) as channel:
        heartbeat = NodeServiceStub(channel).Heartbeat
        try:
            heartbeat(pb.HeartbeatRequest(node_id="nobody"), timeout=CALL_S, metadata=((rpc.SECRET_KEY, secret),))
        except grpc.RpcError as failure:
            return rpc.error_of(failure, "it").code == "cluster_secret_wrong"  # type: ignore[arg-type]
    return False


def wait_known(cluster: Cluster, changes: int) -> None:
    """Until each process has read so many changes of the cluster's secret: a person takes longer than that from one
    machine to the next, a script does not."""

    def is_known() -> bool:
        told = [program.err.read_text() for program in cluster.programs.values()]
        return all(each.count("cluster.key has changed") >= changes for each in told)

    cluster.wait(is_known, what="the change of the secret known everywhere")


def test_both_keys_are_changed_under_load_and_no_request_is_lost(cluster: Cluster, elsewhere: Path) -> None:
    alice = cluster.enroll("alice@example.org")
    here = cluster.data
    key_file = here / "secrets" / "cluster.key"
    old_secret = key_file.read_text().strip()
    (old,), (old_key,) = fingerprints(here, "cluster"), fingerprints(here, "master")
    with Work(alice) as work:
        cluster.wait(lambda: work.done["download"] > 2, what="work under way")
        secrets(here, "add", "cluster")
        new_secret = key_file.read_text().splitlines()[1]
        new = fingerprints(here, "cluster")[1]
        # The other machine is late, and must not meet what it does not know yet.
        cluster.wait(lambda: not is_refused(cluster.port, new_secret), what="the new one accepted")
        before_carrying = work.done["download"]
        cluster.wait(lambda: work.done["download"] > before_carrying + 3, what="work on one machine's knowledge")
        carried = elsewhere / "carried"
        carried.write_text(new_secret)
        secrets(elsewhere, "add", "cluster", "--from", carried)
        wait_known(cluster, changes=1)
        secrets(here, "add", "master")
        new_key = fingerprints(here, "master")[1]
        secrets(here, "use", "cluster", new)
        secrets(elsewhere, "use", "cluster", new)
        wait_known(cluster, changes=2)
        secrets(here, "use", "master", new_key)
        before_removal = work.done["download"]
        secrets(here, "remove", "cluster", old, "--yes")
        secrets(elsewhere, "remove", "cluster", old, "--yes")
        cluster.wait(lambda: work.done["download"] > before_removal + 3, what="work after the change")
    assert work.lost == []
    assert cluster.gateway.is_running
    for node_id in ("node1", "node2"):
        assert cluster.node(node_id).is_running, "a node that the gateway refuses gives up"
        assert "refused /" not in cluster.node(node_id).err.read_text(), "nobody met a closed door in between"

    for port in (cluster.port, cluster.node_port("node1"), cluster.node_port("node2")):
        cluster.wait(partial(is_refused, port, old_secret), what="the old one refused")
        assert not is_refused(port, new_secret)

    told = secrets(here, "--gateway", cluster.address, "remove", "master", old_key, "--yes", exit_code=Exit.NOT_NOW)
    assert "it wraps the keys of 1 account" in told
    bob = cluster.enroll("bob@example.org")
    bob.upload("sealed anew", b"x")
    wrapped = dict(cluster.rows("SELECT email, substr(wrapped_key, 1, 8) FROM account"))
    assert wrapped == {"alice@example.org": old_key, "bob@example.org": new_key}
