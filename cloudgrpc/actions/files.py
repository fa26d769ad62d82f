"""Folders, lists and deletes, and what is used."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from cloudgrpc.core import paths
from cloudgrpc.errors import InvalidField, ListTooLong
from cloudgrpc.meta import changes, files
from cloudgrpc.meta.changes import Move
from cloudgrpc.meta.tree import Limits

if TYPE_CHECKING:
    from cloudgrpc.config import Drive
    from cloudgrpc.meta.db import Database
    from cloudgrpc.meta.files import File, Folder, Page, Room, Standing, Usage
    from cloudgrpc.meta.tree import Person

PAGE_MOST = 10_000
# An entry takes at least 100 bytes on the wire, so no more than this can fit a reply of 4 MiB.
WHOLE_LIST_MOST = 40_000


class Files:
    def __init__(self, database: Database, settings: Drive) -> None:
        self._db = database
        self._limits = limits_of(settings)

    async def make_folder(self, person: Person, parent_id: str, name: str) -> Folder:
        paths.check_name(name, "folder_name")
        return await self._db.run(changes.make_folder, person, parent_id, name, self._limits)

    async def list(
        self, person: Person, folder_id: str, page_size: int, page_token: str, *, with_trash: bool, prefix: str = ""
    ) -> tuple[Page, str]:
        """A page of a folder and the token of the next ("" after the last). Page size 0: everything, in one.

        Raises: Missing, InvalidField, ListTooLong.
        """
        if not 0 <= page_size <= PAGE_MOST:
            raise InvalidField(field="page_size", reason=f"must be 0 to {PAGE_MOST}")
        if prefix:
            paths.check_name(prefix, "name_prefix")
        page = await self._db.read(
            files.page,
            person,
            folder_id,
            with_trash=with_trash,
            after=_read_token(page_token) if page_token else None,
            limit=page_size or WHOLE_LIST_MOST,
            prefix=prefix,
        )
        if page.last and not page_size:
            raise ListTooLong
        return page, _write_token(page.last) if page.last else ""

    async def resolve(self, person: Person, folder_id: str, path: str) -> Standing:
        return await self._db.read(files.resolve, person, folder_id, paths.split_path(path or "/"))

    async def find(self, person: Person, file_id: str) -> File:
        """Also a file in the trash."""
        return await self._db.read(files.find_with_trash, person, file_id)

    async def move(
        self, person: Person, entry_id: str, folder_id: str | None, name: str, expected_version: int | None
    ) -> str:
        """Move or rename; the new path. `folder_id`: None for the folder it is in. Raises: see `changes.move`."""
        if name or folder_id is None:
            paths.check_name(name, "new_name")
        return await self._db.run(changes.move, person, entry_id, Move(folder_id, name, expected_version), self._limits)

    async def delete(
        self,
        person: Person,
        entry_id: str,
        *,
        permanent: bool,
        expected_version: int | None = None,
        only_empty: bool = False,
    ) -> None:
        """Raises: see `changes.trash` and `changes.purge`."""
        work = changes.purge if permanent else changes.trash
        await self._db.run(work, person, entry_id, expected_version, only_empty=only_empty)

    async def room(self, person: Person) -> Room:
        return await self._db.read(files.room, person.account_id)

    async def usage(self, person: Person) -> Usage:
        return await self._db.read(files.usage, person)


def limits_of(settings: Drive) -> Limits:
    return Limits(settings.max_depth, settings.max_path_bytes)


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
