"""Many rows at once into PostgreSQL, by its COPY."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

NULL = r"\N"  # no other value has a single backslash
ESCAPED = str.maketrans({"\\": r"\\", "\n": r"\n", "\r": r"\r", "\t": r"\t"})


def copy_in(cursor: Any, into: str, rows: Iterable[Sequence[Any]]) -> None:
    """`into`: a table and its columns, "table (a, b)"."""
    cursor.copy_expert(f"COPY {into} FROM STDIN", io.StringIO("".join(map(_line, rows))))


def _line(row: Sequence[Any]) -> str:
    return "\t".join(NULL if value is None else str(value).translate(ESCAPED) for value in row) + "\n"
