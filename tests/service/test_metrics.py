"""What Prometheus, load balancers and Grafana get of a real gateway and a real node over HTTP."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import requests
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from cloudgrpc import __version__, config
from cloudgrpc.actions import readiness
from cloudgrpc.actions.census import Census
from cloudgrpc.actions.endings import Endings
from cloudgrpc.actions.node_watch import NodeWatch
from cloudgrpc.actions.nodes import Nodes
from cloudgrpc.actions.overview import Overviews
from cloudgrpc.actions.readiness import Readiness
from cloudgrpc.core.sealing import TAG_BYTES
from cloudgrpc.meta import db, schema
from cloudgrpc.meta.promises import Promise
from cloudgrpc.meters import Meters
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.services import metrics
from cloudgrpc.services.metrics import GatewayFigures
from cluster_harness import PATIENT, Cluster
from every_rpc import admin_key
from program import HOST, free_port
from user import CALL_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from user import User

DASHBOARD = Path(__file__).parents[2] / "scripts" / "grafana-dashboard.json"
METRIC = re.compile(r"\b(?:cloudgrpc|process)_[a-z_]+\b")
MIB = 1 << 20
# Not on the dashboard, since it would say little there.
UNTOLD = {
    "cloudgrpc_copies_wanted",
    "cloudgrpc_restored",
    *(f"cloudgrpc_disk_{name}" for name in ("up", "chunks", "used_bytes", "capacity_bytes")),  # the gateway tells them
    "cloudgrpc_request_seconds",  # in its parts
}

QUEUE = "cloudgrpc_database_queue,lane=read"

Figures = dict[str, float]  # of a scrape, by name and labels as Prometheus writes them


class Site:
    """A cluster whose gateway and nodes answer HTTP."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.cluster = Cluster(folder, nodes=0, capacity_gb=100, http_port=self.port, **PATIENT)
        self.node_ports = {name: free_port() for name in ("node1", "node2")}

    def start(self) -> Site:
        self.cluster.start()
        for name, port in self.node_ports.items():
            self.cluster.start_node(name, ready=False, node_http_port=port)
        self.cluster.wait(lambda: self.cluster.online() == list(self.node_ports), what="both nodes online")
        return self

    def get(self, path: str, node: str = "") -> requests.Response:
        port = self.node_ports[node] if node else self.port
        return requests.get(f"http://{HOST}:{port}{path}", timeout=CALL_S)

    def scrape(self, node: str = "") -> Figures:
        return figures_of(self.get("/metrics", node).text)

    def status(self) -> pb.SystemStatusResponse:
        request = pb.SystemStatusRequest(admin_key=admin_key(self.cluster))
        return self.cluster.admin.GetSystemStatus(request, timeout=CALL_S)


