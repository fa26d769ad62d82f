"""Who may act as an operator: whoever shows the admin key, with a limit on tries."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from typing import TYPE_CHECKING

from cloudgrpc.core.operators import OWN_KEY, Operator, Role
from cloudgrpc.core.pace import in_seconds, per_hour
from cloudgrpc.core.peers import VISITOR
from cloudgrpc.errors import AdminKeyWrong, TooManyTries
from cloudgrpc.meta import paces

if TYPE_CHECKING:
    from cloudgrpc.meta.db import Database


class Admins:
    def __init__(self, database: Database, key: str, tries_per_hour: int) -> None:
        self._db = database
        self._digest = _digest(key)
        self._tries_per_hour = tries_per_hour
        self._turn = asyncio.Lock()  # one after another, so that many guesses at once are not judged all

    async def check(self, key: str, needs: Role = Role.OPERATE) -> Operator:
        """Who acts. Whoever tried too often is not told whether the key is right.

        Raises: AdminKeyWrong, TooManyTries, AdminRoleTooLow.
        """
        rules = [per_hour(f"admin tries by {VISITOR.get().host}", self._tries_per_hour)]
        async with self._turn:
            wait = await self._db.read(paces.wait, rules)
            if not wait:
                if hmac.compare_digest(_digest(key), self._digest):
                    return Operator(OWN_KEY, Role.OWN)
                wait = await self._db.run(paces.take, rules)
        if wait:
            raise TooManyTries(seconds=in_seconds(wait))
        raise AdminKeyWrong


def _digest(key: str) -> bytes:
    """Of one length, so that comparing tells nothing of the key's."""
    return hashlib.sha256(key.encode(errors="surrogatepass")).digest()
