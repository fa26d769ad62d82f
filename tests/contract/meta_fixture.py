"""The metadata as the tests of meta see it: opened on either engine, with short ways to people, nodes and files."""

from __future__ import annotations

import asyncio
import itertools
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from cloudgrpc import config
from cloudgrpc.core.introductions import Introduction
from cloudgrpc.core.peers import Visitor
from cloudgrpc.core.rotation import MasterKeys
from cloudgrpc.meta import accounts, changes, copies, nodes, orphans, schema, sealing, spread, sweeping, tree, uploads
from cloudgrpc.meta import db as meta_db
from cloudgrpc.meta.accounts import Caller, NewSession
from cloudgrpc.meta.db import now
from cloudgrpc.meta.models import Account, Chunk, Copy, Entry, Event, Extent, Upload, Version, new_id
from cloudgrpc.meta.promises import Promise
from cloudgrpc.meta.uploads import Planned, Stored, Wish

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    import pytest

    from cloudgrpc.core.repair import Shortage
    from cloudgrpc.meta.db import Database
    from cloudgrpc.meta.uploads import Answer
    from postgres import Database as PostgresDatabase
    from postgres import Postgres

P = ParamSpec("P")
T = TypeVar("T")

SECOND = 1_000_000
HOUR = 3600 * SECOND
GB = 1 << 30
MIME = "text/plain"
LIMITS = tree.Limits(max_depth=100, max_path_bytes=4096)
KEEP = 10  # versions of a file
NOT_IDS = ["f" * 32, "nonsense", "a\0b", "'; --", "é" * 5000]
NUMBERS = itertools.count(1)
MASTER_KEYS = MasterKeys({"0a0a0a0a": b"\x0a" * 32}, "0a0a0a0a")


