"""The metadata database: whether it answers, is whole, has a schema we know, and lets us do our work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudgrpc.about.checks_machine import judge_skew
from cloudgrpc.about.findings import Finding, failed, note, ok, wrong
from cloudgrpc.errors import DatabaseUnavailable, SchemaNewer
from cloudgrpc.meta import db, looking, schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloudgrpc.config import Config
    from cloudgrpc.meta.looking import PostgresLook

CHECK = "database"
CHECK_S = 5.0
OLDEST = 13  # of PostgreSQL
NEEDED = db.CONNECTIONS + 1  # and one that waits for events


def look(config: Config) -> Iterator[Finding]:
    place = db.describe(config.database, config.data_folder)
    try:
        yield from _postgres(config, place) if config.database.host else _sqlite(config, place)
    except DatabaseUnavailable as error:
        yield wrong(CHECK, f"{place}: {error.facts['reason']}", _way_out(config))


def _way_out(config: Config) -> str:
    if config.database.host:
        return "Start the server, or correct [database] host, port, name, user and password (DB_HOST, DB_PORT, …)."
    return "Stop the gateway, keep a copy of the file, and bring back a backup: cloudgrpc admin restore FILE"


def _sqlite(config: Config, place: str) -> Iterator[Finding]:
    path = config.data_folder / db.SQLITE_FILE
    if not path.exists():
        yield note(CHECK, f"{place} is not there yet; the gateway's first start makes it")
        return
    seen = looking.look_at_sqlite(path, CHECK_S)
    if seen.faults:
        yield wrong(CHECK, f"{place} is damaged: {'; '.join(seen.faults)}", _way_out(config))
        return
    checked = "is whole" if seen.faults is not None else f"is large: its check was left after {CHECK_S:.0f} s"
    yield _schema(f"{place} {checked}", seen.steps)


def _schema(words: str, steps: list[str]) -> Finding:
    known = schema.known_steps()
    if unknown := sorted({*steps} - {*known}):
        return failed(CHECK, SchemaNewer(steps=", ".join(unknown)))
    lacking = [step for step in known if step not in steps]
    if not steps:
        return note(CHECK, f"{words}, and empty; the gateway's first start makes its tables")
    if lacking:
        told = ", ".join(lacking)
        return note(
            CHECK, f"{words}; schema at {steps[-1]}, the gateway's next start adds {told}", "Back it up before."
        )
    return ok(CHECK, f"{words}, schema at {steps[-1]}, the newest")


def _postgres(config: Config, place: str) -> Iterator[Finding]:
    seen = looking.look_at_postgres(config.database)
    yield _schema(f"{place} (server {seen.version}) answers", seen.steps)
    yield from _server(seen)
    yield from _rights(config, seen)
    yield judge_skew(seen.asked_at - seen.clock, "the database's")


def _server(seen: PostgresLook) -> Iterator[Finding]:
    if seen.major < OLDEST:
        yield wrong(CHECK, f"PostgreSQL {seen.version} is too old", f"Use {OLDEST} or newer.")
    if seen.is_standby:
        yield wrong(CHECK, "this server is a standby, which takes no writes", "Name the primary as [database] host.")
    if seen.encoding != "UTF8":
        yield wrong(
            CHECK, f"its encoding is {seen.encoding}, which cannot hold all names", "CREATE DATABASE … ENCODING 'UTF8'"
        )
    if not seen.is_durable:
        yield wrong(
            CHECK,
            "the server does not flush what it commits: a power failure loses what people were promised",
            "Set fsync, full_page_writes and synchronous_commit to on in postgresql.conf.",
        )
    free = seen.room - seen.taken
    words = f"{seen.taken} of {seen.room} connections are taken; a gateway uses up to {NEEDED}"
    if seen.room < NEEDED:
        yield wrong(CHECK, words, "Raise max_connections, or the limit of this user or database.")
    elif free < NEEDED:
        yield note(CHECK, words, "Fine if they are this gateway's own; else raise max_connections.")
    else:
        yield ok(CHECK, words)


def _rights(config: Config, seen: PostgresLook) -> Iterator[Finding]:
    user = config.database.user
    if not seen.may_create:
        yield wrong(
            CHECK,
            f"{user} may make no tables there, which the schema's steps need",
            f'As its owner: ALTER DATABASE "{config.database.name}" OWNER TO "{user}";'
            f' GRANT CREATE ON SCHEMA public TO "{user}"',
        )
    if seen.unusable:
        few = ", ".join(seen.unusable[:3]) + (" and more" if len(seen.unusable) > 3 else "")
        yield wrong(
            CHECK,
            f"{user} may not read and write {few}",
            f'GRANT ALL ON ALL TABLES IN SCHEMA public TO "{user}"',
        )
