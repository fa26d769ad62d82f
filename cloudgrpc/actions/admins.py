"""Who may act as an operator: whoever shows an admin key, with a limit on tries; and the giving of such keys."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cloudgrpc.core.operators import OWN_KEY, Operator, Role, check_name, role_of
from cloudgrpc.core.pace import in_seconds, per_hour
from cloudgrpc.core.peers import VISITOR
from cloudgrpc.errors import AdminKeyUnknown, AdminKeyWrong, AdminRoleTooLow, CloudError, TooManyTries
from cloudgrpc.meta import admin_keys, paces

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cloudgrpc.core.pace import Rule
    from cloudgrpc.meta.db import Database
    from cloudgrpc.meta.models import AdminKey

log = logging.getLogger(__name__)

NAME_LETTERS = 100  # of what is looked for


@dataclass
class _Guesses:
    """Of one host, while any call of it is looked at. Good keys pass side by side until one is wrong: from then on all
    go one after another, so that many guesses at once are not judged all."""

    calls: int = 0
    wrong: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Admins:
    def __init__(self, database: Database, key: str, tries_per_hour: int) -> None:
        self._db = database
        self._digest = _digest(key)
        self._tries_per_hour = tries_per_hour
        self._guesses: dict[str, _Guesses] = {}

    async def check(self, key: str, needs: Role = Role.OPERATE) -> Operator:
        """Who acts. Whoever tried too often is not told whether the key is right.

        Raises: AdminKeyWrong, TooManyTries, AdminRoleTooLow.
        """
        operator = await self._operator_of(key)
        if not operator.may(needs):
            raise AdminRoleTooLow(name=operator.name, role=operator.role, needs=_words(needs))
        return operator

    async def check_still(self, operator: Operator) -> None:
        """That the key was not revoked since. Raises: AdminKeyWrong."""
        if operator.role is not Role.OWN and not await self._db.read(admin_keys.is_live, operator.name):
            raise AdminKeyWrong

    async def add(self, operator: Operator, name: str, role: str) -> str:
        """A new key: it is told this once. Raises: InvalidField, AdminKeyTaken."""
        key = secrets.token_urlsafe(32)
        await self._db.run(admin_keys.add, check_name(name), role_of(role), _digest(key).hex(), operator.name)
        return key

    async def keys(self) -> list[AdminKey]:
        return await self._db.read(admin_keys.everything)

    async def revoke(self, operator: Operator, name: str) -> bool:
        """False: it was revoked before. Raises: AdminKeyUnknown."""
        if "\0" in name or len(name) > NAME_LETTERS:
            raise AdminKeyUnknown(name=name[:NAME_LETTERS])
        return await self._db.run(admin_keys.revoke, name, operator.name)

    async def _operator_of(self, key: str) -> Operator:
        """Raises: AdminKeyWrong, TooManyTries."""
        host = VISITOR.get().host
        rules = [per_hour(f"admin tries by {host}", self._tries_per_hour)]
        with self._guesses_of(host) as guesses:
            wrong_before = guesses.wrong
            wait, operator = await self._look(key, rules)
            if not wait and (operator is None or guesses.wrong != wrong_before):
                guesses.wrong += 1
                async with guesses.turn:
                    wait, operator = await self._look(key, rules)
                    if not wait and operator is None:
                        wait = await self._db.run(paces.take, rules)
        if wait:
            raise TooManyTries(seconds=in_seconds(wait))
        if operator is None:
            raise AdminKeyWrong
        return operator

    async def _look(self, key: str, rules: Sequence[Rule]) -> tuple[int, Operator | None]:
        digest = _digest(key)
        standing = await self._db.read(admin_keys.look, digest.hex(), rules)
        if hmac.compare_digest(digest, self._digest):
            return standing.wait_us, Operator(OWN_KEY, Role.OWN)
        if standing.operator and standing.is_stale and not standing.wait_us:
            await self._note_use(standing.operator.name)
        return standing.wait_us, standing.operator

    async def _note_use(self, name: str) -> None:
        try:
            await self._db.run(admin_keys.note_use, name)
        except CloudError as error:  # a full disk, maybe, which is just what somebody comes to look at
            log.warning("the use of the admin key %s was not written down: %s", name, error)

    @contextmanager
    def _guesses_of(self, host: str) -> Iterator[_Guesses]:
        guesses = self._guesses.setdefault(host, _Guesses())
        guesses.calls += 1
        try:
            yield guesses
        finally:
            guesses.calls -= 1
            if not guesses.calls:
                del self._guesses[host]


def _words(needs: Role) -> str:
    return OWN_KEY if needs is Role.OWN else f"the role {needs}"


def _digest(key: str) -> bytes:
    """Of one length, so that comparing tells nothing of the key's."""
    return hashlib.sha256(key.encode(errors="surrogatepass")).digest()
