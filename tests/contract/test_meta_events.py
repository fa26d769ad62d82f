"""Events get their numbers after their commit, so that whoever follows the numbers misses none; and the bell rings."""

from __future__ import annotations

import json
import os
import threading
import time
from contextlib import ExitStack, closing
from functools import partial
from typing import TYPE_CHECKING

import psycopg2
import pytest

from cloudgrpc.errors import Missing, UserUnknown
from cloudgrpc.meta import changes, event_lists, events
from cloudgrpc.meta.bell import GAP_S, SharedBell
from cloudgrpc.meta.db import now
from cloudgrpc.meta.event_lists import Told, Wanted
from cloudgrpc.meta.models import Event
from contract.meta_fixture import HOUR, LIMITS, SECOND, Meta, visitor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


PATIENCE_S = 20
EVERYTHING = Wanted()
OTHER = "another gateway"


@pytest.fixture
def start(database: Meta) -> int:
    """The last number before the test; what a new database recorded has one."""
    return number_all(database)


def number_all(database: Meta, at_once: int = 1000) -> int:
    while True:
        given, last = database.run(events.number, at_once)
        if not given:
            return last


def record(database: Meta, *messages: str, kind: str = "copy.made", **how: str) -> None:
    """In one transaction."""

    def work() -> None:
        for message in messages:
            events.record(kind, message, **how)  # type: ignore[arg-type]

    database.run(work)


def follow(database: Meta, after: int, wanted: Wanted = EVERYTHING, limit: int = 100) -> Iterator[Told]:
    """Number what has none, and read on to the end, as a follower does each time it looks."""
    last = number_all(database)
    while after < last:
        page, after = database.read(event_lists.page, wanted, after, last, limit)
        assert len(page) <= limit
        yield from page


def messages(database: Meta, after: int, wanted: Wanted = EVERYTHING, limit: int = 100) -> list[str]:
    return [told.message for told in follow(database, after, wanted, limit)]


# The order


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_who_follows_sees_also_what_commits_later_with_a_smaller_id(database: Meta, start: int) -> None:
    """The order of ids is that of beginning, not of committing. SQLite has one writer: there both are the same."""
    may_commit, has_begun = threading.Event(), threading.Event()

    def slow() -> None:
        events.record("copy.made", "slow")
        has_begun.set()
        assert may_commit.wait(PATIENCE_S)

    thread = threading.Thread(target=database.run, args=[slow])
    thread.start()
    try:
        assert has_begun.wait(PATIENCE_S)
        record(database, "quick")
        first = list(follow(database, start))
    finally:
        may_commit.set()
        thread.join()
    second = list(follow(database, first[-1].number))
    assert [told.message for told in [*first, *second]] == ["quick", "slow"]
    slow_id, quick_id = (database.run(Event.get, Event.message == one).event_id for one in ("slow", "quick"))
    assert slow_id < quick_id, "or the test would prove nothing"


def test_numbers_follow_each_other_however_few_are_given_at_once_and_whoever_gives_them(
    database: Meta, start: int
) -> None:
    for n in range(30):
        record(database, f"{n}")
    given = database.race([partial(events.number, 4)] * 10)
    assert sum(count for count, _ in given) == 30
    assert [told.number for told in follow(database, start)] == list(range(start + 1, start + 31))
    assert messages(database, start) == [f"{n}" for n in range(30)]
    assert database.run(events.number, 4) == (0, start + 30)


def test_while_events_are_written_and_numbered_at_once_a_follower_sees_each_once_and_in_order(
    database: Meta, start: int
) -> None:
    count, seen, after, is_over = 60, list[Told](), start, threading.Event()

    def write(writer: int) -> None:
        for n in range(count):
            record(database, f"{writer} {n}")

    def number() -> None:
        while not is_over.is_set():
            database.run(events.number, 7)

    writers = [threading.Thread(target=write, args=[writer]) for writer in range(3)]
    numberers = [threading.Thread(target=number) for _ in range(2)]
    for thread in [*writers, *numberers]:
        thread.start()
    while any(thread.is_alive() for thread in writers):
        seen += follow(database, after, limit=10)
        after = seen[-1].number if seen else after
    is_over.set()
    for thread in numberers:
        thread.join()
    seen += follow(database, after)
    assert [told.number for told in seen] == list(range(start + 1, start + 1 + 3 * count))
    for writer in range(3):
        own = [told.message for told in seen if told.message.startswith(f"{writer} ")]
        assert own == [f"{writer} {n}" for n in range(count)]


