"""What people do with their own account: sessions, name, export, closing."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

from cloudgrpc.actions.accounts import check_full_name
from cloudgrpc.core.peers import VISITOR
from cloudgrpc.errors import InvalidField, ProofMissing
from cloudgrpc.meta import accounts, closing, exports, sessions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cloudgrpc.meta.accounts import Caller
    from cloudgrpc.meta.db import Database
    from cloudgrpc.meta.exports import Row, Section
    from cloudgrpc.meta.sessions import Standing

log = logging.getLogger(__name__)

ROWS_AT_ONCE = 1000
REMOVED_AT_ONCE = 100


class AccountCare:
    def __init__(self, database: Database, closed_account_s: float) -> None:
        self._db = database
        self._grace_us = int(closed_account_s * 1_000_000)

    async def sessions(self, caller: Caller) -> list[Standing]:
        return await self._db.read(sessions.standing, caller.account_id)

    async def end_session(self, caller: Caller, session_id: str, *, others: bool) -> int:
        """End one, or all but the caller's own; how many. Raises: InvalidField, SessionUnknown."""
        if others:
            if session_id:
                raise InvalidField(field="session_id", reason="must be empty when all others are to end")
            return await self._db.run(sessions.end_others, caller, VISITOR.get())
        if not session_id.isalnum() or not session_id.isascii():
            raise InvalidField(field="session_id", reason="must name a session")
        await self._db.run(sessions.end, caller, session_id, VISITOR.get())
        return 1

    async def change_name(self, caller: Caller, full_name: str) -> str:
        """The name as it is kept. Raises: InvalidField."""
        name = check_full_name(full_name)
        await self._db.run(accounts.change_name, caller, name, VISITOR.get())
        return name

    async def export(self, caller: Caller) -> AsyncIterator[str]:
        """Pieces of one JSON document: everything that is kept about the caller, but for the files' content."""
        yield json.dumps(await self._db.read(exports.person, caller.account_id), ensure_ascii=False)[:-1]
        for name, page in exports.SECTIONS.items():
            yield f', "{name}": ['
            separator = ""
            async for rows in self._parts(page, caller):
                yield separator + ", ".join(json.dumps(row, ensure_ascii=False) for row in rows)
                separator = ", "
            yield "]"
        yield "}\n"

    async def _parts(self, page: Section, caller: Caller) -> AsyncIterator[list[Row]]:
        """Of one section of an export; none of them empty."""
        rows, after = await self._db.read(page, caller, None, ROWS_AT_ONCE)
        while rows or after is not None:
            if rows:
                yield rows
            rows, after = ([], None) if after is None else await self._db.read(page, caller, after, ROWS_AT_ONCE)

    async def close(self, caller: Caller, proof_digest: str) -> int:
        """When the files go, in microseconds since 1970. Raises: ProofMissing."""
        if not proof_digest:
            raise ProofMissing(email=caller.email)
        return await self._db.run(closing.close, caller, proof_digest, self._grace_us, VISITOR.get())

    async def reopen(self, caller: Caller) -> bool:
        """False: it was open."""
        return await self._db.run(closing.reopen, caller, VISITOR.get())

    async def tidy(self) -> None:
        """A round of upkeep: what has expired is forgotten, and closed accounts go when their time is over."""
        await self._db.run(accounts.sweep)
        for account_id in await self._db.read(closing.due, REMOVED_AT_ONCE):
            if await self._db.run(closing.remove, account_id):
                log.info("a closed account was removed: its time was over")
        await self._db.run(closing.forget, REMOVED_AT_ONCE)
