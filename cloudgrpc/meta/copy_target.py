"""An empty PostgreSQL database that is filled from SQLite: prepared, filled by batches, and made ready at the end.

    nothing --begin--> tables without indexes and foreign keys, `database_copy` --fill--> rows --finish--> a database

Each step is one transaction, and the table `database_copy` knows which were done, so that whoever comes after a crash
goes on. It goes with the last step; while it stands, no gateway starts on the database.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import peewee
import psycopg2
import psycopg2.errors

from cloudgrpc.errors import DatabaseInUse, DatabaseNotEmpty, DatabaseUnavailable, DatabaseUnfit, RowNotCopied
from cloudgrpc.meta import bulk, db, schema
from cloudgrpc.meta.models import DATABASE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloudgrpc import config
    from cloudgrpc.meta.sqlite_source import Heading, Row, Source

BATCH = 10_000  # rows in memory
TURN_WAIT = "15s"  # a connection that a killed command left ends meanwhile
SOURCE, TABLE, LATER = "source", "table", "later"  # what a row of `database_copy` is about
# Of anybody, but not of an extension, in any schema of people.
EVERYTHING = """
    SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname <> 'information_schema' AND left(n.nspname, 3) <> 'pg_'
    AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                    AND d.deptype = 'e')
    ORDER BY c.relname"""
# Those of a constraint stay: they find rows that come twice.
INDEXES = """
    SELECT format('%%I', c.relname), pg_get_indexdef(c.oid) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    JOIN pg_class t ON t.oid = i.indrelid WHERE t.relname = ANY(%s) AND t.relnamespace = current_schema()::regnamespace
    AND NOT EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conindid = c.oid AND k.contype <> 'f')
    ORDER BY c.relname"""
FOREIGN_KEYS = """
    SELECT format('%%I', t.relname), format('%%I', k.conname), pg_get_constraintdef(k.oid) FROM pg_constraint k
    JOIN pg_class t ON t.oid = k.conrelid
    WHERE k.contype = 'f' AND t.relname = ANY(%s) AND t.relnamespace = current_schema()::regnamespace
    ORDER BY k.conname"""


@dataclass(frozen=True)
class Begun:
    is_new: bool
    rows: dict[str, int]  # copied before, by table


@contextmanager
def opened(settings: config.Database) -> Iterator[None]:
    """The database that this process is about meanwhile, held against other copies and gateways that start.

    Raises: DatabaseInUse, DatabaseUnavailable.
    """
    engine = peewee.PostgresqlDatabase(settings.name, **db.reach(settings, "migrate-database"))
    DATABASE.initialize(engine)
    try:
        with told():
            engine.connect()
            _do(f"SET lock_timeout = '{TURN_WAIT}'")
            try:
                _ask("SELECT pg_advisory_lock(%s)", schema.LOCK)
            except peewee.OperationalError as error:
                if not isinstance(getattr(error, "orig", None), psycopg2.errors.LockNotAvailable):
                    raise
                user = "another copy, or a gateway that starts"
                raise DatabaseInUse(database=f"PostgreSQL {settings.name}", user=user) from error
            yield
    finally:
        engine.close()


def begin(source: Source, place: str, *, anew: bool) -> Begun:
    """Prepare an empty database, or go on with what was broken off. `place`: the database in words. `anew`: what was
    copied before goes; so it does when the source is no longer what it was then.

    Raises: DatabaseNotEmpty, DatabaseUnfit, SchemaNewer.
    """
    with told(), DATABASE.obj.atomic():
        _check_encoding(place)
        if DATABASE.obj.table_exists(schema.COPYING):
            before = _ask(f"SELECT words FROM {schema.COPYING} WHERE kind = %s", SOURCE)[0][0]  # noqa: S608 - our own tables
            if not before.startswith(source.cluster_id):
                raise DatabaseNotEmpty(database=place, what="an unfinished copy of another drive")
            if before == source.state and not anew:
                return Begun(is_new=False, rows=_done())
            _drop_all()
        elif found := _ask(EVERYTHING):
            raise DatabaseNotEmpty(database=place, what=_what([name for (name,) in found], source))
        _prepare(source, place)
        return Begun(is_new=True, rows=_done())


def fill(source: Source, heading: Heading) -> int:
    """Copy the table's next rows; returns how many came, 0 at the end. Raises: RowNotCopied."""
    with told(), DATABASE.obj.atomic():
        ((rowid,),) = _ask(f"SELECT rowid FROM {schema.COPYING} WHERE kind = %s AND words = %s", TABLE, heading.table)  # noqa: S608 - our own tables
        rows, last = source.after(heading, rowid, BATCH)
        if rows:
            _copy_in(heading, rows)
            _do(
                f"UPDATE {schema.COPYING} SET rowid = %s, rows = rows + %s WHERE kind = %s AND words = %s",  # noqa: S608 - our own tables
                *(last, len(rows), TABLE, heading.table),
            )
    return len(rows)


