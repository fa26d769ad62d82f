"""Uploads on their way: begin, receive, commit, abandon; each a transaction, so that a crash between any two leaves the
old state with orphans, or the new state.

A chunk's id is written down before the chunk is sent anywhere (planned): begin plans the first few, each receipt the
next. So a chunk found on a node is either named by a row, or not this database's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from peewee import Case, Value, fn

from cloudgrpc.core import paths
from cloudgrpc.core.units import size_words
from cloudgrpc.errors import NameTaken, QuotaExceeded, RequestIdReused, UploadEnded
from cloudgrpc.meta import events
from cloudgrpc.meta.db import locked, now, rows
from cloudgrpc.meta.files import find_folder_id, live_child
from cloudgrpc.meta.models import (
    Account,
    Chunk,
    Copy,
    Entry,
    Extent,
    Receipt,
    Upload,
    UploadChunk,
    Version,
    new_id,
)
from cloudgrpc.meta.prepared import Prepared, blank

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Wish:
    """What somebody wants to upload."""

    account_id: str
    parent_id: str  # "" is the root folder
    name: str
    size_bytes: int
    mime_type: str
    request_id: str  # "" for none


@dataclass(frozen=True)
class Answer:
    """What a committed upload is answered with."""

    file_id: str
    chunks_stored: int
    digest: str


@dataclass(frozen=True)
class Planned:
    """A chunk id written down before its bytes are sent."""

    position: int
    chunk_id: str


@dataclass(frozen=True)
class _Open:
    """What commit needs to know of an upload."""

    upload_id: str
    account_id: str
    parent_id: str
    name: str
    mime_type: str
    size_bytes: int


@dataclass(frozen=True)
class Stored:
    """A chunk that its nodes have acknowledged."""

    chunk_id: str
    length: int
    checksum: str
    node_ids: tuple[str, ...]


def begin(upload_id: str, wish: Wish, planned: Sequence[Planned], lease_us: int) -> Answer | None:
    """Reserve quota and open the upload; the answer instead, when its request_id was answered before.

    An open upload with the same request_id is the same one whose connection broke: this one takes its place.
    Raises: Missing (the folder), NameTaken (by a folder), QuotaExceeded, RequestIdReused.
    """
    parent_id = find_folder_id(wish.account_id, wish.parent_id)
    if wish.request_id:
        earlier = _earlier(wish, parent_id)
        if earlier is not None:
            return earlier
    standing = live_child(parent_id, wish.name)
    if standing is not None and standing.kind == "folder":
        raise NameTaken(name=wish.name)
    _reserve(wish)
    moment = now()
    _OPEN.run(
        upload_id=upload_id,
        account_id=wish.account_id,
        parent_id=parent_id,
        name=wish.name,
        mime_type=wish.mime_type,
        size_bytes=wish.size_bytes,
        request_id=wish.request_id or None,
        lease_until_at=moment + lease_us,
        created_at=moment,
    )
    _plan(upload_id, planned)
    return None


def receive(upload_id: str, stored: Stored, planned: Sequence[Planned], lease_us: int) -> None:
    """Write down a chunk's receipts, plan the next ids, renew the lease. Raises: UploadEnded."""
    moment = now()
    if not _RENEW.run(upload_id=upload_id, now=moment, lease_until_at=moment + lease_us):
        raise UploadEnded
    if not _FILL.run(upload_id=upload_id, chunk_id=stored.chunk_id, length=stored.length, checksum=stored.checksum):
        raise UploadEnded
    for node_id in stored.node_ids:
        _RECEIPT.run(chunk_id=stored.chunk_id, node_id=node_id)
    _plan(upload_id, planned)


