"""The role that copies the SQLite database of a data folder to PostgreSQL, and compares every row."""

from __future__ import annotations

import shlex
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudgrpc import config as settings
from cloudgrpc.core.database_url import parse
from cloudgrpc.errors import CopyLeft, DatabaseInUse, DatabaseUnavailable, FolderInUse, UsageWrong
from cloudgrpc.meta import comparing, copy_target, db
from cloudgrpc.meta.sqlite_source import Source
from cloudgrpc.servers.asking import Progress, check_can_ask, is_agreed
from cloudgrpc.servers.data_folder import check_database, held

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from cloudgrpc.config import Config

GOES_ON = "What was copied is kept: the same command goes on where it was."


@dataclass(frozen=True)
class Copied:
    rows: int  # by this run
    copying_s: float
    comparing_s: float


def run(config: Config, args: argparse.Namespace) -> int | None:
    """Raises: UsageWrong, LocalFile, DatabaseInUse, DatabaseNotEmpty, DatabaseUnfit, RowNotCopied, RowDiffers,
    DatabaseUnavailable, SchemaNewer, CopyLeft."""
    target = _target(config, args.to)
    check_can_ask(yes=args.yes)
    path = config.data_folder / db.SQLITE_FILE
    check_database(path, "there is no database to copy; --data-dir names the gateway's data folder")
    try:
        with held(config.data_folder), closing(Source(path)) as source, copy_target.opened(target):
            return _copy(source, target, path, args)
    except FolderInUse as error:
        raise DatabaseInUse(database=f"SQLite in {path}", user="a gateway, or another copy") from error


def _target(config: Config, url: str | None) -> settings.Database:
    """What --to names, else what is configured. Raises: UsageWrong."""
    known = config.database
    if url is None:
        if not known.host:
            raise UsageWrong(reason="say where to, with --to postgresql://USER@HOST:PORT/NAME or by [database] host")
        return known
    place = parse(url)
    return settings.Database(
        host=place.host,
        port=place.port,
        name=place.name,
        user=place.user or known.user,
        password=place.password or known.password,
    )


def _copy(source: Source, target: settings.Database, path: Path, args: argparse.Namespace) -> int | None:
    counts = {heading.table: source.count(heading) for heading in source.headings}
    print(f"from  SQLite in {path}\n      {sum(counts.values()):,} rows in {len(counts)} tables")
    print(f"to    {_words(target)}", flush=True)
    if not args.yes and not is_agreed("Copy it?"):
        return None
    begun = None
    try:
        begun = copy_target.begin(source, _words(target), anew=args.restart)
        if not begun.is_new:
            print(f"goes on after {sum(begun.rows.values()):,} rows that were copied before", flush=True)
        copied = _fill(source, counts, sum(begun.rows.values()))
    except KeyboardInterrupt:
        raise CopyLeft from None
    except DatabaseUnavailable:
        if begun:
            print(GOES_ON, file=sys.stderr)
        raise
    print(f"copied {copied.rows:,} rows in {copied.copying_s:.1f} s")
    print(f"compared all {sum(counts.values()):,} rows in {copied.comparing_s:.1f} s: they are alike on both sides")
    print(_next_steps(target, path))
    return None


def _fill(source: Source, counts: dict[str, int], before: int) -> Copied:
    total, done, line, began = max(sum(counts.values()), 1), before, Progress(), time.monotonic()
    try:
        for heading in source.headings:
            while came := copy_target.fill(source, heading):
                done += came
                line.tell(f"copying {heading.table}: {done:,} of {total:,} rows, {100 * done // total} %")
        copied_at, alike = time.monotonic(), 0
        for heading in source.headings:
            for count in comparing.compare(source, heading):
                alike += count
                line.tell(f"comparing {heading.table}: {alike:,} of {total:,} rows, {100 * alike // total} %")
        compared_at = time.monotonic()
        line.tell("making indexes and foreign keys")
        copy_target.finish(source)
    finally:
        line.end()
    return Copied(done - before, copied_at - began, compared_at - copied_at)


def _words(target: settings.Database) -> str:
    return f"PostgreSQL {target.name} on {target.host}:{target.port} as {target.user}"


def _next_steps(target: settings.Database, path: Path) -> str:
    return f"""
Now:
  1. In config.toml:
       [database]
       host = "{target.host}"
       port = {target.port}
       name = "{target.name}"
       user = "{target.user}"
     and the password, if it has one, by DB_PASSWORD or password_file.
  2. Start the gateway as before, with the same data folder: its secrets/ and
     the nodes' chunks stay there, and everybody stays signed in.
  3. Keep {shlex.quote(str(path))}
     until you are sure; the gateway no longer looks at it."""
