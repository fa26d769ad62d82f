"""Letting others use what is in one's drive, and finding what others share."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from cloudgrpc.actions.files import PAGE_MOST, WHOLE_LIST_MOST
from cloudgrpc.actions.page_tokens import read_token, write_token
from cloudgrpc.core import otp, units
from cloudgrpc.core.paging import check_page_size
from cloudgrpc.errors import InvalidField, ListTooLong
from cloudgrpc.meta import sharing
from cloudgrpc.meta.sharing import Terms

if TYPE_CHECKING:
    from cloudgrpc.meta.db import Database
    from cloudgrpc.meta.sharing import Mine, Place, WithMe
    from cloudgrpc.meta.tree import Person

log = logging.getLogger(__name__)

SHARES_PAGE_MOST = 1000
ENDED_AT_ONCE = 1000


class Sharing:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def share(self, person: Person, entry_id: str, email: str, permission: str, until: str) -> str:
        """The share's id. `permission`: "read", "write", or "" for "read"; `until`: RFC 3339, or "" for good.

        Whether anybody is enrolled with the address makes no difference. Raises: InvalidField; see `sharing.share`.
        """
        address = otp.check_email(email, "share_with_email")
        if address == person.email:
            raise InvalidField(field="share_with_email", reason="is your own address")
        if permission not in {"", *sharing.ALLOWED}:
            raise InvalidField(field="permission", reason="must be read or write")
        terms = Terms(permission or "read", units.micros_of(until, "until") if until else None)
        return await self._db.run(sharing.share, person, entry_id, address, terms)

    async def unshare(self, person: Person, share_id: str, entry_id: str, email: str) -> None:
        """By the share's id, or by what is shared and with whom. Raises: InvalidField, Missing."""
        if share_id and (entry_id or email):
            raise InvalidField(field="share_token", reason="must be empty when file_id and shared_with_email tell")
        if share_id:
            await self._db.run(sharing.unshare, person, share_id)
        else:
            address = otp.check_email(email, "shared_with_email")
            await self._db.run(sharing.unshare_with, person, entry_id, address)

    async def open(self, person: Person, share_id: str) -> WithMe:
        """Raises: Missing."""
        return await self._db.read(sharing.find_with_me, person, share_id)

    async def with_me(self, person: Person, page_size: int, page_token: str) -> tuple[list[WithMe], str]:
        """A page and the token of the next ("" after the last). Page size 0: everything, in one.

        Raises: InvalidField, ListTooLong.
        """
        limit = check_page_size(page_size, PAGE_MOST, WHOLE_LIST_MOST)
        found, last = await self._db.read(sharing.with_me, person, read_token(page_token, int, str), limit)
        if last and not page_size:
            raise ListTooLong
        return found, _token(last)

    async def mine(self, person: Person, entry_id: str, page_size: int, page_token: str) -> tuple[list[Mine], str]:
        """The same for what the person shares. `entry_id`: only this; "" for all. Raises: InvalidField, Missing."""
        limit = check_page_size(page_size, SHARES_PAGE_MOST, SHARES_PAGE_MOST)
        found, last = await self._db.read(sharing.mine, person, entry_id, read_token(page_token, int, str), limit)
        return found, _token(last)

    async def end_expired(self) -> None:
        """A round of upkeep."""
        while ended := await self._db.run(sharing.end_expired, ENDED_AT_ONCE):
            log.info("%d shares ended: their time was over", ended)


def _token(last: Place | None) -> str:
    return write_token(*last) if last else ""