def commit(upload_id: str, digest: str, quorum: int) -> Answer:
    """Make the upload the file's newest version. `quorum`: receipts each chunk must have.

    Raises: UploadEnded (its lease ran out, it was replaced, or its folder went), NameTaken (a folder came there).
    """
    moment = now()
    row = _TO_COMMIT.one(upload_id=upload_id, now=moment)
    if row is None:
        raise UploadEnded
    upload = _Open(*row)
    # Taken in turn per folder, so that two first uploads of one name become a file with two versions.
    if _LIVE_FOLDER.one(entry_id=upload.parent_id) is None:
        raise UploadEnded
    chunks = _check_whole(upload_id, upload.size_bytes, quorum)
    entry_id, number = _add_version(upload, digest, moment)
    _CHARGE.run(account_id=upload.account_id, size_bytes=upload.size_bytes)
    _COMMITTED.run(upload_id=upload_id, entry_id=entry_id, chunks_stored=chunks, digest=digest)
    events.record(
        "file.uploaded",
        f"{upload.name} was uploaded",
        account_id=upload.account_id,
        file_id=entry_id,
        version=number,
        bytes=upload.size_bytes,
    )
    return Answer(entry_id, chunks, digest)


def abandon(upload_id: str) -> bool:
    """End an open upload: its reservation is free at once, its chunks become orphans. False: it was not open."""
    upload = locked(Upload.select().where((Upload.upload_id == upload_id) & (Upload.state == "open"))).first()
    if upload is None:
        return False
    # The request_id is free again, for the retry.
    Upload.update(state="abandoned", request_id=None).where(Upload.upload_id == upload_id).execute()
    Account.update(reserved_bytes=Account.reserved_bytes - upload.size_bytes).where(
        Account.account_id == upload.account_id
    ).execute()
    # Chunks that were only planned become chunks without copies: if one did reach a node, the inventory finds it named.
    _ADOPT_CHUNKS.run(upload_id=upload_id, now=now(), unreferenced_at=now())
    _ADOPT_COPIES.run(upload_id=upload_id, now=now())
    _FORGET_CHUNKS.run(upload_id=upload_id)
    events.record("upload.abandoned", f"an upload of {upload.name} was abandoned", account_id=upload.account_id)
    return True


def expired(limit: int) -> list[str]:
    """Open uploads whose lease ran out."""
    query = Upload.select(Upload.upload_id).where((Upload.state == "open") & (Upload.lease_until_at <= now()))
    return [upload_id for (upload_id,) in rows(query.limit(limit))]


def forget(age_us: int) -> None:
    """Drop the records of uploads that ended `age_us` ago: no retry asks for them any more."""
    Upload.delete().where(
        Upload.state.in_(("committed", "abandoned")) & (Upload.lease_until_at < now() - age_us)
    ).execute()


def _earlier(wish: Wish, parent_id: str) -> Answer | None:
    """What the first try with this request_id came to; an unfinished one is abandoned."""
    row = _EARLIER.one(account_id=wish.account_id, request_id=wish.request_id)
    if row is None:
        return None
    upload_id, state, name, size_bytes, its_parent_id, entry_id, chunks_stored, digest = row
    if (name, size_bytes, its_parent_id) != (wish.name, wish.size_bytes, parent_id):
        raise RequestIdReused
    if state == "committed":
        return Answer(entry_id, chunks_stored, digest)
    abandon(upload_id)
    return None


def _reserve(wish: Wish) -> None:
    if not _RESERVE.run(account_id=wish.account_id, size_bytes=wish.size_bytes):
        account = Account.get_by_id(wish.account_id)
        left = max(0, account.quota_bytes - account.used_bytes - account.reserved_bytes)
        raise QuotaExceeded(
            name=wish.name,
            needed=size_words(wish.size_bytes),
            left=size_words(left),
            quota=size_words(account.quota_bytes),
        )


def _plan(upload_id: str, planned: Sequence[Planned]) -> None:
    for one in planned:
        _PLAN.run(upload_id=upload_id, chunk_id=one.chunk_id, position=one.position)


def _check_whole(upload_id: str, size_bytes: int, quorum: int) -> int:
    """The promise of a reply: every byte is there, on its quorum of nodes. Returns the number of chunks.

    The caller has just stored them, so a difference means that this upload's rows were ended under it.
    """
    count, total, last, lacking = _WHOLE.one(upload_id=upload_id, quorum=quorum)
    if total != size_bytes or last != count - 1 or lacking:
        raise UploadEnded
    return int(count)