def figures_of(text: str) -> Figures:
    """Raises when it is not in Prometheus' format."""
    return {
        sample.name + "".join(f",{name}={value}" for name, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("metrics"))
    try:
        yield site.start()
    finally:
        site.cluster.close()


@pytest.fixture(scope="module")
def alice(site: Site) -> User:
    return site.cluster.enroll("alice@example.org")


def test_calls_are_counted_by_method_and_status(site: Site, alice: User) -> None:
    def count(code: str) -> float:
        return site.scrape().get(f"cloudgrpc_requests_total,code={code},method=cloudstorage.FileService/DeleteFile", 0)

    done, missing = count("OK"), count("NOT_FOUND")
    file_id = alice.upload("once", b"x").file_id
    alice.delete(file_id, permanent=True)
    for _ in range(2):
        with pytest.raises(grpc.RpcError):
            alice.delete(file_id)
    assert (count("OK"), count("NOT_FOUND")) == (done + 1, missing + 2)
    told = site.scrape()
    assert told["cloudgrpc_request_seconds_count,method=cloudstorage.FileService/DeleteFile"] >= 3


def test_a_call_that_was_left_is_counted_as_such(site: Site, alice: User) -> None:
    left = "cloudgrpc_requests_total,code=CANCELLED,method=cloudstorage.FileService/DownloadFile"
    before = site.scrape().get(left, 0)
    file_id = alice.upload("long", bytes(8 * MIB)).file_id
    request = pb.DownloadFileRequest(session_token=alice.token, file_id=file_id)
    stream = site.cluster.files.DownloadFile(request, timeout=CALL_S)
    next(stream)
    stream.cancel()
    site.cluster.wait(lambda: site.scrape().get(left, 0) == before + 1, what="the call is counted")


def test_callers_cannot_make_up_names(site: Site) -> None:
    for number in range(3):
        call: Any = site.cluster.channel.unary_unary(f"/made.Up/Name{number}")
        with pytest.raises(grpc.RpcError):
            call(b"", timeout=CALL_S)
    told = site.scrape()
    assert told["cloudgrpc_requests_total,code=UNIMPLEMENTED,method=other"] == 3
    assert not any("made.Up" in name for name in told)


def test_bytes_of_files_are_counted_both_ways(site: Site, alice: User) -> None:
    both = [f"cloudgrpc_transferred_bytes_total,direction={way}" for way in ("in", "out")]
    before = site.scrape()
    file_id = alice.upload("counted", bytes(2 * MIB + 7)).file_id
    for _ in range(2):
        alice.download(file_id)
    after = site.scrape()
    assert [after[name] - before[name] for name in both] == [2 * MIB + 7, 2 * (2 * MIB + 7)]


def test_a_node_counts_what_its_disk_takes_and_gives(site: Site, alice: User) -> None:
    before = {node: site.scrape(node) for node in site.node_ports}
    file_id = alice.upload("on disks", bytes(MIB + 3)).file_id
    alice.download(file_id)
    after = {node: site.scrape(node) for node in site.node_ports}

    def grown(name: str) -> list[float]:
        return [after[node][name] - before[node][name] for node in site.node_ports]

    assert grown("cloudgrpc_transferred_bytes_total,direction=in") == [MIB + 3 + TAG_BYTES] * 2
    assert sum(grown("cloudgrpc_transferred_bytes_total,direction=out")) == MIB + 3 + TAG_BYTES
    assert grown("cloudgrpc_disk_used_bytes") == [MIB + 3 + TAG_BYTES] * 2
    assert grown("cloudgrpc_disk_chunks") == [1, 1]
    for told in after.values():
        assert told["cloudgrpc_disk_capacity_bytes"] == 100 << 30
        assert told["cloudgrpc_disk_free_bytes"] > 0
        assert (told["cloudgrpc_disk_read_only"], told["cloudgrpc_disk_quarantined_chunks"]) == (0, 0)
        assert told[f"cloudgrpc_build_info,version={__version__}"] == 1


def test_the_gateway_tells_where_each_node_has_its_metrics(site: Site) -> None:
    rows = dict(site.cluster.rows("SELECT node_id, metrics_address FROM node"))
    assert rows == {node: f"{HOST}:{port}" for node, port in site.node_ports.items()}


def wait_for_readiness(site: Site, status: int, told: dict[str, object], node: str = "") -> None:
    def is_told() -> bool:
        answer = site.get("/readyz", node)
        return (answer.status_code, answer.json()) == (status, told)

    site.cluster.wait(is_told, what=f"{status} {told}")


@pytest.mark.parametrize("node", ["", "node1"])
def test_the_process_tells_that_it_lives_and_is_ready(site: Site, node: str) -> None:
    assert site.get("/healthz", node).text == "ok\n"
    wait_for_readiness(site, 200, {"ready": True, "troubles": [], "version": __version__}, node)
    assert site.get("/nothing", node).status_code == 404
    assert requests.post(site.get("/metrics", node).url, timeout=CALL_S).status_code == 405


def test_the_dashboard_asks_only_for_what_there_is(site: Site) -> None:
    text = site.get("/metrics").text + site.get("/metrics", "node1").text
    there = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    parts = {f"{name}{end}" for name in there for end in ("_bucket", "_sum", "_count")}
    asked = {
        name
        for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
        for target in panel.get("targets", [])
        for name in METRIC.findall(target["expr"])
    }
    assert asked
    assert not asked - there - parts
    untold = {name for name in there if name.startswith("cloudgrpc")} - asked
    assert untold <= UNTOLD, "what there is can be seen"


def test_a_scrape_without_the_database_tells_of_that_and_of_the_rest(tmp_path: Path) -> None:
    async def scrape() -> Figures:
        figures = gateway_figures(tmp_path)
        figures._db.close()
        await figures.refresh()
        assert not (await figures.look()).can_answer
        return figures_of(generate_latest(figures.registry).decode())

    told = asyncio.run(scrape())
    assert told["cloudgrpc_database_up"] == 0
    assert told["cloudgrpc_database_threads,lane=read"] == 4
    assert "process_resident_memory_bytes" in told
    assert not [name for name in told if name.startswith(("cloudgrpc_chunks", "cloudgrpc_accounts"))]


def test_a_database_that_hangs_does_not_hold_up_a_scrape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "PATIENCE_S", 0.1)
    monkeypatch.setattr(readiness, "PATIENCE_S", 0.1)
    go_on = threading.Event()

    async def scrape(figures: GatewayFigures) -> Figures:
        await figures.refresh()
        return figures_of(generate_latest(figures.registry).decode())

    async def scrapes() -> list[Figures]:
        figures = gateway_figures(tmp_path)
        hanging = [asyncio.create_task(figures._db.read(go_on.wait, CALL_S)) for _ in range(db.READERS)]
        async with asyncio.timeout(CALL_S):
            while figures._db.lanes["read"].busy < db.READERS:
                await asyncio.sleep(0.001)
        told = [await scrape(figures) for _ in range(2)]
        go_on.set()
        await asyncio.gather(*hanging)
        async with asyncio.timeout(CALL_S):  # so short a patience may end before a busy machine has answered
            while (last := await scrape(figures))["cloudgrpc_database_up"] == 0 or last[QUEUE] > 0:
                pass
        await figures.close()
        figures._db.close()
        return told

    first, second = asyncio.run(scrapes())
    assert [one["cloudgrpc_database_up"] for one in (first, second)] == [0, 0]
    assert first["cloudgrpc_database_busy_threads,lane=read"] == db.READERS
    # The figures, and whether it is ready; who asks again waits for the same answers.
    assert second[QUEUE] == 2


