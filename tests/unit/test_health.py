"""How well a node is: the laws of its score, the words for why it takes no chunks, and what calls say of it."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudgrpc.actions.node_watch import NodeWatch
from cloudgrpc.config import Cluster
from cloudgrpc.core.health import Health, Vitals, absent, examine
from cloudgrpc.errors import ChunkMissing, CloudError, DiskFailed, DiskFull, NodeUnavailable

GB = 1 << 30
WELL = Vitals(heartbeat_age_s=1, silence_s=1, free_bytes=GB, capacity_bytes=2 * GB, error_rate=0, latency_s=0.01)
SETTINGS = Cluster()  # heartbeats each 5 s, offline after 15 s, a timeout of 10 s, least 0.3
GONE = NodeUnavailable(node_id="node1", reason="gone")


def score(settings: Cluster = SETTINGS, **vitals: Any) -> float:
    return look(settings, **vitals).score


def look(settings: Cluster = SETTINGS, **vitals: Any) -> Health:
    return examine(dataclasses.replace(WELL, **vitals), settings)


# The score


def test_a_node_that_lacks_nothing_has_the_whole_score() -> None:
    assert look() == Health(1.0, latency_s=0.01, error_rate=0, heartbeat_age_s=1)
    assert score(latency_s=None) == 1


@pytest.mark.parametrize(
    ("vitals", "expected"),
    [
        ({"silence_s": 10}, 1),
        ({"silence_s": 12.5}, 0.5),
        ({"silence_s": 15}, 0),
        ({"silence_s": 1e9}, 0),
        ({"free_bytes": GB // 5}, 1),
        ({"free_bytes": GB // 10}, 0.5),
        ({"free_bytes": 0}, 0),
        ({"free_bytes": -GB}, 0),
        ({"error_rate": 0.25}, 0.75),
        ({"error_rate": 1}, 0),
        ({"latency_s": 0.1}, 1),
        ({"latency_s": 1}, 0.7),
        ({"latency_s": 10}, 0.4),
        ({"latency_s": 1e9}, 0.4),
        ({"silence_s": 12.5, "free_bytes": GB // 10, "error_rate": 0.5, "latency_s": 1}, 0.0875),
    ],
)
def test_each_factor_follows_its_formula_and_the_score_is_their_product(
    vitals: dict[str, Any], expected: float
) -> None:
    assert score(**vitals) == pytest.approx(expected, abs=1e-6)


@given(
    st.builds(
        Vitals,
        heartbeat_age_s=st.floats(0, 1e6),
        silence_s=st.floats(0, 1e6),
        free_bytes=st.integers(-GB, 4 * GB),
        capacity_bytes=st.integers(1, 2 * GB),
        error_rate=st.floats(0, 1),
        latency_s=st.none() | st.floats(0, 1e6),
    ),
    st.sampled_from(["silence_s", "error_rate", "latency_s"]),
    st.floats(0, 1),
    st.sampled_from(
        [SETTINGS, Cluster(heartbeat_s=5, offline_after_s=6, node_timeout_s=0.05), Cluster(least_health=1)]
    ),
)
def test_the_score_is_from_0_to_1_and_what_is_worse_never_raises_it(
    vitals: Vitals, what: str, more: float, settings: Cluster
) -> None:
    found = examine(vitals, settings)
    assert 0 <= found.score <= 1
    assert (found.reason == "") == (found.score >= settings.least_health)
    worse = min(1.0, vitals.error_rate + more) if what == "error_rate" else (getattr(vitals, what) or 0) + more * 20
    changes: list[dict[str, Any]] = [{what: worse}, {"free_bytes": vitals.free_bytes - int(more * GB)}]
    for change in changes:
        assert examine(dataclasses.replace(vitals, **change), settings).score <= found.score + 1e-12


def test_a_machine_that_is_merely_slow_still_takes_chunks() -> None:
    assert look(latency_s=1e9).reason == ""


# The words


@pytest.mark.parametrize(
    ("vitals", "words", "is_unwell"),
    [
        ({"heartbeat_age_s": 14, "silence_s": 14, "error_rate": 0.2}, "its last heartbeat is 14 s old", True),
        ({"error_rate": 0.75, "latency_s": 1}, "75% of the calls to it failed lately", True),
        ({"free_bytes": 50 << 20}, "almost full: 50.0 MB of 2.0 GB free", False),
        ({"latency_s": 8, "error_rate": 0.4}, "a small call to it takes 8.0 s", True),
    ],
)
def test_the_reason_is_the_lowest_factor_in_words(vitals: dict[str, Any], words: str, is_unwell: bool) -> None:
    found = look(**vitals)
    assert (found.reason, found.is_unwell) == (words, is_unwell)


def test_what_bars_a_node_is_told_whatever_its_score() -> None:
    for vitals in (WELL, dataclasses.replace(WELL, error_rate=1)):
        found = examine(vitals, SETTINGS, "draining")
        assert (found.reason, found.is_unwell) == ("draining", False)
    assert examine(WELL, SETTINGS, "draining").score == 1


@pytest.mark.parametrize(("age_s", "words"), [(16, "16 s"), (600, "10 min"), (7200, "2 hours"), (900_000, "10 days")])
def test_an_offline_node_has_no_score_and_says_since_when(age_s: float, words: str) -> None:
    found = absent(dataclasses.replace(WELL, heartbeat_age_s=age_s))
    assert (found.score, found.reason) == (0, f"offline: its last heartbeat is {words} old")


# What calls say


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watch(clock: Clock) -> NodeWatch:
    return NodeWatch(clock)


def test_two_failures_say_nothing_yet_and_three_do(watch: NodeWatch) -> None:
    rates = []
    for _ in range(3):
        watch.note("node1", GONE)
        rates.append(watch.error_rate("node1"))
    assert rates == [0, 0, 1]
    assert watch.error_rate("node2") == 0


@pytest.mark.parametrize(
    ("error", "rate"),
    [
        (GONE, 0.5),
        (DiskFailed(node_id="node1", reason="r"), 0.5),
        (DiskFull(node_id="node1"), 0),
        (ChunkMissing(chunk_id="c"), 0),
    ],
)
def test_only_what_is_the_nodes_fault_counts(watch: NodeWatch, error: CloudError, rate: float) -> None:
    for _ in range(4):
        watch.note("node1", None)
        watch.note("node1", error)
    assert watch.error_rate("node1") == pytest.approx(rate)


def test_failures_fade_with_time_as_calls_succeed_again(watch: NodeWatch, clock: Clock) -> None:
    for _ in range(10):
        watch.note("node1", GONE)
    rates = []
    for _ in range(24):
        clock.now += 5
        watch.note("node1", None)
        rates.append(watch.error_rate("node1"))
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > 0.85
    assert rates[11] < 0.4  # after a minute
    assert rates[23] < 0.15


def test_many_calls_at_once_do_not_push_out_what_was_a_moment_ago(watch: NodeWatch, clock: Clock) -> None:
    for outcome in [GONE] * 50 + [None] * 50:
        watch.note("node1", outcome)
    assert watch.error_rate("node1") == pytest.approx(0.5)
    clock.now += 600
    assert watch.error_rate("node1") == 0  # too long ago to mean anything


def test_a_node_that_starts_anew_has_no_past(watch: NodeWatch) -> None:
    for _ in range(5):
        watch.note("node1", GONE)
    watch.forget("node1")
    assert watch.error_rate("node1") == 0


class Slow:
    """A node that takes its time, by the test's clock."""

    def __init__(self, clock: Clock, takes_s: float, error: CloudError | None = None) -> None:
        self.clock, self.takes_s, self.error = clock, takes_s, error

    async def page(self, after: str, limit: int) -> list[str]:
        assert (after, limit) == ("", 1)
        self.clock.now += self.takes_s
        if self.error:
            raise self.error
        return []


def test_a_probe_measures_each_node_and_one_that_fails_stops_no_other(watch: NodeWatch, clock: Clock) -> None:
    stores = {"node1": Slow(clock, 3, GONE), "node2": Slow(clock, 0.5), "node3": Slow(clock, 2)}
    asyncio.run(watch.probe(stores))
    assert [watch.latency_s(node_id) for node_id in stores] == [None, 0.5, pytest.approx(2)]
    stores["node2"].takes_s = 1.5
    asyncio.run(watch.probe(stores))
    assert 0.9 < (watch.latency_s("node2") or 0) < 1.1


def test_a_gateway_that_stopped_for_a_while_has_only_just_begun_to_hear(watch: NodeWatch, clock: Clock) -> None:
    heard = []

    async def probe() -> None:
        heard.append(watch.awake_s)
        clock.now += [4, 40, 4][len(heard) - 1] if len(heard) <= 3 else 0
        if len(heard) == 4:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(watch.keep_probing(probe, 0.001, 15))
    assert heard == [0, 4, 0, 4]
