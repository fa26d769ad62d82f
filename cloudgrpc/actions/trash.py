"""The trash: what lies in it, putting things back, and its ends, by hand or by age; then the rows little by little."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudgrpc.actions.files import limits_of
from cloudgrpc.actions.page_tokens import read_token, write_token
from cloudgrpc.core import paths
from cloudgrpc.core.paging import check_page_size
from cloudgrpc.meta import sweeping, trash
from cloudgrpc.meta.db import now

if TYPE_CHECKING:
    from cloudgrpc.config import Drive
    from cloudgrpc.meta.db import Database
    from cloudgrpc.meta.trash import Emptied, Place, Trashed
    from cloudgrpc.meta.tree import Person

log = logging.getLogger(__name__)

PAGE_MOST = 1000
TAKEN_AT_ONCE = 100  # things in the trash, each of which may be a large folder
SWEPT_AT_ONCE = 250  # rows in a transaction: others write in between
DAY_US = 86_400_000_000


@dataclass(frozen=True)
class Lying:
    """Something in the trash, and when it goes for good (microseconds since 1970)."""

    trashed: Trashed
    ends_at: int


class Trash:
    def __init__(self, database: Database, settings: Drive) -> None:
        self._db = database
        self._limits = limits_of(settings)
        self._age_us = int(settings.trash_days * DAY_US)

    async def list(self, person: Person, page_size: int, page_token: str) -> tuple[list[Lying], str]:
        """A page, the newest first, and the token of the next ("" after the last). Raises: InvalidField."""
        limit = check_page_size(page_size, PAGE_MOST, PAGE_MOST)
        found, last = await self._db.read(trash.page, person, read_token(page_token, int, str), limit)
        lying = [Lying(one, one.trashed_at + self._age_us) for one in found]
        return lying, write_token(*last) if last else ""

    async def restore(self, person: Person, entry_id: str, place: Place) -> str:
        """The path where it is now. Raises: InvalidField, and see `trash.restore`."""
        if place.name:
            paths.check_name(place.name, "new_name")
        return await self._db.run(trash.restore, person, entry_id, place, self._limits)

    async def empty(self, person: Person) -> Emptied:
        """Delete what is in the trash by now for good, some at a time."""
        until = await self._db.read(now)
        entries = size = 0
        while (emptied := await self._db.run(trash.empty, person, until, TAKEN_AT_ONCE)).entries:
            entries += emptied.entries
            size += emptied.size_bytes
        return trash.Emptied(entries, size)

    async def end_old(self) -> None:
        """A round of upkeep: what has lain in the trash for too long goes for good."""
        ended = 0
        while due := await self._db.read(trash.due, self._age_us, TAKEN_AT_ONCE):
            ended += await self._db.run(trash.end, due, self._age_us)
        if ended:
            log.info("%d things in the trash were deleted for good: their time was over", ended)

    async def sweep(self) -> None:
        """A round of upkeep: the rows of what was deleted for good go."""
        while await self._db.run(sweeping.sweep, SWEPT_AT_ONCE):
            pass
