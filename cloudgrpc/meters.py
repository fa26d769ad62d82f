"""What this process counts about itself, in Prometheus' names and units; the dashboard reads the same counters.

Counters of our own: Prometheus' client, which tells of them, is imported only by who is scraped.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from itertools import accumulate

# Most calls take milliseconds, transfers minutes.
SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600)


class Count:
    def __init__(self) -> None:
        self.value = 0.0
        self._lock = threading.Lock()

    def inc(self, amount: float = 1) -> None:
        with self._lock:
            self.value += amount


class Counter:
    """Counts up, apart for each value of its labels; one without labels is there from the start, as 0."""

    def __init__(self, name: str, words: str, *labels: str) -> None:
        self.name = f"cloudgrpc_{name}"
        self.words = words
        self.label_names = labels
        self.counts: dict[tuple[str, ...], Count] = {} if labels else {(): Count()}

    def labels(self, *values: str) -> Count:
        # What two threads make at once is kept once.
        return self.counts.get(values) or self.counts.setdefault(values, Count())

    def inc(self, amount: float = 1) -> None:
        self.counts[()].inc(amount)


class Times:
    """How often something took how long, up to each of SECONDS."""

    def __init__(self) -> None:
        self.sum_s = 0.0
        self._counts = [0] * (len(SECONDS) + 1)  # the last: longer than all of them
        self._lock = threading.Lock()

    def observe(self, seconds: float) -> None:
        with self._lock:
            self._counts[bisect_left(SECONDS, seconds)] += 1
            self.sum_s += seconds

    def told(self) -> tuple[list[int], float]:
        """How many took at most each of SECONDS, and how many there were; then the sum of all, in seconds."""
        with self._lock:
            return list(accumulate(self._counts)), self.sum_s


class Histogram:
    def __init__(self, name: str, words: str, *labels: str) -> None:
        self.name = f"cloudgrpc_{name}"
        self.words = words
        self.label_names = labels
        self.times: dict[tuple[str, ...], Times] = {}

    def labels(self, *values: str) -> Times:
        return self.times.get(values) or self.times.setdefault(values, Times())


class Meters:
    """Counters since the process started. Counting is thread-safe and costs about a microsecond."""

    def __init__(self) -> None:
        self.requests = Counter("requests", "Calls that ended, by method and gRPC status.", "method", "code")
        self.request_seconds = Histogram("request_seconds", "How long calls took, by method.", "method")
        # direction: "in" from people (or to a node's disk), "out" to them (or from the disk).
        self.transferred_bytes = Counter("transferred_bytes", "Bytes of files, in and out.", "direction")
        self.repaired_copies = Counter(
            "repaired_copies", "Missing copies that were made, also for drained nodes and zones."
        )
        self.repaired_bytes = Counter("repaired_bytes", "Bytes of the missing copies that were made.")
        self.rebalanced_copies = Counter("rebalanced_copies", "Copies made to even out how full nodes are.")
        self.dropped_copies = Counter("dropped_copies", "Copies beyond those wanted that were given up.")
        self.scrubbed_bytes = Counter("scrubbed_bytes", "Bytes read on nodes to find what went bad.")
        self.scrub_bad_copies = Counter("scrub_bad_copies", "Copies that scrubbing found missing or damaged.")

    @property
    def counters(self) -> list[Counter]:
        return [one for one in vars(self).values() if isinstance(one, Counter)]

    def transferred(self) -> tuple[float, float]:
        """Bytes of files, in and out."""
        counts = {values: count.value for values, count in tuple(self.transferred_bytes.counts.items())}
        return counts.get(("in",), 0.0), counts.get(("out",), 0.0)