def gateway_figures(folder: Path) -> GatewayFigures:
    """Of a gateway on an empty database, which nobody serves."""
    database = db.open_database(config.Database(), folder)
    database.call(schema.migrate)
    cluster_id = database.call(schema.cluster_id)

    def connect(_node: object) -> None:
        raise AssertionError("there is no node")

    nodes = Nodes(database, config.Cluster(), cluster_id, NodeWatch(), connect)  # type: ignore[arg-type]
    overviews = Overviews(
        database,
        nodes,
        Census(database, 2),
        Promise(1, 2, 4.0),
        endings=Endings(database, list),
        is_key_unsaved=lambda: False,
    )
    return GatewayFigures(Meters(), database, overviews, Readiness(nodes))


# The law: what is told in several places is the same, and true. The last, since a node goes.


def test_status_metrics_and_a_recount_agree_whatever_happened(site: Site, alice: User) -> None:
    bob = site.cluster.enroll("bob@example.org")
    for number in range(4):
        bob.upload(f"f{number}", bytes(1000 + number))
    bob.upload("f0", b"second version")
    bob.delete(bob.upload("trashed", b"12345").file_id)
    folder = bob.mkdir("folder")
    bob.upload("inner", bytes(5 * MIB), folder=folder)
    bob.delete(bob.upload("purged", b"123").file_id, permanent=True)
    bob.begin("resting", 77)
    site.cluster.wait(lambda: agreement(site) == [], what="agreement")
    site.cluster.lose("node2")
    troubles = ["Nothing can be stored: nodes that take new chunks: 1, needed: 2."]
    wait_for_readiness(site, 503, {"ready": False, "troubles": troubles, "version": __version__})
    alice.delete(alice.upload("meanwhile", b"").file_id)
    site.cluster.wait(lambda: agreement(site) == [], what="agreement after a node went")
    assert site.status().chunks.missing > 5
    assert site.get("/healthz").status_code == 200


