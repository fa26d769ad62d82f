"""What nears its end of certificates and authorities: told to whoever asks, and once as an event."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from cloudgrpc.meta import certificates

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cloudgrpc.core.endings import Ending
    from cloudgrpc.meta.db import Database

log = logging.getLogger(__name__)


class Endings:
    """`own`: what ends of this gateway's own; None for plaintext, where nodes may have certificates of before."""

    def __init__(self, database: Database, own: Callable[[], Sequence[Ending]] | None) -> None:
        self._db = database
        self._own = own

    async def look(self) -> list[Ending]:
        """Raises: DatabaseUnavailable."""
        if self._own is None:
            return []
        return [*self._own(), *await self._db.read(certificates.unrenewed)]

    async def tell(self) -> None:
        for ending in await self.look():
            if await self._db.run(certificates.tell_ending, ending):
                log.warning("%s", ending.words)
