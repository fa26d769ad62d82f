"""The schema's numbered steps, applied at start."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from playhouse.migrations import Runner

from cloudgrpc.errors import CopyUnfinished, SchemaNewer
from cloudgrpc.meta.db import is_postgres, now
from cloudgrpc.meta.models import DATABASE, Cluster, new_id

if TYPE_CHECKING:
    import peewee

STEPS = Path(__file__).with_name("migrations")
LOCK = 0x636C6F7564  # any number that all gateways share
COPYING = "database_copy"  # the table that stands in a database while it is filled from another; see meta.copy_target


def migrate(last: str | None = None) -> list[str]:
    """Apply the steps this database lacks, in order, all or up to `last`; returns their names. Gateways that start
    together take turns.

    Raises: SchemaNewer when the database has steps that this version does not know; CopyUnfinished when not all is
    there. Nothing is then changed.
    """
    _check_whole()  # first, since whoever copies keeps the turn to the end
    _take_turns()
    _check_whole()  # again, for who copies may have begun, and was broken off, while this waited
    runner = Runner(DATABASE.obj, directory=str(STEPS), table_name="schema_step")
    unknown = sorted(step.name for step in runner.status() if step.path is None)
    if unknown:
        raise SchemaNewer(steps=", ".join(unknown))
    applied: list[str] = runner.up(last)
    return applied


def _check_whole() -> None:
    """Raises: CopyUnfinished."""
    engine: peewee.Database = DATABASE.obj
    if engine.table_exists(COPYING):
        raise CopyUnfinished


def known_steps() -> list[str]:
    """The names of all that this version has, in order."""
    return sorted(path.stem for path in STEPS.glob("[0-9]*.py"))


def steps() -> list[str]:
    """The names of those that this database has, in order."""
    return sorted(name for (name,) in DATABASE.execute_sql("SELECT name FROM schema_step").fetchall())


def cluster_id() -> str:
    """The cluster this database is about; a new database founds one, also when several gateways open it at once."""
    _take_turns()
    row = Cluster.get_or_none()
    if row is None:
        row = Cluster.create(cluster_id=new_id(), created_at=now())
    return row.cluster_id


def _take_turns() -> None:
    """To the transaction's end. SQLite has one writer at a time anyway."""
    if is_postgres():
        DATABASE.execute_sql("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
