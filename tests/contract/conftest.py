"""What the tests of meta share: the metadata on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cloudgrpc import config
from cloudgrpc.meta import schema
from cloudgrpc.meta.models import TABLES
from contract.meta_fixture import Meta, opened, settings_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from postgres import Database, Postgres


@pytest.fixture(params=["sqlite", "postgres"])
def settings(request: pytest.FixtureRequest) -> config.Database:
    """An empty database of the test's own, on each engine."""
    if request.param == "sqlite":
        return config.Database()
    return settings_of(request.getfixturevalue("postgres_database"))


@pytest.fixture(scope="session")
def migrated_postgres(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """One database for many tests: emptied, not made anew, since that takes ten times as long."""
    database = postgres.fresh_database()
    with opened(settings_of(database), tmp_path_factory.mktemp("unused")) as meta:
        meta.run(schema.migrate)
    yield database
    postgres.drop(database)


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Meta]:
    """The metadata with its schema and nothing in it, on each engine."""
    if request.param == "sqlite":
        with opened(config.Database(), tmp_path) as meta:
            meta.run(schema.migrate)
            meta.run(schema.cluster_id)
            yield meta
        return
    migrated = request.getfixturevalue("migrated_postgres")
    with opened(settings_of(migrated), tmp_path) as meta:
        # Faster than TRUNCATE, which makes new files; last table first, since each points to those before it.
        meta.sql("; ".join(f"DELETE FROM {table._meta.table_name}" for table in reversed(TABLES)))
        meta.run(schema.cluster_id)
        yield meta
