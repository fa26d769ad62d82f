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
from cloudgrpc.meta.db import locked, now, rows
from cloudgrpc.meta.files import find_folder, live_entry
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

if TYPE_CHECKING:
    from collections.abc import Sequence

INSERT_ROWS = 200  # SQLite takes a bounded number of values in one statement


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
    parent = find_folder(wish.account_id, wish.parent_id)
    if wish.request_id:
        earlier = _earlier(wish, parent.entry_id)
        if earlier is not None:
            return earlier
    standing = live_entry(parent.entry_id, wish.name)
    if standing is not None and standing.kind == "folder":
        raise NameTaken(name=wish.name)
    _reserve(wish)
    moment = now()
    Upload.create(
        upload_id=upload_id,
        account=wish.account_id,
        parent_id=parent.entry_id,
        name=wish.name,
        mime_type=wish.mime_type,
        size_bytes=wish.size_bytes,
        request_id=wish.request_id or None,
        state="open",
        lease_until_at=moment + lease_us,
        created_at=moment,
    )
    _plan(upload_id, planned)
    return None


def receive(upload_id: str, stored: Stored, planned: Sequence[Planned], lease_us: int) -> None:
    """Write down a chunk's receipts, plan the next ids, renew the lease. Raises: UploadEnded."""
    moment = now()
    renewed = (
        Upload.update(lease_until_at=moment + lease_us)
        .where((Upload.upload_id == upload_id) & (Upload.state == "open") & (Upload.lease_until_at > moment))
        .execute()
    )
    if not renewed:
        raise UploadEnded
    UploadChunk.update(length=stored.length, checksum=stored.checksum).where(
        (UploadChunk.chunk_id == stored.chunk_id) & (UploadChunk.upload == upload_id)
    ).execute()
    Receipt.insert_many([{"chunk": stored.chunk_id, "node_id": node_id} for node_id in stored.node_ids]).execute()
    _plan(upload_id, planned)


def commit(upload_id: str, digest: str, quorum: int) -> Answer:
    """Make the upload the file's newest version. `quorum`: receipts each chunk must have.

    Raises: UploadEnded (its lease ran out, it was replaced, or its folder went), NameTaken (a folder came there).
    """
    moment = now()
    upload = locked(Upload.select().where(Upload.upload_id == upload_id)).first()
    if upload is None or upload.state != "open" or upload.lease_until_at <= moment:
        raise UploadEnded
    # Taken in turn per folder, so that two first uploads of one name become a file with two versions.
    folder = locked(Entry.select().where((Entry.entry_id == upload.parent_id) & Entry.trashed_at.is_null())).first()
    if folder is None:
        raise UploadEnded
    chunks = list(UploadChunk.select().where(UploadChunk.upload == upload_id).order_by(UploadChunk.position))
    receipts = _receipts(upload_id)
    _check_whole(upload, chunks, receipts, quorum)
    entry = _entry_for(upload)
    version = _add_version(upload, entry, digest)
    _adopt(chunks, receipts, version.version_id)
    Account.update(
        used_bytes=Account.used_bytes + upload.size_bytes, reserved_bytes=Account.reserved_bytes - upload.size_bytes
    ).where(Account.account_id == upload.account_id).execute()
    Upload.update(state="committed", entry_id=entry.entry_id, chunks_stored=len(chunks), digest=digest).where(
        Upload.upload_id == upload_id
    ).execute()
    UploadChunk.delete().where(UploadChunk.upload == upload_id).execute()
    events.record(
        "file.uploaded",
        f"{upload.name} was uploaded",
        account_id=upload.account_id,
        file_id=entry.entry_id,
        version=version.number,
        bytes=upload.size_bytes,
    )
    return Answer(entry.entry_id, len(chunks), digest)


def abandon(upload_id: str) -> bool:
    """End an open upload: its reservation is free at once, its chunks become orphans. False: it was not open."""
    upload = locked(Upload.select().where((Upload.upload_id == upload_id) & (Upload.state == "open"))).first()
    if upload is None:
        return False
    moment = now()
    # The request_id is free again, for the retry.
    Upload.update(state="abandoned", request_id=None).where(Upload.upload_id == upload_id).execute()
    Account.update(reserved_bytes=Account.reserved_bytes - upload.size_bytes).where(
        Account.account_id == upload.account_id
    ).execute()
    _orphan(upload_id, moment)
    events.record("upload.abandoned", f"an upload of {upload.name} was abandoned", account_id=upload.account_id)
    return True


def expired(limit: int) -> list[str]:
    """Open uploads whose lease ran out."""
    query = Upload.select(Upload.upload_id).where((Upload.state == "open") & (Upload.lease_until_at <= now()))
    return [upload_id for (upload_id,) in rows(query.limit(limit))]


def forget(age_us: int) -> None:
    """Drop the records of uploads that ended `age_us` ago: no retry asks for them any more."""
    Upload.delete().where((Upload.state != "open") & (Upload.lease_until_at < now() - age_us)).execute()


