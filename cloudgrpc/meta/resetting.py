"""What a database holds in all, and its end: every table of ours goes, in one transaction."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import peewee

from cloudgrpc.errors import DatabaseInUse, DatabaseUnavailable
from cloudgrpc.meta import db, schema
from cloudgrpc.meta.backup import name_of
from cloudgrpc.meta.models import DATABASE
from cloudgrpc.meta.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cloudgrpc import config

OURS = [*(name_of(table) for table in TABLES), "schema_step", schema.COPYING]


@dataclass(frozen=True)
class Holdings:
    accounts: int
    files: int
    file_bytes: int  # of all versions
    payments: int
    live_payments: int  # completed, of real money
    nodes: int
    far_nodes: list[str]  # online on other machines

    @property
    def is_empty(self) -> bool:
        return not (self.accounts or self.files or self.payments or self.nodes)


def holdings() -> Holdings:
    """Of any schema; what a table would tell that is not there counts as nothing."""
    there = set(_there())

    def number(table: str, what: str = "COUNT(*)", where: str = "1 = 1") -> int:
        found = _ask(f"SELECT {what} FROM {table} WHERE {where}")[0][0] if table in there else 0  # noqa: S608
        return int(found)

    online = _ask("SELECT node_id, host FROM node WHERE is_online ORDER BY node_id") if "node" in there else []
    return Holdings(
        accounts=number("account"),
        files=number("entry", where="kind = 'file'"),
        file_bytes=number("version", "COALESCE(SUM(size_bytes), 0)"),
        payments=number("payment"),
        live_payments=number("payment", where="mode = 'production' AND completed_at IS NOT NULL"),
        nodes=number("node"),
        far_nodes=[node_id for node_id, host in online if not _is_here(host)],
    )


@contextmanager
def opened(settings: config.Database, folder: Path) -> Iterator[None]:
    """The database that this process is about meanwhile. Raises: DatabaseUnavailable."""
    engine: peewee.Database
    if settings.host:
        engine = peewee.PostgresqlDatabase(settings.name, **db.reach(settings, "reset-database"))
    else:
        # Foreign keys are not looked at: they would be for every row that goes.
        engine = peewee.SqliteDatabase(str(folder / db.SQLITE_FILE), timeout=db.LOCK_WAIT_S, lock_type="IMMEDIATE")
    DATABASE.initialize(engine)
    try:
        engine.connect()
        yield
    except (peewee.OperationalError, peewee.InterfaceError, peewee.ProgrammingError, peewee.InternalError) as error:
        reason = next(iter(str(error).strip().splitlines()), "no reason given")
        raise DatabaseUnavailable(reason=reason) from error
    finally:
        engine.close()


def reset(database: str) -> None:
    """`database`: in words. Tables that are not ours stay. Raises: DatabaseInUse."""
    with DATABASE.obj.atomic():
        if db.is_postgres():
            # A gateway that starts meanwhile waits for its turn, and then finds an empty database.
            _do(f"SELECT pg_advisory_xact_lock({schema.LOCK})")
        check_unused(database)
        if there := _there():
            together = [", ".join(there)] if db.is_postgres() else there
            for names in together:
                _do(f"DROP TABLE {names}")
    if not db.is_postgres():
        _do("VACUUM")
        _do("PRAGMA wal_checkpoint(TRUNCATE)")


def check_unused(database: str) -> None:
    """By gateways on PostgreSQL; those on SQLite hold their folder. Raises: DatabaseInUse."""
    if not db.is_postgres():
        return
    users = _ask(
        "SELECT application_name, client_addr::text, COUNT(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND backend_type = 'client backend' AND pid <> pg_backend_pid() GROUP BY 1, 2 ORDER BY 1, 2"
    )
    if users:
        words = ", ".join(f"{ascii(name)[1:-1] or 'a program'} on {host or 'this machine'}" for name, host, _ in users)
        raise DatabaseInUse(database=database, user=words)


def _there() -> list[str]:
    engine: peewee.Database = DATABASE.obj
    found: list[str] = engine.get_tables()
    return [name for name in found if name in OURS]


def _is_here(host: str) -> bool:
    return host in {"localhost", "::1"} or host.startswith("127.")


def _ask(sql: str) -> list[Any]:
    return list(DATABASE.execute_sql(sql).fetchall())


def _do(sql: str) -> None:
    DATABASE.execute_sql(sql)
