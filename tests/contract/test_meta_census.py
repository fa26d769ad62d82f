"""Counting whole tables: chunks by their copies, files, payments; on both engines."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from cloudgrpc.meta import census, changes, trash
from cloudgrpc.meta.models import Chunk, Copy
from cloudgrpc.meta.trash import Place
from contract.meta_fixture import LIMITS, Meta

if TYPE_CHECKING:
    from cloudgrpc.meta.accounts import Caller
    from cloudgrpc.meta.census import Count

NODES = ["node1", "node2", "node3"]

pytestmark = pytest.mark.usefixtures("unsealed")  # lengths are those that tests give


@pytest.fixture
def alice(database: Meta) -> Caller:
    """Whose files are on three nodes; two copies are wanted."""
    person = database.enroll()
    for node in NODES:
        database.add_node(node)
    return person


def count(database: Meta, factor: int = 2) -> Count:
    return database.read(census.count, factor)


def told(counted: Count) -> tuple[int, int, int, int, int]:
    return counted.whole, counted.missing, counted.lost, counted.copies_missing, counted.bytes_missing


def test_nothing_is_counted_where_nothing_is(database: Meta) -> None:
    assert told(count(database)) == (0, 0, 0, 0, 0)
    assert count(database).payments == {}


def test_a_chunk_is_whole_with_all_its_copies_on_online_nodes(database: Meta, alice: Caller) -> None:
    database.put(alice, "two", 10, 20, on=["node1", "node2"])
    database.put(alice, "one", 5, on=["node3"])
    database.put(alice, "three", 7, on=NODES)
    assert told(count(database)) == (3, 1, 0, 1, 5)
    assert told(count(database, factor=3)) == (1, 3, 0, 1 + 1 + 2, 10 + 20 + 2 * 5)


def test_a_copy_on_an_offline_node_is_missing_and_not_lost(database: Meta, alice: Caller) -> None:
    database.put(alice, "a", 10, on=["node1", "node2"])
    database.set_offline("node1")
    assert told(count(database)) == (0, 1, 0, 1, 10)
    database.set_offline("node2")
    assert told(count(database)) == (0, 1, 0, 2, 20)


def test_a_chunk_without_any_good_copy_is_lost(database: Meta, alice: Caller) -> None:
    file_id = database.put(alice, "a", 10, on=["node1", "node2"])
    (chunk_id,) = database.chunks_of(file_id)
    database.lose(chunk_id, "node1")
    assert told(count(database)) == (0, 1, 0, 1, 10)
    database.lose(chunk_id, "node2")
    assert told(count(database)) == (0, 0, 1, 0, 0)
    database.sql("DELETE FROM copy")
    assert told(count(database)) == (0, 0, 1, 0, 0)


def test_what_no_file_needs_is_not_counted(database: Meta, alice: Caller) -> None:
    database.orphan(alice, on=["node1"])
    assert told(count(database)) == (0, 0, 0, 0, 0)


def test_chunks_are_counted_as_one_by_one(database: Meta, alice: Caller) -> None:
    """Whatever states their copies have, on whatever nodes."""
    draw = random.Random(5)
    for name in range(40):
        database.put(alice, f"f{name}", draw.randint(1, 9), on=draw.sample(NODES, draw.randint(1, 3)))
    for chunk_id, node_id in database.rows("SELECT chunk_id, node_id FROM copy"):
        state = draw.choice(["good", "good", "bad", "doomed"])
        database.sql(f"UPDATE copy SET state = '{state}' WHERE chunk_id = '{chunk_id}' AND node_id = '{node_id}'")
    database.set_offline("node2")
    lengths = dict(database.rows("SELECT chunk_id, length FROM chunk"))
    good = [tuple(row) for row in database.rows("SELECT chunk_id, node_id FROM copy WHERE state = 'good'")]
    held = Counter(chunk_id for chunk_id, _ in good)
    here = Counter(chunk_id for chunk_id, node_id in good if node_id != "node2")
    lacking = {chunk_id: 2 - here[chunk_id] for chunk_id in lengths if held[chunk_id] and here[chunk_id] < 2}
    assert told(count(database)) == (
        sum(here[chunk_id] >= 2 for chunk_id in lengths),
        len(lacking),
        sum(not held[chunk_id] for chunk_id in lengths),
        sum(lacking.values()),
        sum(copies * lengths[chunk_id] for chunk_id, copies in lacking.items()),
    )
    assert min(told(count(database))) > 0  # or this has shown nothing


def test_only_live_files_are_counted(database: Meta, alice: Caller) -> None:
    folder = database.mkdir(alice, "folder")
    inner = database.put(alice, "inner", 1, parent_id=folder)
    database.put(alice, "inner", 1, parent_id=folder)  # its second version
    other = database.put(alice, "other", 1)
    assert count(database).files == 2
    database.run(changes.trash, alice, folder)
    assert count(database).files == 1
    database.run(trash.restore, alice, folder, Place(None), LIMITS)
    assert count(database).files == 2
    database.run(changes.purge, alice, inner)
    database.run(changes.trash, alice, other)
    assert count(database).files == 0


def test_a_count_reads_neither_chunks_nor_copies_row_by_row(database: Meta, alice: Caller) -> None:
    """Their indexes hold all that is counted: with a million chunks the rows would take four times as long."""
    if database.is_postgres:
        pytest.skip("what PostgreSQL does depends on what it knows of the tables")
    steps = database.run(_plan_of_the_count)
    assert any("COVERING INDEX chunk_census" in step for step in steps), steps
    assert not any(step.startswith("SCAN") and "COVERING" not in step for step in steps if "chunk" in step), steps


def _plan_of_the_count() -> list[str]:
    sql, values = census.counted(2, NODES).sql()
    return [row[3] for row in Chunk._meta.database.execute_sql(f"EXPLAIN QUERY PLAN {sql}", values).fetchall()]


def test_payments_are_counted_by_status(database: Meta, alice: Caller) -> None:
    for number, state in enumerate(["completed", "completed", "failed", "pending"]):
        database.sql(
            "INSERT INTO payment (payment_id, account_id, email, tier_id, tier_name, mode, provider, phone, state,"
            " storage_bytes, price_xaf, amount_xaf, created_at) VALUES"
            f" ('p{number}', '{alice.account_id}', 'a', 't{number}', 't', 'demo', 'mtn', '2', '{state}', 1, 500, 10, 1)"
        )
    counted = count(database)
    assert counted.payments == {"completed": 2, "failed": 1, "pending": 1}
    assert counted.revenue_xaf == 20


def test_the_count_is_of_one_moment(database: Meta, alice: Caller) -> None:
    database.put(alice, "a", 10, on=["node1", "node2"])
    counted = count(database)
    assert counted.chunks == 1 == database.run(Copy.select().count) // 2
    assert counted.copies_wanted == 2
