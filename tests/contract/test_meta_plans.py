"""What runs for every file, chunk or round finds its rows by an index, however many there are."""

from __future__ import annotations

import logging
import re
from functools import partial
from typing import TYPE_CHECKING

import pytest

from cloudgrpc import config
from cloudgrpc.meta import (
    accounts,
    changes,
    closing,
    copies,
    copying,
    exports,
    files,
    history,
    nodes,
    orphans,
    schema,
    searching,
    sharing,
    sweeping,
    trash,
    tree,
    uploads,
    versions,
)
from cloudgrpc.meta.changes import Move
from cloudgrpc.meta.copying import CopyTo
from cloudgrpc.meta.db import now
from cloudgrpc.meta.models import DATABASE, Entry, new_id
from cloudgrpc.meta.searching import Wanted
from cloudgrpc.meta.sharing import Terms
from cloudgrpc.meta.trash import Place
from cloudgrpc.meta.uploads import Planned, Stored
from contract.meta_fixture import HOUR, KEEP, LIMITS, Meta, opened, session, wish_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# Few rows, whatever is stored; or what an operation reads whole by intent.
SMALL = {"node", "cluster", "lease", "otp_challenge", "proof"}
KINDS = ("SELECT", "UPDATE", "DELETE", "INSERT", "WITH")
CTE = re.compile(r'(?:WITH|RECURSIVE|,) "(\w+)" \(')  # what a statement makes up itself, row by row
TABLE = re.compile(r'"(\w+)" AS "(t\d+)"')
NOTHING = re.compile(r"WHERE \(+0 = 1\)")  # peewee's way to look for none of no ids; SQLite then reads nothing
SCAN = re.compile(r"\bSCAN (?!(?:\d+ )?CONSTANT)(\w+)")


