"""What runs for every file, chunk or round finds its rows by an index, however many there are."""

from __future__ import annotations

import logging
import re
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from cloudgrpc.core.operators import Role
from cloudgrpc.meta import (
    account_acts,
    accounts,
    admin_keys,
    certificates,
    changes,
    checks,
    closing,
    copies,
    copying,
    event_lists,
    events,
    exports,
    files,
    history,
    node_acts,
    nodes,
    orphans,
    overview,
    scrubs,
    sealing,
    searching,
    sharing,
    small_uploads,
    spread,
    standing,
    sweeping,
    trash,
    tree,
    unsealed,
    uploads,
    users,
    versions,
)
from cloudgrpc.meta.changes import Move
from cloudgrpc.meta.copying import CopyTo
from cloudgrpc.meta.db import is_postgres, now
from cloudgrpc.meta.models import DATABASE, Entry, new_id
from cloudgrpc.meta.searching import Wanted
from cloudgrpc.meta.sharing import Terms
from cloudgrpc.meta.small_uploads import Sent
from cloudgrpc.meta.spread import Spare
from cloudgrpc.meta.trash import Place
from cloudgrpc.meta.unsealed import Copies, Sealed
from cloudgrpc.meta.uploads import Planned, Stored
from contract import meta_fixture
from contract.meta_fixture import HOUR, KEEP, LIMITS, Meta, fresh_meta, session, visitor, wish_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from postgres import Postgres

# Few rows, whatever is stored; or what an operation reads whole by intent.
SMALL = {"node", "cluster", "lease", "otp_challenge", "proof"}
KINDS = ("SELECT", "UPDATE", "DELETE", "INSERT", "WITH")
CTE = re.compile(r'(?:WITH|RECURSIVE|,) "(\w+)" \(')  # what a statement makes up itself, row by row
TABLE = re.compile(r'"(\w+)" AS "(t\d+)"')
NOTHING = re.compile(r"WHERE \(+0 = 1\)")  # peewee's way to look for none of no ids; SQLite then reads nothing
# An index of nothing but copies that are not good is made of what is looked for, and read whole.
SCAN = re.compile(r"\bSCAN (?!(?:\d+ )?CONSTANT)(\w+)\b(?! USING (?:COVERING )?INDEX copy_not_good)")


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


@pytest.fixture(scope="module")
def postgres_meta(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Meta]:
    """A database of its own: PostgreSQL plans by what it has counted, and by how much room earlier tests took."""
    with fresh_meta(postgres, tmp_path_factory) as meta:
        yield meta


def scanned(sql: str, values: list[object]) -> set[str]:
    """Tables and indexes that a statement reads from end to end."""
    if NOTHING.search(sql):
        return set()
    if is_postgres():
        return {table for step in postgres_steps(sql, values) if (table := whole_table(step))} - SMALL
    names = {alias: table for table, alias in TABLE.findall(sql)}
    whole = {found for step in plan_of(sql, values) for found in SCAN.findall(step)} - set(CTE.findall(sql))
    return {names.get(one, one) for one in whole} - SMALL


def is_sorting(sql: str, values: list[object]) -> bool:
    if is_postgres():
        return any(step["Node Type"] == "Sort" for step in postgres_steps(sql, values))
    return "TEMP B-TREE" in str(plan_of(sql, values))


def postgres_steps(sql: str, values: list[object]) -> Iterator[dict[str, Any]]:
    """The plan as it would be with many rows: what is not found by an index although it may be, cannot be."""
    for way in ("seqscan", "bitmapscan", "hashjoin", "mergejoin", "sort"):
        DATABASE.execute_sql(f"SET LOCAL enable_{way} = off")
    (answer,) = DATABASE.execute_sql(f"EXPLAIN (FORMAT JSON) {sql}", values).fetchone()
    todo = [answer[0]["Plan"]]
    while todo:
        step = todo.pop()
        todo += step.get("Plans", [])
        yield step