def test_a_number_is_never_given_again(database: Meta, start: int) -> None:
    record(database, "old")
    number_all(database)
    assert database.run(events.sweep, -HOUR, 1000) >= 1
    record(database, "new")
    (told,) = follow(database, 0)
    assert (told.message, told.number) == ("new", start + 2)


def test_nor_when_the_event_that_had_the_last_one_ended_before_others(database: Meta, start: int) -> None:
    """One that happened earlier may have the higher number, for its transaction took longer."""
    record(database, "took less", "took longer")
    number_all(database)
    database.age("event", "at", 3 * HOUR, "message = 'took longer'")
    database.run(events.sweep, 2 * HOUR, 1000)
    assert number_all(database) == start + 2
    record(database, "new")
    assert messages(database, start + 2) == ["new"], "whoever saw all of the old is told of the new"


def test_a_kind_that_the_table_does_not_know_is_a_fault(database: Meta) -> None:
    with pytest.raises(AssertionError, match="no such kind"):
        database.run(events.record, "no such kind", "x")


# Lists


@pytest.mark.parametrize("limit", [1, 3, 100])
@pytest.mark.parametrize("window", [1, 4, 10_000])
def test_a_filter_leaves_out_nothing_else_wherever_its_pages_and_windows_end(
    database: Meta, monkeypatch: pytest.MonkeyPatch, start: int, limit: int, window: int
) -> None:
    monkeypatch.setattr(event_lists, "WINDOW", window)
    for n in range(12):
        record(database, f"{n}", kind="copy.bad" if n % 5 == 0 else "copy.made", account_id=f"account{n % 2}")
    read = partial(messages, database, start, limit=limit)
    assert read() == [f"{n}" for n in range(12)]
    assert read(Wanted(kinds={"copy.bad"})) == ["0", "5", "10"]
    assert read(Wanted(kinds={"copy.bad", "copy.made"}, account_id="account1")) == ["1", "3", "5", "7", "9", "11"]
    assert read(Wanted(kinds=set())) == []
    database.sql(f"DELETE FROM event WHERE number > {start} AND number < {start + 9}")
    assert read() == ["8", "9", "10", "11"], "what is gone is passed over"


def test_a_user_is_who_it_is_about_and_who_did_it(database: Meta, start: int) -> None:
    record(database, "about", account_id="a")
    record(database, "by", account_id="b", actor_id="a")
    record(database, "neither", account_id="b", actor_id="b")
    assert messages(database, start, Wanted(account_id="a")) == ["about", "by"]


def test_since_a_moment_is_everything_that_happened_then_or_later(database: Meta) -> None:
    for n in range(8):
        record(database, f"{n}")
    first = next(told.number for told in follow(database, 0) if told.message == "0")
    begin = 1_000_000 * HOUR
    # An hour between two, but 4 waited nine minutes for its commit, and came after 5.
    for n in range(8):
        at = begin + n * HOUR + (HOUR + 540 * SECOND if n == 4 else 0)
        database.sql(f"UPDATE event SET at = {at} WHERE number = {first + n}")

    def since(moment: int) -> list[str]:
        after = database.read(event_lists.before, moment)
        return messages(database, after, Wanted(since=moment))[-8:]

    assert since(0) == [f"{n}" for n in range(8)]
    assert since(begin + 3 * HOUR) == ["3", "4", "5", "6", "7"]
    assert since(begin + 3 * HOUR + 1) == ["4", "5", "6", "7"]
    assert since(begin + 5 * HOUR + 1) == ["4", "6", "7"], "the smaller number, but the later moment"
    assert database.read(event_lists.before, begin + 6 * HOUR) >= first + 3, "not much is looked through"
    assert since(begin + 8 * HOUR) == []


