"""The contents that a file had: kept up to a number, listed, made the newest again, deleted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from peewee import fn

from cloudgrpc.errors import Missing, VersionNewest, VersionUnknown
from cloudgrpc.meta import events, room, sealing, tree
from cloudgrpc.meta.changes import check_version, reach_to_change, record
from cloudgrpc.meta.db import now, rows
from cloudgrpc.meta.models import Account, Entry, Extent, Version, new_id
from cloudgrpc.meta.prepared import Prepared, blank

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudgrpc.meta.tree import Person, Reached


@dataclass(frozen=True)
class Content:
    """A version as its file's history shows it; times are microseconds since 1970."""

    version: int
    size_bytes: int
    mime_type: str
    digest: str
    created_at: int
    made_by: str  # an e-mail; "" where that was not recorded yet
    is_newest: bool


_NEWEST_NUMBER = Prepared(
    lambda: (
        Version.select(Version.number)
        .join(Entry, on=(Entry.version_id == Version.version_id))
        .where(Entry.entry_id == blank("entry_id"))
    )
)


def newest_number(file_id: str) -> int:
    (number,) = _NEWEST_NUMBER.one(entry_id=file_id)
    return int(number)


def page(person: Person, file_id: str, before: int | None, limit: int) -> tuple[list[Content], int | None]:
    """Up to `limit` versions of a live file, the newest first, from below number `before`; and the number to go on
    from, None at the end. Raises: Missing."""
    file = tree.reach_file(person, file_id)
    owners_key = sealing.wrapped_of(file.owner_id)
    query = Version.select().where(Version.entry == file.entry_id)
    if before is not None:
        query = query.where(Version.number < before)
    found = list(query.order_by(Version.number.desc()).limit(limit + 1))
    contents = [
        Content(
            version=one.number,
            size_bytes=one.size_bytes,
            mime_type=one.mime_type,
            digest=sealing.listed_digest(owners_key, one.wrapped_key, one.digest),
            created_at=one.created_at,
            made_by=one.made_by,
            is_newest=one.version_id == file.version_id,
        )
        for one in found[:limit]
    ]
    return contents, contents[-1].version if len(found) > limit else None


def restore(person: Person, file_id: str, number: int, expected_version: int | None, keep: int) -> int:
    """Make an older content the newest, as a further version; returns its number. When the newest is that very content
    already, that is the answer: so asking again after a lost reply changes nothing.

    Raises: Missing, ReadOnlyShare, VersionMoved, QuotaExceeded.
    """
    file = _reach_to_change(person, file_id).check_writable()
    check_version(file.version_id, file.name, expected_version)
    wanted = _version(file, number)
    newest = Version.get_by_id(file.version_id)
    if _is_like(newest, wanted, sealing.wrapped_of(file.owner_id)):
        return int(newest.number)
    room.charge(file.owner_id, file.name, wanted.size_bytes)
    added = add(file.entry_id, wanted.version_id, person.email, wanted.wrapped_key)
    record(
        "version.restored",
        f"version {number} of {file.owner_path} was made the newest",
        person,
        file.owner_id,
        seen=f"version {number} of {file.seen_path} was made the newest",
        file_id=file.entry_id,
        version=added,
    )
    prune(file.owner_id, file.entry_id, file.owner_path, added, keep)
    return added


def delete(person: Person, file_id: str, number: int) -> None:
    """Delete an older version of a file of one's own. Raises: Missing, OwnerOnly, VersionNewest."""
    file = _reach_to_change(person, file_id).check_own()
    version = _version(file, number)
    if version.version_id == file.version_id:
        raise VersionNewest(name=file.name, version=number)
    size = discard(file.owner_id, [version.version_id])
    record(
        "version.deleted",
        f"version {number} of {file.owner_path} was deleted for good",
        person,
        file.owner_id,
        file_id=file.entry_id,
        version=number,
        bytes=size,
    )


def add(file_id: str, like_id: str, made_by: str, wrapped_key: str) -> int:
    """Give a file its first or a further version, with the content of an existing one, of this file or another; returns
    its number. The drives of both are locked, and the room is charged. `wrapped_key`: of that content, for the file's
    owner."""
    like = Version.get_by_id(like_id)
    number = int(Version.select(fn.COALESCE(fn.MAX(Version.number), 0)).where(Version.entry == file_id).scalar()) + 1
    version_id, moment = new_id(), now()
    Version.create(
        version_id=version_id,
        entry=file_id,
        number=number,
        size_bytes=like.size_bytes,
        digest=like.digest,
        mime_type=like.mime_type,
        created_at=moment,
        made_by=made_by,
        wrapped_key=wrapped_key,
    )
    _SHARE_CHUNKS.run(version_id=version_id, like_id=like_id)
    Entry.update(version_id=version_id, modified_at=moment).where(Entry.entry_id == file_id).execute()
    return number


