"""The one door to the metadata: transactions, snapshots, and what happens when the database goes."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket
import sqlite3
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from cloudgrpc import config
from cloudgrpc.errors import DatabaseUnavailable, Missing
from cloudgrpc.meta import db as meta_db
from cloudgrpc.meta import events
from cloudgrpc.meta.db import SQLITE_FILE
from cloudgrpc.meta.models import DATABASE, Event, Lease
from contract.meta_fixture import Meta, opened, settings_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from postgres import Database, Postgres

PATIENCE_S = 20


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Meta]:
    with opened(config.Database(), tmp_path) as meta:
        meta.sql("CREATE TABLE lease (name TEXT PRIMARY KEY, holder TEXT NOT NULL, until_at BIGINT NOT NULL)")
        yield meta


def note(name: str, holder: str = "") -> str:
    Lease.create(name=name, holder=holder, until_at=0)
    return name


def note_and_fail(name: str) -> None:
    note(name)
    raise Missing(what=name)


def names() -> list[str]:
    return [lease.name for lease in Lease.select().order_by(Lease.name)]


class Gate:
    """A call that says when it runs, and then waits to be let go on."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()

    def pass_through(self) -> None:
        self.entered.set()
        assert self.open.wait(PATIENCE_S)

    async def wait_entered(self) -> None:
        assert await asyncio.to_thread(self.entered.wait, PATIENCE_S)


def test_callers_that_come_together_each_get_their_own_answer_or_error(database: Meta) -> None:
    works: list[Callable[[], object]] = [functools.partial(note, f"good{n:02}") for n in range(20)]
    works[5:5] = [functools.partial(note_and_fail, "bad1")]
    works[11:11] = [functools.partial(note_and_fail, "bad2")]
    answers = database.race(works)
    failures = [answers.pop(11), answers.pop(5)]
    assert answers == [f"good{n:02}" for n in range(20)]
    assert [str(failure) for failure in failures] == ["bad2 does not exist.", "bad1 does not exist."]
    assert all(isinstance(failure, Missing) for failure in failures)
    assert database.run(names) == [f"good{n:02}" for n in range(20)]


def test_callers_queued_behind_a_slow_one_are_committed_together(sqlite: Meta) -> None:
    gate, commits = Gate(), []

    async def crowd() -> list[str]:
        slow = asyncio.create_task(sqlite.database.run(gate.pass_through))
        await gate.wait_entered()
        tasks = [asyncio.create_task(sqlite.database.run(note, f"note{n}")) for n in range(50)]
        await asyncio.sleep(0)
        gate.open.set()
        await slow
        return await asyncio.gather(*tasks)

    sqlite.run(lambda: DATABASE.connection().set_trace_callback(commits.append))
    assert len(asyncio.run(crowd())) == 50
    assert commits.count("COMMIT") == 3  # the trace's own, the slow one's, and one for all fifty
    assert len(sqlite.run(names)) == 50


def test_a_statement_that_fails_undoes_its_callers_earlier_ones(database: Meta) -> None:
    def twice() -> None:
        note("first")
        note("first")

    with pytest.raises(Exception, match=r"(?i)unique"):
        database.run(twice)
    assert database.run(names) == []
    assert database.run(note, "first") == "first"


def test_a_full_disk_fails_the_whole_batch_and_keeps_nothing_of_it(sqlite: Meta) -> None:
    # SQLite then rolls the whole transaction back by itself, not only the statement.
    pages = sqlite.rows("PRAGMA page_count")[0][0]
    sqlite.sql(f"PRAGMA max_page_count = {pages + 2}")
    gate = Gate()

    async def crowd() -> list[object]:
        slow = asyncio.create_task(sqlite.database.run(gate.pass_through))
        await gate.wait_entered()
        works = [("before", "small"), ("large", "x" * 1_000_000), ("after", "small")]
        tasks = [asyncio.create_task(sqlite.database.run(note, name, holder)) for name, holder in works]
        await asyncio.sleep(0)
        gate.open.set()
        await slow
        return await asyncio.gather(*tasks, return_exceptions=True)

    answers = asyncio.run(crowd())
    kept = sqlite.run(names)
    assert [answer for answer in answers if isinstance(answer, str)] == kept
    assert isinstance(answers[1], DatabaseUnavailable)
    assert "full" in str(answers[1])
    sqlite.sql("PRAGMA max_page_count = 1000000")
    assert sqlite.run(note, "later") == "later"


