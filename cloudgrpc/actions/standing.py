"""Whether the drive was restored from a backup: it is then read-only until an operator opens it again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from cloudgrpc.errors import DriveRestored
from cloudgrpc.meta import standing

if TYPE_CHECKING:
    from cloudgrpc.core.operators import Operator
    from cloudgrpc.meta.db import Database
    from cloudgrpc.meta.standing import Reconciliation

KNOWN_S = 1.0  # how long another gateway may still go by what was


class Standing:
    """`sells`: there is an account at Campay, so that payments are compared before the drive opens."""

    def __init__(self, database: Database, *, sells: bool) -> None:
        self._db = database
        self._sells = sells
        self._is_restored = False
        self._looked_at = -KNOWN_S

    async def check(self) -> None:
        """For whoever would change something of a person's. Raises: DriveRestored."""
        if time.monotonic() - self._looked_at >= KNOWN_S:
            await self.is_paused()
        if self._is_restored:
            raise DriveRestored

    async def is_paused(self) -> bool:
        """Whether nothing is to be made or deleted by itself, as the database says now."""
        self._is_restored = await self._db.read(standing.is_restored)
        self._looked_at = time.monotonic()
        return self._is_restored

    def forget(self) -> None:
        """It has just changed."""
        self._looked_at = -KNOWN_S

    async def reconcile(self, operator: Operator, *, is_opening: bool, force: bool) -> Reconciliation:
        """How far nodes and payments were looked at since the restore; `is_opening`: and take writes again.

        Raises: NotRestored; NotReconciled, when something was not looked at, and it is not forced.
        """
        if not is_opening:
            return await self._db.read(standing.reconciliation, sells=self._sells)
        found = await self._db.run(standing.open_up, operator.name, sells=self._sells, force=force)
        self.forget()
        return found