def _add_version(upload: _Open, digest: str, moment: int) -> tuple[str, int]:
    """The file's id and the new version's number."""
    standing = live_child(upload.parent_id, upload.name)
    if standing is not None and standing.kind == "folder":
        raise NameTaken(name=upload.name)
    version_id = new_id()
    if standing is None:
        entry_id, number = new_id(), 1
        _NEW_FILE.run(
            entry_id=entry_id,
            account_id=upload.account_id,
            parent_id=upload.parent_id,
            name=upload.name,
            name_key=paths.name_key(upload.name),
            version_id=version_id,
            now=moment,
        )
    else:
        entry_id = standing.entry_id
        (number,) = _NEXT_NUMBER.one(entry_id=entry_id)
        _NEWEST.run(entry_id=entry_id, version_id=version_id, now=moment)
    _NEW_VERSION.run(
        version_id=version_id,
        entry_id=entry_id,
        number=number,
        size_bytes=upload.size_bytes,
        digest=digest,
        mime_type=upload.mime_type,
        now=moment,
    )
    _ADOPT_CHUNKS.run(upload_id=upload.upload_id, now=moment, unreferenced_at=None)
    _ADOPT_COPIES.run(upload_id=upload.upload_id, now=moment)
    _ADOPT_EXTENTS.run(upload_id=upload.upload_id, version_id=version_id)
    _FORGET_CHUNKS.run(upload_id=upload.upload_id)
    return entry_id, int(number)


# The statements of every upload, in the order of their use.

_EARLIER = Prepared(
    lambda: locked(
        Upload.select(
            Upload.upload_id,
            Upload.state,
            Upload.name,
            Upload.size_bytes,
            Upload.parent_id,
            Upload.entry_id,
            Upload.chunks_stored,
            Upload.digest,
        ).where((Upload.account == blank("account_id")) & (Upload.request_id == blank("request_id")))
    )
)
_RESERVE = Prepared(
    lambda: Account.update(reserved_bytes=Account.reserved_bytes + blank("size_bytes")).where(
        (Account.account_id == blank("account_id"))
        & (Account.quota_bytes - Account.used_bytes - Account.reserved_bytes >= blank("size_bytes"))
    )
)
_OPEN = Prepared(
    lambda: Upload.insert(
        upload_id=blank("upload_id"),
        account=blank("account_id"),
        parent_id=blank("parent_id"),
        name=blank("name"),
        mime_type=blank("mime_type"),
        size_bytes=blank("size_bytes"),
        request_id=blank("request_id"),
        state="open",
        lease_until_at=blank("lease_until_at"),
        created_at=blank("created_at"),
    )
)
_PLAN = Prepared(
    lambda: UploadChunk.insert(
        chunk_id=blank("chunk_id"), upload=blank("upload_id"), position=blank("position"), length=None, checksum=""
    )
)
_RENEW = Prepared(
    lambda: Upload.update(lease_until_at=blank("lease_until_at")).where(
        (Upload.upload_id == blank("upload_id")) & (Upload.state == "open") & (Upload.lease_until_at > blank("now"))
    )
)
_FILL = Prepared(
    lambda: UploadChunk.update(length=blank("length"), checksum=blank("checksum")).where(
        (UploadChunk.chunk_id == blank("chunk_id")) & (UploadChunk.upload == blank("upload_id"))
    )
)
_RECEIPT = Prepared(lambda: Receipt.insert(chunk=blank("chunk_id"), node_id=blank("node_id")))
_TO_COMMIT = Prepared(
    lambda: locked(
        Upload.select(
            Upload.upload_id, Upload.account, Upload.parent_id, Upload.name, Upload.mime_type, Upload.size_bytes
        ).where(
            (Upload.upload_id == blank("upload_id")) & (Upload.state == "open") & (Upload.lease_until_at > blank("now"))
        )
    )
)
_LIVE_FOLDER = Prepared(
    lambda: locked(
        Entry.select(Entry.entry_id).where((Entry.entry_id == blank("entry_id")) & Entry.trashed_at.is_null())
    )
)


