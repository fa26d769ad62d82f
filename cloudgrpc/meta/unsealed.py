"""What was stored before it was sealed: which it is, giving it keys, and putting sealed chunks in place of plain ones.

version    without a key    -> it and all that share its chunks get one data key, each wrapped for its owner
upload     without a key    -> what it was answered with gets a key of its own
chunk      that is plain    -> a sealed one with another id, which all its extents name from one moment on

The new chunk is written down before it is sent, unreferenced: if nothing comes of it, it is collected. The old one is
unreferenced from that moment on, and whoever reads it reads on for the grace time.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from peewee import SQL, Value, fn

from cloudgrpc.core.sealing import KEY_BYTES, TAG_BYTES, AccountKey, Seal
from cloudgrpc.errors import KeyDamaged, MasterKeyMissing
from cloudgrpc.meta import events, sealing, tree
from cloudgrpc.meta.db import locked, now, rows
from cloudgrpc.meta.models import Account, Chunk, Cluster, Copy, Entry, Extent, Node, Stray, Upload, Version
from cloudgrpc.meta.prepared import Prepared, blank, some, spread

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# In the words of the indexes, for SQLite.
NO_KEY = SQL("wrapped_key = ''")
HAS_ANSWER = SQL("digest <> ''")
PLAIN = SQL("NOT is_sealed")


@dataclass(frozen=True)
class Look:
    """`is_left`: there is something to seal; `is_begun`: that is known and told."""

    is_left: bool
    is_begun: bool


@dataclass(frozen=True)
class Plain:
    """A chunk that is to be sealed. `holders`: nodes with good copies."""

    chunk_id: str
    length: int
    checksum: str
    position: int
    holders: tuple[str, ...]
    data_key: bytes = field(repr=False)

    @property
    def sealed_length(self) -> int:
        return self.length + TAG_BYTES


@dataclass(frozen=True)
class Page:
    """`last`: the id that the next one begins behind; "" at the end. Chunks that have no key yet are not in it."""

    chunks: list[Plain]
    last: str


@dataclass(frozen=True)
class Sealed:
    """What is to come in the place of a chunk, and the nodes that have acknowledged it."""

    chunk_id: str
    checksum: str
    node_ids: tuple[str, ...]


@dataclass(frozen=True)
class Copies:
    """How many a chunk is to have, and must have."""

    wanted: int
    quorum: int


@dataclass(frozen=True)
class _Sharer:
    """A version that has chunks in common with another, or is the one itself. `is_owned`: its account was not removed;
    `owners_key`: the account's, "" when it has none."""

    version_id: str
    digest: str
    wrapped_key: str
    owner_id: str
    owners_key: str
    is_owned: bool


def look() -> Look:
    is_left = versions("", 1) or answers("", 1) or _plain_chunks().where(Chunk.chunk_id > "").exists()
    return Look(bool(is_left), Cluster.select().where(Cluster.sealing_since_at.is_null(False)).exists())


def begin() -> None:
    """Tell that there is something to seal, once."""
    if Cluster.update(sealing_since_at=now()).where(Cluster.sealing_since_at.is_null()).execute():
        events.record("sealing.begun", "what was stored plain before is encrypted in the background", by="")


def end() -> bool:
    """Look again, and tell that nothing is left. False: something is."""
    if look().is_left:
        return False
    if Cluster.update(sealing_since_at=None).where(Cluster.sealing_since_at.is_null(False)).execute():
        words = "all that is stored is encrypted; take a new backup, those from before tell of chunks that are going"
        events.record("sealing.done", words, by="")
    return True


def count() -> tuple[int, int]:
    """Plain chunks that files need, and their bytes."""
    ((chunks, size),) = rows(_plain_chunks().select(fn.COUNT(SQL("*")), fn.COALESCE(fn.SUM(Chunk.length), 0)))
    return int(chunks), int(size)


def versions(after: str, limit: int) -> list[str]:
    """Without a key, by their ids from behind `after`."""
    query = Version.select(Version.version_id).where(NO_KEY & (Version.version_id > after))
    return [version_id for (version_id,) in rows(query.order_by(Version.version_id).limit(limit))]


