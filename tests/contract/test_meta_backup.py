"""A backup holds all of one moment, whichever engine it is of, and comes back whole or not at all."""

from __future__ import annotations

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from cloudgrpc.core.backup_format import Packer, read
from cloudgrpc.core.payment_states import State
from cloudgrpc.errors import BackupUnreadable, GatewayNotEmpty
from cloudgrpc.meta import backup, changes, copying, events, restoring, schema, sharing, standing
from cloudgrpc.meta.accounts import Caller
from cloudgrpc.meta.copying import CopyTo
from cloudgrpc.meta.models import AdminKey, Event, RemovedNode, new_id
from cloudgrpc.meta.sharing import Terms
from cloudgrpc.meta.uploads import Planned
from contract.backup_fixture import another, back_up, faults_of, pay, restore
from contract.meta_fixture import KEEP, LIMITS, Meta, plan

if TYPE_CHECKING:
    from pathlib import Path


class BrokenOffError(Exception):
    """Stands for whatever ends a restore in its middle."""


def fill(meta: Meta) -> Caller:
    """Something of every kind there is."""
    for node_id in ("n1", "n2"):
        meta.add_node(node_id)
    alice, bob = meta.enroll(), meta.enroll()
    outer = meta.mkdir(alice, "outer")
    inner = meta.mkdir(alice, "in ner é", outer)
    for name in (r"\N", r"\.", "back\\slash\\", "'\"{},"):  # what some engine has a meaning for
        meta.mkdir(alice, name, inner)
    meta.run(events.record, "copy.made", "line\nline\r\nand\ttab\\n \u2028\U0001f600", by="")
    deep = meta.put(alice, "deep", 10, 20, on=("n1", "n2"), parent_id=inner)
    meta.put(alice, "deep", 7, parent_id=inner)  # its second version
    meta.put(alice, "empty", parent_id=outer)
    meta.run(copying.copy, alice, outer, CopyTo("", "twin"), LIMITS, KEEP)
    meta.run(changes.trash, alice, meta.put(alice, "trashed", 3))
    meta.run(changes.purge, alice, meta.mkdir(alice, "purged"))
    meta.orphan(alice, on=("n1",))
    meta.run(sharing.share, alice, outer, bob.email, Terms("write", None))
    meta.lose(meta.chunks_of(deep)[0], "n1")
    meta.compare("n2", new_id())  # a stray
    pay(meta, alice, State.COMPLETED)
    meta.run(lambda: AdminKey.create(name="grafana", role="view", digest="d", created_at=1, created_by="boss"))
    meta.run(lambda: RemovedNode.create(instance_id="gone", node_id="n0", removed_at=1))
    return alice


def kept(meta: Meta, **without: str) -> dict[str, list[dict[str, Any]]]:
    """All rows that a backup holds, by table, whatever the engine; without those columns (words) of these tables."""

    def rows() -> dict[str, list[dict[str, Any]]]:
        found = {}
        for table in backup.KEPT:
            dropped = without.get(backup.name_of(table), "").split()
            query: Any = table.select().dicts()
            told = [{key: value for key, value in row.items() if key not in dropped} for row in query]
            found[backup.name_of(table)] = sorted(told, key=repr)
        return found

    return meta.read(rows)


def told(data: bytes) -> Any:
    return list(read([data[:-32]]))


CHANGED = {
    "cluster": "restored_at backup_made_at last_event_number master_key_id digest_key_id",
    "node": "is_online offline_since_at inventory_at",
    "admin_key": "revoked_at",
    "payment": "looks look_at",
}


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_what_was_backed_up_comes_back_on_either_engine(
    database: Meta, request: pytest.FixtureRequest, engine: str, tmp_path: Path
) -> None:
    fill(database)
    before, data = kept(database, **CHANGED), back_up(database)
    made_at = told(data)[0].made_at
    with another(request, engine, tmp_path) as meta:
        restored = restore(meta, data)
        after = kept(meta, **CHANGED)
        (last,) = [row for row in after["event"] if row["kind"] == "cluster.restored"]
        after["event"].remove(last)
        assert after == before
        assert restored.cluster_id == before["cluster"][0]["cluster_id"]
        assert restored.rows == {name: len(rows) for name, rows in before.items()}
        assert all(rows for rows in before.values() if rows != before["upload_chunk"] and rows != before["receipt"])
        assert meta.rows("SELECT count(*) FROM stray") == [(0,)]
        # It goes on from there.
        stands = meta.read(standing.look)
        assert (stands.backup_made_at, bool(stands.restored_at)) == (made_at, True)
        assert meta.rows("SELECT count(*) FROM node WHERE is_online OR inventory_at IS NOT NULL") == [(0,)]
        assert meta.rows("SELECT count(*) FROM admin_key WHERE revoked_at IS NULL") == [(0,)]
        ids = [row["event_id"] for row in before["event"]]
        assert meta.run(lambda: Event.create(at=1, kind="next", message="m").event_id) > max(ids)
        # A backup of what was restored is as good.
        assert {name: len(rows) for name, rows in kept(meta).items()} == meta.read(
            backup.write, io.BytesIO(), "test"
        ).rows


