"""Taking in many small files by one message: the write flow of `uploads`, of all of them at the same time.

begin    reserve quota and open the uploads                              (one transaction, a savepoint each)
chunks   seal -> checksum -> choose nodes; those for one node go together
commit   the receipts, and each becomes its file's newest version        (one transaction, a savepoint each)
abandon  those that failed at their chunk or their commit                (one transaction)
"""

from __future__ import annotations

import asyncio
import secrets
import weakref
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cloudgrpc.actions.files import limits_of
from cloudgrpc.actions.intake import plan
from cloudgrpc.actions.storing import store
from cloudgrpc.chunks.base import Chunk
from cloudgrpc.chunks.sealed import INLINE_BYTES, closed
from cloudgrpc.core.chunking import chunk_count
from cloudgrpc.core.content import Content
from cloudgrpc.errors import CloudError, TooManyCalls
from cloudgrpc.meta import small_uploads
from cloudgrpc.meta.small_uploads import Sent, Wanted
from cloudgrpc.meta.uploads import Answer, Stored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cloudgrpc.actions.intake import Parts
    from cloudgrpc.config import Drive
    from cloudgrpc.meta.uploads import Opened, Wish

BATCHES_OF_ONE = 16  # of one account: unlike what a stream brings, theirs is here before there is room for it


@dataclass(frozen=True)
class SmallFile:
    """Of one chunk, or empty."""

    wish: Wish
    content: bytes


@dataclass
class _Upload:
    """A small file on its way, and what has come of it: `opened` once it is begun, an `outcome` in the end."""

    file: SmallFile
    wanted: Wanted
    opened: Opened | None = None
    outcome: Answer | CloudError | None = None
    chunks: list[Chunk] = field(default_factory=list)
    stored: list[Stored] = field(default_factory=list)
    digest: str = ""
    quorum: int = 1

    @classmethod
    def of(cls, file: SmallFile) -> _Upload:
        planned = [plan(position) for position in range(chunk_count(len(file.content)))]
        return cls(file, Wanted(secrets.token_hex(16), file.wish, planned))

    @property
    def is_lost(self) -> bool:
        """Whether it may be open and is not going to be committed."""
        return not isinstance(self.outcome, Answer) and (self.opened is not None or self.outcome is None)

    def note(self, begun: Answer | Opened | CloudError) -> None:
        if isinstance(begun, Answer | CloudError):
            self.outcome = begun
        else:
            self.opened = begun

    def seal(self) -> None:
        content, seal = Content(), self.opened and self.opened.seal
        for one in self.wanted.planned:
            parts = [self.file.content]
            content.add(one.chunk_id, parts)
            sealed = closed(seal, one.chunk_id, one.position, parts) if seal else Chunk.of_parts(one.chunk_id, parts)
            self.chunks.append(sealed)
        self.digest = content.digest


class SmallUploads:
    """`refused(error)` hears of every file that is not stored: the call itself does not fail for it."""

    def __init__(self, parts: Parts, settings: Drive, refused: Callable[[CloudError], None]) -> None:
        self._parts = parts
        self._lease_us = int(settings.upload_lease_s * 1_000_000)
        self._keep = settings.keep_versions
        self._limits = limits_of(settings)
        self._count_in = parts.meters.transferred_bytes.labels("in").inc
        self._refused = refused
        self._here: Counter[str] = Counter()  # batches of accounts
        # As in `Uploads`: tries begin as they came. Of one account all batches do, which wait for its drive anyway.
        self._turns: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    async def upload(self, account_id: str, files: Sequence[SmallFile | CloudError]) -> list[Answer | CloudError]:
        """What becomes of each, in their order: what `Uploads.upload` returns, or raises; of an error, itself.
        `account_id`: who sends them.

        With what is made of them they take no more room than a chunk of a stream. Raises: TooManyCalls.
        """
        uploads = [_Upload.of(file) for file in files if isinstance(file, SmallFile)]
        with self._counted(account_id):
            await self._take_in(account_id, uploads)
        came = (upload.outcome for upload in uploads if upload.outcome is not None)
        outcomes = [file if isinstance(file, CloudError) else next(came) for file in files]
        for outcome in outcomes:
            if isinstance(outcome, CloudError):
                self._refused(outcome)
        return outcomes

    @contextmanager
    def _counted(self, account_id: str) -> Iterator[None]:
        if self._here[account_id] >= BATCHES_OF_ONE:
            raise TooManyCalls(seconds=1)
        self._here[account_id] += 1
        try:
            yield
        finally:
            self._here[account_id] -= 1
            if not self._here[account_id]:
                del self._here[account_id]

    async def _take_in(self, account_id: str, uploads: Sequence[_Upload]) -> None:
        self._count_in(sum(len(upload.file.content) for upload in uploads))
        try:
            async with self._turns.setdefault(account_id, asyncio.Lock()):
                await self._begin(uploads)
            # Only now: a drive may be locked for long, and its batches must not hold the room of all meanwhile.
            slot = await self._parts.budget.take_to_receive(account_id)
            try:
                await self._send_all([upload for upload in uploads if upload.outcome is None])
            finally:
                slot.release()
            await self._commit([upload for upload in uploads if upload.outcome is None])
        finally:
            if lost := [upload.wanted.upload_id for upload in uploads if upload.is_lost]:
                await self._parts.db.run(small_uploads.abandon, lost)

    async def _begin(self, uploads: Sequence[_Upload]) -> None:
        wanted = [upload.wanted for upload in uploads]
        begun = await self._parts.db.run(small_uploads.begin, wanted, self._lease_us, self._limits)
        for upload, one in zip(uploads, begun, strict=True):
            upload.note(one)

    async def _send_all(self, uploads: Sequence[_Upload]) -> None:
        await _seal(uploads)
        async with asyncio.TaskGroup() as sending:
            for upload in uploads:
                sending.create_task(self._send(upload))

    async def _send(self, upload: _Upload) -> None:
        chunks, upload.chunks = upload.chunks, []  # they must be gone when others take their room
        try:
            for chunk in chunks:
                kept = await store(self._parts.nodes, chunk)
                upload.quorum = kept.quorum
                length = len(upload.file.content)
                upload.stored.append(Stored(chunk.chunk_id, length, chunk.checksum, kept.node_ids))
        except CloudError as error:
            upload.outcome = error

    async def _commit(self, uploads: Sequence[_Upload]) -> None:
        sent = [Sent(one.wanted.upload_id, one.stored, one.digest, one.quorum) for one in uploads]
        for upload, outcome in zip(
            uploads, await self._parts.db.run(small_uploads.commit, sent, self._keep), strict=True
        ):
            upload.outcome = outcome


async def _seal(uploads: Sequence[_Upload]) -> None:
    def work() -> None:
        for upload in uploads:
            upload.seal()

    if sum(len(upload.file.content) for upload in uploads) < INLINE_BYTES:
        work()
    else:
        await asyncio.to_thread(work)
