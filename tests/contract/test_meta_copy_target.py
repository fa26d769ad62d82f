"""A SQLite database as a PostgreSQL one: every row of every schema, whole or not at all, and compared."""

from __future__ import annotations

import functools
import sqlite3
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import IO, TYPE_CHECKING, Any, cast

import psycopg2
import pytest

from cloudgrpc.errors import (
    CopyUnfinished,
    DatabaseInUse,
    DatabaseNotEmpty,
    DatabaseUnavailable,
    DatabaseUnfit,
    RowDiffers,
    RowNotCopied,
)
from cloudgrpc.meta import comparing, copy_target, events, schema
from cloudgrpc.meta.db import SQLITE_FILE
from cloudgrpc.meta.models import DATABASE, Event
from cloudgrpc.meta.sqlite_source import Source
from contract.meta_fixture import opened, settings_of
from upgrades.kept import archive
from upgrades.test_upgrades import KEPT, STEPS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from postgres import Database

PLACE = "PostgreSQL here"
WAITING = "SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
# What a database is besides its rows.
LOOKS = [
    "SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1, 2",
    """SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2""",
]


@pytest.fixture
def newest(tmp_path: Path) -> Path:
    return unpacked(KEPT[-1], tmp_path)


@pytest.fixture(autouse=True)
def whole() -> Iterator[None]:
    """The database that other tests have open stays theirs."""
    before = DATABASE.obj
    yield
    DATABASE.initialize(before)


def unpacked(step: str, folder: Path) -> Path:
    path = folder / SQLITE_FILE
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(kept_database(step))
    return path


@functools.cache
def kept_database(step: str) -> bytes:
    """Of all that is kept, nothing but this: its nodes have hundreds of folders."""
    with (
        tarfile.open(archive(step, "sqlite")) as packed,
        cast("IO[bytes]", packed.extractfile(f"data/{SQLITE_FILE}")) as file,
    ):
        return file.read()


@contextmanager
def on_its_way(path: Path, database: Database, *, anew: bool = False) -> Iterator[tuple[Source, copy_target.Begun]]:
    with closing(Source(path)) as source, copy_target.opened(settings_of(database)):
        yield source, copy_target.begin(source, PLACE, anew=anew)


def fill(source: Source) -> int:
    """How many rows came."""
    return sum(iter(lambda: sum(copy_target.fill(source, heading) for heading in source.headings), 0))


def compare(source: Source) -> int:
    return sum(count for heading in source.headings for count in comparing.compare(source, heading))


def copy(path: Path, database: Database) -> int:
    with on_its_way(path, database) as (source, _):
        fill(source)
        rows = compare(source)
        copy_target.finish(source)
        return rows


