"""The schema's steps: applied once, by one gateway, never by an older one; and the tables are what the models say."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import peewee
import pytest
from playhouse.migrations import Runner

from cloudgrpc.errors import NameTaken, SchemaNewer
from cloudgrpc.meta import files, schema, trash
from cloudgrpc.meta.accounts import Caller
from cloudgrpc.meta.models import Cluster, Table
from cloudgrpc.meta.tables import TABLES
from cloudgrpc.meta.trash import Place
from contract.meta_fixture import LIMITS, Meta, opened

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
PARTLY_UNIQUE = {("entry", ("parent_id", "name_key")), ("payment", ("account_id", "tier_id", "mode"))}


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


TREE_BEFORE_0003 = """
    INSERT INTO account (account_id, email, full_name, quota_bytes, used_bytes, root_id, created_at)
        VALUES ('me', 'me@example.org', 'Me', 100, 60, 'root', 1);
    INSERT INTO entry (entry_id, account_id, parent_id, kind, name, name_key, version_id, created_at, modified_at,
        trashed_at) VALUES
        ('root', 'me', NULL, 'folder', '', '', NULL, 1, 1, NULL),
        ('kept', 'me', 'root', 'folder', 'kept', 'kept', NULL, 1, 1, NULL),
        ('was-in-kept', 'me', 'kept', 'file', 'a', 'a', 'v1', 1, 1, 50),
        ('is-in-kept', 'me', 'kept', 'file', 'a', 'a', 'v2', 1, 1, NULL),
        ('outer', 'me', 'kept', 'folder', 'outer', 'outer', NULL, 1, 1, 80),
        ('inner', 'me', 'outer', 'folder', 'inner', 'inner', NULL, 1, 1, 80),
        ('deep', 'me', 'inner', 'file', 'deep', 'deep', 'v3', 1, 1, 80),
        ('earlier', 'me', 'inner', 'file', 'deep', 'deep', 'v4', 1, 1, 60),
        ('earlier-folder', 'me', 'inner', 'folder', 'sub', 'sub', NULL, 1, 1, 70),
        ('in-earlier-folder', 'me', 'earlier-folder', 'file', 'x', 'x', 'v5', 1, 1, 70),
        ('before-all', 'me', 'earlier-folder', 'file', 'y', 'y', 'v6', 1, 1, 40);
    INSERT INTO version (version_id, entry_id, number, size_bytes, digest, mime_type, created_at) VALUES
        ('v1', 'was-in-kept', 1, 10, 'd', 'm', 1), ('v2', 'is-in-kept', 1, 10, 'd', 'm', 1),
        ('v3', 'deep', 1, 10, 'd', 'm', 1), ('v4', 'earlier', 1, 10, 'd', 'm', 1),
        ('v5', 'in-earlier-folder', 1, 10, 'd', 'm', 1), ('v6', 'before-all', 1, 10, 'd', 'm', 1);
    INSERT INTO upload (upload_id, account_id, parent_id, name, mime_type, size_bytes, request_id, state,
        lease_until_at, created_at) VALUES ('up', 'me', 'root', 'a', 'm', 1, 'r', 'committed', 9, 1);
"""


def test_trash_of_before_becomes_trees_that_can_be_restored(empty: Meta, tmp_path: Path) -> None:
    migrate_to(empty, tmp_path, "0002_accounts")
    for statement in TREE_BEFORE_0003.split(";")[:-1]:
        empty.sql(statement)
    after = ["0003_drive", "0004_payments", "0005_operators", "0006_trust", "0007_master_key"]
    assert empty.run(schema.migrate) == after
    trashed = "SELECT entry_id, parent_id, trashed_at, trashed_from_id, trashed_path FROM entry WHERE trashed_at > 0"
    assert sorted(empty.rows(trashed)) == [
        ("before-all", None, 40, "earlier-folder", "/kept/outer/inner/sub"),
        ("earlier", None, 60, "inner", "/kept/outer/inner"),
        ("earlier-folder", None, 70, "inner", "/kept/outer/inner"),
        ("outer", None, 80, "kept", "/kept"),
        ("was-in-kept", None, 50, "kept", "/kept"),
    ]
    assert empty.rows("SELECT actor_id FROM upload") == [("me",)]

    me = Caller("me", "me@example.org", "Me", "root", 1, "s", 1, None)
    assert empty.counted("me") == (60, 0)
    tops, _ = empty.read(trash.page, me, None, 10)
    assert [(one.entry_id, one.path) for one in tops] == [
        ("outer", "/kept/outer"),
        ("earlier-folder", "/kept/outer/inner/sub"),
        ("earlier", "/kept/outer/inner/deep"),
        ("was-in-kept", "/kept/a"),
        ("before-all", "/kept/outer/inner/sub/y"),
    ]
    assert empty.run(trash.restore, me, "outer", Place(None), LIMITS) == "/kept/outer"
    assert empty.read(files.resolve, me, "", ["kept", "outer", "inner", "deep"]).reached.entry_id == "deep"
    with pytest.raises(NameTaken):
        empty.run(trash.restore, me, "earlier", Place(None), LIMITS)
    assert empty.run(trash.restore, me, "earlier-folder", Place(None), LIMITS) == "/kept/outer/inner/sub"
    assert empty.run(trash.restore, me, "before-all", Place(None), LIMITS) == "/kept/outer/inner/sub/y"
    assert empty.run(trash.restore, me, "was-in-kept", Place(None, make_room=True), LIMITS) == "/kept/a (2)"


def migrate_to(empty: Meta, folder: Path, last: str) -> None:
    """The schema as a version of before left it."""
    steps = folder / "steps"
    steps.mkdir()
    for path in schema.STEPS.glob("[0-9]*.py"):
        if path.stem <= last:
            shutil.copy(path, steps)
    empty.run(lambda: Runner(empty.database.engine, directory=str(steps), table_name="schema_step").up())


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