def finish(source: Source) -> None:
    """Indexes, foreign keys and sequences; from then on it is a database like others. Raises: DatabaseUnfit."""
    with told(), DATABASE.obj.atomic():
        for (statement,) in _ask(f"SELECT words FROM {schema.COPYING} WHERE kind = %s ORDER BY rowid", LATER):  # noqa: S608 - our own tables
            try:
                _do(statement)
            except peewee.IntegrityError as error:
                # Rows that SQLite has, but would not have taken.
                reason = f"its rows do not fit together: {_first_line(error)}"
                raise DatabaseUnfit(database="SQLite", reason=reason) from error
        for heading in source.headings:
            _set_sequences(heading)
        _do(f"DROP TABLE {schema.COPYING}")
    with told():
        for heading in source.headings:  # what it has counted, it plans by
            _do(f"ANALYZE {heading.table}")


def in_order(heading: Heading, batch: int) -> Iterator[list[Row]]:
    """All rows by their key, texts by their bytes; a batch at a time, within a transaction."""
    texts = {name for name, is_text in _columns(heading.table) if is_text}
    key = ", ".join(f'{column} COLLATE "C"' if column in texts else column for column in heading.key)
    query = f"SELECT {', '.join(heading.columns)} FROM {heading.table} ORDER BY {key}"  # noqa: S608 - our own tables
    _do(f"DECLARE compared NO SCROLL CURSOR FOR {query}")
    while rows := _ask(f"FETCH {batch} FROM compared"):
        yield rows
    _do("CLOSE compared")


@contextmanager
def told() -> Iterator[None]:
    """PostgreSQL's refusals in our words. Raises: DatabaseUnavailable, DatabaseUnfit."""
    try:
        yield
    except (peewee.OperationalError, peewee.InterfaceError) as error:
        raise DatabaseUnavailable(reason=_first_line(error)) from error
    except (peewee.ProgrammingError, peewee.InternalError) as error:  # such as: permission denied; in a read-only one
        raise DatabaseUnfit(database=f"PostgreSQL {DATABASE.obj.database}", reason=_first_line(error)) from error


def _check_encoding(place: str) -> None:
    ((encoding,),) = _ask("SHOW server_encoding")
    if encoding != "UTF8":
        raise DatabaseUnfit(database=place, reason=f"its encoding is {encoding}, not UTF8")


def _what(tables: list[str], source: Source) -> str:
    if not {"cluster", "account", "node", "entry"} <= set(tables):
        shown = ", ".join(ascii(name)[1:-1] for name in tables[:4])
        return f"the tables {shown}" + (f" and {len(tables) - 4} more" if len(tables) > 4 else "")
    clusters = [found for (found,) in _ask("SELECT cluster_id FROM cluster")]
    counts = [_ask(f"SELECT COUNT(*) FROM {name}")[0][0] for name in ("account", "node", "entry")]  # noqa: S608
    drive = "this drive, copied before," if clusters == [source.cluster_id] else "a drive"
    return f"{drive} with {counts[0]:,} accounts, {counts[1]:,} nodes and {counts[2]:,} files and folders"