def ask(database: Database, sql: str) -> list[tuple[Any, ...]]:
    place = {"host": database.host, "port": database.port, "user": database.user, "dbname": database.name}
    with closing(psycopg2.connect(**place)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else []


def change(path: Path, sql: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(sql)


def all_rows(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    with closing(sqlite3.connect(path)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        kept = [name for name in names if not name.startswith("sqlite_") and name != "schema_step"]
        return {name: sorted(connection.execute(f"SELECT * FROM {name}"), key=repr) for name in kept}


@pytest.mark.parametrize("step", KEPT)
def test_every_row_of_every_schema_is_copied_and_the_steps_after_it_apply(
    step: str, tmp_path: Path, postgres_database: Database
) -> None:
    path = unpacked(step, tmp_path)
    before = all_rows(path)
    assert copy(path, postgres_database) == sum(map(len, before.values()))
    assert all_rows(path) == before
    for name, rows in before.items():
        with closing(sqlite3.connect(path)) as connection:
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({name})")]
        copied = ask(postgres_database, f"SELECT {', '.join(columns)} FROM {name}")
        there = [tuple(int(value) if value is True or value is False else value for value in row) for row in copied]
        assert sorted(there, key=repr) == rows, name
    with opened(settings_of(postgres_database), tmp_path) as meta:
        assert meta.run(schema.migrate) == STEPS[STEPS.index(step) + 1 :]
        assert meta.run(schema.cluster_id) == before["cluster"][0][0]


def test_a_copy_has_the_indexes_and_laws_of_a_database_made_by_the_steps(
    newest: Path, postgres: Any, postgres_database: Database, tmp_path: Path
) -> None:
    other = postgres.fresh_database()
    with opened(settings_of(other), tmp_path) as meta:
        meta.run(schema.migrate, KEPT[-1])
    copy(newest, postgres_database)
    for look in LOOKS:
        assert ask(postgres_database, look) == ask(other, look)
    postgres.drop(other)


def test_events_are_numbered_on(newest: Path, postgres_database: Database, tmp_path: Path) -> None:
    last = max(row[0] for row in all_rows(newest)["event"])
    copy(newest, postgres_database)
    with opened(settings_of(postgres_database), tmp_path) as meta:
        meta.run(schema.migrate)
        meta.run(events.record, "node.drained", "one more")
        assert meta.run(lambda: Event.select().where(Event.event_id > last).count()) == 1


def test_a_table_without_rows_numbers_from_one(newest: Path, postgres_database: Database, tmp_path: Path) -> None:
    change(newest, "DELETE FROM event")
    copy(newest, postgres_database)
    assert ask(postgres_database, "SELECT nextval(pg_get_serial_sequence('event', 'event_id'))") == [(1,)]


def test_what_was_broken_off_goes_on_and_is_no_database_before(
    newest: Path, postgres_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copy_target, "BATCH", 7)
    with on_its_way(newest, postgres_database) as (source, begun):
        assert begun.is_new
        copied = [copy_target.fill(source, heading) for heading in source.headings]
    with opened(settings_of(postgres_database), tmp_path) as meta, pytest.raises(CopyUnfinished):
        meta.run(schema.migrate)
    with on_its_way(newest, postgres_database) as (source, begun):
        assert not begun.is_new
        assert sum(begun.rows.values()) == sum(copied) > 50
        total = sum(map(len, all_rows(newest).values()))
        assert fill(source) == total - sum(copied) > 50
        assert compare(source) == total
        copy_target.finish(source)
    with opened(settings_of(postgres_database), tmp_path) as meta:
        meta.run(schema.migrate)


@pytest.mark.parametrize("anew", [False, True], ids=["changed", "restart"])
def test_a_copy_begins_anew_when_its_source_changed_or_when_told(
    newest: Path, postgres_database: Database, anew: bool
) -> None:
    with on_its_way(newest, postgres_database) as (source, _):
        fill(source)
    if not anew:
        change(newest, "UPDATE account SET full_name = 'Somebody Else'")
    with on_its_way(newest, postgres_database, anew=anew) as (source, begun):
        assert begun.is_new
        assert not any(begun.rows.values())
        fill(source)
        assert compare(source)


def test_a_connection_that_is_lost_costs_only_the_batch_under_way(newest: Path, postgres_database: Database) -> None:
    with on_its_way(newest, postgres_database) as (source, _):
        copied = copy_target.fill(source, source.headings[0])
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'cloudgrpc {}'"
        ask(postgres_database, ended.format("migrate-database"))
        with pytest.raises(DatabaseUnavailable, match=r"terminat|closed"):
            copy_target.fill(source, source.headings[1])
    with on_its_way(newest, postgres_database) as (source, begun):
        assert sum(begun.rows.values()) == copied > 0
        fill(source)
        assert compare(source) > copied


def test_an_unfinished_copy_of_another_drive_is_left_alone(
    newest: Path, tmp_path: Path, postgres_database: Database
) -> None:
    with on_its_way(newest, postgres_database) as (source, _):
        fill(source)
    other = unpacked(KEPT[0], tmp_path / "other")
    with pytest.raises(DatabaseNotEmpty, match="another drive"), on_its_way(other, postgres_database, anew=True):
        pass
    with on_its_way(newest, postgres_database) as (_, begun):
        assert sum(begun.rows.values()) > 50


@pytest.mark.parametrize(
    ("made", "what"),
    [
        (["CREATE TABLE ours (a INT)"], "the tables ours"),
        (["CREATE SCHEMA theirs", "CREATE TABLE theirs.a (a INT)", "CREATE VIEW b AS SELECT 1"], "the tables a, b"),
        ([f"CREATE TABLE t{number} (a INT)" for number in range(6)], "t0, t1, t2, t3 and 2 more"),
    ],
)
def test_a_target_that_is_not_empty_is_refused_by_what_is_in_it(
    newest: Path, postgres_database: Database, made: list[str], what: str
) -> None:
    ask(postgres_database, "; ".join(made))
    with pytest.raises(DatabaseNotEmpty, match=what), on_its_way(newest, postgres_database):
        pass
    ((tables,),) = ask(postgres_database, "SELECT COUNT(*) FROM pg_tables WHERE tablename IN ('account', 'entry')")
    assert not tables


def test_a_target_that_takes_no_writes_is_refused(newest: Path, postgres_database: Database) -> None:
    ask(postgres_database, f"ALTER DATABASE {postgres_database.name} SET default_transaction_read_only = on")
    with pytest.raises(DatabaseUnfit, match="read-only transaction"), on_its_way(newest, postgres_database):
        pass


def test_a_gateway_that_waited_for_a_copy_that_was_broken_off_does_not_begin_on_it(
    postgres_database: Database, tmp_path: Path
) -> None:
    place = {"host": postgres_database.host, "port": postgres_database.port, "user": postgres_database.user}
    with (
        opened(settings_of(postgres_database), tmp_path) as meta,
        closing(psycopg2.connect(**place, dbname=postgres_database.name)) as copy_of_it,
        ThreadPoolExecutor() as pool,
        copy_of_it.cursor() as cursor,
    ):
        cursor.execute("SELECT pg_advisory_lock(%s)", (schema.LOCK,))
        copy_of_it.commit()
        begun = pool.submit(meta.run, schema.migrate)
        deadline = time.monotonic() + 20
        while ask(postgres_database, WAITING) != [(1,)]:
            assert time.monotonic() < deadline
        cursor.execute(f"CREATE TABLE {schema.COPYING} (kind TEXT)")
        copy_of_it.commit()
        copy_of_it.close()
        with pytest.raises(CopyUnfinished):
            begun.result(20)


def test_a_drive_is_never_copied_over(newest: Path, postgres_database: Database, tmp_path: Path) -> None:
    copy(newest, postgres_database)
    with pytest.raises(DatabaseNotEmpty, match="this drive, copied before, with 4 accounts, 2 nodes"):
        copy(newest, postgres_database)
    other = unpacked(KEPT[0], tmp_path / "other")
    with pytest.raises(DatabaseNotEmpty, match="a drive with 4 accounts"):
        copy(other, postgres_database)


@pytest.mark.parametrize(
    ("sql", "table", "reason"),
    [
        ("UPDATE account SET used_bytes = used_bytes + 1 WHERE email = 'bob@example.org'", "account", "in used_bytes"),
        ("UPDATE chunk SET is_sealed = NOT is_sealed", "chunk", "differs in is_sealed"),
        ("DELETE FROM node WHERE node_id = 'node2'", "node", "was not copied"),
        ("INSERT INTO lease VALUES ('a', 'b', 1)", "lease", "is not in SQLite"),
        ("INSERT INTO lease VALUES ('~', 'b', 1)", "lease", "is not in SQLite"),
        ("UPDATE event SET message = message || ' ' WHERE event_id = 3", "event", "differs in message"),
    ],
)
def test_a_row_that_is_not_alike_is_found_and_named(
    newest: Path, postgres_database: Database, sql: str, table: str, reason: str
) -> None:
    with on_its_way(newest, postgres_database) as (source, _):
        fill(source)
        ask(postgres_database, sql)
        with pytest.raises(RowDiffers, match=reason) as told:
            compare(source)
    assert told.value.facts["table"] == table
    assert told.value.facts["key"]


def test_texts_of_every_kind_arrive_as_they_are(newest: Path, postgres_database: Database) -> None:
    odd = ["\\N", "a\tb", "a\nb\r", "\\", "'", '"', "%s %", "é\U0001f40d", " ", "NULL"]
    with closing(sqlite3.connect(newest)) as connection, connection:
        connection.executemany("INSERT INTO lease VALUES (?, ?, 9223372036854775807)", [(name, name) for name in odd])
    copy(newest, postgres_database)
    found = ask(postgres_database, "SELECT name FROM lease WHERE name = holder AND until_at = 9223372036854775807")
    assert sorted(name for (name,) in found) == sorted(odd)


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [("full_name", "B\0b", "invalid byte sequence"), ("quota_bytes", "a lot", "invalid input syntax")],
)
def test_a_row_that_postgresql_cannot_hold_is_named_and_nothing_of_its_batch_stays(
    newest: Path, postgres_database: Database, column: str, value: str, reason: str
) -> None:
    with closing(sqlite3.connect(newest)) as connection, connection:
        connection.execute(f"UPDATE account SET {column} = ? WHERE email = 'bob@example.org'", (value,))
        ((bob,),) = connection.execute("SELECT account_id FROM account WHERE email = 'bob@example.org'")
    with (
        on_its_way(newest, postgres_database) as (source, _),
        pytest.raises(RowNotCopied, match=f"account, row '{bob}' cannot be copied: {reason}"),
    ):
        fill(source)
    assert ask(postgres_database, "SELECT COUNT(*) FROM account") == [(0,)]


def test_rows_that_do_not_fit_together_are_no_database(newest: Path, postgres_database: Database) -> None:
    change(newest, "DELETE FROM entry WHERE kind = 'folder'")  # with foreign keys off, as no gateway has it
    with pytest.raises(DatabaseUnfit, match="do not fit together"):
        copy(newest, postgres_database)
    with on_its_way(newest, postgres_database) as (_, begun):
        assert not begun.is_new


def test_two_copies_into_one_database_take_turns(
    newest: Path, postgres_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copy_target, "TURN_WAIT", "0.1s")
    again = copy_target.opened(settings_of(postgres_database))
    with on_its_way(newest, postgres_database), pytest.raises(DatabaseInUse, match="another copy"), again:
        pass
