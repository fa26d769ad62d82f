"""Taking a file in by one stream: the write flow.

begin    reserve quota, open the upload, with a key of its own           (transaction)
chunks   see `intake`
commit   every chunk has its receipts, of which the last are written     (transaction), only then the reply
         here: the file's newest version
abandon  anything else: the reservation is free, chunks become orphans   (transaction)
"""

from __future__ import annotations

import asyncio
import secrets
import weakref
from typing import TYPE_CHECKING

from cloudgrpc.actions.files import limits_of
from cloudgrpc.actions.intake import Intake, Stretch
from cloudgrpc.core.chunking import chunk_count
from cloudgrpc.core.content import Content
from cloudgrpc.errors import UploadSizeWrong
from cloudgrpc.meta import uploads
from cloudgrpc.meta.uploads import Answer

if TYPE_CHECKING:
    from cloudgrpc.actions.intake import Parts, Read
    from cloudgrpc.config import Drive
    from cloudgrpc.meta.uploads import Wish


class Uploads:
    def __init__(self, parts: Parts, settings: Drive) -> None:
        self._parts = parts
        self._lease_us = int(settings.upload_lease_s * 1_000_000)
        self._keep = settings.keep_versions
        self._limits = limits_of(settings)
        # By account and request_id. A try takes the place of the one before it, so they begin as they came: a database
        # with many threads might begin the first one, whose client has left, after its retry, and end that.
        self._turns: weakref.WeakValueDictionary[tuple[str, str], asyncio.Lock] = weakref.WeakValueDictionary()

    async def upload(self, wish: Wish, read: Read) -> Answer:
        """Take in what `read` gives, as the newest version of `wish`.

        Raises: Missing, ReadOnlyShare, NameTaken, TooDeep, PathTooLong, VersionMoved, QuotaExceeded, RequestIdReused,
        UploadSizeWrong, and what `Intake.run` does; after any of them nothing is kept.
        """
        run, upload_id = self._parts.db.run, secrets.token_hex(16)
        stretch = Stretch(
            upload_id,
            wish.person.account_id,
            wish.size_bytes,
            range(chunk_count(wish.size_bytes)),
            self._lease_us,
            is_kept=False,
            wrong_size=UploadSizeWrong,
        )
        planned, content = stretch.plan(), Content()
        try:
            async with self._turn(wish):
                begun = await run(uploads.begin, upload_id, wish, planned, self._lease_us, self._limits)
            if isinstance(begun, Answer):  # it was answered before
                return begun
            intake = Intake(self._parts, stretch, planned, read, seal=begun.seal, content=content)
            await intake.run()
            return await run(uploads.commit, upload_id, intake.unwritten, content.digest, intake.quorum, self._keep)
        except BaseException:
            await run(uploads.abandon, upload_id)
            raise

    def _turn(self, wish: Wish) -> asyncio.Lock:
        if not wish.request_id:
            return asyncio.Lock()
        return self._turns.setdefault((wish.person.account_id, wish.request_id), asyncio.Lock())
