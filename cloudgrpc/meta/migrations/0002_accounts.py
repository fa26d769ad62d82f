"""Accounts that close, sessions that tell where they are used, and how often things were done."""

from peewee import Database
from playhouse.migrate import SchemaMigrator

STATEMENTS = [
    "ALTER TABLE account ADD COLUMN closes_at BIGINT",
    "CREATE INDEX account_closes_at ON account (closes_at) WHERE closes_at IS NOT NULL",
    "ALTER TABLE session ADD COLUMN last_used_at BIGINT NOT NULL DEFAULT 0",
    "ALTER TABLE session ADD COLUMN client TEXT NOT NULL DEFAULT ''",
    "UPDATE session SET last_used_at = created_at",
    "CREATE TABLE pace (name TEXT PRIMARY KEY, due_at BIGINT NOT NULL)",
    "CREATE INDEX pace_due_at ON pace (due_at)",
]


def up(_migrator: SchemaMigrator, db: Database) -> None:
    for statement in STATEMENTS:
        db.execute_sql(statement)  # type: ignore[no-untyped-call]
