"""Finding files and folders by what they are called, what they are, how large and how new."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudgrpc.actions.page_tokens import read_token, write_token
from cloudgrpc.core import units
from cloudgrpc.core.name_patterns import name_matcher
from cloudgrpc.core.paging import check_page_size
from cloudgrpc.errors import InvalidField
from cloudgrpc.meta import searching
from cloudgrpc.meta.searching import Wanted

if TYPE_CHECKING:
    from cloudgrpc.meta.db import Database
    from cloudgrpc.meta.searching import Found
    from cloudgrpc.meta.tree import Person

PAGE_MOST = 1000
PAGE_USUAL = 100
MIME_BYTES = 255


@dataclass(frozen=True)
class Question:
    """What is looked for, as it was told; "" and 0 stand for anything."""

    name: str
    kind: str
    mime_type: str
    larger_than: int
    newer_than: str


class Searching:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def search(
        self, person: Person, folder_id: str, question: Question, page_size: int, page_token: str
    ) -> tuple[list[Found], str]:
        """A page of what lies below a folder, and the token of the next ("" after the last).

        Raises: InvalidField, Missing.
        """
        limit = check_page_size(page_size, PAGE_MOST, PAGE_USUAL)
        (after,) = read_token(page_token, str) or ("",)
        found, last = await self._db.read(searching.search, person, folder_id, _wanted(question), after, limit)
        return found, write_token(last) if last else ""


def _wanted(question: Question) -> Wanted:
    """Raises: InvalidField."""
    if question.kind not in {"", "file", "folder"}:
        raise InvalidField(field="kind", reason="must be file or folder")
    if question.larger_than < 0:
        raise InvalidField(field="larger_than", reason="must not be negative")
    if len(question.mime_type) > MIME_BYTES or not question.mime_type.isascii() or not question.mime_type.isprintable():
        raise InvalidField(field="mime_type", reason=f"must be at most {MIME_BYTES} printable letters of ASCII")
    return Wanted(
        is_named=name_matcher(question.name, "name") if question.name else None,
        kind=question.kind,
        mime_type=question.mime_type.lower(),
        larger_than=question.larger_than or None,
        newer_than=units.micros_of(question.newer_than, "newer_than") if question.newer_than else None,
    )