def _prepare(source: Source, place: str) -> None:
    schema.migrate(source.steps[-1])
    for heading in source.headings:
        if {name for name, _ in _columns(heading.table)} != set(heading.columns) or not heading.key:
            raise DatabaseUnfit(database=place, reason=f"SQLite's table {heading.table} is not one of this version")
    tables = [heading.table for heading in source.headings]
    _do(
        f"CREATE TABLE {schema.COPYING} (kind TEXT NOT NULL, words TEXT NOT NULL, rowid BIGINT NOT NULL DEFAULT 0,"
        " rows BIGINT NOT NULL DEFAULT 0)"
    )
    later = []
    for name, statement in _ask(INDEXES, tables):
        _do(f"DROP INDEX {name}")
        later.append(statement)
    for table, name, definition in _ask(FOREIGN_KEYS, tables):
        _do(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
        later.append(f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}")
    # Not even a signed-in person's row may come twice: what the steps themselves put in goes.
    _do(f"TRUNCATE {', '.join(tables)}")
    plan = [(SOURCE, source.state, 0), *((TABLE, table, 0) for table in tables)]
    plan += [(LATER, statement, place) for place, statement in enumerate(later)]
    for row in plan:
        _do(f"INSERT INTO {schema.COPYING} (kind, words, rowid) VALUES (%s, %s, %s)", *row)  # noqa: S608 - our own tables


def _drop_all() -> None:
    """What a copy before made."""
    tables = [words for (words,) in _ask(f"SELECT words FROM {schema.COPYING} WHERE kind = %s", TABLE)]  # noqa: S608 - our own tables
    _do(f"DROP TABLE {', '.join([*tables, 'schema_step', schema.COPYING])}")


def _done() -> dict[str, int]:
    return dict(_ask(f"SELECT words, rows FROM {schema.COPYING} WHERE kind = %s", TABLE))  # noqa: S608 - our own tables


def _copy_in(heading: Heading, rows: list[Row]) -> None:
    try:
        with peewee.__exception_wrapper__:  # type: ignore[attr-defined] # past peewee, as in restoring
            bulk.copy_in(DATABASE.obj.cursor(), f"{heading.table} ({', '.join(heading.columns)})", rows)
    except (peewee.DataError, peewee.IntegrityError) as error:
        # SQLite takes what PostgreSQL does not: a NUL in a text, a number too large for its column.
        told_by = getattr(error, "orig", None)
        line = re.search(r"line (\d+)", told_by.diag.context or "") if isinstance(told_by, psycopg2.Error) else None
        key = key_words(heading, rows[int(line[1]) - 1]) if line else "unknown"
        raise RowNotCopied(table=heading.table, key=key, reason=_first_line(error)) from error


def key_words(heading: Heading, row: Row) -> str:
    """Which row it is; ids and names, never a secret."""
    return ", ".join(ascii(value)[:80] for value in heading.key_of(row))


def _first_line(error: peewee.PeeweeException) -> str:
    return next(iter(str(error).strip().splitlines()), "no reason given")


def _columns(table: str) -> list[tuple[str, bool]]:
    """Names, and whether they hold text."""
    return _ask(
        "SELECT column_name, data_type = 'text' FROM information_schema.columns WHERE table_name = %s"
        " AND table_schema = current_schema() ORDER BY ordinal_position",
        table,
    )


def _set_sequences(heading: Heading) -> None:
    for column, _ in _columns(heading.table):
        ((sequence,),) = _ask("SELECT pg_get_serial_sequence(%s, %s)", heading.table, column)
        if sequence:
            _do(
                f"SELECT setval(%s, COALESCE(MAX({column}), 1), MAX({column}) IS NOT NULL)"  # noqa: S608 - our own tables
                f" FROM {heading.table}",
                sequence,
            )


def _ask(sql: str, *values: Any) -> list[Any]:
    return list(DATABASE.execute_sql(sql, values or None).fetchall())


def _do(sql: str, *values: Any) -> None:
    DATABASE.execute_sql(sql, values or None)