def test_a_caller_cancelled_midway_still_has_its_transaction_seen_through(database: Meta) -> None:
    gate = Gate()

    def work() -> None:
        note("kept")
        gate.pass_through()

    async def cancel() -> None:
        task = asyncio.create_task(database.database.run(work))
        await gate.wait_entered()
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=0.05)
        assert not done  # it waits for the transaction's end
        gate.open.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await database.database.read(names) == ["kept"]

    asyncio.run(cancel())


def test_a_caller_cancelled_midway_hears_of_the_cancellation_even_when_its_work_fails(database: Meta) -> None:
    gate = Gate()

    def work() -> None:
        note("undone")
        gate.pass_through()
        raise Missing(what="nothing")

    async def cancel() -> None:
        task = asyncio.create_task(database.database.run(work))
        await gate.wait_entered()
        task.cancel()
        gate.open.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await database.database.read(names) == []

    asyncio.run(cancel())


def test_a_read_sees_one_moment_however_long_it_takes(database: Meta) -> None:
    gate = Gate()

    def look_twice() -> tuple[list[str], list[str]]:
        before = names()
        gate.pass_through()
        return before, names()

    async def look() -> None:
        reading = asyncio.create_task(database.database.read(look_twice))
        await gate.wait_entered()
        await database.database.run(note, "meanwhile")
        gate.open.set()
        assert await reading == ([], [])
        assert await database.database.read(names) == ["meanwhile"]

    asyncio.run(look())


def test_a_reader_sees_what_was_answered_before_it_asked(database: Meta) -> None:
    async def write_and_read() -> None:
        for n in range(5):
            await database.database.run(note, f"note{n}")
            assert len(await database.database.read(names)) == n + 1

    asyncio.run(write_and_read())


def test_what_was_queued_before_the_end_is_still_done(sqlite: Meta, tmp_path: Path) -> None:
    gate = Gate()
    slow = sqlite.database._writers.submit(gate.pass_through)
    queued = [sqlite.database._writers.submit(functools.partial(note, f"note{n}")) for n in range(3)]
    closing = threading.Thread(target=sqlite.close)
    closing.start()
    gate.open.set()
    closing.join(PATIENCE_S)
    assert slow.done()
    assert [one.result(0) for one in queued] == ["note0", "note1", "note2"]
    with opened(config.Database(), tmp_path) as again:
        assert again.run(names) == ["note0", "note1", "note2"]


def test_a_file_locked_by_another_program_is_told_and_works_again_afterwards(sqlite: Meta, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / SQLITE_FILE, isolation_level=None)
    sqlite.run(_set_patience, milliseconds=0)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseUnavailable, match="locked"):
        sqlite.run(note, "refused")
    assert sqlite.read(names) == []  # readers go on
    other.execute("ROLLBACK")
    other.close()
    assert sqlite.run(note, "taken") == "taken"
    assert sqlite.run(names) == ["taken"]


def test_a_file_that_is_no_database_is_told_in_our_words(tmp_path: Path) -> None:
    (tmp_path / SQLITE_FILE).write_bytes(b"not a database at all" * 100)
    with opened(config.Database(), tmp_path) as meta, pytest.raises(DatabaseUnavailable, match="not a database"):
        meta.run(names)


def test_a_server_that_stops_is_told_and_the_first_call_after_its_return_works(
    postgres: Postgres, postgres_database: Database, tmp_path: Path
) -> None:
    with opened(settings_of(postgres_database), tmp_path) as meta:
        meta.sql("CREATE TABLE lease (name TEXT PRIMARY KEY, holder TEXT NOT NULL, until_at BIGINT NOT NULL)")
        fill_pool(meta)
        data = postgres.folder / "data"
        postgres._run("pg_ctl", "stop", "-D", data, "-m", "fast", "-w")
        try:
            with pytest.raises(DatabaseUnavailable):
                meta.run(note, "refused")
            with pytest.raises(DatabaseUnavailable):
                meta.read(names)
        finally:
            # "restart", since that takes the options of the last start.
            postgres._run("pg_ctl", "restart", "-D", data, "-w", "-l", postgres.folder / "log")
        assert meta.run(note, "taken") == "taken"
        assert meta.read(names) == ["taken"]