def whole_table(step: dict[str, Any]) -> str:
    """The table that a step reads from end to end, by an index or without; "" when it does not. A partial index is
    made of what is looked for, and read whole."""
    if step["Node Type"] not in {"Seq Scan", "Index Scan", "Index Only Scan"} or "Index Cond" in step:
        return ""
    partial_index = "SELECT 1 FROM pg_index WHERE indexrelid = %s::regclass AND indpred IS NOT NULL"
    if "Index Name" in step and DATABASE.execute_sql(partial_index, [step["Index Name"]]).fetchone():
        return ""
    return str(step["Relation Name"])


def plan_of(sql: str, values: list[object]) -> list[str]:
    return [row[3] for row in DATABASE.execute_sql(f"EXPLAIN QUERY PLAN {sql}", values).fetchall()]


def test_no_statement_of_a_file_a_chunk_or_a_round_reads_a_whole_table(database: Meta, statements: Statements) -> None:
    alice = database.enroll()
    file_id = database.put(alice, "a", 10)
    (chunk_id,) = database.chunks_of(file_id)
    upload_id, planned, version_id, visit = new_id(), Planned(0, new_id()), new_id(), session()
    database.run(accounts.log_in, alice.email, database.prove(alice.email), visit)
    wish = wish_for(alice, "b", 10, request_id="r")
    stored = Stored(planned.chunk_id, 10, "s", ("pool",))
    small = small_uploads.Wanted(new_id(), wish_for(alice, "empty", 0, request_id="s"), [])
    check(
        database,
        statements,
        partial(accounts.find_caller, visit.digest),
        partial(accounts.check_still_enabled, alice.account_id),
        partial(files.find_file, alice, file_id),
        partial(files.find_with_trash, alice, file_id),
        partial(files.pieces, version_id, -1, 10),
        partial(
            files.pieces, database.read(files.find_file, alice, file_id).version_id, -1, 10
        ),  # which looks for its key
        partial(sealing.account_key, alice.account_id),
        partial(files.resolve, alice, "", ["a"]),
        partial(files.page, alice, "", with_trash=False, after=None, limit=10),
        partial(files.page, alice, "", with_trash=False, after=("file", "a", file_id), limit=10, prefix="a"),
        partial(files.page, alice, "", with_trash=True, after=None, limit=10),
        partial(copies.holders, [chunk_id]),
        partial(uploads.begin, upload_id, wish, [planned], HOUR, LIMITS),
        partial(uploads.receive, upload_id, [stored], [], HOUR),
        partial(uploads.commit, upload_id, [], "d", 1, KEEP),
        partial(uploads.abandon, database.begin(alice, "c", 1)),
        partial(small_uploads.begin, [small], HOUR, LIMITS),
        partial(small_uploads.commit, [Sent(small.upload_id, [], "d", 1)], KEEP),
        partial(small_uploads.abandon, [small.upload_id]),
        partial(uploads.expired, 10),
        partial(uploads.forget, HOUR),
        partial(copies.doubts, 10),
        partial(copies.needless_bad, 2, 10),
        partial(copies.drop_bad, [(chunk_id, "pool")], 2),
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


def test_a_name_is_looked_up_without_reading_its_folder(database: Meta, statements: Statements) -> None:
    """PostgreSQL has no plan worth the name for a table of a few rows."""
    if database.is_postgres:
        pytest.skip("see above")
    alice = database.enroll()
    database.run(tree.live_child, alice.root_id, "a")
    assert database.run(plan_of, *statements.seen[-1]) == [
        "SEARCH t1 USING INDEX entry_live_name (parent_id=? AND name_key=?)"
    ]


def test_no_statement_of_a_change_of_a_drive_reads_a_whole_table(database: Meta, statements: Statements) -> None:
    alice, bob = database.enroll(), database.enroll()
    made = [database.run(changes.make_folder, alice, "", name, LIMITS) for name in ("folder", "other")]
    folder, other = (one.folder_id for one in made)
    file_id = database.put(alice, "a", 10, parent_id=folder)
    for _ in range(4):
        database.put(alice, "a", 10, parent_id=folder)
    database.run(sharing.share, alice, folder, bob.email, Terms("write", None))
    due = [(file_id, alice.account_id)]
    check(
        database,
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
        partial(changes.purge, alice, database.put(alice, "b", 1)),
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
    database: Meta, statements: Statements
) -> None:
    alice, bob = database.enroll(), database.enroll()
    folder = database.run(changes.make_folder, alice, "", "b", LIMITS)
    file_id = database.put(alice, "a", 10, parent_id=folder.folder_id)
    until = database.run(now) + HOUR
    _, shared = (database.run(sharing.share, alice, file_id, to, Terms("read", until)) for to in ("a@b.c", bob.email))
    everything = Wanted(str.isascii, "file", "text", 1, 1)
    check(
        database,
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


def test_no_statement_of_the_event_feed_or_of_an_admin_key_reads_a_whole_table(
    database: Meta, statements: Statements
) -> None:
    alice = database.enroll()
    database.run(admin_keys.add, "somebody", Role.VIEW, "digest", "the test")
    filtered = event_lists.Wanted({"node.joined", "session.started"}, alice.account_id, 1)
    check(
        database,
        statements,
        partial(events.number, 10),
        partial(event_lists.page, event_lists.Wanted(), 0, 1000, 10),
        partial(event_lists.page, filtered, 0, 1000, 10),
        partial(event_lists.before, 1 << 60),
        partial(event_lists.newest_about, alice.account_id, 10),
        partial(event_lists.account_id_of, alice.email),
        partial(event_lists.account_id_of, alice.account_id),
        partial(events.sweep, -HOUR, 10),
        partial(admin_keys.look, "digest", []),
        partial(admin_keys.is_live, "somebody"),
        partial(admin_keys.note_use, "somebody"),
        partial(admin_keys.revoke, "somebody", "the test"),
    )


def test_no_statement_about_certificates_but_their_list_reads_a_whole_table(
    database: Meta, statements: Statements
) -> None:
    moment = database.run(now)
    joined, renewed = (certificates.NewCertificate(serial, "node4", "ca", moment, moment + HOUR) for serial in "ab")
    check(
        database,
        statements,
        partial(certificates.invite, "digest", "node4", HOUR, "the test"),
        partial(certificates.use, "digest", "node4", "key"),
        partial(certificates.record_joined, "digest", "key", joined),
        partial(certificates.record_renewed, "a", renewed),
        partial(certificates.check, "a", "node4"),
        partial(certificates.revoke, "node4", "the test"),
        certificates.revoked_serials,
        certificates.sweep,
    )


def test_no_page_of_a_check_reads_a_whole_table(database: Meta, statements: Statements) -> None:
    alice = database.enroll()
    folder = database.mkdir(alice, "folder")
    (chunk_id,) = database.chunks_of(database.put(alice, "a", 10, parent_id=folder))
    database.put(alice, "b", 10)
    check(
        database,
        statements,
        *(partial(look, "0", 10) for look in (checks.accounts, checks.entries, checks.versions, checks.chunks)),
        partial(checks.stretch, "0", "", 10),
        partial(checks.stretch, "0", "f", 10),
        partial(checks.stretch_of, [chunk_id]),
        partial(checks.files_of, chunk_id),
        standing.look,
        standing.is_restored,
    )


def test_what_operators_look_at_reads_no_table_whole_but_that_of_accounts(
    database: Meta, statements: Statements
) -> None:
    alice = database.enroll()
    database.run(changes.trash, alice, database.put(alice, "a", 10))
    database.put(alice, "b", 10)
    check(
        database,
        statements,
        partial(users.details, alice.email, 100, 20, 50),
        partial(users.user_of, alice.account_id),
        partial(account_acts.set_quota, alice.email, HOUR, None, "a key", visitor()),
        partial(account_acts.disable, alice.email, "", "a key", visitor()),
        partial(account_acts.enable, alice.email, "a key", visitor()),
    )
    of_accounts = (overview.overview, overview.node_records, partial(users.page, "", None, 10))
    for work in (*of_accounts, partial(users.page, "a", (1 << 60, "f"), 10)):
        statements.seen.clear()
        database.run(work)
        for sql, values in list(statements.seen):
            # Of payments an index is read that has only those under way, or only those that wait for an operator.
            is_short = not database.is_postgres and re.search(
                "payment_(open|attention)", str(database.run(plan_of, sql, values))
            )
            assert database.run(scanned, sql, values) <= {"account", *(["payment"] if is_short else [])}, sql


def test_no_statement_of_the_care_of_nodes_reads_a_whole_table(database: Meta, statements: Statements) -> None:
    alice = database.enroll()
    chunk_id = database.chunks_of(database.put(alice, "a", 10))[0]
    for node_id in ("node1", "node2"):
        database.add_node(node_id)
    check(
        database,
        statements,
        partial(spread.signs, HOUR),
        partial(spread.unneeded_on, "node1", 10),
        partial(spread.give_up, [Spare(chunk_id, "pool", ["node1"])], 1),
        partial(copies.mark_bad, chunk_id, "node1", "test"),
        partial(scrubs.due, HOUR),
        partial(scrubs.begin, "pool"),
        partial(scrubs.next_claims, "pool", "0" * 32, 64),
        partial(scrubs.note, "pool", 1, chunk_id, [(chunk_id, "test")]),
        partial(scrubs.ask, "", "key"),
        partial(node_acts.ask_for_repair, "key", is_now=True),
        partial(scrubs.next_claims, "pool", "", 64),
        sorts=False,
    )
    # Receipts are those of uploads under way: few, and every upload would pay for an index by node.
    for work in (
        partial(node_acts.drain, "pool", 1, "key"),
        partial(node_acts.copies_left, "pool"),
        partial(node_acts.copies_stuck, "pool"),
        partial(node_acts.note_drained, "pool"),
        partial(node_acts.undrain, "pool", 1, "key"),
        partial(node_acts.remove, "node2", "key", is_lost=False),
    ):
        statements.seen.clear()
        database.run(work)
        for sql, values in list(statements.seen):
            assert database.run(scanned, sql, values) <= {"receipt"}, sql


def test_what_a_look_at_all_copies_found_is_looked_up_without_reading_them_all(
    database: Meta, statements: Statements
) -> None:
    alice = database.enroll()
    for node_id in ("node1", "node2"):
        database.add_node(node_id)
    chunk_id, _ = (database.chunks_of(database.put(alice, new_id(), 10, on=["node1", "node2"]))[0] for _ in range(2))
    database.lose(chunk_id, "node2")
    survey = database.run(spread.look, 3, HOUR)
    assert {group.mixed for group in survey.groups} == {0, 1}
    for group in survey.groups:
        check(database, statements, partial(spread.find, survey, [([group], HOUR)], 10), sorts=False)
    check(database, statements, partial(copies.short, survey, 10, {chunk_id}), sorts=False)


def check(database: Meta, statements: Statements, *works: Callable[[], object], sorts: bool = True) -> None:
    for work in works:
        statements.seen.clear()
        database.run(work)
        for sql, values in list(statements.seen):
            assert not database.run(scanned, sql, values), sql
            assert sorts or "RECURSIVE" in sql or not database.run(is_sorting, sql, values), sql


def test_no_statement_of_sealing_what_was_stored_before_reads_a_whole_table(
    database: Meta, statements: Statements
) -> None:
    alice = database.enroll()
    with meta_fixture.sealing_with(None):
        file_id = database.put(alice, "a", 10)
    (version_id,) = (version_id for (version_id,) in database.rows("SELECT version_id FROM version"))
    (upload_id,) = database.read(unsealed.answers, "", 9)
    check(
        database,
        statements,
        unsealed.look,
        partial(unsealed.versions, "", 9),
        partial(unsealed.give_key, version_id),
        partial(unsealed.answers, "", 9),
        partial(unsealed.seal_answer, upload_id),
    )
    (one,) = database.read(unsealed.chunks, "", 9).chunks
    new_chunk_id = new_id()
    sealed = Sealed(new_chunk_id, "sum", ("pool",))
    check(
        database,
        statements,
        unsealed.begin,
        partial(unsealed.chunks, "", 9),
        partial(unsealed.plan, new_chunk_id, 26),
        partial(unsealed.swap, one, sealed, Copies(1, 1), HOUR),
        unsealed.end,
    )
    assert database.chunks_of(file_id) == [new_chunk_id]


def test_a_scan_would_be_noticed(database: Meta, statements: Statements) -> None:
    database.run(meta_fixture.shortages, 2, HOUR, 10)  # reads every copy, as it must
    database.run(tree.bytes_below, Entry.name == "a")
    assert set().union(*(database.run(scanned, sql, values) for sql, values in list(statements.seen))) >= {
        "copy",
        "entry",
    }
