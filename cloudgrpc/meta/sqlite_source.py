"""A SQLite database that is only read, as it was at one moment: what is copied to another engine."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cloudgrpc.errors import DatabaseUnavailable, LocalFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Row = tuple[Any, ...]

# Made by the schema's steps in each database, and by SQLite for itself.
OWN_TABLES = "name <> 'schema_step' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"


@dataclass(frozen=True)
class Heading:
    """A table: its columns, and those of them that tell its rows apart, in the order of the key."""

    table: str
    columns: tuple[str, ...]
    key: tuple[str, ...]

    def key_of(self, row: Row) -> Row:
        return tuple(row[self.columns.index(column)] for column in self.key)


class Source:
    """Until it is closed it shows the moment at which it was opened, whatever is written meanwhile."""

    def __init__(self, path: Path) -> None:
        """Raises: LocalFile when it is no database of ours."""
        try:
            self._connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)
        except sqlite3.Error as error:
            raise LocalFile(path=path, reason=error) from error
        try:
            # What a gateway that was killed had not brought home goes where it belongs; the file's date is then that of
            # the last change.
            self._ask("PRAGMA wal_checkpoint(TRUNCATE)")
            self._ask("PRAGMA query_only = 1")
            self._ask("BEGIN")
            self.steps = [name for (name,) in self._ask("SELECT name FROM schema_step ORDER BY name")]
            tables = self._ask(f"SELECT name FROM sqlite_master WHERE type = 'table' AND {OWN_TABLES} ORDER BY name")  # noqa: S608 - our own tables
            self.headings = [self._heading(name) for (name,) in tables]
            self.cluster_id = "".join(found for (found,) in self._ask("SELECT cluster_id FROM cluster"))
        except sqlite3.Error as error:
            self._connection.close()
            raise LocalFile(path=path, reason=f"is not the database of a gateway ({error})") from error
        told = path.stat()
        self.state = f"{self.cluster_id}, {told.st_size} bytes of {told.st_mtime_ns}, steps {' '.join(self.steps)}"

    def close(self) -> None:
        self._connection.close()

    def count(self, heading: Heading) -> int:
        with _told():
            return int(self._ask(f"SELECT COUNT(*) FROM {heading.table}")[0][0])  # noqa: S608 - a table of its own

    def after(self, heading: Heading, rowid: int, limit: int) -> tuple[list[Row], int]:
        """The next rows as they lie in the file, and the rowid of the last of them."""
        query = f"SELECT {', '.join(heading.columns)}, rowid FROM {heading.table}"  # noqa: S608 - a table of its own
        with _told():
            found = self._ask(f"{query} WHERE rowid > ? ORDER BY rowid LIMIT ?", (rowid, limit))
        return [row[:-1] for row in found], found[-1][-1] if found else rowid

    def in_order(self, heading: Heading, batch: int) -> Iterator[list[Row]]:
        """All rows by their key, texts by their bytes; a batch at a time."""
        query = f"SELECT {', '.join(heading.columns)} FROM {heading.table}"  # noqa: S608 - a table of its own
        with _told():
            cursor = self._connection.execute(f"{query} ORDER BY {', '.join(heading.key)}")
            while rows := cursor.fetchmany(batch):
                yield rows

    def _heading(self, table: str) -> Heading:
        columns = self._ask(f"PRAGMA table_info({table})")
        key = sorted((place, name) for _, name, _, _, _, place in columns if place)
        return Heading(table, tuple(name for _, name, *_ in columns), tuple(name for _, name in key))

    def _ask(self, sql: str, values: tuple[Any, ...] = ()) -> list[Row]:
        return self._connection.execute(sql, values).fetchall()


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise DatabaseUnavailable(reason=f"SQLite: {error}") from error