def test_connections_that_died_while_idle_cost_no_caller_its_call(
    postgres: Postgres, postgres_database: Database, tmp_path: Path
) -> None:
    with opened(settings_of(postgres_database), tmp_path) as meta:
        meta.sql("CREATE TABLE lease (name TEXT PRIMARY KEY, holder TEXT NOT NULL, until_at BIGINT NOT NULL)")
        fill_pool(meta)
        postgres._sql(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{postgres_database.name}'"
        )
        assert meta.run(note, "taken") == "taken"
        assert meta.race([functools.partial(note, f"more{n}") for n in range(30)]) == [f"more{n}" for n in range(30)]


def test_two_that_lock_each_other_out_are_both_served(database: Meta) -> None:
    database.run(note, "one")
    database.run(note, "two")
    both_hold_one = threading.Barrier(2)

    def change(first: str, then: str) -> str:
        if database.is_postgres:
            DATABASE.execute_sql("SET LOCAL deadlock_timeout = '50ms'")
        Lease.update(holder=then).where(Lease.name == first).execute()
        with contextlib.suppress(threading.BrokenBarrierError):  # broken on SQLite, where they come one after another
            both_hold_one.wait(0.2)
        Lease.update(holder=then).where(Lease.name == then).execute()
        return first

    answers = database.race([lambda: change("one", "two"), lambda: change("two", "one")])
    assert answers == ["one", "two"]


def test_two_that_make_the_same_row_at_once_see_each_other(database: Meta) -> None:
    # Whoever loses looks again and finds the row, as if it had come a moment later.
    both_looked = threading.Barrier(2)

    def find_or_make(holder: str) -> str:
        found = Lease.get_or_none(Lease.name == "shared")
        with contextlib.suppress(threading.BrokenBarrierError):
            both_looked.wait(0.2)
        return str(found.holder) if found else Lease.create(name="shared", holder=holder, until_at=0).holder

    one, other = database.race([lambda: find_or_make("one"), lambda: find_or_make("other")])
    assert one == other
    assert database.run(names) == ["shared"]


def test_the_clock_is_in_microseconds_and_never_stands_still_for_long(database: Meta) -> None:
    before = time.time_ns() // 1000
    moments = [database.run(meta_db.now) for _ in range(5)]
    assert moments == sorted(moments)
    assert before - 1_000_000 < moments[0] <= moments[-1] < time.time_ns() // 1000 + 1_000_000


def test_an_event_that_was_recorded_by_a_failing_caller_never_happened(database: Meta) -> None:
    def fail() -> None:
        events.record("copy.made", "did not happen")
        raise Missing(what="it")

    with pytest.raises(Missing):
        database.run(fail)
    database.run(events.record, "copy.made", "happened", account_id="someone", number=3)
    (kept,) = database.run(lambda: list(Event.select()))
    assert (kept.kind, kept.message, kept.account_id, kept.details) == (
        "copy.made",
        "happened",
        "someone",
        '{"number": 3}',
    )


def fill_pool(meta: Meta) -> None:
    """Open as many connections as the pool takes; they are idle afterwards."""
    all_in = threading.Barrier(meta_db.CONNECTIONS)
    meta.race([lambda: all_in.wait(PATIENCE_S)] * meta_db.CONNECTIONS)


def _set_patience(*, milliseconds: int) -> None:
    """Wait less for a lock than in earnest, on this connection."""
    DATABASE.connection().execute(f"PRAGMA busy_timeout = {milliseconds}")


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for a socket's settings")
def test_a_database_whose_machine_is_gone_without_a_word_is_noticed_soon(
    postgres_database: Database, tmp_path: Path
) -> None:
    """By who waits for its answer and on a connection that rests: unasked, Linux takes 15 minutes, and two hours."""

    def settings() -> list[int]:
        with socket.socket(fileno=os.dup(DATABASE.connection().fileno())) as line:
            names = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
            return [line.getsockopt(socket.IPPROTO_TCP, name) for name in names]

    with opened(settings_of(postgres_database), tmp_path) as meta:
        idle_s, interval_s, count, unanswered_ms = meta.run(settings)
    assert idle_s + interval_s * count <= 60
    assert 0 < unanswered_ms <= 60_000
