"""A database looked at from beside it: nothing is made, changed or held up, whoever works with it meanwhile."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import psycopg2

from cloudgrpc.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cloudgrpc import config

CONNECT_S = 5
STATEMENT_MS = 5_000
PROGRESS_STEPS = 100_000  # of SQLite's machine between two looks at the clock, some milliseconds
STEPS = "SELECT name FROM schema_step ORDER BY name"
FIGURES = """
SELECT current_setting('server_version_num')::int / 10000,
       current_setting('server_version'),
       extract(epoch FROM clock_timestamp())::float,
       pg_encoding_to_char((SELECT encoding FROM pg_database WHERE datname = current_database())),
       to_regclass('schema_step') IS NOT NULL,
       coalesce(has_schema_privilege(current_schema(), 'CREATE'), false),
       current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,
       (SELECT count(*)::int FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()),
       (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user),
       (SELECT datconnlimit FROM pg_database WHERE datname = current_database()),
       current_setting('fsync') = 'on' AND current_setting('full_page_writes') = 'on'
           AND current_setting('synchronous_commit') <> 'off',
       pg_is_in_recovery()
"""
UNUSABLE = """
SELECT c.relname FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r'
   AND NOT (has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')
            AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE'))
 ORDER BY c.relname
"""


@dataclass(frozen=True)
class SqliteLook:
    """`steps`: of the schema that it has. `faults`: what its quick check found; None: the check took too long."""

    steps: list[str]
    faults: list[str] | None


@dataclass(frozen=True)
class PostgresLook:
    """`clock`: the server's, in seconds since 1970; `asked_at`: ours at the same moment. `room`: connections that may
    be made, `taken`: how many there are. `unusable`: tables that we may not read and write."""

    major: int
    version: str
    clock: float
    asked_at: float
    encoding: str
    steps: list[str]
    may_create: bool
    room: int
    taken: int
    is_durable: bool
    is_standby: bool
    unusable: list[str]


def engine_versions() -> dict[str, str]:
    libpq = psycopg2.__libpq_version__
    return {"SQLite": sqlite3.sqlite_version, "libpq": f"{libpq // 10000}.{libpq % 10000}"}


def sqlite_steps(path: Path) -> list[str]:
    """Raises: DatabaseUnavailable."""
    with _sqlite(path) as line:
        return _sqlite_steps(line)


def look_at_sqlite(path: Path, most_s: float) -> SqliteLook:
    """`most_s`: for its check. Raises: DatabaseUnavailable."""
    with _sqlite(path) as line:
        steps, until = _sqlite_steps(line), time.monotonic() + most_s
        line.set_progress_handler(lambda: time.monotonic() > until, PROGRESS_STEPS)
        try:
            faults = [str(fault) for (fault,) in line.execute("PRAGMA quick_check(5)") if fault != "ok"]
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                raise
            return SqliteLook(steps, None)
        return SqliteLook(steps, faults)


def postgres_steps(settings: config.Database, connect_s: int = CONNECT_S) -> tuple[str, list[str]]:
    """The server's version, and the schema's steps. Raises: DatabaseUnavailable."""
    with _postgres(settings, connect_s) as cursor:
        figures = _one(cursor, FIGURES)
        return str(figures[1]), _all(cursor, STEPS) if figures[4] else []


def look_at_postgres(settings: config.Database) -> PostgresLook:
    """Raises: DatabaseUnavailable."""
    with _postgres(settings, CONNECT_S) as cursor:
        before = time.time()
        major, version, clock, encoding, has_steps, may_create, most, taken, role, base, durable, standby = _one(
            cursor, FIGURES
        )
        return PostgresLook(
            major,
            version,
            clock,
            (before + time.time()) / 2,
            encoding,
            _all(cursor, STEPS) if has_steps else [],
            may_create,
            min(limit for limit in (most, role, base) if limit >= 0),
            taken,
            durable,
            standby,
            _all(cursor, UNUSABLE) if has_steps else [],
        )


@contextlib.contextmanager
def _sqlite(path: Path) -> Iterator[sqlite3.Connection]:
    # A file that nobody has open has no -wal; to read it in the usual manner would make one beside it.
    manner = "mode=ro" if path.with_name(f"{path.name}-wal").exists() else "mode=ro&immutable=1"
    try:
        with contextlib.closing(sqlite3.connect(f"file:{quote(str(path))}?{manner}", uri=True)) as line:
            yield line
    except sqlite3.Error as error:
        raise DatabaseUnavailable(reason=error) from error


def _sqlite_steps(line: sqlite3.Connection) -> list[str]:
    named = line.execute("SELECT 1 FROM sqlite_master WHERE name = 'schema_step'").fetchone()
    return [str(name) for (name,) in line.execute(STEPS)] if named else []


@contextlib.contextmanager
def _postgres(settings: config.Database, connect_s: int) -> Iterator[Any]:
    try:
        line = psycopg2.connect(
            host=settings.host,
            port=settings.port,
            dbname=settings.name,
            user=settings.user,
            password=settings.password or None,
            connect_timeout=connect_s,
            application_name="cloudgrpc doctor",
            options=f"-c statement_timeout={STATEMENT_MS} -c default_transaction_read_only=on",
        )
        with contextlib.closing(line), line.cursor() as cursor:
            yield cursor
    except psycopg2.Error as error:
        words = " ".join(str(error).split()) or "no reason given"
        raise DatabaseUnavailable(reason=words) from error


def _one(cursor: Any, query: str) -> tuple[Any, ...]:
    cursor.execute(query)
    row: tuple[Any, ...] = cursor.fetchone()
    return row


def _all(cursor: Any, query: str) -> list[str]:
    cursor.execute(query)
    return [str(name) for (name,) in cursor.fetchall()]