def give_key(version_id: str) -> int:
    """To a version and all that share its chunks; returns how many had none.

    0 also when it went, or when others came to share them while their drives were not locked: then look again.
    Raises: MasterKeyMissing, KeyDamaged.
    """
    owners = {one.owner_id for one in _sharers(version_id)}
    tree.lock(owners)
    sharers = _sharers(version_id)
    if not {one.owner_id for one in sharers} <= owners:
        return 0
    known = next((one for one in sharers if one.wrapped_key and one.is_owned), None)
    data_key = sealing.data_key(known.owners_key, known.wrapped_key) if known else secrets.token_bytes(KEY_BYTES)
    keys: dict[str, AccountKey] = {}
    given = 0
    for one in sharers:
        if one.wrapped_key:
            continue
        if one.owner_id not in keys:
            keys[one.owner_id] = _owners_key(one.owner_id, one.owners_key, is_owned=one.is_owned)
        wrapped, digest = keys[one.owner_id].wrap(data_key), Seal(data_key).close_digest(one.digest)
        given += _GIVE_KEY.run(version_id=one.version_id, wrapped_key=wrapped, digest=digest)
    return given


def answers(after: str, limit: int) -> list[str]:
    """Uploads that remember in plain what they were answered with, by their ids from behind `after`."""
    query = _plain_answers().select(Upload.upload_id).where(Upload.upload_id > after)
    return [upload_id for (upload_id,) in rows(query.order_by(Upload.upload_id).limit(limit))]


def seal_answer(upload_id: str) -> int:
    """1; 0 when it went. Raises: MasterKeyMissing, KeyDamaged."""
    row = _ANSWER.one(upload_id=upload_id)
    if row is None:
        return 0
    digest, owner_id, owners_key, root_id = row
    data_key = secrets.token_bytes(KEY_BYTES)
    key = _owners_key(owner_id, owners_key, is_owned=root_id != "")
    kept = Seal(data_key).close_digest(digest)
    return _SEAL_ANSWER.run(upload_id=upload_id, wrapped_key=key.wrap(data_key), digest=kept)


def chunks(after: str, limit: int) -> Page:
    """The next plain chunks that files need, by their ids."""
    query = _plain_chunks().select(Chunk.chunk_id, Chunk.length, Chunk.checksum).where(Chunk.chunk_id > after)
    found = rows(query.order_by(Chunk.chunk_id).limit(limit))
    ids = [chunk_id for chunk_id, *_ in found]
    keys, holders = _keys(ids), _holders(ids)
    return Page(
        [
            Plain(chunk_id, length, checksum, keys[chunk_id][0], holders.get(chunk_id, ()), keys[chunk_id][1])
            for chunk_id, length, checksum in found
            if chunk_id in keys
        ],
        ids[-1] if len(ids) == limit else "",
    )


def plan(chunk_id: str, length: int) -> None:
    """Write down a chunk that is about to be sent; so that whatever happens it is known, and collected."""
    _PLAN.run(chunk_id=chunk_id, length=length, now=now())


def swap(plain: Plain, sealed: Sealed, copies: Copies, grace_us: int) -> bool:
    """Put a sealed chunk into the place of a plain one, wherever that is named. False: it was not to be, and what was
    sent is collected.

    Everything is looked at again: that the chunk is needed, and by versions of that key alone, whose drives are locked;
    that the new one was planned so lately that no file of it can have been called a stray, and has its quorum of copies
    and no fewer than can be read of the old one. Raises: MasterKeyMissing, KeyDamaged.
    """
    owners = {owner_id for *_, owner_id, _, _ in _NAMED.all(chunk_id=plain.chunk_id)}
    tree.lock(owners)
    held = {chunk_id: rest for chunk_id, *rest in _LOCK_CHUNKS.all(old_id=plain.chunk_id, new_id=sealed.chunk_id)}
    _, planned_at = held.get(sealed.chunk_id, (True, None))
    was_sealed, unreferenced_at = held.get(plain.chunk_id, (True, None))
    if planned_at is None:
        return False
    stored = _note_stored(sealed)
    if was_sealed or unreferenced_at is not None or now() - planned_at >= grace_us:
        return False
    (readable,) = _READABLE.one(chunk_id=plain.chunk_id)
    if stored < max(copies.quorum, min(copies.wanted, readable)) or not _is_named_as(plain, owners):
        return False
    _RENAME.run(old_id=plain.chunk_id, new_id=sealed.chunk_id)
    _NEEDED.run(chunk_id=sealed.chunk_id)
    _UNNEEDED.run(chunk_id=plain.chunk_id, now=now())
    return True


