"""What this process counts about itself, in Prometheus' names and units; the dashboard reads the same counters."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics

# Most calls take milliseconds, transfers minutes.
SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600)


class Meters:
    """Counters since the process started. Counting is thread-safe and costs about a microsecond."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # half of all lines, which nobody reads
        self.registry = CollectorRegistry()
        self.requests = self._counter("requests", "Calls that ended, by method and gRPC status.", "method", "code")
        self.request_seconds = Histogram(
            "cloudgrpc_request_seconds",
            "How long calls took, by method.",
            ["method"],
            buckets=SECONDS,
            registry=self.registry,
        )
        # direction: "in" from people (or to a node's disk), "out" to them (or from the disk).
        self.transferred_bytes = self._counter("transferred_bytes", "Bytes of files, in and out.", "direction")
        self.repaired_copies = self._counter(
            "repaired_copies", "Missing copies that were made, also for drained nodes and zones."
        )
        self.repaired_bytes = self._counter("repaired_bytes", "Bytes of the missing copies that were made.")
        self.rebalanced_copies = self._counter("rebalanced_copies", "Copies made to even out how full nodes are.")
        self.dropped_copies = self._counter("dropped_copies", "Copies beyond those wanted that were given up.")
        self.scrubbed_bytes = self._counter("scrubbed_bytes", "Bytes read on nodes to find what went bad.")
        self.scrub_bad_copies = self._counter("scrub_bad_copies", "Copies that scrubbing found missing or damaged.")

    def transferred(self) -> tuple[float, float]:
        """Bytes of files, in and out."""
        (metric,) = self.transferred_bytes.collect()
        told = {one.labels["direction"]: one.value for one in metric.samples if one.name.endswith("_total")}
        return told.get("in", 0.0), told.get("out", 0.0)

    def _counter(self, name: str, words: str, *labels: str) -> Counter:
        return Counter(f"cloudgrpc_{name}", words, labels, registry=self.registry)
