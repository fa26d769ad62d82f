"""The schema's numbered steps, applied at start."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from playhouse.migrations import Runner

from cloudgrpc.errors import SchemaNewer
from cloudgrpc.meta.db import is_postgres, now
from cloudgrpc.meta.models import DATABASE, Cluster, new_id

if TYPE_CHECKING:
    import peewee

STEPS = Path(__file__).with_name("migrations")
LOCK = 0x636C6F7564  # any number that all gateways share


def migrate() -> list[str]:
    """Apply the steps this database lacks, in order; returns their names. Gateways that start together take turns.

    Raises: SchemaNewer when the database has steps that this version does not know; nothing is then changed.
    """
    engine: peewee.Database = DATABASE.obj
    _take_turns()
    runner = Runner(engine, directory=str(STEPS), table_name="schema_step")
    unknown = sorted(step.name for step in runner.status() if step.path is None)
    if unknown:
        raise SchemaNewer(steps=", ".join(unknown))
    applied: list[str] = runner.up()
    return applied


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