def _plain_chunks() -> Any:
    return Chunk.select().where(PLAIN & Chunk.unreferenced_at.is_null())


def _plain_answers() -> Any:
    return Upload.select().where(NO_KEY & HAS_ANSWER)


def _sharers(version_id: str) -> list[_Sharer]:
    """Of a version, itself among them; none when it went. Copies are whole, so that whoever shares one chunk shares all
    that are still there."""
    ids = {version_id, *(other_id for (other_id,) in _SHARING.all(version_id=version_id))}
    found = [row for batch in spread("id", sorted(ids)) for row in _SHARERS.all(**batch)]
    return [
        _Sharer(its_id, digest, wrapped_key, owner_id, owners_key, root_id != "")
        for its_id, digest, wrapped_key, owner_id, owners_key, root_id in found
    ]


def _owners_key(owner_id: str, owners_key: str, *, is_owned: bool) -> AccountKey:
    """What a removed account owned is wrapped with a key that nobody ever has: its own is gone, and stays so."""
    return sealing.account_key(owner_id, owners_key) if is_owned else AccountKey(secrets.token_bytes(KEY_BYTES))


def _keys(chunk_ids: Sequence[str]) -> dict[str, tuple[int, bytes]]:
    """The positions and the data keys of chunks, by their ids; of those alone that all who name them have the same of:
    the others would be sent in vain, again and again."""
    query = (
        Extent.select(Extent.chunk, Extent.position, Account.wrapped_key, Version.wrapped_key)
        .join(Version)
        .join(Entry)
        .join(Account)
        .where(Extent.chunk.in_(list(chunk_ids)) & (Account.root_id != ""))
    )
    found: dict[str, set[tuple[int, bytes] | None]] = {}
    for chunk_id, position, owners_key, wrapped in rows(query):
        key = None
        if wrapped:
            with suppress(MasterKeyMissing, KeyDamaged):  # it must not keep others waiting
                key = position, sealing.data_key(owners_key, wrapped)
        found.setdefault(chunk_id, set()).add(key)
    return {chunk_id: key for chunk_id, keys in found.items() if len(keys) == 1 for key in keys if key}


