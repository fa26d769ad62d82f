"""What happened to a person's account and drive, as they may look it up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudgrpc.actions.page_tokens import read_token, write_token
from cloudgrpc.core.paging import check_page_size
from cloudgrpc.meta import history

if TYPE_CHECKING:
    from cloudgrpc.meta.db import Database
    from cloudgrpc.meta.history import Happening
    from cloudgrpc.meta.tree import Person

PAGE_MOST = 1000
PAGE_USUAL = 100


class History:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def happenings(self, person: Person, page_size: int, page_token: str) -> tuple[list[Happening], str]:
        """A page, the newest first, and the token of the next ("" after the last). Raises: InvalidField."""
        limit = check_page_size(page_size, PAGE_MOST, PAGE_USUAL)
        (before,) = read_token(page_token, int) or (history.NEWEST,)
        found, last = await self._db.read(history.happenings, person, before, limit)
        return found, write_token(last) if last else ""
