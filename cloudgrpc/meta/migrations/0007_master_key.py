"""Which master key all gateways must have, and with which key they digest codes and session tokens."""

from peewee import Database
from playhouse.migrate import SchemaMigrator

STATEMENTS = [
    "ALTER TABLE cluster ADD COLUMN master_key_id TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE cluster ADD COLUMN digest_key_id TEXT NOT NULL DEFAULT ''",
]


def up(_migrator: SchemaMigrator, db: Database) -> None:
    for statement in STATEMENTS:
        db.execute_sql(statement)  # type: ignore[no-untyped-call]