def prune(owner_id: str, file_id: str, path: str, newest: int, keep: int) -> int:
    """Delete all but the `keep` newest versions of a file whose drive is locked, and the newest that its owner made:
    whoever may write to it must not end that. Returns how many went. `path`: as the owner sees it."""
    if newest <= keep:  # so there cannot be more
        return 0
    query = Version.select(Version.version_id, Version.made_by).where(Version.entry == file_id)
    found = rows(query.order_by(Version.number.desc()))
    if len(found) <= keep:
        return 0
    owners = {"", Account.get_by_id(owner_id).email}  # "": of a time when only the owner wrote
    own = next((version_id for version_id, made_by in found if made_by in owners), None)
    old = [version_id for version_id, _ in found[keep:] if version_id != own]
    if old:
        events.record(
            "versions.ended",
            f"{len(old)} older version{'s' if len(old) > 1 else ''} of {path} ended",
            account_id=owner_id,
            file_id=file_id,
            versions=len(old),
            bytes=discard(owner_id, old),
            by="",
        )
    return len(old)


def discard(owner_id: str, version_ids: Sequence[str]) -> int:
    """Delete versions for good; returns the bytes that are free. The drive is locked, and no entry shows them.

    They move to an entry of their own that is purged already: however much they hold, it goes little by little.
    """
    moment = now()
    husk = Entry.create(
        entry_id=new_id(),
        account=owner_id,
        kind="file",
        name="",
        name_key="",
        created_at=moment,
        modified_at=moment,
        purged_at=moment,
    )
    size = 0
    for batch in tree.batches(version_ids):
        chosen = Version.version_id.in_(batch)
        size += int(Version.select(fn.COALESCE(fn.SUM(Version.size_bytes), 0)).where(chosen).scalar())
        Version.update(entry=husk.entry_id).where(chosen).execute()
    room.give_back(owner_id, size)
    return size


def overfull(after: str, keep: int, limit: int) -> list[tuple[str, str]]:
    """Files with more than `keep` versions, and their owners, by the files' ids from behind `after`; also those with
    one more that `prune` spares. Reads the whole table little by little."""
    query = (
        Version.select(Version.entry, Entry.account)
        .join(Entry)
        .where((Version.entry > after) & Entry.purged_at.is_null())
        .group_by(Version.entry, Entry.account)
        .having(fn.COUNT(Version.version_id) > keep)
        .order_by(Version.entry)
    )
    return [(file_id, owner_id) for file_id, owner_id in rows(query.limit(limit))]


def prune_overfull(found: Sequence[tuple[str, str]], keep: int) -> int:
    """Prune files that had too many versions when they were looked for; returns how many versions went."""
    tree.lock({owner_id for _, owner_id in found})
    pruned = 0
    for file_id, owner_id in found:
        if tree.is_kept(file_id):
            pruned += prune(owner_id, file_id, tree.told_path(file_id), keep + 1, keep)
    return pruned


def _reach_to_change(person: Person, file_id: str) -> Reached:
    """Raises: Missing, also for a folder."""
    file = reach_to_change(person, file_id)
    if file.is_folder:
        raise Missing(what=f"File {file_id}")
    return file


def _is_like(one: Version, other: Version, owners_key: str) -> bool:
    """Whether two versions of one owner have the same content, which the sealed digests of two uploads do not tell."""
    if one.mime_type != other.mime_type:
        return False
    first, second = (sealing.listed_digest(owners_key, version.wrapped_key, version.digest) for version in (one, other))
    return first == second != ""  # nothing is like one that cannot be read, or it could not be followed by a good one


def _version(file: Reached, number: int) -> Version:
    version: Version | None = Version.get_or_none((Version.entry == file.entry_id) & (Version.number == number))
    if version is None:
        raise VersionUnknown(version=number, name=file.name)
    return version


_SHARE_CHUNKS = Prepared(
    lambda: Extent.insert_from(
        Extent.select(blank("version_id"), Extent.position, Extent.chunk, Extent.length).where(
            Extent.version == blank("like_id")
        ),
        [Extent.version, Extent.position, Extent.chunk, Extent.length],
    )
)