def _earlier(wish: Wish, parent_id: str) -> Answer | None:
    """What the first try with this request_id came to; an unfinished one is abandoned."""
    upload = locked(
        Upload.select().where((Upload.account == wish.account_id) & (Upload.request_id == wish.request_id))
    ).first()
    if upload is None:
        return None
    if (upload.name, upload.size_bytes, upload.parent_id) != (wish.name, wish.size_bytes, parent_id):
        raise RequestIdReused
    if upload.state == "committed":
        return Answer(upload.entry_id or "", upload.chunks_stored, upload.digest)
    abandon(upload.upload_id)
    return None


def _reserve(wish: Wish) -> None:
    room = Account.quota_bytes - Account.used_bytes - Account.reserved_bytes
    reserved = (
        Account.update(reserved_bytes=Account.reserved_bytes + wish.size_bytes)
        .where((Account.account_id == wish.account_id) & (room >= wish.size_bytes))
        .execute()
    )
    if not reserved:
        account = Account.get_by_id(wish.account_id)
        left = max(0, account.quota_bytes - account.used_bytes - account.reserved_bytes)
        raise QuotaExceeded(
            name=wish.name,
            needed=size_words(wish.size_bytes),
            left=size_words(left),
            quota=size_words(account.quota_bytes),
        )


def _plan(upload_id: str, planned: Sequence[Planned]) -> None:
    if planned:
        UploadChunk.insert_many(
            [{"chunk_id": one.chunk_id, "upload": upload_id, "position": one.position} for one in planned]
        ).execute()


def _receipts(upload_id: str) -> dict[str, list[str]]:
    query = Receipt.select(Receipt.chunk, Receipt.node_id).join(UploadChunk).where(UploadChunk.upload == upload_id)
    receipts: dict[str, list[str]] = {}
    for chunk_id, node_id in rows(query):
        receipts.setdefault(chunk_id, []).append(node_id)
    return receipts


def _check_whole(upload: Upload, chunks: list[UploadChunk], receipts: dict[str, list[str]], quorum: int) -> None:
    """The promise of a reply: every byte is there, on its quorum of nodes. The caller has just stored them, so a
    difference means that this upload's rows were ended under it."""
    total = sum(chunk.length or 0 for chunk in chunks)
    in_order = [chunk.position for chunk in chunks] == list(range(len(chunks)))
    acknowledged = all(len(receipts.get(chunk.chunk_id, ())) >= quorum for chunk in chunks)
    if total != upload.size_bytes or not in_order or not acknowledged:
        raise UploadEnded


def _entry_for(upload: Upload) -> Entry:
    standing = live_entry(upload.parent_id, upload.name)
    if standing is not None:
        if standing.kind == "folder":
            raise NameTaken(name=upload.name)
        return standing
    moment = now()
    return Entry.create(
        entry_id=new_id(),
        account=upload.account_id,
        parent=upload.parent_id,
        kind="file",
        name=upload.name,
        name_key=paths.name_key(upload.name),
        created_at=moment,
        modified_at=moment,
    )


def _add_version(upload: Upload, entry: Entry, digest: str) -> Version:
    moment = now()
    newest = Version.select(Version.number).where(Version.entry == entry.entry_id).order_by(Version.number.desc())
    number = next((number for (number,) in rows(newest.limit(1))), 0) + 1
    version = Version.create(
        version_id=new_id(),
        entry=entry.entry_id,
        number=number,
        size_bytes=upload.size_bytes,
        digest=digest,
        mime_type=upload.mime_type,
        created_at=moment,
    )
    Entry.update(version_id=version.version_id, modified_at=moment).where(Entry.entry_id == entry.entry_id).execute()
    return version


def _adopt(chunks: list[UploadChunk], receipts: dict[str, list[str]], version_id: str) -> None:
    """Turn the upload's chunks into chunk, copy and extent rows."""
    moment = now()
    for start in range(0, len(chunks), INSERT_ROWS):
        batch = chunks[start : start + INSERT_ROWS]
        Chunk.insert_many(
            [
                {"chunk_id": one.chunk_id, "length": one.length, "checksum": one.checksum, "created_at": moment}
                for one in batch
            ]
        ).execute()
        Copy.insert_many(
            [
                {"chunk": one.chunk_id, "node": node_id, "state": "good", "created_at": moment}
                for one in batch
                for node_id in receipts[one.chunk_id]
            ]
        ).execute()
        Extent.insert_many(
            [
                {"version": version_id, "position": one.position, "chunk": one.chunk_id, "length": one.length}
                for one in batch
            ]
        ).execute()


def _orphan(upload_id: str, moment: int) -> None:
    """Turn the upload's chunks into chunks that nothing references, which collection then ages and deletes.

    Those only planned become chunks without copies: if one did reach a node, the inventory finds it named.
    """
    chunks = list(UploadChunk.select().where(UploadChunk.upload == upload_id))
    receipts = _receipts(upload_id)
    for one in chunks:
        Chunk.create(
            chunk_id=one.chunk_id,
            length=one.length or 0,
            checksum=one.checksum,
            created_at=moment,
            unreferenced_at=moment,
        )
        for node_id in receipts.get(one.chunk_id, ()):
            Copy.create(chunk=one.chunk_id, node=node_id, state="good", created_at=moment)
    UploadChunk.delete().where(UploadChunk.upload == upload_id).execute()
