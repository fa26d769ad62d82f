"""Payments, and the room that they granted."""

from peewee import Database
from playhouse.migrate import SchemaMigrator

STATEMENTS = [
    """CREATE TABLE payment (
        payment_id TEXT PRIMARY KEY, account_id TEXT NOT NULL, email TEXT NOT NULL,
        tier_id TEXT NOT NULL, tier_name TEXT NOT NULL,
        storage_bytes BIGINT NOT NULL CHECK (storage_bytes > 0),
        price_xaf BIGINT NOT NULL CHECK (price_xaf > 0), amount_xaf BIGINT NOT NULL CHECK (amount_xaf > 0),
        mode TEXT NOT NULL, provider TEXT NOT NULL, phone TEXT NOT NULL, request_id TEXT,
        state TEXT NOT NULL
            CHECK (state IN ('pending', 'processing', 'completed', 'failed', 'cancelled', 'refunded')),
        reference TEXT, ussd_code TEXT NOT NULL DEFAULT '', is_unclear BOOLEAN NOT NULL DEFAULT FALSE,
        reason TEXT NOT NULL DEFAULT '', attention TEXT NOT NULL DEFAULT '',
        looks INTEGER NOT NULL DEFAULT 0, look_at BIGINT,
        created_at BIGINT NOT NULL, completed_at BIGINT, refunded_at BIGINT, refund_reason TEXT NOT NULL DEFAULT '')""",
    """CREATE UNIQUE INDEX payment_open ON payment (account_id, tier_id, mode)
        WHERE state IN ('pending', 'processing')""",
    "CREATE UNIQUE INDEX payment_request ON payment (account_id, request_id)",
    "CREATE UNIQUE INDEX payment_reference ON payment (reference)",
    "CREATE INDEX payment_account ON payment (account_id, created_at, payment_id)",
    "CREATE INDEX payment_created ON payment (created_at, payment_id)",
    "CREATE INDEX payment_email ON payment (email, created_at)",
    "CREATE INDEX payment_look ON payment (look_at) WHERE look_at IS NOT NULL",
    "CREATE INDEX payment_attention ON payment (created_at, payment_id) WHERE attention <> ''",
    """CREATE TABLE storage_grant (
        payment_id TEXT PRIMARY KEY REFERENCES payment (payment_id) ON DELETE RESTRICT,
        account_id TEXT NOT NULL, storage_bytes BIGINT NOT NULL CHECK (storage_bytes > 0),
        granted_at BIGINT NOT NULL, taken_back_at BIGINT)""",
]


def up(_migrator: SchemaMigrator, db: Database) -> None:
    for statement in STATEMENTS:
        db.execute_sql(statement)  # type: ignore[no-untyped-call]
