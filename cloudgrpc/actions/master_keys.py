"""The master keys, for operators: which there are, and who needs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudgrpc.meta import master_keys

if TYPE_CHECKING:
    from cloudgrpc.meta.db import Database
    from cloudgrpc.meta.master_keys import KeyUse


class MasterKeys:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def uses(self) -> list[KeyUse]:
        """The current one first. Raises: DatabaseUnavailable."""
        return await self._db.read(master_keys.uses)
