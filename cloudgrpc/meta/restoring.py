"""Putting a backup into an empty database, in one transaction: all of it, or nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import peewee
from peewee import SQL, fn
from psycopg2.extras import execute_values

from cloudgrpc.core.backup_format import SEAL_BYTES, Header, Part, read
from cloudgrpc.core.payment_states import State
from cloudgrpc.errors import BackupUnreadable, GatewayNotEmpty
from cloudgrpc.meta import bulk, events, schema, sealing, standing, uploads
from cloudgrpc.meta.backup import KEPT, columns_of, name_of
from cloudgrpc.meta.db import is_postgres, now, rows
from cloudgrpc.meta.models import (
    DATABASE,
    Account,
    AdminKey,
    Chunk,
    Cluster,
    Copy,
    Event,
    Node,
    RemovedNode,
    Table,
    Upload,
)
from cloudgrpc.meta.payment_models import Payment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

PIECE_BYTES = 1 << 20
# Who followed the events before the loss holds a number behind the backup's last.
NUMBERS_PASSED_OVER = 1_000_000
UNFIT = (peewee.IntegrityError, peewee.DataError, peewee.ProgrammingError, OverflowError, ValueError)
MAY_STAND: frozenset[type[Table]] = frozenset({AdminKey, RemovedNode})  # made at this gateway before


@dataclass(frozen=True)
class Restored:
    cluster_id: str
    made_at: int  # the backup
    rows: dict[str, int]  # by table


def check_empty() -> None:
    """Raises: GatewayNotEmpty."""
    for table, what in ((Account, "accounts"), (Node, "nodes"), (Payment, "payments")):
        if table.select().exists():
            raise GatewayNotEmpty(what=what)


def restore(file: BinaryIO, operator: str) -> Restored:
    """`file`: a whole backup, whose seal was checked. `operator`: who does it.

    Raises: GatewayNotEmpty, BackupUnreadable, MasterKeyMissing (the files that the backup tells of could not be read).
    """
    _hold_all()
    check_empty()
    own_keys = [name for (name,) in rows(AdminKey.select(AdminKey.name))]
    for table in (Event, Cluster):  # of the fresh start
        table.delete().execute()
    try:
        header, counts = _put_all(file)
    except UNFIT as error:
        reason = str(error).strip().splitlines()[0]
        raise BackupUnreadable(reason=f"its rows do not fit together: {reason}") from error
    sealing.check_master_keys()
    _tell_engine()
    cluster_id = _begin_anew(header, own_keys)
    events.record(
        "cluster.restored",
        f"the metadata of {header.cluster_id} was restored from a backup",
        by=events.OPERATOR,
        operator=operator,
        backup_made_at=header.made_at,
        rows=counts,
    )
    return Restored(cluster_id, header.made_at, counts)


def _hold_all() -> None:
    """Against other gateways on this database, to the end. SQLite has one writer at a time anyway."""
    if is_postgres():
        # Whoever would lock the cluster's row waits before looking for it, or would find that it has gone.
        DATABASE.execute_sql(f"LOCK TABLE {name_of(Cluster)} IN EXCLUSIVE MODE")
        names = ", ".join(name_of(table) for table in KEPT)
        DATABASE.execute_sql(f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE")


def _put_all(file: BinaryIO) -> tuple[Header, dict[str, int]]:
    header, counts = None, {name_of(table): 0 for table in KEPT}
    for part in read(_pieces(file)):
        if isinstance(part, Header):
            header = part
            _check_schema(header)
        else:
            _put(part)
            counts[part.heading.table] += len(part.rows)
    if header is None or counts[name_of(Cluster)] != 1:
        raise BackupUnreadable(reason="it does not say of which cluster it is")
    return header, counts


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    """Of all but the seal."""
    left = file.seek(0, 2) - SEAL_BYTES
    file.seek(0)
    while left > 0 and (piece := file.read(min(left, PIECE_BYTES))):
        left -= len(piece)
        yield piece


def _check_schema(header: Header) -> None:
    """One of an older schema has fewer columns, and those it lacks have defaults. Raises: BackupUnreadable."""
    unknown = sorted(set(header.schema) - set(schema.steps()))
    if unknown:
        raise BackupUnreadable(
            reason=f"it was made by CloudGrpc {header.program}, which is newer (schema step {', '.join(unknown)})"
        )


def _put(part: Part) -> None:
    known = {name_of(table): table for table in KEPT}
    table, columns = known.get(part.heading.table), part.heading.columns
    if table is None or not columns or not set(columns) <= set(columns_of(table)) or len({*columns}) < len(columns):
        raise BackupUnreadable(reason=f"its table {part.heading.table[:40]!r} is not known here")
    told = f"{name_of(table)} ({', '.join(columns)})"
    with peewee.__exception_wrapper__:  # type: ignore[attr-defined] # past peewee, which takes several times as long for many rows
        _insert(told, part.rows, may_stand=table in MAY_STAND)


def _insert(into: str, lines: list[list[Any]], *, may_stand: bool) -> None:
    """`into`: a table and its columns. `may_stand`: what stands there already stays as it is."""
    cursor, passed = DATABASE.obj.cursor(), " ON CONFLICT DO NOTHING" if may_stand else ""
    if not is_postgres():
        places = ", ".join("?" * len(lines[0]))
        cursor.executemany(f"INSERT INTO {into} VALUES ({places}){passed}", lines)  # noqa: S608 - our own tables
    elif may_stand:
        execute_values(cursor, f"INSERT INTO {into} VALUES %s{passed}", lines)  # noqa: S608 - our own tables
    else:
        bulk.copy_in(cursor, into, lines)


def _begin_anew(header: Header, own_keys: list[str]) -> str:
    """What the backup's moment says and is true no more. Returns the id of the cluster that this database is now."""
    moment = now()
    Cluster.update(
        restored_at=moment,
        backup_made_at=header.made_at,
        repair_asked_at=0,
        master_key_id="",  # keys may have been changed since: whoever is here begins anew
        digest_key_id="",
        last_event_number=Cluster.last_event_number + NUMBERS_PASSED_OVER,
    ).execute()
    Node.update(is_online=False, offline_since_at=moment, inventory_at=None).execute()
    # A key that was revoked since would open again.
    AdminKey.update(revoked_at=moment).where(AdminKey.revoked_at.is_null() & AdminKey.name.not_in(own_keys)).execute()
    # They may have gone since, and have been made again where others were lost: they are read before they count.
    needed = Chunk.select(SQL("1")).where((Chunk.chunk_id == Copy.chunk) & Chunk.unreferenced_at.is_null())
    Copy.update(state="bad").where((Copy.state == "doomed") & fn.EXISTS(needed)).execute()
    for (upload_id,) in rows(Upload.select(Upload.upload_id).where(Upload.state == "open")):
        uploads.abandon(upload_id)
    # It may have been sent to Campay since.
    Payment.update(state=State.PROCESSING, is_unclear=True).where(Payment.state == State.PENDING).execute()
    Payment.update(looks=0, look_at=moment).where(standing.doubtful(header.made_at)).execute()
    return str(Cluster.get().cluster_id)


def _tell_engine() -> None:
    """PostgreSQL numbers events by a sequence of its own, and plans by what it has counted."""
    if not is_postgres():
        return
    last: Any = Event.select(fn.COALESCE(fn.MAX(Event.event_id), 0)).scalar()
    DATABASE.execute_sql("SELECT setval(pg_get_serial_sequence('event', 'event_id'), %s, true)", (max(int(last), 1),))
    DATABASE.execute_sql(f"ANALYZE {', '.join(name_of(table) for table in KEPT)}")
