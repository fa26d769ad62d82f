"""Folders, lists and deletes, and what is used."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from cloudgrpc.core import paths
from cloudgrpc.errors import InvalidField, ListTooLong
from cloudgrpc.meta import files

if TYPE_CHECKING:
    from cloudgrpc.meta.db import Database
    from cloudgrpc.meta.files import File, Folder, Page, Usage

PAGE_MOST = 10_000
# An entry takes at least 100 bytes on the wire, so no more than this can fit a reply of 4 MiB.
WHOLE_LIST_MOST = 40_000


class Files:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def make_folder(self, account_id: str, parent_id: str, name: str) -> Folder:
        paths.check_name(name, "folder_name")
        return await self._db.run(files.make_folder, account_id, parent_id, name)

    async def list(
        self, account_id: str, folder_id: str, page_size: int, page_token: str, *, with_trash: bool
    ) -> tuple[Page, str]:
        """A page of a folder and the token of the next ("" after the last). Page size 0: everything, in one.

        Raises: Missing, InvalidField, ListTooLong.
        """
        if not 0 <= page_size <= PAGE_MOST:
            raise InvalidField(field="page_size", reason=f"must be 0 to {PAGE_MOST}")
        page = await self._db.read(
            files.page,
            account_id,
            folder_id,
            with_trash=with_trash,
            after=_read_token(page_token) if page_token else None,
            limit=page_size or WHOLE_LIST_MOST,
        )
        if page.last and not page_size:
            raise ListTooLong
        return page, _write_token(page.last) if page.last else ""

    async def resolve(self, account_id: str, path: str) -> File | Folder:
        return await self._db.read(files.resolve, account_id, paths.split_path(path))

    async def find(self, account_id: str, file_id: str) -> File:
        """Also a file in the trash."""
        return await self._db.read(files.find_file, account_id, file_id, with_trash=True)

    async def delete(self, account_id: str, file_id: str, *, permanent: bool) -> None:
        await self._db.run(files.purge if permanent else files.trash, account_id, file_id)

    async def usage(self, account_id: str) -> Usage:
        return await self._db.read(files.usage, account_id)


def _write_token(last: tuple[str, str, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(last).encode()).decode()


def _read_token(token: str) -> tuple[str, str, str]:
    try:
        kind, key, entry_id = json.loads(base64.urlsafe_b64decode(token.encode()))
        # Fails for what is no text or cannot be stored as text: JSON can spell half of a surrogate pair.
        told = "\0".join((kind, key, entry_id)).encode()  # noqa: FLY002 - the join refuses what is no text
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidField(field="page_token", reason="is not one that a list gave") from error
    if told.count(b"\0") != 2:
        raise InvalidField(field="page_token", reason="is not one that a list gave")
    return kind, key, entry_id
