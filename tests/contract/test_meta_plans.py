"""What runs for every file, chunk or round finds its rows by an index, however many there are."""

from __future__ import annotations

import logging
import re
from functools import partial
from typing import TYPE_CHECKING

import pytest

from cloudgrpc import config
from cloudgrpc.meta import accounts, changes, copies, files, orphans, schema, uploads
from cloudgrpc.meta.db import now
from cloudgrpc.meta.models import DATABASE, new_id
from cloudgrpc.meta.uploads import Planned, Stored
from contract.meta_fixture import HOUR, Meta, opened, session, wish_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# Few rows, whatever is stored; or what an operation reads whole by intent.
SMALL = {"node", "cluster", "lease", "otp_challenge", "proof"}
TABLE = re.compile(r'"(\w+)" AS "(t\d+)"')
NOTHING = re.compile(r"WHERE \(+0 = 1\)")  # peewee's way to look for none of no ids; SQLite then reads nothing
SCAN = re.compile(r"\bSCAN (\w+)")


class Statements(logging.Handler):
    """What peewee sends to the database."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, list[object]]] = []

    def emit(self, record: logging.LogRecord) -> None:
        if isinstance(record.msg, tuple) and record.msg[0].startswith(("SELECT", "UPDATE", "DELETE")):
            self.seen.append(record.msg)


@pytest.fixture
def statements() -> Iterator[Statements]:
    """Of the test, from here on."""
    handler, log = Statements(), logging.getLogger("peewee")
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    yield handler
    log.setLevel(logging.NOTSET)
    log.removeHandler(handler)


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Meta]:
    # Its planner says what it does, and does without statistics.
    with opened(config.Database(), tmp_path) as meta:
        meta.run(schema.migrate)
        meta.run(schema.cluster_id)
        yield meta


def scanned(sql: str, values: list[object]) -> set[str]:
    """Tables and indexes that a statement reads from end to end."""
    if NOTHING.search(sql):
        return set()
    names = {alias: table for table, alias in TABLE.findall(sql)}
    plan = DATABASE.execute_sql(f"EXPLAIN QUERY PLAN {sql}", values).fetchall()
    whole = {found for row in plan for found in SCAN.findall(row[3])} - {"CONSTANT"}
    return {names.get(one, one) for one in whole} - SMALL


def test_no_statement_of_a_file_a_chunk_or_a_round_reads_a_whole_table(sqlite: Meta, statements: Statements) -> None:
    alice = sqlite.enroll()
    file_id = sqlite.put(alice, "a", 10)
    (chunk_id,) = sqlite.chunks_of(file_id)
    upload_id, planned, version_id, visit = new_id(), Planned(0, new_id()), new_id(), session()
    sqlite.run(accounts.log_in, alice.email, sqlite.prove(alice.email), visit)
    who, wish = alice.account_id, wish_for(alice, "b", 10, request_id="r")
    stored = Stored(planned.chunk_id, 10, "s", ("pool",))
    works: list[Callable[[], object]] = [
        partial(accounts.find_caller, visit.digest),
        partial(files.find_file, who, file_id),
        partial(files.pieces, version_id, -1, 10),
        partial(files.resolve, who, ["a"]),
        partial(files.page, who, "", with_trash=False, after=None, limit=10),
        partial(files.page, who, "", with_trash=False, after=("file", "a", file_id), limit=10),
        partial(copies.holders, [chunk_id]),
        partial(uploads.begin, upload_id, wish, [planned], HOUR),
        partial(uploads.receive, upload_id, [stored], [], HOUR),
        partial(uploads.commit, upload_id, [], "d", 1, KEEP),
        partial(uploads.abandon, sqlite.begin(alice, "c", 1)),
        partial(uploads.expired, 10),
        partial(uploads.forget, HOUR),
        partial(changes.make_folder, who, "", "folder"),
        partial(changes.trash, who, file_id),
        partial(changes.purge, who, file_id),
        partial(copies.doubts, 10),
        partial(copies.drop_needless_bad, 2, 10),
        partial(copies.add_good, chunk_id, "pool"),
        partial(orphans.doom_orphans, -HOUR, 10),
        partial(orphans.doomed_on, "pool", 10),
        partial(orphans.forget_bare_chunks, -HOUR, 10),
        partial(orphans.compare_page, "pool", [chunk_id, new_id()], ("", chunk_id), 1, 2),
        partial(orphans.due_strays, "pool", -HOUR, 2, 10),
        partial(orphans.doom_stray, "pool", chunk_id, -HOUR, [], 2),
        partial(orphans.confirm_deleted, "pool", [chunk_id]),
        partial(accounts.sweep),
        now,
    ]
    for work in works:
        statements.seen.clear()
        sqlite.run(work)
        for sql, values in list(statements.seen):
            assert not sqlite.run(scanned, sql, values), sql


def test_a_scan_would_be_noticed(sqlite: Meta, statements: Statements) -> None:
    sqlite.run(copies.shortages, 2, HOUR, 10)  # reads every copy, as it must
    assert set().union(*(sqlite.run(scanned, sql, values) for sql, values in list(statements.seen))) >= {"copy"}
