"""After the master key was changed: the keys of accounts are wrapped with the new one, and no file is touched."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from cloudgrpc.meta import master_keys, sealing

if TYPE_CHECKING:
    from cloudgrpc.meta.db import Database

log = logging.getLogger(__name__)

BATCH = 1000  # accounts in a transaction, and in an event: 0.1 s
REST_S = 60.0  # between two looks at all accounts, when none was left and the key is the same: a restore may bring some


class Rewrapping:
    def __init__(self, database: Database) -> None:
        self._db = database
        self._seen = ""  # the master key that all were found to be wrapped with
        self._rest_until = 0.0

    async def round(self) -> None:
        current = sealing.keyring().current
        if not current or (current == self._seen and time.monotonic() < self._rest_until):
            return
        after, done, stuck = "", 0, 0
        while found := await self._db.read(master_keys.behind, after, BATCH):
            after = found[-1]
            rewrapped, left = await self._db.run(master_keys.rewrap, found)
            done, stuck = done + rewrapped, stuck + left
        if not stuck:
            await self._db.run(sealing.follow, current)
        else:
            log.error("the keys of %d accounts are wrapped with a master key that is not here, or are damaged", stuck)
        if done:
            log.info("the keys of %d accounts were wrapped with master key %s", done, current)
        self._seen, self._rest_until = current, time.monotonic() + REST_S
