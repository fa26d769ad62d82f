"""Trash as trees of their own, shares, uploads that go on, and who did what.

Until now deleting a folder marked everything below it. From now on what is deleted is taken out of its folder, alone,
and what it holds stays below it.
"""

from peewee import Database, SqliteDatabase
from playhouse.migrate import SchemaMigrator

STATEMENTS = [
    "ALTER TABLE entry ADD COLUMN trashed_from_id TEXT",
    "ALTER TABLE entry ADD COLUMN trashed_path TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE entry ADD COLUMN purged_at BIGINT",
    "CREATE INDEX entry_trash ON entry (account_id, trashed_at, entry_id) WHERE trashed_at IS NOT NULL",
    "CREATE INDEX entry_trash_age ON entry (trashed_at) WHERE trashed_at IS NOT NULL",
    """CREATE INDEX entry_trashed_from ON entry (trashed_from_id, kind, name_key, entry_id)
        WHERE trashed_from_id IS NOT NULL""",
    "CREATE INDEX entry_purged ON entry (purged_at, entry_id) WHERE purged_at IS NOT NULL",
    "DROP INDEX entry_account",
    "CREATE INDEX entry_account ON entry (account_id, entry_id)",
    "ALTER TABLE version ADD COLUMN made_by TEXT NOT NULL DEFAULT ''",
    """CREATE TABLE share (
        share_id TEXT PRIMARY KEY,
        entry_id TEXT NOT NULL REFERENCES entry (entry_id) ON DELETE CASCADE,
        account_id TEXT NOT NULL REFERENCES account (account_id) ON DELETE CASCADE,
        email TEXT NOT NULL, permission TEXT NOT NULL CHECK (permission IN ('read', 'write')),
        created_at BIGINT NOT NULL, until_at BIGINT)""",
    "CREATE UNIQUE INDEX share_entry ON share (entry_id, email)",
    "CREATE INDEX share_email ON share (email, created_at, share_id)",
    "CREATE INDEX share_account ON share (account_id, created_at, share_id)",
    "CREATE INDEX share_until ON share (until_at) WHERE until_at IS NOT NULL",
    "ALTER TABLE upload ADD COLUMN actor_id TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE upload ADD COLUMN is_resumable BOOLEAN NOT NULL DEFAULT FALSE",
    "ALTER TABLE upload ADD COLUMN fingerprint TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE upload ADD COLUMN expected_version INTEGER",
    "ALTER TABLE upload ADD COLUMN version INTEGER NOT NULL DEFAULT 0",
    "UPDATE upload SET actor_id = account_id",
    "DROP INDEX upload_request",
    "CREATE UNIQUE INDEX upload_request ON upload (actor_id, request_id)",
    "CREATE INDEX upload_account ON upload (account_id)",
    "CREATE INDEX upload_actor ON upload (actor_id, upload_id) WHERE state = 'open' AND is_resumable",
    "ALTER TABLE event ADD COLUMN actor_id TEXT NOT NULL DEFAULT ''",
    "CREATE INDEX event_account ON event (account_id, event_id)",
    "CREATE INDEX event_actor ON event (actor_id, event_id) WHERE actor_id <> ''",
]
# Names are listed and cut into pages by their bytes, as SQLite does it, whatever the database's language.
POSTGRES_STATEMENTS = ['ALTER TABLE entry ALTER COLUMN name_key TYPE TEXT COLLATE "C"']
TRASHED = "SELECT entry_id, parent_id, trashed_at FROM entry WHERE trashed_at IS NOT NULL AND parent_id IS NOT NULL"


def up(_migrator: SchemaMigrator, db: Database) -> None:
    for statement in STATEMENTS if isinstance(db, SqliteDatabase) else STATEMENTS + POSTGRES_STATEMENTS:
        db.execute_sql(statement)  # type: ignore[no-untyped-call]
    _take_trash_out(db)


def _take_trash_out(db: Database) -> None:
    """What was deleted together, in one moment, stays together below the one that was named."""
    trashed = {row[0]: (row[1], row[2]) for row in db.execute_sql(TRASHED).fetchall()}  # type: ignore[no-untyped-call]
    for entry_id, (parent_id, moment) in trashed.items():
        mark = "?" if isinstance(db, SqliteDatabase) else "%s"
        if trashed.get(parent_id, (None, None))[1] == moment:
            db.execute_sql(  # type: ignore[no-untyped-call]
                f"UPDATE entry SET trashed_at = NULL WHERE entry_id = {mark}",  # noqa: S608 - one of two constants
                (entry_id,),
            )
        else:
            db.execute_sql(  # type: ignore[no-untyped-call]
                f"UPDATE entry SET parent_id = NULL, trashed_from_id = {mark}, trashed_path = {mark}"  # noqa: S608
                f" WHERE entry_id = {mark}",
                (parent_id, _path(db, parent_id, mark), entry_id),
            )


def _path(db: Database, entry_id: str | None, mark: str) -> str:
    """Of the folder that something was deleted from; the root folder's is "/"."""
    names = []
    while entry_id is not None:
        row = db.execute_sql(  # type: ignore[no-untyped-call]
            f"SELECT name, COALESCE(parent_id, trashed_from_id) FROM entry WHERE entry_id = {mark}",  # noqa: S608
            (entry_id,),
        ).fetchone()
        if row is None:
            break
        names.append(row[0])
        entry_id = row[1]
    return "/" + "/".join(name for name in reversed(names) if name)