def test_followers_of_before_the_loss_pass_nothing_over(
    database: Meta, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    fill(database)
    database.sql("UPDATE cluster SET last_event_number = 77")
    data = back_up(database)
    with another(request, "sqlite", tmp_path) as meta:
        restore(meta, data)
        assert meta.rows("SELECT last_event_number FROM cluster") == [(1_000_077,)]


def test_a_backup_holds_no_secrets_and_nobody_is_signed_in(
    database: Meta, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    alice = fill(database)
    database.prove(alice.email)
    assert database.rows("SELECT 1 FROM session, proof")
    tables = {part.heading.table for part in told(back_up(database))[1:]}
    assert not tables & {"session", "proof", "otp_challenge", "pace", "lease"}


def test_an_upload_under_way_comes_back_abandoned(
    database: Meta, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    alice = fill(database)
    upload_id = database.begin(alice, "half", 100, request_id="again")
    sent = database.send(upload_id, 0, 60, on=("n1",))
    database.run(plan, upload_id, Planned(1, new_id()))
    assert database.used(alice.account_id)[1] == 100
    data = back_up(database)
    with another(request, "postgres" if database.is_postgres else "sqlite", tmp_path) as meta:
        restore(meta, data)
        assert meta.rows(f"SELECT state, request_id FROM upload WHERE upload_id = '{upload_id}'") == [
            ("abandoned", None)
        ]
        assert meta.used(alice.account_id) == meta.counted(alice.account_id)
        assert meta.used(alice.account_id)[1] == 0
        # Its chunk is known, and ages from the restore.
        assert (meta.unreferenced_at(sent) or 0) >= (meta.read(standing.look).restored_at or 0)
        assert meta.state(sent, "n1") == "good"


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_what_is_cut_or_breaks_off_changes_nothing(request: pytest.FixtureRequest, engine: str, tmp_path: Path) -> None:
    """Also past the seal, in the middle of the transaction."""
    with another(request, "sqlite", tmp_path / "source") as meta:
        fill(meta)
        data = back_up(meta)
    with another(request, engine, tmp_path) as meta:
        fresh = meta.digest()
        for tenth in range(10):
            cut = data[: len(data) * tenth // 10]
            with pytest.raises(BackupUnreadable):
                restore(meta, cut)
            with pytest.raises(BackupUnreadable):
                meta.run(restoring.restore, io.BytesIO(cut), "boss")
            with pytest.raises(BrokenOffError):
                meta.run(restoring.restore, BreaksOff(data, tenth), "boss")
            assert meta.digest() == fresh
        restore(meta, data)
        assert meta.digest() != fresh


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_the_work_of_other_gateways_waits_for_the_end_of_a_restore(
    database: Meta, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    fill(database)
    file = Waits(back_up(database))
    with another(request, "postgres", tmp_path) as meta, ThreadPoolExecutor() as gateways:
        restored = gateways.submit(meta.run, restoring.restore, file, "boss")
        assert file.is_read.wait(20)
        numbered = gateways.submit(meta.run, events.number, 1000)
        waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        while not meta.rows(waiting):
            assert not numbered.done()
        assert meta.read(standing.look).restored_at is None, "who only looks does not wait"
        file.may_end.set()
        assert restored.result(20).rows["account"] == 2
        given, last = numbered.result(20)
        assert given > 0
        assert last > 1_000_000


class Waits(io.BytesIO):
    """A file that comes to its end when it may."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.is_read, self.may_end = threading.Event(), threading.Event()

    def read(self, size: int | None = -1) -> bytes:
        self.is_read.set()
        assert self.may_end.wait(20)
        return super().read(size)


class BreaksOff(io.BytesIO):
    """A file that fails after so many tenths of it."""

    def __init__(self, data: bytes, tenth: int) -> None:
        super().__init__(data)
        self._step = -(-len(data) // 10)
        self._left = tenth

    def read(self, _size: int | None = -1) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise BrokenOffError
        return super().read(self._step)


@pytest.mark.parametrize("what", ["accounts", "nodes", "payments"])
def test_a_gateway_that_holds_anything_is_left_alone(database: Meta, what: str) -> None:
    if what == "nodes":
        database.add_node("n1")
    elif what == "payments":
        pay(database, Caller("a", "a@example.org", "A", "root", 1, "s", 1, None), State.FAILED)
    else:
        database.enroll()
        database.sql("DELETE FROM node")
    data, before = back_up(database), database.digest()
    with pytest.raises(GatewayNotEmpty, match=what):
        restore(database, data)
    assert database.digest() == before


@pytest.mark.parametrize(
    ("lines", "word"),
    [
        ([{"table": "session", "columns": ["digest"]}, ["x"]], "session"),
        ([{"table": "account", "columns": ["account_id", "wings"]}, ["x", 2]], "account"),
        ([{"table": "account", "columns": ["account_id"]}, ["x"]], "fit together"),
        ([{"table": "copy", "columns": ["chunk_id", "node_id", "state", "created_at"]}, ["a", "b", "good", 1]], "fit"),
        ([{"table": "account", "columns": ["account_id"]}, ["x", "y"]], "columns"),
        ([], "which cluster"),
    ],
)
def test_a_whole_file_of_other_things_is_refused(database: Meta, lines: list[Any], word: str) -> None:
    fresh = database.digest()
    packer, counts = Packer(), {line["table"]: 0 for line in lines if isinstance(line, dict)}
    counts |= {name: sum(isinstance(line, list) for line in lines) for name in counts}
    header = {"cloudgrpc_backup": 1, "program": "9", "schema": [], "cluster_id": "c", "made_at": 1, "engine": "sqlite"}
    with pytest.raises(BackupUnreadable, match=word):
        restore(database, packer.pack([header, *lines, {"rows": counts}]) + packer.finish())
    assert database.digest() == fresh


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_a_backup_of_a_newer_schema_is_refused_and_one_of_an_older_taken(
    request: pytest.FixtureRequest, engine: str, tmp_path: Path
) -> None:
    # Not in the database that many tests share: a restore leaves figures there by which the engine plans.
    with another(request, engine, tmp_path) as meta:
        check_schemas(meta)


def check_schemas(database: Meta) -> None:
    steps = database.read(schema.steps)
    for told_steps, columns in ((["0099_wings", *steps], []), (steps[:-1], ["last_event_number", "restored_at"])):
        packer = Packer()
        header = {"cloudgrpc_backup": 1, "program": "9", "schema": told_steps, "cluster_id": "old", "made_at": 5}
        heading = {"table": "cluster", "columns": ["cluster_id", "created_at"]}
        packed = packer.pack([header | {"engine": "sqlite"}, heading, ["old", 3], {"rows": {"cluster": 1}}])
        data = packed + packer.finish()
        if columns:
            assert restore(database, data).cluster_id == "old"
        else:
            with pytest.raises(BackupUnreadable, match="0099_wings"):
                restore(database, data)


def size_of(data: bytes) -> int:
    """In rows."""
    return sum(len(part.rows) for part in told(data)[1:])


def some_that_differ(database: Meta, faults: list[BaseException]) -> list[bytes]:
    """The last of these backups was taken when somebody had written since the first, unless there are faults."""
    taken = [back_up(database) for _ in range(3)]
    while not faults and size_of(taken[0]) >= size_of(taken[-1]):
        taken[-1] = back_up(database)
    return taken


def test_a_backup_taken_while_people_write_is_of_one_moment(
    database: Meta, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    people = [database.enroll() for _ in range(3)]
    for person in people:
        for number in range(5):
            database.put(person, f"first {number}", 10)
    stop = threading.Event()
    faults: list[BaseException] = []

    def write(person: Caller) -> None:
        number = 0
        while not stop.is_set():
            try:
                file_id = database.put(person, f"file {number % 7}", 10, 20)
                database.begin(person, "half", 5)
                if number % 3 == 0:
                    database.run(changes.purge, person, file_id)
            except BaseException as error:  # noqa: BLE001 - told at the end
                faults.append(error)
                return
            number += 1

    writers = [threading.Thread(target=write, args=(person,)) for person in people]
    for writer in writers:
        writer.start()
    try:
        taken = some_that_differ(database, faults)
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert not faults
    for number, data in enumerate(taken):
        with another(request, "sqlite", tmp_path / str(number)) as meta:
            restore(meta, data)
            assert faults_of(meta) == []
