"""Uploads on their way: begin, receive, commit, abandon; each a transaction, so that a crash between any two leaves the
old state with orphans, or the new state.

A chunk's id is written down before the chunk is sent anywhere (planned): begin plans the first few, each receipt the
next. So a chunk found on a node is either named by a row, or not this database's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cloudgrpc.core import paths
from cloudgrpc.errors import Missing, RequestIdReused, UploadEnded
from cloudgrpc.meta import events, room, sealing, tree, versions
from cloudgrpc.meta import upload_queries as queries
from cloudgrpc.meta.accounts import check_enabled
from cloudgrpc.meta.changes import record
from cloudgrpc.meta.db import is_postgres, locked, now, rows
from cloudgrpc.meta.models import Account, Upload, new_id
from cloudgrpc.meta.targets import find_target, reach

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudgrpc.core.sealing import Seal
    from cloudgrpc.meta.targets import Reach, Target
    from cloudgrpc.meta.tree import Limits, Person


@dataclass(frozen=True)
class Wish:
    """What somebody wants to upload."""

    person: Person
    parent_id: str  # "" is the root folder; a file's id: its next content, whatever the name
    name: str
    size_bytes: int
    mime_type: str
    request_id: str  # "" for none
    expected_version: int | None = None  # of the file now, and at commit; 0: no file of that name; None: any


@dataclass(frozen=True)
class Answer:
    """What a committed upload is answered with."""

    file_id: str
    chunks_stored: int
    digest: str
    version: int


@dataclass(frozen=True)
class Opened:
    """What goes on with an upload that was begun. `seal`: None when its chunks are not to be sealed."""

    seal: Seal | None


@dataclass(frozen=True)
class Planned:
    """A chunk id written down before its bytes are sent."""

    position: int
    chunk_id: str


@dataclass(frozen=True)
class _Open:
    """What commit needs to know of an upload."""

    upload_id: str
    owner_id: str
    parent_id: str
    name: str
    mime_type: str
    size_bytes: int
    expected_version: int | None
    wrapped_key: str
    owners_key: str
    account_id: str  # of the one who uploads, as the two below
    email: str
    root_id: str


@dataclass(frozen=True)
class Earlier:
    """An upload that had the same request_id."""

    upload_id: str
    is_resumable: bool
    lease_until_at: int
    answer: Answer | None  # None: it is unfinished


@dataclass(frozen=True)
class Stored:
    """A chunk that its nodes have acknowledged."""

    chunk_id: str
    length: int  # of its plain bytes
    checksum: str
    node_ids: tuple[str, ...]


def begin(upload_id: str, wish: Wish, planned: Sequence[Planned], lease_us: int, limits: Limits) -> Answer | Opened:
    """Reserve quota and open the upload; the answer instead, when its request_id was answered before.

    An open upload with the same request_id is the same one whose connection broke: this one takes its place.
    Raises: Missing (the folder), ReadOnlyShare, NameTaken (by a folder), TooDeep, PathTooLong, VersionMoved,
    QuotaExceeded, RequestIdReused, MasterKeyMissing.
    """
    lock_drive_for(wish)
    return begin_locked(upload_id, wish, planned, lease_us, limits)


def begin_locked(
    upload_id: str, wish: Wish, planned: Sequence[Planned], lease_us: int, limits: Limits, *, reaching: Reach = reach
) -> Answer | Opened:
    """The same when the drive is locked."""
    earlier = look_back(wish)
    if earlier is not None:
        if earlier.answer is not None:
            return earlier.answer
        if earlier.is_resumable:
            raise RequestIdReused
        abandon(earlier.upload_id)
    opened = make(upload_id, wish, lease_us, limits, reaching=reaching)
    _plan(upload_id, planned)
    return opened


def lock_drive_for(wish: Wish) -> None:
    """Raises: Missing (the folder)."""
    tree.lock([reach(wish.person, wish.parent_id).owner_id])


def look_back(wish: Wish) -> Earlier | None:
    """What had the same request_id. Raises: RequestIdReused."""
    row = queries.EARLIER.one(actor_id=wish.person.account_id, request_id=wish.request_id) if wish.request_id else None
    if row is None:
        return None
    upload_id, state, name, size_bytes, its_parent_id, *rest = row
    *answer, is_resumable, lease_until_at, wrapped_key, owners_key = rest
    parent_id = wish.parent_id or wish.person.root_id
    if (size_bytes, its_parent_id) != (wish.size_bytes, parent_id) or name != wish.name:
        raise RequestIdReused
    answered = answer_of(answer, wrapped_key, owners_key) if state == "committed" else None
    return Earlier(upload_id, is_resumable, lease_until_at, answered)


def answer_of(row: Sequence[Any], wrapped_key: str, owners_key: str) -> Answer:
    """Of the columns of a committed upload, in the order of `Answer`."""
    file_id, chunks_stored, digest, version = row
    return Answer(file_id, chunks_stored, sealing.plain_digest(owners_key, wrapped_key, digest), version)


def make(
    upload_id: str,
    wish: Wish,
    lease_us: int,
    limits: Limits,
    *,
    is_resumable: bool = False,
    fingerprint: str = "",
    reaching: Reach = reach,
) -> Opened:
    """Reserve quota for an upload and open it, with a data key of its own. The drive is locked.

    Raises: Missing (the folder), ReadOnlyShare, NameTaken (by a folder), TooDeep, PathTooLong, VersionMoved,
    QuotaExceeded, MasterKeyMissing.
    """
    person = wish.person
    target = find_target(person, wish.parent_id, wish.name, reaching)
    target.check_place(limits)
    target.check_version(wish.expected_version)
    wrapped_key, seal = sealing.new_data_key(target.owner_id, _reserve(target.owner_id, wish))
    moment = now()
    queries.OPEN.run(
        upload_id=upload_id,
        owner_id=target.owner_id,
        actor_id=person.account_id,
        parent_id=wish.parent_id or person.root_id,
        name=wish.name,
        mime_type=wish.mime_type,
        size_bytes=wish.size_bytes,
        request_id=wish.request_id or None,
        lease_until_at=moment + lease_us,
        created_at=moment,
        expected_version=wish.expected_version,
        is_resumable=is_resumable,
        fingerprint=fingerprint,
        wrapped_key=wrapped_key,
    )
    return Opened(seal)


def receive(upload_id: str, stored: Sequence[Stored], planned: Sequence[Planned], lease_us: int) -> None:
    """Write down the receipts of chunks, plan the next ids, renew the lease. What stood at the positions of the planned
    becomes an orphan: it is sent again. Raises: UploadEnded, also when that happened to a chunk that is stored now."""
    moment = now()
    if not queries.RENEW.run(upload_id=upload_id, now=moment, lease_until_at=moment + lease_us):
        raise UploadEnded
    _write_receipts(upload_id, stored)
    if planned:
        drop(upload_id, planned[0].position, planned[-1].position)
    _plan(upload_id, planned)


def drop(upload_id: str, first: int, last: int) -> None:
    """What stands at positions of an open upload, both ends included, becomes orphans."""
    for (chunk_id,) in queries.STANDING.all(upload_id=upload_id, first=first, last=last):
        queries.ADOPT_CHUNK.run(chunk_id=chunk_id, now=now(), unreferenced_at=now())
        queries.ADOPT_COPIES_OF_CHUNK.run(chunk_id=chunk_id, now=now())
        queries.FORGET_CHUNK.run(chunk_id=chunk_id)


def commit(
    upload_id: str,
    stored: Sequence[Stored],
    digest: str,
    quorum: int,
    keep: int,
    *,
    expected_version: int | None = None,
) -> Answer:
    """Make the upload the file's newest version. `stored`: the chunks whose receipts are not written down yet: every
    transaction waits for the disk, and most files are one chunk. `quorum`: receipts each chunk must have. `keep`:
    versions that are kept of a file, this one included. `expected_version`: None for the one it was begun with.

    Raises: UploadEnded (its lease ran out, it was replaced, or its folder went), ReadOnlyShare, NameTaken (a folder
    came there), VersionMoved, AccountDisabled.
    """
    lock_drive(upload_id)
    return commit_locked(upload_id, stored, digest, quorum, keep, expected_version=expected_version)


def commit_locked(
    upload_id: str,
    stored: Sequence[Stored],
    digest: str,
    quorum: int,
    keep: int,
    *,
    expected_version: int | None = None,
    reaching: Reach = reach,
) -> Answer:
    """The same when the drive is locked."""
    moment = now()
    row = queries.TO_COMMIT.one(upload_id=upload_id, now=moment)
    if row is None:
        raise UploadEnded
    *of_upload, disabled_at, disabled_reason = row
    check_enabled(disabled_at, disabled_reason)
    upload = _Open(*of_upload)
    _write_receipts(upload_id, stored)
    try:
        target = find_target(upload, upload.parent_id, upload.name, reaching)
    except Missing as error:
        raise UploadEnded from error
    target.check_version(upload.expected_version if expected_version is None else expected_version)
    chunks, receipts = _check_whole(upload_id, upload.size_bytes, quorum)
    seal = sealing.seal_of(upload.owners_key, upload.wrapped_key)
    kept = seal.close_digest(digest) if seal else digest
    entry_id, number, copies = _add_version(upload, target, kept, moment)
    if copies != receipts:  # a node was removed between the two
        raise UploadEnded
    queries.CHARGE.run(account_id=upload.owner_id, size_bytes=upload.size_bytes)
    queries.COMMITTED.run(upload_id=upload_id, entry_id=entry_id, chunks_stored=chunks, digest=kept, version=number)
    record(
        "file.uploaded",
        f"{target.owner_path} was uploaded",
        upload,
        upload.owner_id,
        seen=f"{target.seen_path} was uploaded",
        file_id=entry_id,
        version=number,
        bytes=upload.size_bytes,
    )
    versions.prune(upload.owner_id, entry_id, target.owner_path, number, keep)
    return Answer(entry_id, chunks, digest, number)


def abandon(upload_id: str) -> bool:
    """End an open upload: its reservation is free at once, its chunks become orphans. False: it was not open."""
    lock_drive(upload_id)
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
    actor_id = upload.actor_id if upload.actor_id != upload.account_id else ""
    events.record(
        "upload.abandoned",
        f"an upload of {upload.name} was abandoned",
        account_id=upload.account_id,
        actor_id=actor_id,
    )
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


def lock_drive(upload_id: str) -> None:
    """Before the upload's own row, as everywhere: who changes a drive holds its lock first."""
    if is_postgres():
        queries.LOCK_DRIVE.one(upload_id=upload_id)


