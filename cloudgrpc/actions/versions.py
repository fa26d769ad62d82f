"""The contents that a file had: listed, made the newest again, deleted, and kept up to a number."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from cloudgrpc.actions.page_tokens import read_token, write_token
from cloudgrpc.core.paging import check_page_size
from cloudgrpc.meta import versions

if TYPE_CHECKING:
    from cloudgrpc.config import Drive
    from cloudgrpc.meta.db import Database
    from cloudgrpc.meta.tree import Person
    from cloudgrpc.meta.versions import Content

log = logging.getLogger(__name__)

PAGE_MOST = 1000
PRUNED_AT_ONCE = 100  # files
LOOK_S = 3600.0  # between two looks at all files; they only find something after the setting was lowered


class Versions:
    def __init__(self, database: Database, settings: Drive) -> None:
        self._db = database
        self._keep = settings.keep_versions
        self._looked_at: float | None = None

    async def list(self, person: Person, file_id: str, page_size: int, page_token: str) -> tuple[list[Content], str]:
        """A page, the newest first, and the token of the next ("" after the last). Raises: Missing, InvalidField."""
        limit = check_page_size(page_size, PAGE_MOST, PAGE_MOST)
        (before,) = read_token(page_token, int) or (None,)
        found, last = await self._db.read(versions.page, person, file_id, before, limit)
        return found, write_token(last) if last is not None else ""

    async def restore(self, person: Person, file_id: str, number: int, expected_version: int | None) -> int:
        """The number of the newest version then. Raises: see `versions.restore`."""
        return await self._db.run(versions.restore, person, file_id, number, expected_version, self._keep)

    async def delete(self, person: Person, file_id: str, number: int) -> None:
        """Raises: see `versions.delete`."""
        await self._db.run(versions.delete, person, file_id, number)

    async def end_old(self) -> None:
        """A round of upkeep: versions beyond what is kept go, which others than uploads leave only when the setting was
        lowered; so the whole look is rare."""
        if self._looked_at is not None and time.monotonic() - self._looked_at < LOOK_S:
            return
        after, ended = "", 0
        while found := await self._db.read(versions.overfull, after, self._keep, PRUNED_AT_ONCE):
            ended += await self._db.run(versions.prune_overfull, found, self._keep)
            after = found[-1][0]
        self._looked_at = time.monotonic()
        if ended:
            log.info("%d versions beyond the %d that are kept were deleted", ended, self._keep)
