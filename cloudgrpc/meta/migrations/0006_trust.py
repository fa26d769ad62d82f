"""What is sealed with which key; who was invited, and who has which certificate."""

from peewee import Database
from playhouse.migrate import SchemaMigrator

STATEMENTS = [
    "ALTER TABLE account ADD COLUMN wrapped_key TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE version ADD COLUMN wrapped_key TEXT NOT NULL DEFAULT ''",
    "CREATE INDEX version_unsealed ON version (version_id) WHERE wrapped_key = ''",
    "ALTER TABLE upload ADD COLUMN wrapped_key TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE chunk ADD COLUMN is_sealed BOOLEAN NOT NULL DEFAULT FALSE",
    "CREATE INDEX chunk_unsealed ON chunk (chunk_id, length) WHERE NOT is_sealed AND unreferenced_at IS NULL",
    "CREATE INDEX upload_unsealed ON upload (upload_id) WHERE wrapped_key = '' AND digest <> ''",
    "ALTER TABLE cluster ADD COLUMN sealing_since_at BIGINT",
    """CREATE TABLE invite (
        digest TEXT PRIMARY KEY, node_id TEXT NOT NULL, created_by TEXT NOT NULL, created_at BIGINT NOT NULL,
        expires_at BIGINT NOT NULL, used_by TEXT NOT NULL DEFAULT '')""",
    """CREATE TABLE certificate (
        serial TEXT PRIMARY KEY, node_id TEXT NOT NULL, authority TEXT NOT NULL, issued_at BIGINT NOT NULL,
        expires_at BIGINT NOT NULL, revoked_at BIGINT)""",
    "CREATE INDEX invite_node ON invite (node_id)",
    "CREATE INDEX invite_expires ON invite (expires_at)",
    "CREATE INDEX certificate_node ON certificate (node_id, issued_at)",
    "CREATE INDEX certificate_expires ON certificate (expires_at)",
    "CREATE INDEX certificate_revoked ON certificate (expires_at) WHERE revoked_at IS NOT NULL",
]


def up(_migrator: SchemaMigrator, db: Database) -> None:
    for statement in STATEMENTS:
        db.execute_sql(statement)  # type: ignore[no-untyped-call]