def _reserve(owner_id: str, wish: Wish) -> str:
    """The owner's wrapped key, whose row is locked from here on. Raises: QuotaExceeded."""
    reserved = queries.RESERVE.all(account_id=owner_id, size_bytes=wish.size_bytes)
    if not reserved:
        raise room.refusal(owner_id, wish.name, wish.size_bytes)
    ((wrapped_key,),) = reserved
    return str(wrapped_key)


def _plan(upload_id: str, planned: Sequence[Planned]) -> None:
    for one in planned:
        queries.PLAN.run(upload_id=upload_id, chunk_id=one.chunk_id, position=one.position)


def _write_receipts(upload_id: str, stored: Sequence[Stored]) -> None:
    for one in stored:
        if not queries.FILL.run(upload_id=upload_id, chunk_id=one.chunk_id, length=one.length, checksum=one.checksum):
            raise UploadEnded
        for node_id in one.node_ids:
            queries.RECEIPT.run(chunk_id=one.chunk_id, node_id=node_id)


def _check_whole(upload_id: str, size_bytes: int, quorum: int) -> tuple[int, int]:
    """The promise of a reply: every byte is there, on its quorum of nodes. Returns how many chunks and receipts it has.

    The caller has just stored them, so a difference means that this upload's rows were ended under it.
    """
    count, total, last, lacking, receipts = queries.WHOLE.one(upload_id=upload_id, quorum=quorum)
    if total != size_bytes or last != count - 1 or lacking:
        raise UploadEnded
    return int(count), int(receipts)


def _add_version(upload: _Open, target: Target, digest: str, moment: int) -> tuple[str, int, int]:
    """The file's id, the new version's number, and how many copies its chunks have."""
    version_id = new_id()
    if target.standing is None:
        entry_id, number = new_id(), 1
        queries.NEW_FILE.run(
            entry_id=entry_id,
            account_id=upload.owner_id,
            parent_id=target.folder_id,
            name=upload.name,
            name_key=paths.name_key(upload.name),
            version_id=version_id,
            now=moment,
        )
    else:
        entry_id = target.standing
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
        made_by=upload.email,
        wrapped_key=upload.wrapped_key,
    )
    queries.ADOPT_CHUNKS.run(upload_id=upload.upload_id, now=moment, unreferenced_at=None)
    copies = queries.ADOPT_COPIES.run(upload_id=upload.upload_id, now=moment)
    queries.ADOPT_EXTENTS.run(upload_id=upload.upload_id, version_id=version_id)
    queries.FORGET_CHUNKS.run(upload_id=upload.upload_id)
    return entry_id, int(number), copies
