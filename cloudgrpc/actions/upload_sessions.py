"""Uploads that can be broken off and go on later, also through another gateway.

begin    reserve quota, open the upload for days                         (transaction)
put      some chunks, see `intake`; what arrived stays
finish   the content is verified as a whole, then as in `uploads`        (transaction)
cancel   or nothing heard of it for days: it is abandoned                (transaction)
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from cloudgrpc.actions.contents import Contents
from cloudgrpc.actions.downloads import Chunks
from cloudgrpc.actions.files import limits_of
from cloudgrpc.actions.intake import Intake, Stretch
from cloudgrpc.actions.page_tokens import read_token, write_token
from cloudgrpc.core.content import Content
from cloudgrpc.core.paging import check_page_size, how_many_fit
from cloudgrpc.errors import (
    CloudError,
    DataLost,
    InvalidField,
    PartSizeWrong,
    UploadBusy,
    UploadDiffers,
    UploadEnded,
    UploadUnfinished,
)
from cloudgrpc.meta import upload_sessions as sessions
from cloudgrpc.meta import uploads

if TYPE_CHECKING:
    from cloudgrpc.actions.downloads import Downloads
    from cloudgrpc.actions.intake import Parts, Read
    from cloudgrpc.config import Drive
    from cloudgrpc.meta.tree import Person
    from cloudgrpc.meta.upload_sessions import Session
    from cloudgrpc.meta.uploads import Answer, Wish

PAGE_MOST = 100
SESSION_BYTES, SPAN_BYTES = 1000, 14  # on the wire, at the most
RENEW_S = 1.0  # how often, at the most, the lease is renewed while a content is read back


class UploadSessions:
    def __init__(self, parts: Parts, downloads: Downloads, settings: Drive) -> None:
        self._parts = parts
        self._db = parts.db
        self._downloads = downloads
        self._lease_us = int(settings.upload_days * 86400 * 1_000_000)
        self._keep = settings.keep_versions
        self._limits = limits_of(settings)
        self._contents = Contents()

    async def begin(self, wish: Wish, fingerprint: str) -> Session:
        """Raises: see `upload_sessions.begin`."""
        upload_id, quorum = secrets.token_hex(16), await self._quorum()
        return await self._db.run(
            sessions.begin, upload_id, wish, fingerprint, self._lease_us, self._limits, quorum=quorum
        )

    async def put(self, person: Person, upload_id: str, first: int, count: int, read: Read) -> int:
        """Take in `count` chunks from position `first` on; returns `count`. Chunks that arrived whole stay, whatever is
        raised: Missing, UploadEnded, InvalidField, PartSizeWrong, and what `Intake.run` does."""
        session = await self._find_open(person, upload_id)
        stretch = self._stretch(person, session, first, count)
        planned = stretch.plan()
        await self._db.run(uploads.receive, upload_id, [], planned, self._lease_us)
        content = self._contents.take_up(upload_id, first)
        note = functools.partial(self._contents.note, upload_id)
        intake = Intake(self._parts, stretch, planned, read, seal=session.seal, content=content, note=note)
        try:
            await intake.run()
        except BaseException:
            with suppress(CloudError):
                await intake.write_rest()
            raise
        await intake.write_rest()
        return count

    async def find(self, person: Person, upload_id: str) -> Session:
        """Raises: Missing, UploadEnded."""
        return await self._db.read(sessions.find, person, upload_id, await self._quorum())

    async def list(self, person: Person, page_size: int, page_token: str) -> tuple[list[Session], str]:
        """A page of the unfinished ones and the token of the next ("" after the last). Raises: InvalidField."""
        size = check_page_size(page_size, PAGE_MOST, PAGE_MOST)
        (after,) = read_token(page_token, str) or ("",)
        found = await self._db.read(sessions.page, person, after, size + 1, await self._quorum())
        fitting = how_many_fit(SESSION_BYTES + SPAN_BYTES * len(session.stored) for session in found[:size])
        return found[:fitting], write_token(found[fitting - 1].upload_id) if len(found) > fitting else ""

    async def finish(
        self, person: Person, upload_id: str, checksum: str, expected_version: int | None = None
    ) -> Answer:
        """Make it the file's newest version; the first answer, when that was done before. `checksum`: of the content as
        the client knows it, "" when it does not. `expected_version`: None for the one it was begun with.

        A caller who leaves while the content is read back may ask again: it goes on from there.
        Raises: Missing, UploadEnded, UploadUnfinished, UploadBusy, UploadDiffers (and nothing of it is kept),
        ReadOnlyShare, NameTaken, VersionMoved, CopiesUnreachable.
        """
        known = self._contents.furthest(upload_id)
        is_fresh = known.position == 0
        try:
            return await self._finish(person, upload_id, checksum, expected_version, known)
        except UploadBusy:
            self._contents.forget(upload_id)
            if is_fresh:
                raise
        # What was known was of other chunks.
        return await self._finish(person, upload_id, checksum, expected_version, Content())

    async def cancel(self, person: Person, upload_id: str) -> None:
        """Raises: Missing, UploadEnded."""
        await self._db.run(sessions.cancel, person, upload_id)
        self._contents.forget(upload_id)

    async def _finish(
        self, person: Person, upload_id: str, checksum: str, expected_version: int | None, content: Content
    ) -> Answer:
        quorum = await self._quorum()
        session = await self._db.read(sessions.check_finishable, person, upload_id, quorum, expected_version)
        if session.answer is None:
            await self._read_on(session, content)
        try:
            answer = await self._db.run(
                sessions.finish,
                person,
                upload_id,
                content,
                checksum,
                expected_version,
                quorum=quorum,
                keep=self._keep,
            )
        except UploadDiffers:
            await self._db.run(uploads.abandon, upload_id)
            self._contents.forget(upload_id)
            raise
        self._contents.forget(upload_id)
        return answer

    async def _read_on(self, session: Session, content: Content) -> None:
        """Read back what is not in `content` yet, from the nodes."""
        page = functools.partial(sessions.pieces, session.upload_id, seal=session.seal)
        chunks = Chunks(session.name, session.chunk_count, page)
        loop = asyncio.get_running_loop()
        renew_at = loop.time()
        try:
            async with contextlib.aclosing(self._downloads.read(chunks, content.position)) as coming:
                async for piece, chunk in coming:
                    await asyncio.to_thread(content.add, piece.chunk_id, [laid.data for laid in chunk])
                    self._contents.note(session.upload_id, content)
                    if loop.time() >= renew_at:
                        await self._db.run(uploads.receive, session.upload_id, [], [], self._lease_us)
                        renew_at = loop.time() + RENEW_S
        except DataLost as error:
            await self._db.run(sessions.lose, session.upload_id, content.position, self._lease_us)
            raise UploadUnfinished(name=session.name, missing=1, total=session.chunk_count) from error

    async def _find_open(self, person: Person, upload_id: str) -> Session:
        session = await self.find(person, upload_id)
        if session.answer is not None:
            raise UploadEnded
        return session

    def _stretch(self, person: Person, session: Session, first: int, count: int) -> Stretch:
        total = session.chunk_count
        if not 0 <= first < total:
            raise InvalidField(field="first", reason=f"is outside of the file, which has {total} chunks")
        if not 0 < count <= total - first:
            raise InvalidField(field="count", reason=f"must be 1 to {total - first}")
        return Stretch(
            session.upload_id,
            person.account_id,
            session.size_bytes,
            range(first, first + count),
            self._lease_us,
            is_kept=True,
            wrong_size=PartSizeWrong,
        )

    async def _quorum(self) -> int:
        _, quorum = await self._parts.nodes.copies()
        return quorum