def test_an_event_tells_who_did_it(database: Meta, start: int) -> None:
    alice, bob = database.enroll(), database.enroll()
    number_all(database)
    start = database.read(event_lists.last_number)
    folder_id = database.mkdir(alice, "hers")
    record(database, "an operator", account_id=alice.account_id, by=events.OPERATOR, operator="night-shift")
    record(database, "before operators had names", by=events.OPERATOR)
    record(database, "the cluster", account_id=alice.account_id, by="")
    record(database, "nobody known")
    database.run(
        partial(
            events.record,
            "file.uploaded",
            "another",
            account_id=alice.account_id,
            actor_id=bob.account_id,
            visitor=visitor(),
            by=bob.email,
            seen="in other words",
        )
    )
    found = {told.message: told for told in follow(database, start)}
    assert {message: told.by for message, told in found.items()} == {
        "folder /hers was made": alice.email,
        "an operator": "operator night-shift",
        "before operators had names": "operator",
        "the cluster": "",
        "nobody known": "",
        "another": bob.email,
    }
    assert json.loads(found["another"].details) == {"from": "192.0.2.7", "client": "a test"}
    made = found["folder /hers was made"]
    assert (made.kind, made.account_id, json.loads(made.details)["folder_id"]) == (
        "folder.made",
        alice.account_id,
        folder_id,
    )
    assert abs(made.at - database.run(now)) < 60 * SECOND


def test_the_newest_of_an_account_come_first_also_before_they_have_numbers(database: Meta) -> None:
    alice = database.enroll()
    number_all(database)
    for name in "ab":
        database.run(changes.make_folder, alice, "", name, LIMITS)
    found = database.read(event_lists.newest_about, alice.account_id, 3)
    assert [(told.message, told.number > 0) for told in found[:2]] == [
        ("folder /b was made", False),
        ("folder /a was made", False),
    ]
    assert (found[2].kind, found[2].number > 0) == ("session.started", True)


def test_accounts_are_found_by_id_or_address_also_when_only_their_events_are_left(database: Meta) -> None:
    alice = database.enroll()
    for told in (alice.account_id, alice.email, f" {alice.email.upper()}"):
        assert database.read(event_lists.account_id_of, told) == alice.account_id
    record(database, "once", account_id="f" * 32)
    assert database.read(event_lists.account_id_of, "f" * 32) == "f" * 32
    for told in ("", " ", "nobody@example.org", "e" * 32, "a\0b"):
        with pytest.raises(UserUnknown):
            database.read(event_lists.account_id_of, told)


# Their end


def test_old_events_end_a_few_at_a_time_and_the_oldest_first(database: Meta, start: int) -> None:
    record(database, *[f"old {n}" for n in range(7)])
    record(database, "new")
    number_all(database)
    database.age("event", "at", 3 * HOUR, "message <> 'new'")
    database.age("event", "at", 1 * HOUR, "message = 'old 6'")
    database.sql(f"DELETE FROM event WHERE number <= {start}")
    assert database.run(events.sweep, 2 * HOUR, 3) == 3
    assert messages(database, start) == ["old 2", "old 3", "old 4", "old 5", "new"], "6 is the oldest"
    assert database.run(events.sweep, 2 * HOUR, 3) == 3
    assert database.run(events.sweep, 2 * HOUR, 3) == 1
    assert messages(database, start) == ["new"]


def test_what_has_no_number_yet_is_not_swept_away_unseen(database: Meta, start: int) -> None:
    record(database, "old")
    database.age("event", "at", 3 * HOUR)
    database.run(events.sweep, 2 * HOUR, 1000)
    assert messages(database, start) == ["old"]


# The bell


