"""What Prometheus gets of a gateway and of a node beside the counters: figures looked at for each scrape."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from cloudgrpc import __version__
from cloudgrpc.actions.patience import Patience
from cloudgrpc.core.payment_states import State
from cloudgrpc.errors import CloudError
from cloudgrpc.meters import SECONDS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping

    from prometheus_client import Metric

    from cloudgrpc.actions.overview import NodeView, Overviews, Status
    from cloudgrpc.actions.readiness import Readiness, Ready
    from cloudgrpc.chunks.disk import DiskStore
    from cloudgrpc.meta.db import Database
    from cloudgrpc.meters import Counter, Histogram, Meters

log = logging.getLogger(__name__)

PATIENCE_S = 5.0  # half of what Prometheus waits for a scrape
DATABASE_UP = "Whether the database answers."
NODE_STATES = ("online", "offline", "read-only", "draining", "drained")


class _Figures(Collector):
    """The counters as they are, and metrics as they were when they were looked at last."""

    def __init__(self, meters: Meters) -> None:
        self.registry = CollectorRegistry()
        self._meters = meters
        self._metrics: list[Metric] = []
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.registry.register(self)

    def describe(self) -> Iterable[Metric]:
        """None by name: else the registry would collect to find out."""
        return []

    def collect(self) -> Iterable[Metric]:
        yield _gauge("build_info", "The version that runs.", {__version__: 1}, "version")
        yield from map(_of_counter, self._meters.counters)
        yield _of_histogram(self._meters.request_seconds)
        yield from self._metrics


class GatewayFigures(_Figures):
    """Cluster-wide figures are the same at every gateway of a database: take the largest of them, not the sum."""

    def __init__(self, meters: Meters, database: Database, overviews: Overviews, readiness: Readiness) -> None:
        super().__init__(meters)
        self._db = database
        self._asking = Patience(overviews.status, PATIENCE_S)
        self.look = readiness.look

    async def refresh(self) -> None:
        lanes = list(_of_lanes(self._db))
        try:
            status = await self._asking.ask()
        except (CloudError, TimeoutError) as error:
            log.warning("metrics without what is in the database: %s", str(error) or "it is slow")
            # What takes long may be the first count of a large database.
            is_up = isinstance(error, TimeoutError) and (await self.look()).can_answer
            self._metrics = [_one("database_up", DATABASE_UP, is_up), *lanes]
        else:
            up = _one("database_up", DATABASE_UP, 1)
            self._metrics = [up, *lanes, *_of_status(status), *_of_nodes(status.nodes)]

    async def close(self) -> None:
        await self._asking.close()


class NodeFigures(_Figures):
    """`look`: whether the node can do its work."""

    def __init__(self, meters: Meters, store: DiskStore, look: Callable[[], Awaitable[Ready]]) -> None:
        super().__init__(meters)
        self._store = store
        self._asking = Patience(self._disk, PATIENCE_S)
        self.look = look

    async def refresh(self) -> None:
        try:
            self._metrics = await self._asking.ask()
        except (CloudError, TimeoutError) as error:
            log.warning("metrics without what is on the disk: %s", str(error) or "it does not answer")
            self._metrics = [_one("disk_up", "Whether the disk answers.", 0)]

    async def _disk(self) -> list[Metric]:
        usage, room = await self._store.usage(), await self._store.room()
        return [
            _one("disk_up", "Whether the disk answers.", 1),
            _one("disk_used_bytes", "Bytes of the chunks kept.", usage.used_bytes),
            _one("disk_capacity_bytes", "Bytes of chunks that are kept at most.", self._store.capacity_bytes),
            _one("disk_free_bytes", "Bytes free on the disk itself.", room.free_bytes),
            _one("disk_chunks", "Chunks kept.", usage.chunk_count),
            _one("disk_quarantined_chunks", "Damaged chunks that were put aside.", room.quarantined),
            _one("disk_read_only", "Whether no new chunks are taken.", usage.read_only),
        ]


def _of_counter(counter: Counter) -> Metric:
    family = CounterMetricFamily(counter.name, counter.words, labels=counter.label_names)
    for values, count in tuple(counter.counts.items()):
        family.add_metric(values, count.value)
    return family


def _of_histogram(histogram: Histogram) -> Metric:
    family = HistogramMetricFamily(histogram.name, histogram.words, labels=histogram.label_names)
    bounds = [*(str(float(bound)) for bound in SECONDS), "+Inf"]
    for values, times in tuple(histogram.times.items()):
        counts, sum_s = times.told()
        family.add_metric(values, list(zip(bounds, counts, strict=True)), sum_s)
    return family


def _of_status(status: Status) -> Iterator[Metric]:
    figures, count = status.figures, status.count
    states = {"whole": count.whole, "missing": count.missing, "lost": count.lost}
    yield _gauge("chunks", "Chunks that files need, by their copies.", states, "state")
    yield _one("copies_missing", "Copies that are to be made.", count.copies_missing)
    yield _one("copies_missing_bytes", "Bytes of the copies that are to be made.", count.bytes_missing)
    yield _one("copies_wanted", "Copies that a chunk is to have.", count.copies_wanted)
    yield _one("unsealed_chunks", "Chunks that are not encrypted.", count.unsealed)
    yield _one("unsealed_bytes", "Bytes of the chunks that are not encrypted.", count.bytes_unsealed)
    yield _one("counted_timestamp_seconds", "When chunks, files and payments were counted.", count.counted_at / 1e6)
    yield _one("can_write", "Whether enough nodes take new chunks.", status.can_write)
    yield _one("restored", "Whether the database came from a backup and is not reconciled.", status.mode != "open")
    yield _one("health_ratio", "The health of the whole, 0 to 1.", status.health)
    yield _one("accounts", "Accounts.", figures.users)
    yield _one("accounts_disabled", "Accounts that an operator shut out.", figures.disabled_users)
    yield _one("sessions", "Sessions in force.", figures.sessions)
    yield _one("uploads", "Uploads under way.", figures.uploads)
    yield _one("files", "Files, without the trash.", count.files)
    yield _one("used_bytes", "Bytes that count in the quotas.", figures.used_bytes)
    yield _one("allocated_bytes", "The sum of all quotas.", figures.allocated_bytes)
    yield _one("capacity_bytes", "Bytes that all nodes keep at most.", figures.capacity_bytes)
    yield _one("promised_bytes", "The sum of all quotas, with what payments under way bring.", figures.promised_bytes)
    yield _one("promisable_bytes", "What may be promised.", status.promisable_bytes)
    payments = {str(state): count.payments.get(state, 0) for state in State}
    yield _gauge("payments", "Payments of all time, by status.", payments, "status")
    yield _one("payments_attention", "Payments that wait for an operator.", figures.payments_attention)
    yield _one("revenue_xaf", "What completed payments brought in, in XAF.", count.revenue_xaf)


def _of_nodes(nodes: list[NodeView]) -> Iterator[Metric]:
    by_state = {state: sum(node.status == state for node in nodes) for state in NODE_STATES}
    yield _gauge("nodes", "Nodes, by state.", by_state, "state")
    yield _of_each("node_health_score", "How well a node is, 0 to 1.", nodes, lambda node: node.health.score)
    yield _of_each("node_used_bytes", "Bytes on a node.", nodes, lambda node: node.record.row.used_bytes)
    yield _of_each("node_capacity_bytes", "Bytes it keeps at most.", nodes, lambda node: node.record.row.capacity_bytes)
    yield _of_each("node_chunks", "Chunks on a node.", nodes, lambda node: node.record.row.chunk_count)
    yield _of_each("node_latency_seconds", "Time of a small call.", nodes, lambda node: node.health.latency_s)
    yield _of_each("node_error_ratio", "Calls that failed lately.", nodes, lambda node: node.health.error_rate)
    yield _of_each("node_heartbeat_age_seconds", "Since heard.", nodes, lambda node: node.health.heartbeat_age_s)
    yield _of_each("node_scrub_age_seconds", "Since all was read.", nodes, _scrub_age_s)
    yield _of_each("node_copies_left", "Copies that have yet to leave it.", nodes, lambda node: node.copies_left)


def _scrub_age_s(node: NodeView) -> float | None:
    """None when it never was."""
    scrubbed_at = node.record.row.scrubbed_at
    return None if scrubbed_at is None else max(0.0, time.time() - scrubbed_at / 1e6)


def _of_lanes(database: Database) -> Iterator[Metric]:
    lanes = database.lanes.items()
    yield _gauge(
        "database_queue", "Calls that wait for a thread.", {name: lane.waiting for name, lane in lanes}, "lane"
    )
    yield _gauge("database_busy_threads", "Threads at work.", {name: lane.busy for name, lane in lanes}, "lane")
    yield _gauge("database_threads", "Threads there are.", {name: lane.threads for name, lane in lanes}, "lane")


def _of_each(name: str, words: str, nodes: list[NodeView], figure: Callable[[NodeView], float | None]) -> Metric:
    """Of each node; None: not known."""
    figures = {node.record.row.node_id: figure(node) for node in nodes}
    return _gauge(name, words, {node_id: value for node_id, value in figures.items() if value is not None}, "node")


def _one(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(f"cloudgrpc_{name}", words, value=float(value))


def _gauge(name: str, words: str, values: Mapping[str, float], label: str) -> Metric:
    """`values`: by what the label says."""
    gauge = GaugeMetricFamily(f"cloudgrpc_{name}", words, labels=[label])
    for told, value in values.items():
        gauge.add_metric([told], float(value))
    return gauge
