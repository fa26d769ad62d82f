"""The whole metadata of one moment, written into a file; see core.backup_format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from peewee import BooleanField

from cloudgrpc.core.backup_format import FORMAT, Counts, Header, Heading, Packer
from cloudgrpc.meta import schema
from cloudgrpc.meta.db import is_postgres, now
from cloudgrpc.meta.models import (
    DATABASE,
    Cluster,
    Entry,
    Invite,
    Lease,
    OtpChallenge,
    Pace,
    Proof,
    Session,
    Stray,
    Table,
)
from cloudgrpc.meta.tables import TABLES
from cloudgrpc.meta.tree import below

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

BATCH = 2_000  # rows in memory
# What must not come back: who was signed in or about to be, who might join, and whose turn it was. Strays are found and
# age anew.
LEFT_OUT: frozenset[type[Table]] = frozenset({Pace, Lease, Invite, OtpChallenge, Proof, Session, Stray})
KEPT = [table for table in TABLES if table not in LEFT_OUT]


@dataclass(frozen=True)
class Made:
    made_at: int
    rows: dict[str, int]  # by table
    size_bytes: int  # of the file


def write(file: BinaryIO, program: str) -> Made:
    """One snapshot of all that is kept, in a reader's transaction. `program`: the version that writes.

    Raises: OSError, of the file; what was in it is gone.
    """
    file.seek(0)  # a transaction that lost its connection begins again
    file.truncate()
    packer, counts = Packer(), dict[str, int]()
    header = Header(
        cloudgrpc_backup=FORMAT,
        program=program,
        schema=schema.steps(),
        cluster_id=Cluster.get().cluster_id,
        made_at=now(),
        engine="postgres" if is_postgres() else "sqlite",
    )
    file.write(packer.pack([header]))
    for table in KEPT:
        name, columns = name_of(table), columns_of(table)
        counts[name] = 0
        file.write(packer.pack([Heading(table=name, columns=columns)]))
        for batch in _rows(table):
            counts[name] += len(batch)
            file.write(packer.pack(batch))
    file.write(packer.pack([Counts(rows=counts)]))
    file.write(packer.finish())
    return Made(header.made_at, counts, file.tell())


def name_of(table: type[Table]) -> str:
    return str(table._meta.table_name)  # noqa: SLF001 - how peewee tells it


def columns_of(table: type[Table]) -> list[str]:
    return [str(field.column_name) for field in fields_of(table)]


def fields_of(table: type[Table]) -> list[Any]:
    """In the order in which a query selects them."""
    return list(table._meta.sorted_fields)  # noqa: SLF001 - how peewee tells it


def _rows(table: type[Table]) -> Iterator[list[Any]]:
    """A batch at a time, whatever the table holds."""
    truths = [place for place, field in enumerate(fields_of(table)) if isinstance(field, BooleanField)]
    for batch in _fetched(_query(table)):
        yield [_with_truths(row, truths) for row in batch] if truths and not is_postgres() else batch


def _query(table: type[Table]) -> Any:
    if table is not Entry:
        return table.select()
    # What holds them comes first, so that each finds its folder when they are put in again.
    everything = below(Entry.parent.is_null())
    return (
        Entry.select()
        .join(everything, on=(everything.c.entry_id == Entry.entry_id))
        .order_by(everything.c.step)
        .with_cte(everything)
    )


def _fetched(query: Any) -> Iterator[list[Any]]:
    """PostgreSQL's driver would bring all rows at once, without a cursor at the server."""
    sql, values = query.sql()
    if not is_postgres():
        cursor = DATABASE.execute_sql(sql, values)
        while batch := cursor.fetchmany(BATCH):
            yield batch
        return
    DATABASE.execute_sql(f"DECLARE backup NO SCROLL CURSOR FOR {sql}", values)
    while batch := DATABASE.execute_sql(f"FETCH {BATCH} FROM backup").fetchall():
        yield batch
    DATABASE.execute_sql("CLOSE backup")


def _with_truths(row: tuple[Any, ...], truths: list[int]) -> list[Any]:
    """SQLite has numbers for true and false."""
    told = list(row)
    for place in truths:
        told[place] = bool(told[place])
    return told
