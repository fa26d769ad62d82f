"""What operators steer: named keys, disabled accounts, nodes on their way out, scrubbing, and events in one order."""

from peewee import Database
from playhouse.migrate import SchemaMigrator

STATEMENTS = [
    """CREATE TABLE admin_key (
        name TEXT PRIMARY KEY, role TEXT NOT NULL CHECK (role IN ('view', 'operate')), digest TEXT NOT NULL,
        created_at BIGINT NOT NULL, created_by TEXT NOT NULL, last_used_at BIGINT, revoked_at BIGINT)""",
    "CREATE UNIQUE INDEX admin_key_digest ON admin_key (digest)",
    """CREATE TABLE removed_node (
        instance_id TEXT PRIMARY KEY, node_id TEXT NOT NULL, removed_at BIGINT NOT NULL)""",
    "ALTER TABLE account ADD COLUMN disabled_at BIGINT",
    "ALTER TABLE account ADD COLUMN disabled_reason TEXT NOT NULL DEFAULT ''",
    "CREATE INDEX account_created ON account (created_at, account_id)",
    "CREATE INDEX chunk_census ON chunk (chunk_id, unreferenced_at, length)",
    "CREATE INDEX entry_files ON entry (account_id, modified_at, entry_id) WHERE kind = 'file'",
    "CREATE INDEX payment_completed ON payment (completed_at) WHERE completed_at IS NOT NULL",
    "ALTER TABLE node ADD COLUMN zone TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE node ADD COLUMN read_only_reason TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE node ADD COLUMN metrics_address TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE node ADD COLUMN draining_at BIGINT",
    "ALTER TABLE node ADD COLUMN scrub_after TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE node ADD COLUMN scrub_began_at BIGINT",
    "ALTER TABLE node ADD COLUMN scrubbed_at BIGINT",
    "ALTER TABLE node ADD COLUMN scrub_asked_at BIGINT",
    "ALTER TABLE node ADD COLUMN scrub_bad BIGINT NOT NULL DEFAULT 0",
    "ALTER TABLE cluster ADD COLUMN last_event_number BIGINT NOT NULL DEFAULT 0",
    "ALTER TABLE cluster ADD COLUMN repair_asked_at BIGINT NOT NULL DEFAULT 0",
    "ALTER TABLE cluster ADD COLUMN restored_at BIGINT",
    "ALTER TABLE cluster ADD COLUMN backup_made_at BIGINT",
    "ALTER TABLE event ADD COLUMN number BIGINT",
    "UPDATE event SET number = event_id",
    "UPDATE cluster SET last_event_number = (SELECT COALESCE(MAX(event_id), 0) FROM event)",
    "CREATE UNIQUE INDEX event_number ON event (number)",
    "CREATE INDEX event_unnumbered ON event (event_id) WHERE number IS NULL",
    "CREATE INDEX event_kind ON event (kind, number)",
]


def up(_migrator: SchemaMigrator, db: Database) -> None:
    for statement in STATEMENTS:
        db.execute_sql(statement)  # type: ignore[no-untyped-call]
