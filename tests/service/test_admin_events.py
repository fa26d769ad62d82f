"""The feed of events as operators follow it: from a real gateway, over as many connections as it takes."""

from __future__ import annotations

import json
import random
import shutil
import threading
import time
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from cloudgrpc import rpc
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cluster_harness import Cluster
from every_rpc import admin_key
from user import CALL_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from postgres import Postgres

MOST_FOLLOWERS = 100
SOON_S = 15.0  # 2 s, on a machine that is busy and stands still now and then
AGED = "UPDATE event SET at = at - 400 * 86400000000 WHERE event_id = "
KEY = "a key that both gateways were given"
LETTERS = count(1)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Without nodes: to have events, it is enough to ask for codes."""
    cluster = Cluster(tmp_path_factory.mktemp("events"), nodes=0)
    try:
        yield cluster.start()
    finally:
        cluster.close()


class Stream:
    """One who follows; `start`: the number that everything comes after."""

    def __init__(self, cluster: Cluster, key: str = "", **asked: Any) -> None:
        request = pb.StreamEventsRequest(admin_key=key or admin_key(cluster), **asked)
        self.call: Any = cluster.admin.StreamSystemEvents(request, timeout=60)
        self.seen: list[pb.SystemEvent] = []

    @property
    def start(self) -> int:
        """Waits until the stream has begun."""
        return int(next(value for key, value in self.call.initial_metadata() if key == rpc.EVENT_KEY))

    def take(self, number: int) -> list[pb.SystemEvent]:
        """So many more."""
        taken = [next(self.call) for _ in range(number)]
        self.seen += taken
        return taken

    def rest(self) -> list[pb.SystemEvent]:
        return list(self.call)

    def end(self) -> tuple[str, str]:
        """How it ends: status and code."""
        with suppress(grpc.RpcError):
            list(self.call)
        code = next((value for key, value in self.call.trailing_metadata() if key == rpc.ERROR_KEY), "")
        return self.call.code().name, code

    def close(self) -> None:
        self.call.cancel()


def follow(cluster: Cluster, key: str = "", **asked: Any) -> Any:
    return closing(Stream(cluster, key, **asked))


def happens(cluster: Cluster, number: int = 1) -> list[str]:
    """Events, each known by an address of its own."""
    addresses = [f"letter{next(LETTERS)}@example.org" for _ in range(number)]
    for address in addresses:
        cluster.auth.SendOTP(pb.SendOTPRequest(email=address), timeout=CALL_S)
    return addresses


def addresses(events: list[pb.SystemEvent]) -> list[str]:
    return [event.message.split()[-3] for event in events if event.event_type == "code.made"]


def test_what_happens_is_told_at_once(gateway: Cluster) -> None:
    with follow(gateway) as stream:
        last = stream.start
        spans = []
        for _ in range(5):
            started = time.monotonic()
            (address,) = happens(gateway)
            (event,) = stream.take(1)
            spans.append(time.monotonic() - started)
            assert (event.event_id, event.event_type) == (last + 1, "code.made")
            assert event.message == f"a sign-in code for {address} was made"
            assert json.loads(event.details)["from"] == "127.0.0.1"
            assert datetime.now(UTC) - datetime.fromisoformat(event.timestamp) < timedelta(minutes=1)
            assert len(event.timestamp) == len("2026-12-31T18:00:00.123456Z")
            last = event.event_id
    assert min(spans[1:]) < 1.0, "a bell, and no look every two seconds"


def test_who_reconnects_with_the_last_id_seen_misses_nothing_while_much_is_written(gateway: Cluster) -> None:
    dice = random.Random(7)
    written: list[str] = []
    writer = threading.Thread(target=lambda: written.extend(happens(gateway, 150)))
    with follow(gateway, after_id=0) as idle:  # it reads nothing: nobody waits for it
        after = Stream(gateway, stop_at_end=True).start
        seen: list[pb.SystemEvent] = []
        writer.start()
        while len(seen) < 150:
            with follow(gateway, after_id=seen[-1].event_id if seen else after) as stream:
                seen += stream.take(min(dice.randint(1, 20), 150 - len(seen)))
        writer.join()
        assert idle.take(1)
    assert addresses(seen) == written
    assert [event.event_id for event in seen] == list(range(after + 1, after + 151))


def test_up_to_the_end_is_everything_there_is_and_no_waiting(gateway: Cluster) -> None:
    expected = happens(gateway, 3)
    events = Stream(gateway, after_id=0, stop_at_end=True).rest()
    assert addresses(events)[-3:] == expected
    assert [event.event_id for event in events] == list(range(1, len(events) + 1))
    assert Stream(gateway, stop_at_end=True).rest() == [], "from now on, and now is the end"
    last = events[-2].event_id
    assert addresses(Stream(gateway, after_id=last, stop_at_end=True).rest()) == expected[-1:]
    since = events[-3].timestamp
    assert addresses(Stream(gateway, since=since, stop_at_end=True).rest())[-3:] == expected
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert Stream(gateway, since=later, stop_at_end=True).rest() == []


def test_a_filter_lets_through_what_it_says_alone(gateway: Cluster) -> None:
    with follow(gateway, types=["code.wrong", "admin_key."]) as stream:
        assert stream.start >= 0
        (address,) = happens(gateway)
        with pytest.raises(grpc.RpcError):
            gateway.auth.VerifyOTP(pb.VerifyOTPRequest(email=address, otp="no code"), timeout=CALL_S)
        with pytest.raises(grpc.RpcError):
            gateway.auth.VerifyOTP(pb.VerifyOTPRequest(email=address, otp="000000"), timeout=CALL_S)
        gateway.admin.AddAdminKey(pb.AddAdminKeyRequest(admin_key=admin_key(gateway), name="filtered", role="view"))
        wrong, added = stream.take(2)
    assert (wrong.event_type, wrong.by) == ("code.wrong", "")
    assert address in wrong.message
    assert (added.event_type, added.by) == ("admin_key.added", "operator the gateway's own key")
    assert json.loads(added.details) == {"operator": "the gateway's own key", "name": "filtered"}


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"types": ["node.joined", "nothing."]}, "INVALID_ARGUMENT"),
        ({"user": "nobody@example.org"}, "NOT_FOUND"),
        ({"since": "yesterday"}, "INVALID_ARGUMENT"),
        ({"after_id": -1}, "INVALID_ARGUMENT"),
        ({"after_id": 1 << 40}, "INVALID_ARGUMENT"),
    ],
)
def test_what_makes_no_sense_is_refused(gateway: Cluster, asked: dict[str, Any], status: str) -> None:
    assert Stream(gateway, **asked).end()[0] == status


def test_a_key_that_is_revoked_ends_what_it_follows(gateway: Cluster) -> None:
    own = admin_key(gateway)
    made = gateway.admin.AddAdminKey(pb.AddAdminKeyRequest(admin_key=own, name="leaver", role="view"), timeout=CALL_S)
    with follow(gateway, made.key) as stream, follow(gateway) as other:
        assert stream.start <= other.start
        gateway.admin.RevokeAdminKey(pb.RevokeAdminKeyRequest(admin_key=own, name="leaver"), timeout=CALL_S)
        started = time.monotonic()
        assert stream.end() == ("UNAUTHENTICATED", "admin_key_wrong")
        assert time.monotonic() - started < SOON_S
        assert [event.event_type for event in other.take(2)] == ["admin_key.revoked", "refused.admin_key_wrong"]


def test_more_followers_than_a_gateway_takes_are_refused_until_one_leaves(gateway: Cluster) -> None:
    streams = [Stream(gateway) for _ in range(MOST_FOLLOWERS)]
    try:
        assert all(stream.start for stream in streams)
        assert Stream(gateway).end() == ("RESOURCE_EXHAUSTED", "too_many_followers")
        (address,) = happens(gateway)
        for stream in streams[:5]:
            # The refusal is written down a little later than it is told.
            refusal, made = sorted(stream.take(2), key=lambda event: event.event_type == "code.made")
            assert refusal.event_type == "refused.too_many_followers"
            assert addresses([made]) == [address]
        streams[0].close()
        gateway.wait(lambda: Stream(gateway, stop_at_end=True).end()[0] == "OK", what="room for one more")
    finally:
        for stream in streams:
            stream.close()


def test_a_gateway_that_stops_sends_its_followers_on_and_what_they_saw_is_where_they_go_on(
    make_cluster: Callable[..., Cluster],
) -> None:
    cluster = make_cluster(nodes=0)
    first = happens(cluster, 2)
    with follow(cluster, after_id=0, types=["code."]) as stream:
        assert addresses(stream.take(2)) == first
        started = time.monotonic()
        stopping = threading.Thread(target=cluster.stop_gateway)
        stopping.start()
        assert stream.end() == ("UNAVAILABLE", "gateway_stopping")
        stopping.join()
        assert time.monotonic() - started < SOON_S
    cluster.start_gateway()
    second = happens(cluster, 2)
    with follow(cluster, after_id=stream.seen[-1].event_id, types=["code."]) as stream:
        assert addresses(stream.take(2)) == second


def test_events_end_by_their_age_and_who_follows_misses_none_of_them(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(nodes=0)
    with follow(cluster, types=["code.made"]) as stream:
        assert stream.start >= 0
        for _ in range(3):
            expected = happens(cluster, 5)
            assert addresses(stream.take(5)) == expected
            for (event_id,) in cluster.rows("SELECT event_id FROM event"):
                cluster.change(f"{AGED}{event_id}")
            cluster.wait(lambda: cluster.rows("SELECT COUNT(*) FROM event") == [(0,)], what="the end of old events")
        last = stream.seen[-1].event_id
    assert Stream(cluster, after_id=0, stop_at_end=True).rest() == []
    with follow(cluster, after_id=0, types=["code.made"]) as stream:
        (address,) = happens(cluster)
        (event,) = stream.take(1)
        assert address in event.message
        assert event.event_id > last, "a number is never given again"


def test_with_two_gateways_on_one_postgresql_each_tells_what_happens_at_the_other(
    tmp_path: Path, postgres: Postgres
) -> None:
    database = postgres.fresh_database()
    both = [Cluster(tmp_path / name, nodes=0, database=database, admin_key=KEY) for name in ("one", "other")]
    one, other = both
    try:
        one.start()
        shutil.copytree(one.data / "secrets", other.data / "secrets")
        other.start()
        with follow(other, KEY) as stream:
            assert stream.start >= 0
            happens(one)  # the line of its bell is open now
            stream.take(1)
            spans = []
            for _ in range(5):
                started = time.monotonic()
                (address,) = happens(one)
                assert addresses(stream.take(1)) == [address]
                spans.append(time.monotonic() - started)
            assert min(spans) < 1.0, "it is told, not found by looking every two seconds"
        # A client that goes from one to the other, while both write.
        after, seen, written = stream.seen[-1].event_id, list[pb.SystemEvent](), list[str]()
        writers = [threading.Thread(target=lambda at=at: written.extend(happens(at, 40))) for at in both]
        for writer in writers:
            writer.start()
        for turn in count():
            with follow(both[turn % 2], KEY, after_id=after) as stream:
                seen += stream.take(min(7, 80 - len(seen)))
            after = seen[-1].event_id
            if len(seen) == 80:
                break
        for writer in writers:
            writer.join()
        assert sorted(addresses(seen)) == sorted(written)
        assert [event.event_id for event in seen] == list(range(after - 79, after + 1))
        one.kill_gateway()
        assert addresses(Stream(other, KEY, after_id=after, stop_at_end=True).rest()) == []
    finally:
        for cluster in both:
            cluster.close()
        postgres.drop(database)