class Ear:
    def __init__(self) -> None:
        self.heard = threading.Event()

    def __call__(self) -> None:
        self.heard.set()

    def hears(self, seconds: float = PATIENCE_S) -> bool:
        """Whether it rang, now or within this time."""
        heard = self.heard.wait(seconds)
        self.heard.clear()
        return heard


def has_line(database: Meta) -> bool:
    """Whether this gateway's bell has its line to PostgreSQL, which tells what was last said on it."""
    said = f"query ~ '^(LISTEN|NOTIFY) ' AND application_name <> '{OTHER}'"
    found = database.rows(f"SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND {said}")
    return bool(found)


@pytest.fixture
def ear(database: Meta) -> Iterator[Ear]:
    ear, is_to_ring = Ear(), database.is_postgres and not has_line(database)
    database.database.bell.hear(ear)
    assert not is_to_ring or ear.hears(), "once when its line is open"
    ear.heard.clear()
    yield ear
    database.database.bell.hear(None)


def test_the_bell_rings_after_the_commit_of_what_recorded_events_alone(database: Meta, ear: Ear) -> None:
    seen: list[bool] = []

    def work() -> None:
        events.record("copy.made", "x")
        seen.append(ear.hears(0.3))

    database.run(work)
    assert (seen, ear.hears()) == ([False], True)

    def fail() -> None:
        events.record("copy.made", "x")
        raise Missing(what="it")

    def record_nothing() -> None:
        Event.update(message="changed").execute()

    with pytest.raises(Missing):
        database.run(fail)
    if database.is_postgres:
        assert not ear.hears(0.3)  # SQLite may have committed others with it
    ear.heard.clear()
    database.run(record_nothing)
    database.read(Event.select().count)
    assert not ear.hears(0.3)


@pytest.fixture
def other_gateway(database: Meta) -> Iterator[Callable[[], SharedBell]]:
    """Bells of further gateways on the same database."""
    bells: list[SharedBell] = []

    def make() -> SharedBell:
        engine = database.database.engine
        where = {**engine.connect_params, "dbname": engine.database, "application_name": OTHER}
        bells.append(SharedBell(lambda: psycopg2.connect(**where)))
        return bells[-1]

    yield make
    for bell in bells:
        bell.close()


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_the_other_gateways_hear_it_too_and_hear_it_again_when_their_line_was_cut(
    database: Meta, other_gateway: Callable[[], SharedBell]
) -> None:
    ear = Ear()
    other_gateway().hear(ear)
    assert ear.hears(), "that it listens now"
    record(database, "x")
    assert ear.hears()
    database.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{OTHER}'")
    assert ear.hears(), "what may have come meanwhile"
    record(database, "x")
    assert ear.hears()


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_they_hear_it_however_many_connections_a_gateway_has(
    database: Meta, other_gateway: Callable[[], SharedBell]
) -> None:
    """Each connection takes a number, and select() knows those below 1024 alone."""
    ear = Ear()
    with ExitStack() as held:
        for _ in range(1100):
            held.enter_context(open(os.devnull))  # noqa: PTH123 - its number is all that counts
        other_gateway().hear(ear)
        assert ear.hears(), "that it listens now"
        record(database, "x")
        assert ear.hears()


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_many_commits_make_few_notices_and_a_gateway_does_not_wake_itself(database: Meta, ear: Ear) -> None:
    rings: list[int] = []
    database.database.bell.hear(lambda: rings.append(1))
    engine = database.database.engine
    where = {**engine.connect_params, "dbname": engine.database}
    with closing(psycopg2.connect(**where)) as line, line.cursor() as cursor:
        line.autocommit = True
        cursor.execute("LISTEN cloudgrpc_events")
        began = time.monotonic()
        for n in range(100):
            record(database, f"{n}")
        threading.Event().wait(2 * GAP_S)  # for more than the one that must come
        while not line.notifies:
            assert time.monotonic() < began + PATIENCE_S
            line.poll()
        assert len(line.notifies) <= (time.monotonic() - began) / GAP_S + 1
    assert len(rings) == 100, "each commit, and none for its own notices"
