"""Uploads on their way: begin, receive, commit, abandon; each a transaction, so that a crash between any two leaves the
old state with orphans, or the new state.

A chunk's id is written down before the chunk is sent anywhere (planned): begin plans the first few, each receipt the
next. So a chunk found on a node is either named by a row, or not this database's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudgrpc.core import paths
from cloudgrpc.core.units import size_words
from cloudgrpc.errors import NameTaken, QuotaExceeded, RequestIdReused, UploadEnded
from cloudgrpc.meta import events
from cloudgrpc.meta import upload_queries as queries
from cloudgrpc.meta.db import locked, now, rows
from cloudgrpc.meta.files import find_folder_id, live_child
from cloudgrpc.meta.models import Account, Upload, new_id

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
    queries.OPEN.run(
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


def receive(upload_id: str, stored: Sequence[Stored], planned: Sequence[Planned], lease_us: int) -> None:
    """Write down the receipts of chunks, plan the next ids, renew the lease. Raises: UploadEnded."""
    moment = now()
    if not queries.RENEW.run(upload_id=upload_id, now=moment, lease_until_at=moment + lease_us):
        raise UploadEnded
    _write_receipts(upload_id, stored)
    _plan(upload_id, planned)


def commit(upload_id: str, stored: Sequence[Stored], digest: str, quorum: int) -> Answer:
    """Make the upload the file's newest version. `stored`: the chunks whose receipts are not written down yet: every
    transaction waits for the disk, and most files are one chunk. `quorum`: receipts each chunk must have.

    Raises: UploadEnded (its lease ran out, it was replaced, or its folder went), NameTaken (a folder came there).
    """
    moment = now()
    row = queries.TO_COMMIT.one(upload_id=upload_id, now=moment)
    if row is None:
        raise UploadEnded
    upload = _Open(*row)
    _write_receipts(upload_id, stored)
    # Taken in turn per folder, so that two first uploads of one name become a file with two versions.
    if queries.LIVE_FOLDER.one(entry_id=upload.parent_id) is None:
        raise UploadEnded
    chunks = _check_whole(upload_id, upload.size_bytes, quorum)
    entry_id, number = _add_version(upload, digest, moment)
    queries.CHARGE.run(account_id=upload.account_id, size_bytes=upload.size_bytes)
    queries.COMMITTED.run(upload_id=upload_id, entry_id=entry_id, chunks_stored=chunks, digest=digest)
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
    queries.ADOPT_CHUNKS.run(upload_id=upload_id, now=now(), unreferenced_at=now())
    queries.ADOPT_COPIES.run(upload_id=upload_id, now=now())
    queries.FORGET_CHUNKS.run(upload_id=upload_id)
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
    row = queries.EARLIER.one(account_id=wish.account_id, request_id=wish.request_id)
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
    if not queries.RESERVE.run(account_id=wish.account_id, size_bytes=wish.size_bytes):
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
        queries.PLAN.run(upload_id=upload_id, chunk_id=one.chunk_id, position=one.position)


def _write_receipts(upload_id: str, stored: Sequence[Stored]) -> None:
    for one in stored:
        if not queries.FILL.run(upload_id=upload_id, chunk_id=one.chunk_id, length=one.length, checksum=one.checksum):
            raise UploadEnded
        for node_id in one.node_ids:
            queries.RECEIPT.run(chunk_id=one.chunk_id, node_id=node_id)


def _check_whole(upload_id: str, size_bytes: int, quorum: int) -> int:
    """The promise of a reply: every byte is there, on its quorum of nodes. Returns the number of chunks.

    The caller has just stored them, so a difference means that this upload's rows were ended under it.
    """
    count, total, last, lacking = queries.WHOLE.one(upload_id=upload_id, quorum=quorum)
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
        queries.NEW_FILE.run(
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
        (number,) = queries.NEXT_NUMBER.one(entry_id=entry_id)
        queries.NEWEST.run(entry_id=entry_id, version_id=version_id, now=moment)
    queries.NEW_VERSION.run(
        version_id=version_id,
        entry_id=entry_id,
        number=number,
        size_bytes=upload.size_bytes,
        digest=digest,
        mime_type=upload.mime_type,
        now=moment,
    )
    queries.ADOPT_CHUNKS.run(upload_id=upload.upload_id, now=moment, unreferenced_at=None)
    queries.ADOPT_COPIES.run(upload_id=upload.upload_id, now=moment)
    queries.ADOPT_EXTENTS.run(upload_id=upload.upload_id, version_id=version_id)
    queries.FORGET_CHUNKS.run(upload_id=upload.upload_id)
    return entry_id, int(number)