class Meta:
    """An open metadata database, for tests without a loop."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """One transaction."""
        return self.database.call(function, *args, **kwargs)

    def read(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The same by the way that readers take."""
        return asyncio.run(self.database.read(function, *args, **kwargs))

    def race(self, works: Iterable[Callable[[], Any]]) -> list[Any]:
        """All at once, each a transaction; answers and errors in the order of `works`. On PostgreSQL none begins
        before all are in their transactions."""
        line = list(works)
        start = threading.Barrier(len(line)) if self.is_postgres and len(line) <= meta_db.CONNECTIONS else None

        async def all_at_once() -> list[Any]:
            runs = (self.database.run(_once_all_are_there(work, start)) for work in line)
            return await asyncio.gather(*runs, return_exceptions=True)

        return asyncio.run(all_at_once())

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self.run(lambda: self.database.engine.execute_sql(sql).fetchall())  # type: ignore[no-untyped-call]

    def sql(self, sql: str) -> None:
        self.run(lambda: self.database.engine.execute_sql(sql))  # type: ignore[no-untyped-call]

    @property
    def is_postgres(self) -> bool:
        return meta_db.is_postgres()

    def close(self) -> None:
        self.database.close()

    def digest(self) -> dict[str, list[tuple[Any, ...]]]:
        """Everything that is stored, to see that nothing changed."""
        names = self.run(self.database.engine.get_tables)  # type: ignore[no-untyped-call]
        return {name: sorted(self.rows(f"SELECT * FROM {name}"), key=repr) for name in names}

    def events(self, kind: str) -> int:
        return self.run(Event.select().where(Event.kind == kind).count)

    def age(self, table: str, column: str, micros: int, where: str = "1 = 1") -> None:
        """As if `micros` had gone by since."""
        self.sql(f"UPDATE {table} SET {column} = {column} - {micros} WHERE {where}")

    # People

    def prove(self, email: str, peer: str = "peer") -> str:
        """A verified address; returns the proof's digest."""
        return self.run(_prove, email, peer)

    def enroll(self, quota: int = GB) -> Caller:
        """A person with `quota` bytes, and a node to keep them."""

        def work() -> Caller:
            nodes.register(introduction("pool", capacity=1 << 60))
            address = f"person{next(NUMBERS)}@example.org"
            return accounts.enroll(address, "A Person", _prove(address, "peer"), session(), Promise(quota, 1, 1.0))

        return self.run(work)

    def used(self, account_id: str) -> tuple[int, int]:
        """Bytes used and reserved, as the account says."""
        account = self.run(Account.get_by_id, account_id)
        return account.used_bytes, account.reserved_bytes

    def counted(self, account_id: str) -> tuple[int, int]:
        """The same, counted anew."""
        return self.run(_count, account_id)

    # Nodes

    def add_node(self, node_id: str, *, instance_id: str = "", capacity: int = GB) -> int:
        return self.run(nodes.register, introduction(node_id, instance_id, capacity))

    def set_offline(self, node_id: str, for_us: int = 0) -> None:
        self.sql(
            f"UPDATE node SET is_online = FALSE, offline_since_at = {self.run(now) - for_us} "
            f"WHERE node_id = '{node_id}'"
        )

    # Files

    def begin(self, person: Caller, name: str, size: int, **wish: Any) -> str:
        """An open upload without planned chunks; returns its id."""
        return self.run(_begin, wish_for(person, name, size, **wish))

    def send(self, upload_id: str, position: int, length: int, on: Iterable[str] = ("pool",)) -> str:
        """A chunk of the upload stored on nodes; returns its id."""
        return self.run(_send, upload_id, position, length, tuple(on))

    def commit(self, upload_id: str, quorum: int = 1, keep: int = KEEP) -> Answer:
        return self.run(uploads.commit, upload_id, [], "blake3:00", quorum, keep)

    def put(self, person: Caller, name: str, *lengths: int, on: Iterable[str] = ("pool",), parent_id: str = "") -> str:
        """A file of chunks of these lengths on these nodes; returns its id."""

        def work() -> str:
            upload_id = _begin(wish_for(person, name, sum(lengths), parent_id=parent_id))
            for position, length in enumerate(lengths):
                _send(upload_id, position, length, tuple(on))
            return uploads.commit(upload_id, [], "blake3:00", 1, KEEP).file_id

        return self.run(work)

    def mkdir(self, person: Caller, name: str, parent_id: str = "") -> str:
        """The new folder's id."""
        return self.run(changes.make_folder, person, parent_id, name, LIMITS).folder_id

    def check_books(self, *people: Caller) -> None:
        """Quota is what a recount gives, and once all is swept a chunk ages if and only if no extent names it."""
        for person in people:
            assert self.used(person.account_id) == self.counted(person.account_id)
        self.sweep()
        named = {chunk_id for (chunk_id,) in self.rows("SELECT chunk_id FROM extent")}
        assert named == {
            chunk_id for (chunk_id,) in self.rows("SELECT chunk_id FROM chunk WHERE unreferenced_at IS NULL")
        }

    def sweep(self) -> None:
        """What was deleted for good goes, to its end."""
        while self.run(sweeping.sweep, 1000):
            pass

    def chunks_of(self, file_id: str) -> list[str]:
        """Of all its versions."""
        query = Extent.select(Extent.chunk).join(Version).where(Version.entry == file_id).order_by(Extent.position)
        return [chunk_id for (chunk_id,) in self.run(meta_db.rows, query)]

    def orphan(self, person: Caller, *, on: Iterable[str] = ("pool",)) -> str:
        """A chunk that no file needs any more; returns its id."""
        file_id = self.put(person, f"gone{next(NUMBERS)}", 1, on=on)
        (chunk_id,) = self.chunks_of(file_id)
        self.run(changes.purge, person, file_id)
        self.sweep()
        return chunk_id

    def lose(self, chunk_id: str, node_id: str) -> None:
        """Its copy there turned out bad."""
        assert self.run(copies.mark_bad, chunk_id, node_id, "test")

    def state(self, chunk_id: str, node_id: str) -> str | None:
        copy = self.run(Copy.get_or_none, (Copy.chunk == chunk_id) & (Copy.node == node_id))
        return copy.state if copy else None

    def unreferenced_at(self, chunk_id: str) -> int | None:
        at: int | None = self.run(Chunk.get_by_id, chunk_id).unreferenced_at
        return at

    def compare(self, node_id: str, *listed: str, listed_at: int | None = None, wanted: int = 1) -> orphans.Findings:
        """A whole inventory in one page."""
        at = self.run(now) if listed_at is None else listed_at
        return self.run(orphans.compare_page, node_id, sorted(listed), ("", ""), at, wanted)


