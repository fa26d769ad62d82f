"""The one door to the metadata: synchronous functions, each a transaction, run on the database's own threads.

SQLite has one writer, which drains its queue into one commit (a SAVEPOINT per caller) and answers all of them after it;
readers have their own connections. PostgreSQL has a pool, a connection per running call.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import queue
import sqlite3
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import peewee
import psycopg2.errors
from playhouse.pool import PooledPostgresqlDatabase

from cloudgrpc.errors import DatabaseUnavailable
from cloudgrpc.meta import bell
from cloudgrpc.meta.bell import Bell, SharedBell
from cloudgrpc.meta.models import DATABASE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cloudgrpc import config

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

READERS = 4
WRITES_PER_COMMIT = 256
CONNECTIONS = 20
LOCK_WAIT_S = 10
TRIES = 4
SNAPSHOT = "REPEATABLE READ READ ONLY"  # PostgreSQL's words for one moment seen throughout

SQLITE_FILE = "metadata.sqlite3"
PRAGMAS = {"journal_mode": "wal", "synchronous": "full", "foreign_keys": 1, "cache_size": -64_000}


class Call:
    """A function on its way to the database, and where its answer goes."""

    def __init__(self, work: Callable[[], Any], *, is_read: bool) -> None:
        self.work = work
        self.is_read = is_read
        self.future: Future[Any] = Future()
        self.future.set_running_or_notify_cancel()  # a call that waits here is carried out, whoever goes away


class Lane:
    """Threads that take calls from one queue, up to `batch` at a time."""

    def __init__(self, name: str, threads: int, batch: int, serve: Callable[[list[Call]], None]) -> None:
        self._calls: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._batch = batch
        self._serve = serve
        self._is_closed = False
        self._busy: set[int] = set()  # threads that serve
        self._threads = [threading.Thread(target=self._loop, name=f"{name}-{n}", daemon=True) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    def submit(self, work: Callable[[], T], *, is_read: bool = False) -> Future[T]:
        call = Call(work, is_read=is_read)
        if self._is_closed:  # whoever still cleans up must not wait for what nobody does
            call.future.set_exception(DatabaseUnavailable(reason="it is closed"))
        else:
            self._calls.put(call)
        return call.future

    @property
    def waiting(self) -> int:
        """Calls that no thread has taken."""
        return self._calls.qsize()

    @property
    def busy(self) -> int:
        """Threads that serve one now."""
        return len(self._busy)

    @property
    def threads(self) -> int:
        return len(self._threads)

    def close(self) -> None:
        """Serve what is queued, then end the threads and their connections."""
        self._is_closed = True
        for _ in self._threads:
            self._calls.put(None)
        for thread in self._threads:
            thread.join()

    def _loop(self) -> None:
        going = True
        while going:
            calls = [self._calls.get()]
            while calls[-1] is not None and len(calls) < self._batch and not self._calls.empty():
                calls.append(self._calls.get())
            going = calls[-1] is not None
            todo = [call for call in calls if call is not None]
            if todo:
                self._busy.add(threading.get_ident())
                self._serve(todo)
                self._busy.discard(threading.get_ident())
        DATABASE.close()


class Database:
    """The open metadata database. `bell` tells of the events that are recorded in it."""

    def __init__(self, engine: peewee.Database, writers: Lane, readers: Lane, bell: Bell) -> None:
        self.engine = engine
        self.bell = bell
        self._writers = writers
        self._readers = readers

    @property
    def lanes(self) -> dict[str, Lane]:
        """By what they do."""
        if self._readers is self._writers:
            return {"read and write": self._writers}
        return {"write": self._writers, "read": self._readers}

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `function` as one transaction.

        Once handed over it is seen through to its end, even when the caller is cancelled meanwhile: the cancellation
        is raised after it. Raises: what `function` raises (then nothing is changed); DatabaseUnavailable.
        """
        return await _seen_through(self._writers.submit(functools.partial(function, *args, **kwargs)))

    async def read(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `function`, which only reads, on one snapshot."""
        return await _seen_through(self._readers.submit(functools.partial(function, *args, **kwargs), is_read=True))

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`run` for callers without a loop."""
        return self._writers.submit(functools.partial(function, *args, **kwargs)).result()

    def close(self) -> None:
        self._writers.close()
        if self._readers is not self._writers:
            self._readers.close()
        self.bell.close()
        if isinstance(self.engine, PooledPostgresqlDatabase):
            self.engine.close_all()


def open_database(settings: config.Database, folder: Path) -> Database:
    """PostgreSQL when `settings` name a host, else SQLite in `folder`. The schema is not touched here."""
    if settings.host:
        return _open_postgres(settings)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return _open_sqlite(folder / SQLITE_FILE)


def describe(settings: config.Database, folder: Path) -> str:
    if settings.host:
        return f"PostgreSQL {settings.name} on {settings.host}:{settings.port}"
    return f"SQLite in {folder / SQLITE_FILE}"


def now() -> int:
    """The database's clock, in microseconds since 1970. To be called inside a transaction."""
    if is_postgres():
        row = DATABASE.execute_sql("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint").fetchone()
        return int(row[0])
    return time.time_ns() // 1000


def is_postgres() -> bool:
    return isinstance(DATABASE.obj, peewee.PostgresqlDatabase)


def locked(query: peewee.ModelSelect[Any]) -> peewee.ModelSelect[Any]:
    """The query with its rows locked to the transaction's end. SQLite has one writer at a time and needs no locks.

    NO KEY: rows that point here by a foreign key may come meanwhile. Else a heartbeat would wait for every upload that
    puts copies on its node, and they for it.
    """
    return query.for_update("FOR NO KEY UPDATE") if is_postgres() else query  # type: ignore[arg-type]


def rows(query: Any) -> list[Any]:
    """The query's rows, each a tuple of the columns it selects."""
    return list(query.tuples())


async def _seen_through(future: Future[T]) -> T:
    answer = asyncio.wrap_future(future)
    try:
        return await asyncio.shield(answer)
    except asyncio.CancelledError:
        await asyncio.wait([answer])
        if not answer.cancelled():
            answer.exception()  # seen, so that the loop does not report it as lost
        raise


def _open_sqlite(path: Path) -> Database:
    # IMMEDIATE: a transaction that reads first and writes later would otherwise fail as locked, whatever the timeout.
    engine = peewee.SqliteDatabase(
        str(path), pragmas=PRAGMAS, timeout=LOCK_WAIT_S, lock_type="IMMEDIATE", check_same_thread=False
    )
    DATABASE.initialize(engine)
    rings = Bell()
    writers = Lane("sqlite-writer", 1, WRITES_PER_COMMIT, functools.partial(_commit_together, engine, rings))
    readers = Lane("sqlite-reader", READERS, 1, functools.partial(_read_snapshot, engine))
    return Database(engine, writers, readers, rings)


def _commit_together(engine: peewee.SqliteDatabase, rings: Bell, calls: list[Call]) -> None:
    answers: list[tuple[Call, Any, BaseException | None]] = []
    bell.forget()
    try:
        engine.connect(reuse_if_open=True)
        with engine.atomic():
            for call in calls:
                try:
                    with engine.atomic():  # a savepoint: one caller's failure is not the others'
                        answers.append((call, call.work(), None))
                except Exception as error:
                    if not engine.connection().in_transaction:  # type: ignore[no-untyped-call]
                        raise  # a full or failing disk: SQLite has rolled the whole batch back by itself
                    answers.append((call, None, _tell(error)))
    except Exception as error:  # noqa: BLE001 - the batch was rolled back: every caller of it must hear
        told = _tell(error)
        answers = [(call, None, told) for call in calls]
        engine.close()
    else:
        rings.committed()
    for call, result, failure in answers:
        _answer(call, result, failure)


def _read_snapshot(engine: peewee.SqliteDatabase, calls: list[Call]) -> None:
    for call in calls:
        try:
            engine.connect(reuse_if_open=True)
            with engine.atomic("DEFERRED"):
                result = call.work()
        except Exception as error:  # noqa: BLE001 - the caller gets it
            _answer(call, None, _tell(error))
        else:
            _answer(call, result, None)


def reach(settings: config.Database, program: str) -> dict[str, Any]:
    """How PostgreSQL is reached. `program`: by what operators know the connection there."""
    return {
        "host": settings.host,
        "port": settings.port,
        "user": settings.user,
        "password": settings.password or None,
        "connect_timeout": 5,
        # Else a machine that is gone without a word is noticed after 15 minutes by a call, and after two hours at rest.
        "keepalives_idle": 15,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 30_000,  # milliseconds
        "application_name": f"cloudgrpc {program}",
    }


def _open_postgres(settings: config.Database) -> Database:
    engine = PooledPostgresqlDatabase(
        settings.name,
        **reach(settings, "gateway"),
        max_connections=CONNECTIONS,
        stale_timeout=300,
        timeout=LOCK_WAIT_S,
    )
    DATABASE.initialize(engine)
    rings = SharedBell(lambda: psycopg2.connect(**engine.connect_params, dbname=settings.name))
    lane = Lane("postgres", CONNECTIONS, 1, functools.partial(_run_pooled, engine, rings))
    return Database(engine, lane, lane, rings)


def _run_pooled(engine: PooledPostgresqlDatabase, rings: Bell, calls: list[Call]) -> None:
    for call in calls:
        try:
            result = _with_retries(engine, call)
        except Exception as error:  # noqa: BLE001 - the caller gets it
            _answer(call, None, _tell(error))
        else:
            rings.committed()
            _answer(call, result, None)


def _with_retries(engine: PooledPostgresqlDatabase, call: Call) -> object:
    """A transaction that lost a race or whose connection had died before it reached its commit is run again; one that
    failed in its commit is not, for it may have happened."""
    for tries_left in reversed(range(TRIES)):
        is_committing = False
        try:
            bell.forget()
            engine.connect(reuse_if_open=True)
            with engine.atomic(*([SNAPSHOT] if call.is_read else [])):
                result = call.work()
                is_committing = True
        except (peewee.OperationalError, peewee.InterfaceError) as error:
            engine.manual_close()
            if not tries_left or (is_committing and not _lost_race(error)):
                raise
        except peewee.IntegrityError as error:
            if not tries_left or not _lost_race(error):
                raise
        else:
            engine.close()
            return result
        time.sleep(0.02)
    raise AssertionError("the last try returns or raises")


def _lost_race(error: peewee.PeeweeException) -> bool:
    """Deadlocks, and rows that another transaction made or deleted after this one had looked for them: looking again
    shows them, as if they had come or gone a moment before."""
    return isinstance(
        getattr(error, "orig", None),
        psycopg2.errors.DeadlockDetected
        | psycopg2.errors.SerializationFailure
        | psycopg2.errors.UniqueViolation
        | psycopg2.errors.ForeignKeyViolation,
    )


def _tell(error: Exception) -> Exception:
    """A database that does not work is told in our words; everything else is as it was."""
    is_foreign = isinstance(error, peewee.OperationalError | peewee.InterfaceError | sqlite3.OperationalError)
    if is_foreign or type(error) is peewee.DatabaseError:  # itself: a damaged file; its children: faults of our own
        reason = _first_of(error)
        log.warning("database: %s", reason)
        told = DatabaseUnavailable(reason=reason)
        told.__cause__ = error
        return told
    return error


def _first_of(error: BaseException) -> str:
    """What the database said first: that it could not roll back either says nothing."""
    while isinstance(error.__context__, peewee.PeeweeException | sqlite3.Error | psycopg2.Error):
        error = error.__context__
    return next(iter(str(error).strip().splitlines()), "no reason given")


def _answer(call: Call, result: object, failure: BaseException | None) -> None:
    if failure is None:
        call.future.set_result(result)
    else:
        call.future.set_exception(failure)