def _holders(chunk_ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
    good = Copy.select(Copy.chunk, Copy.node).where(Copy.chunk.in_(list(chunk_ids)) & (Copy.state == "good"))
    found: dict[str, tuple[str, ...]] = {}
    for chunk_id, node_id in rows(good):
        found[chunk_id] = (*found.get(chunk_id, ()), node_id)
    return found


def _note_stored(sealed: Sealed) -> int:
    """The copies of a chunk that nobody needs yet; returns how many there are. None where the node was removed or is
    told to delete it."""
    _FILL.run(chunk_id=sealed.chunk_id, checksum=sealed.checksum)
    stored = 0
    for node_id in sealed.node_ids:
        stored += _ADD_COPY.run(chunk_id=sealed.chunk_id, node_id=node_id, now=now())
        _FORGET_STRAY.run(chunk_id=sealed.chunk_id, node_id=node_id)
    return stored


def _is_named_as(plain: Plain, owners: Iterable[str]) -> bool:
    """Whether all that name a chunk have its position and its key, and their drives are locked."""
    named = _NAMED.all(chunk_id=plain.chunk_id)
    return bool(named) and all(
        position == plain.position
        and owner_id in owners
        # Nobody can read what a removed account owned: its key is gone.
        and (not root_id or (wrapped != "" and sealing.data_key(owners_key, wrapped) == plain.data_key))
        for position, wrapped, owner_id, owners_key, root_id in named
    )


def _sharing() -> Any:
    other = Extent.alias()
    return (
        Extent.select(other.version)
        .distinct()
        .join(other, on=(other.chunk == Extent.chunk))
        .where(Extent.version == blank("version_id"))
    )


def _add_copy() -> Any:
    doomed = Stray.select().where(
        (Stray.node == Node.node_id) & (Stray.chunk_id == blank("chunk_id")) & Stray.doomed_at.is_null(False)
    )
    there = Node.select(blank("chunk_id"), Node.node_id, Value("good"), blank("now").cast("BIGINT"))
    return Copy.insert_from(
        there.where((Node.node_id == blank("node_id")) & ~fn.EXISTS(doomed)),
        [Copy.chunk, Copy.node, Copy.state, Copy.created_at],
    )


_SHARING = Prepared(_sharing)
_SHARERS = Prepared(
    lambda: (
        Version.select(
            Version.version_id,
            Version.digest,
            Version.wrapped_key,
            Entry.account,
            Account.wrapped_key,
            Account.root_id,
        )
        .join(Entry)
        .join(Account)
        .where(Version.version_id.in_(some("id")))
    )
)
_GIVE_KEY = Prepared(
    lambda: Version.update(wrapped_key=blank("wrapped_key"), digest=blank("digest")).where(
        (Version.version_id == blank("version_id")) & (Version.wrapped_key == "")
    )
)
_ANSWER = Prepared(
    lambda: (
        Upload.select(Upload.digest, Upload.account, Account.wrapped_key, Account.root_id)
        .join(Account, on=(Account.account_id == Upload.account))
        .where((Upload.upload_id == blank("upload_id")) & (Upload.wrapped_key == "") & (Upload.digest != ""))
    )
)
_SEAL_ANSWER = Prepared(
    lambda: Upload.update(wrapped_key=blank("wrapped_key"), digest=blank("digest")).where(
        (Upload.upload_id == blank("upload_id")) & (Upload.wrapped_key == "")
    )
)
_PLAN = Prepared(
    lambda: Chunk.insert(
        chunk_id=blank("chunk_id"),
        length=blank("length"),
        checksum="",
        created_at=blank("now"),
        unreferenced_at=blank("now"),
        is_sealed=True,
    )
)
_NAMED = Prepared(
    lambda: (
        Extent.select(Extent.position, Version.wrapped_key, Entry.account, Account.wrapped_key, Account.root_id)
        .join(Version)
        .join(Entry)
        .join(Account)
        .where(Extent.chunk == blank("chunk_id"))
    )
)
_LOCK_CHUNKS = Prepared(
    lambda: locked(
        Chunk.select(Chunk.chunk_id, Chunk.is_sealed, Chunk.unreferenced_at)
        .where(Chunk.chunk_id.in_([blank("old_id"), blank("new_id")]))
        .order_by(Chunk.chunk_id)
    )
)
_FILL = Prepared(lambda: Chunk.update(checksum=blank("checksum")).where(Chunk.chunk_id == blank("chunk_id")))
_ADD_COPY = Prepared(_add_copy)
_FORGET_STRAY = Prepared(
    lambda: Stray.delete().where(
        (Stray.node == blank("node_id")) & (Stray.chunk_id == blank("chunk_id")) & Stray.doomed_at.is_null()
    )
)
_READABLE = Prepared(
    lambda: (
        Copy.select(fn.COUNT(Copy.node))
        .join(Node)
        .where((Copy.chunk == blank("chunk_id")) & (Copy.state == "good") & Node.is_online)
    )
)
_RENAME = Prepared(lambda: Extent.update(chunk=blank("new_id")).where(Extent.chunk == blank("old_id")))
_NEEDED = Prepared(lambda: Chunk.update(unreferenced_at=None).where(Chunk.chunk_id == blank("chunk_id")))
_UNNEEDED = Prepared(lambda: Chunk.update(unreferenced_at=blank("now")).where(Chunk.chunk_id == blank("chunk_id")))