@contextmanager
def sealing_with(keys: MasterKeys | None) -> Iterator[None]:
    """The process's master keys for a while; None: it has none, and what is new stays plain."""
    sealing.bind((lambda: keys) if keys else None)
    try:
        yield
    finally:
        sealing.bind(lambda: MASTER_KEYS)


def shortages(factor: int, delay_us: int, limit: int) -> list[Shortage]:
    """A look at all copies, and what is short by it."""
    return copies.short(spread.look(factor, delay_us), limit)


def wish_for(
    person: Caller, name: str, size: int, *, parent_id: str = "", request_id: str = "", mime_type: str = MIME
) -> Wish:
    return Wish(person, parent_id, name, size, mime_type, request_id)


def plan(upload_id: str, planned: Planned) -> None:
    """Write a chunk's id down, as begin and receive do on the way."""
    uploads._plan(upload_id, [planned])


def session(peer: str = "peer", valid_us: int = HOUR) -> NewSession:
    return NewSession(new_id(), valid_us, visitor(peer))


def visitor(peer: str = "peer") -> Visitor:
    return Visitor(peer, "192.0.2.7", "a test")


def introduction(node_id: str, instance_id: str = "", capacity: int = GB) -> Introduction:
    return Introduction(node_id, instance_id or f"folder of {node_id}", "127.0.0.1", 9001, capacity, 0, 0, 1)


def settings_of(database: PostgresDatabase) -> config.Database:
    return config.Database(
        host=database.host, port=database.port, name=database.name, user=database.user, password=database.password
    )


@contextmanager
def opened(settings: config.Database, folder: Path) -> Iterator[Meta]:
    """The schema is not touched. A process has one open metadata database at a time."""
    meta = Meta(meta_db.open_database(settings, folder))
    try:
        yield meta
    finally:
        meta.close()


def _prove(email: str, peer: str) -> str:
    proof = new_id()
    accounts.remember_code(email, "code", [], visitor(peer))
    accounts.judge_code(email, "code", proof, [], visitor(peer))
    return proof


def _begin(wish: Wish) -> str:
    upload_id = new_id()
    assert isinstance(uploads.begin(upload_id, wish, [], HOUR, LIMITS), uploads.Opened)
    return upload_id


def _send(upload_id: str, position: int, length: int, on: tuple[str, ...]) -> str:
    chunk_id = new_id()
    plan(upload_id, Planned(position, chunk_id))
    uploads.receive(upload_id, [Stored(chunk_id, length, f"sum-{chunk_id}", on)], [], HOUR)
    return chunk_id


def _once_all_are_there(work: Callable[[], Any], start: threading.Barrier | None) -> Callable[[], Any]:
    waits = [start] if start else []  # only the first try of a transaction that is run again

    def run() -> Any:
        if waits:
            waits.pop().wait(20)
        return work()

    return run


def _count(account_id: str) -> tuple[int, int]:
    """What was deleted for good does not count, though its rows may still be there."""
    kept = (Entry.account == account_id) & Entry.parent.is_null() & Entry.purged_at.is_null()
    open_uploads = Upload.select().where((Upload.account == account_id) & (Upload.state == "open"))
    return sum(tree.bytes_below(kept).values()), sum(one.size_bytes for one in open_uploads)


@contextmanager
def fresh_meta(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Meta]:
    """An open database with the schema and nothing else."""
    database = postgres.fresh_database()
    with opened(settings_of(database), tmp_path_factory.mktemp("unused")) as meta:
        meta.run(schema.migrate)
        yield meta
    postgres.drop(database)
