"""Everybody's accounts, for operators: looking at them, and the acts on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudgrpc.actions.page_tokens import read_token, write_token
from cloudgrpc.core.peers import VISITOR
from cloudgrpc.errors import InvalidField, ListTooLong
from cloudgrpc.meta import account_acts, promises, users

if TYPE_CHECKING:
    from cloudgrpc.core.operators import Operator
    from cloudgrpc.meta.db import Database
    from cloudgrpc.meta.users import Details, User

PAGE_MOST = 10_000
# An account takes at least 100 bytes on the wire, so no more than this can fit a reply of 4 MiB.
WHOLE_LIST_MOST = 40_000
SEARCH_LETTERS = 320
REASON_LETTERS = 200
QUOTA_MOST = 1 << 50  # the sum of all must stay a number that a database can hold
FILES, PAYMENTS, EVENTS = 100, 20, 50  # of one account's details


@dataclass(frozen=True)
class Changed:
    """An account after a change of its quota, and what is promised to all then."""

    user: User
    capacity_bytes: int
    promised_bytes: int


class People:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def list(self, search: str, page_size: int, page_token: str) -> tuple[list[User], str]:
        """A page, the newest first, and the token of the next ("" after the last). Page size 0: everything, in one.

        Raises: InvalidField, ListTooLong.
        """
        if not 0 <= page_size <= PAGE_MOST:
            raise InvalidField(field="page_size", reason=f"must be 0 to {PAGE_MOST}")
        if len(search) > SEARCH_LETTERS:
            raise InvalidField(field="search", reason=f"must be at most {SEARCH_LETTERS} characters")
        after = read_token(page_token, int, str)
        found, last = await self._db.read(users.page, search.strip(), after, page_size or WHOLE_LIST_MOST)
        if last and not page_size:
            raise ListTooLong
        return found, write_token(*last) if last else ""

    async def details(self, user: str) -> Details:
        """By id or e-mail address. Raises: UserUnknown."""
        return await self._db.read(users.details, user, FILES, PAYMENTS, EVENTS)

    async def set_quota(self, user: str, quota_bytes: int, expected_bytes: int | None, operator: Operator) -> Changed:
        """Raises: InvalidField, UserUnknown, QuotaMoved."""
        if not 0 <= quota_bytes <= QUOTA_MOST:
            raise InvalidField(field="quota_bytes", reason="must be 0 to 1 PiB")
        account_id = await self._db.run(
            account_acts.set_quota, user, quota_bytes, expected_bytes, operator.name, VISITOR.get()
        )
        capacity, promised = await self._db.read(promises.capacity_and_promised)
        return Changed(await self._db.read(users.user_of, account_id), capacity, promised)

    async def disable(self, user: str, reason: str, operator: Operator) -> User:
        """Raises: InvalidField, UserUnknown."""
        told = reason.strip()
        if len(told) > REASON_LETTERS or not told.isprintable():
            raise InvalidField(field="reason", reason=f"must be at most {REASON_LETTERS} printable characters")
        account_id = await self._db.run(account_acts.disable, user, told, operator.name, VISITOR.get())
        return await self._db.read(users.user_of, account_id)

    async def enable(self, user: str, operator: Operator) -> User:
        """Raises: UserUnknown."""
        account_id = await self._db.run(account_acts.enable, user, operator.name, VISITOR.get())
        return await self._db.read(users.user_of, account_id)
