"""Uploads that may rest between two streams: what stands of them, and their end. How they receive, see `uploads`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from peewee import SQL, fn

from cloudgrpc.core.chunking import chunk_count
from cloudgrpc.errors import RequestIdReused, UploadBusy, UploadDiffers, UploadEnded, UploadUnfinished, UploadUnknown
from cloudgrpc.meta import sealing, uploads
from cloudgrpc.meta.db import locked, now
from cloudgrpc.meta.files import Holder, Piece
from cloudgrpc.meta.models import Receipt, Upload, UploadChunk
from cloudgrpc.meta.prepared import Prepared, blank
from cloudgrpc.meta.targets import find_target
from cloudgrpc.meta.upload_queries import receipts_of_chunk

if TYPE_CHECKING:
    from cloudgrpc.core.content import Content
    from cloudgrpc.core.sealing import Seal
    from cloudgrpc.meta.tree import Limits, Person
    from cloudgrpc.meta.uploads import Answer, Wish


@dataclass(frozen=True)
class Span:
    """Chunks in a row."""

    first: int
    count: int


@dataclass(frozen=True)
class Session:
    """An upload that may rest; times are microseconds since 1970."""

    upload_id: str
    parent_id: str
    name: str
    size_bytes: int
    fingerprint: str
    created_at: int
    ends_at: int  # unless something more arrives
    expected_version: int | None
    stored: tuple[Span, ...]  # on their quorum of nodes
    stored_bytes: int
    answer: Answer | None  # once it is finished
    keys: tuple[str, str] = field(repr=False, compare=False)  # wrapped: its owner's, and its own
    # Of all its chunks, when it is found to go on with; None: they are not sealed.
    seal: Seal | None = field(default=None, repr=False, compare=False)

    @property
    def chunk_count(self) -> int:
        return chunk_count(self.size_bytes)

    def check_complete(self) -> None:
        """Raises: UploadUnfinished."""
        missing = self.chunk_count - sum(span.count for span in self.stored)
        if missing:
            raise UploadUnfinished(name=self.name, missing=missing, total=self.chunk_count)


def begin(upload_id: str, wish: Wish, fingerprint: str, lease_us: int, limits: Limits, *, quorum: int) -> Session:
    """Open an upload; with the request_id of one that is not abandoned: that one, as it stands.

    Raises: as `uploads.make`; RequestIdReused, also when the other was no session.
    """
    uploads.lock_drive_for(wish)
    earlier = uploads.look_back(wish)
    if earlier is not None:
        if not earlier.is_resumable:
            raise RequestIdReused
        if earlier.answer is not None or earlier.lease_until_at > now():
            return find(wish.person, earlier.upload_id, quorum)
        uploads.abandon(earlier.upload_id)
    uploads.make(upload_id, wish, lease_us, limits, is_resumable=True, fingerprint=fingerprint)
    return find(wish.person, upload_id, quorum)


def find(person: Person, upload_id: str, quorum: int) -> Session:
    """An upload of the person's own, unfinished or finished. `quorum`: receipts that a chunk needs to count as stored.

    Raises: Missing, UploadEnded, MasterKeyMissing, KeyDamaged.
    """
    session = _found(_FIND, person, upload_id, quorum)
    return session if session.answer else replace(session, seal=sealing.seal_of(*session.keys))


def page(person: Person, after: str, limit: int, quorum: int) -> list[Session]:
    """Up to `limit` unfinished uploads of the person, in the order of their ids, which are greater than `after`."""
    found = _PAGE.all(actor_id=person.account_id, after=after, now=now(), limit=limit)
    return [_session(row, quorum) for row in found]


def check_finishable(person: Person, upload_id: str, quorum: int, expected_version: int | None = None) -> Session:
    """What can be known before the content is looked at. `expected_version`: None for the one it was begun with.

    Raises: as `find`; UploadUnfinished, Missing (the folder), ReadOnlyShare, NameTaken (by a folder), VersionMoved.
    """
    session = find(person, upload_id, quorum)
    if session.answer is None:
        session.check_complete()
        _check_target(person, session, expected_version)
    return session


def pieces(upload_id: str, after: int, limit: int, seal: Seal | None = None) -> list[Piece]:
    """Stored chunks in order, from the position behind `after` (-1 for the start). `seal`: of the session.

    Raises: UploadEnded; UploadBusy when one of them is being sent again.
    """
    found: dict[int, Piece] = {}
    for position, chunk_id, length, checksum, node_id in _PIECES.all(
        upload_id=upload_id, after=after, last=after + limit
    ):
        known = found[position].holders if position in found else ()
        holders = (*known, Holder(node_id, is_good=True))
        found[position] = Piece(position, chunk_id, length, checksum, holders, seal)
    if not found:
        raise UploadEnded
    if list(found) != list(range(after + 1, after + 1 + len(found))):
        raise UploadBusy
    return list(found.values())


def lose(upload_id: str, position: int, lease_us: int) -> None:
    """No good copy of a stored chunk exists: it is to be sent again. Raises: UploadEnded."""
    uploads.receive(upload_id, [], [], lease_us)
    uploads.drop(upload_id, position, position)


def finish(
    person: Person,
    upload_id: str,
    content: Content,
    checksum: str,
    expected_version: int | None = None,
    *,
    quorum: int,
    keep: int,
) -> Answer:
    """Make an upload the file's newest version, if its chunks are those of `content`; the first answer, when it was
    finished before. `checksum`: what the client knows of the content, "" for nothing; `expected_version`: None for the
    one it was begun with; `keep`: see `uploads.commit`.

    Raises: as `check_finishable`; UploadBusy for other chunks, UploadDiffers for other content, UploadEnded.
    """
    uploads.lock_drive(upload_id)
    session = _found(_FIND_TO_END, person, upload_id, quorum)
    if session.answer is None:
        session.check_complete()
        _check_target(person, session, expected_version)
        if not content.is_of(chunk_id for (chunk_id,) in _IDS.all(upload_id=upload_id)):
            raise UploadBusy
    digest = session.answer.digest if session.answer else content.digest
    if checksum not in {"", digest}:
        raise UploadDiffers(name=session.name)
    return session.answer or uploads.commit(upload_id, [], digest, quorum, keep, expected_version=expected_version)


def cancel(person: Person, upload_id: str) -> None:
    """Raises: Missing, UploadEnded, also when it is finished."""
    uploads.lock_drive(upload_id)
    session = _found(_FIND_TO_END, person, upload_id, 1)
    if session.answer is not None:
        raise UploadEnded
    uploads.abandon(upload_id)


def _check_target(person: Person, session: Session, expected_version: int | None) -> None:
    target = find_target(person, session.parent_id, session.name)
    target.check_version(session.expected_version if expected_version is None else expected_version)


def _found(query: Prepared, person: Person, upload_id: str, quorum: int) -> Session:
    row = query.one(upload_id=upload_id, actor_id=person.account_id)
    if row is None:
        raise UploadUnknown(upload_id=upload_id)
    session = _session(row, quorum)
    if session.answer is None and (row[0] != "open" or session.ends_at <= now()):
        raise UploadEnded
    return session


def _session(row: tuple[Any, ...], quorum: int) -> Session:
    state, upload_id, parent_id, name, size, fingerprint, created_at, ends_at, expected_version, *rest = row
    *answer, wrapped_key, owners_key = rest
    is_finished = state == "committed"
    count = chunk_count(size)
    spans = _SPANS.all(upload_id=upload_id, quorum=quorum) if not is_finished else [(0, count, size)] if count else []
    return Session(
        upload_id=upload_id,
        parent_id=parent_id,
        name=name,
        size_bytes=size,
        fingerprint=fingerprint,
        created_at=created_at,
        ends_at=ends_at,
        expected_version=expected_version,
        stored=tuple(Span(first, count) for first, count, _ in spans),
        stored_bytes=sum(int(length) for _, _, length in spans),
        answer=uploads.answer_of(answer, wrapped_key, owners_key) if is_finished else None,
        keys=(owners_key, wrapped_key),
    )


def _sessions() -> Any:
    return Upload.select(
        Upload.state,
        Upload.upload_id,
        Upload.parent_id,
        Upload.name,
        Upload.size_bytes,
        Upload.fingerprint,
        Upload.created_at,
        Upload.lease_until_at,
        Upload.expected_version,
        Upload.entry_id,
        Upload.chunks_stored,
        Upload.digest,
        Upload.version,
        Upload.wrapped_key,
        sealing.owners_key(Upload.account),
    )


def _one_session() -> Any:
    is_it = (Upload.upload_id == blank("upload_id")) & (Upload.actor_id == blank("actor_id"))
    return _sessions().where(is_it & Upload.is_resumable)


def _spans() -> Any:
    """Positions in a row differ by the same from their rank."""
    rank = fn.ROW_NUMBER().over(order_by=[UploadChunk.position])
    stored = (
        UploadChunk.select(UploadChunk.position, UploadChunk.length, (UploadChunk.position - rank).alias("island"))
        .where((UploadChunk.upload == blank("upload_id")) & (receipts_of_chunk() >= blank("quorum")))
        .alias("stored")
    )
    first = fn.MIN(stored.c.position)
    return (
        UploadChunk.select(first, fn.COUNT(stored.c.position), fn.SUM(stored.c.length))
        .from_(stored)
        .group_by(stored.c.island)
        .order_by(first)
    )


_FIND = Prepared(_one_session)
_FIND_TO_END = Prepared(lambda: locked(_one_session()))
_PAGE = Prepared(
    lambda: (
        _sessions()
        .where(
            (Upload.actor_id == blank("actor_id"))
            & (Upload.state == SQL("'open'"))  # in the words of its index, or SQLite would not use it
            & Upload.is_resumable
            & (Upload.upload_id > blank("after"))
            & (Upload.lease_until_at > blank("now"))
        )
        .order_by(Upload.upload_id)
        .limit(blank("limit"))
    )
)
_SPANS = Prepared(_spans)
_IDS = Prepared(
    lambda: (
        UploadChunk.select(UploadChunk.chunk_id)
        .where(UploadChunk.upload == blank("upload_id"))
        .order_by(UploadChunk.position)
    )
)
_PIECES = Prepared(
    lambda: (
        UploadChunk.select(
            UploadChunk.position, UploadChunk.chunk_id, UploadChunk.length, UploadChunk.checksum, Receipt.node_id
        )
        .join(Receipt)
        .where(
            (UploadChunk.upload == blank("upload_id"))
            & (UploadChunk.position > blank("after"))
            & (UploadChunk.position <= blank("last"))
        )
        .order_by(UploadChunk.position)
    )
)
