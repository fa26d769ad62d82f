"""The schema's steps: applied once, by one gateway, never by an older one; and the tables are what the models say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import peewee
import pytest

from cloudgrpc.errors import SchemaNewer
from cloudgrpc.meta import schema
from cloudgrpc.meta.models import TABLES, Cluster, Table
from contract.meta_fixture import Meta, opened

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cloudgrpc import config

STEPS = sorted(path.stem for path in schema.STEPS.glob("[0-9]*.py"))
TYPES = {
    peewee.TextField: "text",
    peewee.BigIntegerField: "bigint",
    peewee.IntegerField: "integer",
    peewee.BooleanField: "boolean",
}
NAMES = [table._meta.table_name for table in TABLES]
# Indexes that a model cannot say: unique only among some rows.
PARTLY_UNIQUE = {("entry", ("parent_id", "name_key"))}


@pytest.fixture
def empty(settings: config.Database, tmp_path: Path) -> Iterator[Meta]:
    with opened(settings, tmp_path) as meta:
        yield meta


def test_an_empty_database_gets_every_step_in_order_and_a_ready_one_none(empty: Meta) -> None:
    assert empty.run(schema.migrate) == STEPS
    ready = empty.digest()
    assert empty.run(schema.migrate) == []
    assert empty.digest() == ready


def test_of_gateways_that_start_together_one_applies_each_step(empty: Meta) -> None:
    applied = empty.race([schema.migrate] * 4)
    assert sorted(applied) == [[], [], [], STEPS]
    assert sorted(empty.run(schema.migrate)) == []


def test_gateways_that_start_together_found_one_cluster(empty: Meta) -> None:
    empty.run(schema.migrate)
    founded = empty.race([schema.cluster_id] * 8)
    assert len(set(founded)) == 1
    assert empty.run(Cluster.select().count) == 1
    assert empty.run(schema.cluster_id) == founded[0]


def test_the_schema_of_a_newer_version_is_refused_and_left_untouched(empty: Meta) -> None:
    empty.run(schema.migrate)
    empty.sql("INSERT INTO schema_step (name, applied) VALUES ('9999_from_the_future', '2099-01-01 00:00:00')")
    found = empty.digest()
    with pytest.raises(SchemaNewer, match="9999_from_the_future"):
        empty.run(schema.migrate)
    assert empty.digest() == found


def test_a_step_that_fails_leaves_the_schema_as_it_was(empty: Meta) -> None:
    empty.sql("CREATE TABLE event (something TEXT)")  # in the way of the first step's last table
    found = empty.digest()
    with pytest.raises(Exception, match=r"(?i)exists"):
        empty.run(schema.migrate)
    assert empty.digest() == found


def test_the_tables_are_those_of_the_models(database: Meta) -> None:
    assert set(database.run(database.database.engine.get_tables)) - {"schema_step", "sqlite_sequence"} == set(NAMES)


def test_each_table_has_the_columns_keys_and_indexes_of_its_model(database: Meta) -> None:
    for model in TABLES:
        check_table(database, model)


def check_table(database: Meta, model: type[Table]) -> None:
    engine, name = database.database.engine, model._meta.table_name
    columns = database.run(engine.get_columns, name)
    indexes = [(tuple(one.columns), one.unique) for one in database.run(engine.get_indexes, name)]
    foreign = database.run(engine.get_foreign_keys, name)
    key = tuple(database.run(engine.get_primary_keys, name))
    fields = {field.column_name: field for field in model._meta.sorted_fields}

    assert {column.name for column in columns} == set(fields), name
    for column in columns:
        field = fields[column.name]
        # SQLite lets a text primary key be NULL unless told otherwise; nothing writes one.
        if column.name not in key:
            assert column.null == field.null, (name, column.name)
        assert column.data_type.lower() == type_of(field, database), (name, column.name)

    assert key == key_of(model), name
    assert {(one.column, one.dest_table) for one in foreign} == {
        (field.column_name, field.rel_model._meta.table_name)
        for field in fields.values()
        if isinstance(field, peewee.ForeignKeyField)
    }

    wanted = wanted_indexes(model)
    unique = {one for one, is_unique in indexes if is_unique and one != key}
    assert unique - {columns for table, columns in PARTLY_UNIQUE if table == name} == {
        one for one, is_unique in wanted if is_unique
    }
    prefixes = [one for one, _ in indexes] + [key]
    for one, _ in wanted:
        assert any(index[: len(one)] == one for index in prefixes), f"{name}: no index begins with {one}"
    # Without one, deleting the row it points to reads the whole table.
    for reference in foreign:
        assert any(index[0] == reference.column for index in prefixes), f"{name}.{reference.column}"


def type_of(field: peewee.Field, database: Meta) -> str:
    if isinstance(field, peewee.ForeignKeyField):
        return "text"
    if isinstance(field, peewee.AutoField):
        return "bigint" if database.is_postgres else "integer"
    return TYPES[type(field)]


def key_of(model: type[Table]) -> tuple[str, ...]:
    key = model._meta.primary_key
    if isinstance(key, peewee.CompositeKey):
        return tuple(model._meta.fields[name].column_name for name in key.field_names)
    return (key.column_name,)


def wanted_indexes(model: type[Table]) -> list[tuple[tuple[str, ...], bool]]:
    """As the model says: columns, and whether they are unique together."""
    single = [
        ((field.column_name,), bool(field.unique))
        for field in model._meta.sorted_fields
        if not field.primary_key and (field.index or field.unique)
    ]
    fields = model._meta.fields
    several = [
        (tuple(fields[name].column_name for name in names), is_unique) for names, is_unique in model._meta.indexes
    ]
    return single + several
