"""A restored drive deletes nothing, tells what must be looked at, and opens when it was, or is told to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cloudgrpc.core.payment_states import State
from cloudgrpc.errors import NotReconciled, NotRestored
from cloudgrpc.meta import copies, nodes, orphans, payments, standing
from cloudgrpc.meta.db import now
from cloudgrpc.meta.models import new_id
from cloudgrpc.meta.standing import Transaction
from contract.backup_fixture import another, back_up, pay, restore
from contract.meta_fixture import HOUR, Meta

if TYPE_CHECKING:
    from pathlib import Path

    from cloudgrpc.meta.standing import Reconciliation

DAY = 24 * HOUR


def restored(database: Meta) -> None:
    """As if it had been, a moment ago."""
    database.sql("UPDATE cluster SET restored_at = 1, backup_made_at = 1")
    database.age("cluster", "restored_at", -database.run(now) + 1)


def looked(database: Meta, *, sells: bool = False) -> Reconciliation:
    return database.read(standing.reconciliation, sells=sells)


def open_up(database: Meta, *, sells: bool = False, force: bool = False) -> Reconciliation:
    return database.run(standing.open_up, "boss", sells=sells, force=force)


def inventory(database: Meta, node_id: str) -> None:
    database.run(nodes.note_inventory, node_id, is_collecting=True, files=1, unknown=0)


def test_nothing_goes_until_it_is_reconciled(database: Meta) -> None:
    alice = database.enroll()
    orphan, stray, doomed, aging = database.orphan(alice), new_id(), database.orphan(alice), database.orphan(alice)
    database.sql(f"UPDATE copy SET state = 'doomed' WHERE chunk_id = '{doomed}'")
    database.compare("pool", stray, orphan, doomed, aging)
    database.age("chunk", "unreferenced_at", 9 * DAY, "unreferenced_at IS NOT NULL")
    database.age("stray", "first_seen_at", 9 * DAY)
    inventory(database, "pool")
    restored(database)

    def collect() -> tuple[int, bool, list[str], int]:
        database.sql(f"DELETE FROM copy WHERE chunk_id = '{orphan}'")  # bare
        return (
            database.run(orphans.doom_orphans, DAY, 10),
            database.run(orphans.doom_stray, "pool", stray, DAY, [], 1),
            database.read(orphans.doomed_on, "pool", 10),
            database.run(orphans.forget_bare_chunks, DAY, 10),
        )

    assert collect() == (0, False, [], 0)
    inventory(database, "pool")
    open_up(database)
    # Strays age from here on, for a later backup could have named them until now.
    dooms, dooms_stray, deletes, forgets = collect()
    assert (dooms, dooms_stray, set(deletes), forgets) == (1, False, {doomed, aging}, 1)
    database.age("stray", "first_seen_at", 9 * DAY)
    _, dooms_stray, deletes, _ = collect()
    assert (dooms_stray, set(deletes)) == (True, {doomed, aging, stray})


def test_it_opens_when_every_node_was_looked_at(database: Meta) -> None:
    database.enroll()
    database.add_node("n1")
    inventory(database, "n1")
    database.age("node", "inventory_at", HOUR, "node_id = 'n1'")  # before the restore
    restored(database)
    for waiting in (["n1", "pool"], ["pool"]):
        assert looked(database).nodes_waiting == waiting
        with pytest.raises(NotReconciled, match=", ".join(waiting)):
            open_up(database)
        assert database.read(standing.is_restored)
        inventory(database, waiting[0])
    assert looked(database).waiting() == ""
    open_up(database)
    assert not database.read(standing.is_restored)
    assert database.events("cluster.reconciled") == 1
    with pytest.raises(NotRestored):
        looked(database)
    with pytest.raises(NotRestored):
        open_up(database, force=True)


def test_what_was_stored_after_the_backup_does_not_stop_collecting_once_it_is_open(database: Meta) -> None:
    database.enroll()
    restored(database)
    later = [new_id() for _ in range(3)]
    assert database.compare("pool", *later).unknown == 3
    assert looked(database).files_unknown == 3
    open_up(database, force=True)
    assert database.compare("pool", *later).unknown == 0
    assert database.run(orphans.doom_orphans, 0, 10) == 0
    database.age("stray", "first_seen_at", DAY)
    assert all(database.run(orphans.doom_stray, "pool", one, HOUR, [], 1) for one in later)
    assert set(database.read(orphans.doomed_on, "pool", 10)) == set(later)


def test_a_copy_that_was_to_go_is_the_last_one_maybe_and_stays(
    database: Meta, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """It may have gone after the backup, and have been made again when the others were lost."""
    alice = database.enroll()
    for node_id in ("n1", "n2"):
        database.add_node(node_id)
    (chunk_id,) = database.chunks_of(database.put(alice, "a.txt", 5, on=("n1", "n2")))
    database.sql("UPDATE copy SET state = 'doomed' WHERE node_id = 'n2'")
    data = back_up(database)
    with another(request, "postgres" if database.is_postgres else "sqlite", tmp_path) as meta:
        restore(meta, data)
        for node_id in ("n1", "n2"):
            meta.add_node(node_id)
        meta.compare("n1", listed_at=meta.run(now) + 1)
        meta.compare("n2", chunk_id)
        open_up(meta, force=True)
        assert meta.read(orphans.doomed_on, "n2", 10) == []
        # It is read, and then it is as good as any.
        assert (chunk_id, "n2") in [(one.chunk_id, one.node_id) for one in meta.read(copies.doubts, 10)]
        assert meta.run(copies.add_good, chunk_id, "n2")


def test_what_an_upload_sent_that_ended_with_the_restore_keeps_its_grace_from_the_opening_on(
    database: Meta, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """It may have come to its end after the backup, and a later backup would name it."""
    alice = database.enroll()
    sent = database.send(database.begin(alice, "a.txt", 5), 0, 5)
    data = back_up(database)
    with another(request, "postgres" if database.is_postgres else "sqlite", tmp_path) as meta:
        restore(meta, data)
        for table, column in (("cluster", "restored_at"), ("chunk", "unreferenced_at")):
            meta.age(table, column, 9 * DAY)
        open_up(meta, force=True)
        assert meta.run(orphans.doom_orphans, DAY, 10) == 0
        meta.age("chunk", "unreferenced_at", 2 * DAY)
        assert meta.run(orphans.doom_orphans, DAY, 10) == 1
        assert meta.state(sent, "pool") == "doomed"


def test_it_tells_what_is_lost_and_opens_by_force(database: Meta) -> None:
    alice = database.enroll()
    (chunk_id,) = database.chunks_of(database.put(alice, "a.txt", 5))
    restored(database)
    assert looked(database).lost.files == 0
    database.compare("pool", listed_at=database.run(now) + 1)
    assert database.state(chunk_id, "pool") == "bad"
    found = looked(database)
    assert (found.lost.chunks, found.lost.files, found.lost.some) == (1, 1, [f"{alice.email}: /a.txt"])
    open_up(database, force=True)
    ((details,),) = database.rows("SELECT details FROM event WHERE kind = 'cluster.reconciled'")
    assert "pool" in details
    assert "boss" in details


def test_payments_are_asked_about_again(database: Meta, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    alice = database.enroll()
    moment = database.run(now)
    pending = pay(database, alice, State.PENDING)
    processing = pay(database, alice, State.PROCESSING, reference="r1", look_at=None, looks=99)
    failed = pay(database, alice, State.FAILED, reference="r2")
    cancelled = pay(database, alice, State.CANCELLED, is_unclear=True)
    pay(database, alice, State.FAILED)  # surely never sent
    pay(database, alice, State.FAILED, reference="r3", created_at=moment - 31 * DAY)
    pay(database, alice, State.COMPLETED, reference="r4")
    elsewhere = pay(database, alice, State.PROCESSING, reference="r5", mode="sandbox")
    data = back_up(database)
    with another(request, "postgres" if database.is_postgres else "sqlite", tmp_path) as meta:
        restore(meta, data)
        doubtful = {pending, processing, failed, cancelled}
        due = meta.read(standing.payments_to_read, "demo")
        assert due is not None
        assert set(due) == doubtful
        assert set(meta.run(payments.take_due, "demo", HOUR, 99)) == doubtful
        # What was only written down then may have been sent since.
        assert meta.rows(f"SELECT state FROM payment WHERE payment_id = '{pending}' AND is_unclear") == [
            ("processing",)
        ]
        assert meta.read(standing.payments_to_read, "sandbox") == [elsewhere]
        assert looked(meta, sells=True).payments_waiting == 3


def test_it_waits_until_campays_history_was_compared(database: Meta) -> None:
    alice = database.enroll()
    restored(database)
    inventory(database, "pool")
    assert looked(database).waiting() == "", "who never sold anything has nothing to compare"
    known = pay(database, alice, State.FAILED, reference="r1")
    for sells, words in ((True, "not compared with Campay yet"), (False, "cannot be compared.* no account at Campay")):
        with pytest.raises(NotReconciled, match=words):
            open_up(database, sells=sells)
    told = [Transaction("r1", new_id(), "by reference"), Transaction("r2", known, "by id")]
    told += [Transaction("r3", new_id(), "500 XAF, yesterday")]
    assert database.run(standing.note_compared, told) == 1
    assert database.run(standing.note_compared, told) == 0, "once"
    assert database.read(standing.payments_to_read, "demo") is None
    assert looked(database, sells=True).payments_unknown == ["500 XAF, yesterday"]
    assert database.events("payment.unknown") == 1
    open_up(database, sells=True)