def _receipts_of_chunk() -> Any:
    return Receipt.select(fn.COUNT(Receipt.node_id)).where(Receipt.chunk == UploadChunk.chunk_id)


_WHOLE = Prepared(
    lambda: UploadChunk.select(
        fn.COUNT(UploadChunk.chunk_id),
        fn.COALESCE(fn.SUM(UploadChunk.length), 0),
        fn.COALESCE(fn.MAX(UploadChunk.position), -1),
        fn.COALESCE(fn.SUM(Case(None, [(_receipts_of_chunk() < blank("quorum"), 1)], 0)), 0),
    ).where(UploadChunk.upload == blank("upload_id"))
)
_NEW_FILE = Prepared(
    lambda: Entry.insert(
        entry_id=blank("entry_id"),
        account=blank("account_id"),
        parent=blank("parent_id"),
        kind="file",
        name=blank("name"),
        name_key=blank("name_key"),
        version_id=blank("version_id"),
        created_at=blank("now"),
        modified_at=blank("now"),
    )
)
_NEXT_NUMBER = Prepared(
    lambda: Version.select(fn.COALESCE(fn.MAX(Version.number), 0) + 1).where(Version.entry == blank("entry_id"))
)
_NEWEST = Prepared(
    lambda: Entry.update(version_id=blank("version_id"), modified_at=blank("now")).where(
        Entry.entry_id == blank("entry_id")
    )
)
_NEW_VERSION = Prepared(
    lambda: Version.insert(
        version_id=blank("version_id"),
        entry=blank("entry_id"),
        number=blank("number"),
        size_bytes=blank("size_bytes"),
        digest=blank("digest"),
        mime_type=blank("mime_type"),
        created_at=blank("now"),
    )
)
_ADOPT_CHUNKS = Prepared(
    lambda: Chunk.insert_from(
        UploadChunk.select(
            UploadChunk.chunk_id,
            fn.COALESCE(UploadChunk.length, 0),
            UploadChunk.checksum,
            _bigint("now"),
            _bigint("unreferenced_at"),
        ).where(UploadChunk.upload == blank("upload_id")),
        [Chunk.chunk_id, Chunk.length, Chunk.checksum, Chunk.created_at, Chunk.unreferenced_at],
    )
)
_ADOPT_COPIES = Prepared(
    lambda: Copy.insert_from(
        Receipt.select(Receipt.chunk, Receipt.node_id, Value("good"), _bigint("now"))
        .join(UploadChunk)
        .where(UploadChunk.upload == blank("upload_id")),
        [Copy.chunk, Copy.node, Copy.state, Copy.created_at],
    )
)
_ADOPT_EXTENTS = Prepared(
    lambda: Extent.insert_from(
        UploadChunk.select(blank("version_id"), UploadChunk.position, UploadChunk.chunk_id, UploadChunk.length).where(
            UploadChunk.upload == blank("upload_id")
        ),
        [Extent.version, Extent.position, Extent.chunk, Extent.length],
    )
)
_FORGET_CHUNKS = Prepared(lambda: UploadChunk.delete().where(UploadChunk.upload == blank("upload_id")))
_CHARGE = Prepared(
    lambda: Account.update(
        used_bytes=Account.used_bytes + blank("size_bytes"), reserved_bytes=Account.reserved_bytes - blank("size_bytes")
    ).where(Account.account_id == blank("account_id"))
)
_COMMITTED = Prepared(
    lambda: Upload.update(
        state="committed", entry_id=blank("entry_id"), chunks_stored=blank("chunks_stored"), digest=blank("digest")
    ).where(Upload.upload_id == blank("upload_id"))
)


def _bigint(name: str) -> Any:
    """PostgreSQL takes a selected parameter for text unless it is told its type."""
    return blank(name).cast("BIGINT")