class Statements(logging.Handler):
    """What peewee sends to the database."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, list[object]]] = []

    def emit(self, record: logging.LogRecord) -> None:
        if isinstance(record.msg, tuple) and record.msg[0].startswith(KINDS):
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
    whole = {found for step in plan_of(sql, values) for found in SCAN.findall(step)} - set(CTE.findall(sql))
    return {names.get(one, one) for one in whole} - SMALL


def plan_of(sql: str, values: list[object]) -> list[str]:
    return [row[3] for row in DATABASE.execute_sql(f"EXPLAIN QUERY PLAN {sql}", values).fetchall()]


def test_no_statement_of_a_file_a_chunk_or_a_round_reads_a_whole_table(sqlite: Meta, statements: Statements) -> None:
    alice = sqlite.enroll()
    file_id = sqlite.put(alice, "a", 10)
    (chunk_id,) = sqlite.chunks_of(file_id)
    upload_id, planned, version_id, visit = new_id(), Planned(0, new_id()), new_id(), session()
    sqlite.run(accounts.log_in, alice.email, sqlite.prove(alice.email), visit)
    wish = wish_for(alice, "b", 10, request_id="r")
    stored = Stored(planned.chunk_id, 10, "s", ("pool",))
    check(
        sqlite,
        statements,
        partial(accounts.find_caller, visit.digest),
        partial(files.find_file, alice, file_id),
        partial(files.find_with_trash, alice, file_id),
        partial(files.pieces, version_id, -1, 10),
        partial(files.resolve, alice, "", ["a"]),
        partial(files.page, alice, "", with_trash=False, after=None, limit=10),
        partial(files.page, alice, "", with_trash=False, after=("file", "a", file_id), limit=10, prefix="a"),
        partial(files.page, alice, "", with_trash=True, after=None, limit=10),
        partial(copies.holders, [chunk_id]),
        partial(uploads.begin, upload_id, wish, [planned], HOUR, LIMITS),
        partial(uploads.receive, upload_id, [stored], [], HOUR),
        partial(uploads.commit, upload_id, [], "d", 1, KEEP),
        partial(uploads.abandon, sqlite.begin(alice, "c", 1)),
        partial(uploads.expired, 10),
        partial(uploads.forget, HOUR),
        partial(copies.doubts, 10),
        partial(copies.drop_needless_bad, 2, 10),
        partial(copies.add_good, chunk_id, "pool"),
        partial(orphans.doom_orphans, -HOUR, 10),
        partial(orphans.doomed_on, "pool", 10),
        partial(nodes.note_inventory, "pool", is_collecting=True, files=1, unknown=0),
        partial(orphans.forget_bare_chunks, -HOUR, 10),
        partial(orphans.compare_page, "pool", [chunk_id, new_id()], ("", chunk_id), 1, 2),
        partial(orphans.due_strays, "pool", -HOUR, 2, 10),
        partial(orphans.doom_stray, "pool", chunk_id, -HOUR, [], 2),
        partial(orphans.confirm_deleted, "pool", [chunk_id]),
        partial(accounts.sweep),
        now,
    )


def test_no_statement_of_a_change_of_a_drive_reads_a_whole_table(sqlite: Meta, statements: Statements) -> None:
    alice, bob = sqlite.enroll(), sqlite.enroll()
    folder, other = (sqlite.run(changes.make_folder, alice, "", name, LIMITS).folder_id for name in ("folder", "other"))
    file_id = sqlite.put(alice, "a", 10, parent_id=folder)
    for _ in range(4):
        sqlite.put(alice, "a", 10, parent_id=folder)
    sqlite.run(sharing.share, alice, folder, bob.email, Terms("write", None))
    due = [(file_id, alice.account_id)]
    check(
        sqlite,
        statements,
        partial(changes.make_folder, bob, folder, "made", LIMITS),
        partial(changes.move, alice, other, Move(folder, "moved"), LIMITS),
        partial(changes.move, bob, file_id, Move(other, expected_version=5), LIMITS),
        partial(copying.copy, alice, folder, CopyTo("", "copied"), LIMITS, KEEP),
        partial(copying.copy, bob, file_id, CopyTo(folder, "mine"), LIMITS, KEEP),
        partial(copying.copy, bob, file_id, CopyTo(folder, "mine", replace=True), LIMITS, 1),
        partial(versions.page, bob, file_id, 9, 10),
        partial(versions.restore, bob, file_id, 1, 5, KEEP),
        partial(versions.delete, alice, file_id, 2),
        partial(versions.prune_overfull, due, 2),
        partial(changes.trash, bob, file_id),
        partial(trash.page, alice, None, 10),
        partial(trash.page, alice, (1 << 60, "f"), 10),
        partial(trash.restore, alice, file_id, Place(None, make_room=True), LIMITS),
        partial(changes.trash, alice, file_id),
        partial(trash.due, -HOUR, 10),
        partial(trash.end, due, -HOUR),
        partial(changes.trash, alice, folder),
        partial(trash.empty, alice, 1 << 60, 10),
        partial(changes.purge, alice, sqlite.put(alice, "b", 1)),
        partial(sweeping.sweep, 3),
        partial(sweeping.sweep, 1000),
        partial(sweeping.sweep, 1000),
        partial(exports.entries, alice, "0", 10),
        partial(exports.versions, alice, ("0", 1), 10),
        partial(closing.due, 10),
        partial(closing.remove, alice.account_id),
        partial(closing.forget, 10),
    )


def test_no_statement_of_sharing_searching_or_history_reads_a_whole_table_or_sorts(
    sqlite: Meta, statements: Statements
) -> None:
    alice, bob = sqlite.enroll(), sqlite.enroll()
    file_id = sqlite.put(alice, "a", 10, parent_id=sqlite.run(changes.make_folder, alice, "", "b", LIMITS).folder_id)
    until = sqlite.run(now) + HOUR
    _, shared = (sqlite.run(sharing.share, alice, file_id, to, Terms("read", until)) for to in ("a@b.c", bob.email))
    everything = Wanted(str.isascii, "file", "text", 1, 1)
    check(
        sqlite,
        statements,
        partial(sharing.share, alice, file_id, bob.email, Terms("write", until)),
        partial(sharing.with_me, bob, None, 10),
        partial(sharing.with_me, bob, (1 << 60, "f"), 10),
        partial(sharing.find_with_me, bob, shared),
        partial(sharing.mine, alice, "", None, 10),
        partial(sharing.mine, alice, "", (1 << 60, "f"), 10),
        partial(sharing.mine, alice, file_id, None, 10),
        partial(searching.search, alice, "", Wanted(None, "", "", None, None), "", 10),
        partial(searching.search, alice, "", everything, "0", 10),
        partial(history.happenings, alice, history.NEWEST, 10),
        partial(sharing.unshare, bob, shared),
        partial(sharing.unshare_with, alice, file_id, "a@b.c"),
        partial(sharing.end_expired, 10),
        sorts=False,
    )


def check(sqlite: Meta, statements: Statements, *works: Callable[[], object], sorts: bool = True) -> None:
    for work in works:
        statements.seen.clear()
        sqlite.run(work)
        for sql, values in list(statements.seen):
            assert not sqlite.run(scanned, sql, values), sql
            assert sorts or "RECURSIVE" in sql or "TEMP B-TREE" not in str(sqlite.run(plan_of, sql, values)), sql


def test_a_scan_would_be_noticed(sqlite: Meta, statements: Statements) -> None:
    sqlite.run(copies.shortages, 2, HOUR, 10)  # reads every copy, as it must
    sqlite.run(tree.bytes_below, Entry.name == "a")
    assert set().union(*(sqlite.run(scanned, sql, values) for sql, values in list(statements.seen))) >= {
        "copy",
        "entry",
    }
