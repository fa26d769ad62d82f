"""Folders, lists and deletes, and what is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudgrpc.actions.page_tokens import read_token, write_token
from cloudgrpc.core import paths
from cloudgrpc.errors import InvalidField, ListTooLong
from cloudgrpc.meta import changes, copying, files
from cloudgrpc.meta.tree import Limits

if TYPE_CHECKING:
    from cloudgrpc.config import Drive
    from cloudgrpc.meta.changes import Move, Removal
    from cloudgrpc.meta.copying import Copied, CopyTo
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
        self._keep = settings.keep_versions

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
            after=_read_place(page_token),
            limit=page_size or WHOLE_LIST_MOST,
            prefix=prefix,
        )
        if page.last and not page_size:
            raise ListTooLong
        return page, write_token(*page.last) if page.last else ""

    async def resolve(self, person: Person, folder_id: str, path: str) -> Standing:
        return await self._db.read(files.resolve, person, folder_id, paths.split_path(path or "/"))

    async def find(self, person: Person, file_id: str) -> File:
        """Also a file in the trash."""
        return await self._db.read(files.find_with_trash, person, file_id)

    async def move(self, person: Person, entry_id: str, to: Move) -> str:
        """Move or rename; the new path. Raises: see `changes.move`."""
        if to.name or to.folder_id is None:
            paths.check_name(to.name, "new_name")
        return await self._db.run(changes.move, person, entry_id, to, self._limits)

    async def copy(self, person: Person, entry_id: str, to: CopyTo) -> Copied:
        """Raises: see `copying.copy`."""
        if to.name:
            paths.check_name(to.name, "new_name")
        return await self._db.run(copying.copy, person, entry_id, to, self._limits, self._keep)

    async def delete(self, person: Person, entry_id: str, how: Removal, *, permanent: bool) -> None:
        """Raises: see `changes.trash` and `changes.purge`."""
        await self._db.run(changes.purge if permanent else changes.trash, person, entry_id, how)

    async def room(self, person: Person) -> Room:
        return await self._db.read(files.room, person.account_id)

    async def usage(self, person: Person) -> Usage:
        return await self._db.read(files.usage, person)


def _read_place(page_token: str) -> tuple[str, str, str] | None:
    """Kind, name key and id of the last that was told. Raises: InvalidField."""
    place: tuple[str, str, str] | None = read_token(page_token, str, str, str)
    if place is not None and place[0] not in files.KINDS:
        raise InvalidField(field="page_token", reason="is not one that a list gave")
    return place


def limits_of(settings: Drive) -> Limits:
    return Limits(settings.max_depth, settings.max_path_bytes)
