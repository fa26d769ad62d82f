"""What the tests of meta share: the metadata on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from cloudgrpc import config
from cloudgrpc.meta import schema, sealing
from cloudgrpc.meta.db import SQLITE_FILE
from cloudgrpc.meta.models import DATABASE
from cloudgrpc.meta.tables import TABLES
from contract.meta_fixture import MASTER_KEYS, Meta, fresh_meta, opened, settings_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from postgres import Postgres


@pytest.fixture(autouse=True)
def keyring() -> Iterator[None]:
    """Contents are sealed, as they are unless a cluster is told otherwise."""
    sealing.bind(lambda: MASTER_KEYS)
    yield
    sealing.bind(None)


@pytest.fixture
def unsealed(keyring: None) -> None:
    """New contents stay plain, and chunks as long as what is in them."""
    sealing.bind(None)


@pytest.fixture(params=["sqlite", "postgres"])
def settings(request: pytest.FixtureRequest) -> config.Database:
    """An empty database of the test's own, on each engine."""
    if request.param == "sqlite":
        return config.Database()
    return settings_of(request.getfixturevalue("postgres_database"))


@pytest.fixture(scope="session")
def postgres_meta(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Meta]:
    """One open database for many tests: emptied, not made anew, since that takes ten times as long."""
    with fresh_meta(postgres, tmp_path_factory) as meta:
        yield meta


@pytest.fixture(scope="session")
def sqlite_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the schema and nothing in it, to be copied."""
    folder = tmp_path_factory.mktemp("schema")
    with opened(config.Database(), folder) as meta:
        meta.run(schema.migrate)
        meta.run(schema.cluster_id)
    return folder / SQLITE_FILE


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Meta]:
    """The metadata with its schema and nothing in it, on each engine."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_file"), tmp_path)
        with opened(config.Database(), tmp_path) as meta:
            yield meta
        return
    meta = request.getfixturevalue("postgres_meta")
    DATABASE.initialize(meta.database.engine)  # another test may have opened another since
    # Faster than TRUNCATE, which makes new files, and without looking for rows that point to those that go.
    empty = [f"DELETE FROM {table._meta.table_name}" for table in TABLES]
    meta.sql("; ".join(["SET LOCAL session_replication_role = replica", *empty]))
    meta.run(schema.cluster_id)
    yield meta