def agreement(site: Site) -> list[str]:
    """What is not the same in the status, the metrics and a recount, each of which takes a moment."""
    recounted = recount(site)
    status, told = site.status(), site.scrape()
    by_status = {
        "chunks,state=whole": status.chunks.whole,
        "chunks,state=missing": status.chunks.missing,
        "chunks,state=lost": status.chunks.lost,
        "copies_missing": status.chunks.copies_missing,
        "copies_missing_bytes": status.chunks.bytes_missing,
        "unsealed_chunks": status.chunks.unsealed,
        "unsealed_bytes": status.chunks.bytes_unsealed,
        "files": status.total_files,
        "accounts": status.total_users,
        "sessions": status.sessions,
        "uploads": status.uploads,
        "used_bytes": status.global_used_bytes,
        "allocated_bytes": status.global_allocated_bytes,
        "capacity_bytes": status.global_capacity_bytes,
        "nodes,state=online": status.online_nodes,
    }
    return [
        f"{name}: {by_status[name]}, {told[f'cloudgrpc_{name}']}, {value}"
        for name, value in recounted.items()
        if not by_status[name] == told[f"cloudgrpc_{name}"] == value
    ]


def recount(site: Site) -> Figures:
    rows = site.cluster.rows
    online = site.cluster.online()
    copies = rows("SELECT chunk_id, node_id FROM copy WHERE state = 'good'")
    here: dict[str, int] = {}
    for chunk_id, node_id in copies:
        here[chunk_id] = here.get(chunk_id, 0) + (node_id in online)
    needed = dict(rows("SELECT chunk_id, length FROM chunk WHERE chunk_id IN (SELECT chunk_id FROM extent)"))
    lacking = {chunk_id: 2 - here[chunk_id] for chunk_id in needed if here.get(chunk_id, 2) < 2}
    unsealed = needed.keys() & {chunk_id for (chunk_id,) in rows("SELECT chunk_id FROM chunk WHERE NOT is_sealed")}
    parents = dict(rows("SELECT entry_id, parent_id FROM entry"))
    roots = {root_id for (root_id,) in rows("SELECT root_id FROM account")}

    def is_live(entry_id: str) -> bool:
        return entry_id in roots or (parents[entry_id] is not None and is_live(parents[entry_id]))

    return {
        "chunks,state=whole": sum(here.get(chunk_id, 0) >= 2 for chunk_id in needed),
        "chunks,state=missing": len(lacking),
        "chunks,state=lost": sum(chunk_id not in here for chunk_id in needed),
        "copies_missing": sum(lacking.values()),
        "copies_missing_bytes": sum(needed[chunk_id] * copies for chunk_id, copies in lacking.items()),
        "unsealed_chunks": len(unsealed),
        "unsealed_bytes": sum(needed[chunk_id] for chunk_id in unsealed),
        "files": sum(is_live(entry_id) for (entry_id,) in rows("SELECT entry_id FROM entry WHERE kind = 'file'")),
        "accounts": len(roots),
        "sessions": len(rows("SELECT session_id FROM session")),
        "uploads": len(rows("SELECT upload_id FROM upload WHERE state = 'open'")),
        "used_bytes": sum(used for (used,) in rows("SELECT used_bytes FROM account")),
        "allocated_bytes": sum(quota for (quota,) in rows("SELECT quota_bytes FROM account")),
        "capacity_bytes": sum(capacity for (capacity,) in rows("SELECT capacity_bytes FROM node")),
        "nodes,state=online": len(online),
    }
