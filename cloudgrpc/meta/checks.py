"""Whether the metadata is whole, in itself and beside what nodes hold: looked at page by page, and only looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from peewee import JOIN, SQL, Case, fn

from cloudgrpc.core.agreement import Known, Stretch
from cloudgrpc.core.placement import wanted_copies
from cloudgrpc.core.sealing import TAG_BYTES
from cloudgrpc.errors import KeyDamaged, Missing
from cloudgrpc.meta import sealing
from cloudgrpc.meta.ancestry import Ancestry
from cloudgrpc.meta.copies import staying_nodes
from cloudgrpc.meta.db import rows
from cloudgrpc.meta.models import (
    Account,
    Chunk,
    Copy,
    Entry,
    Extent,
    Stray,
    Upload,
    UploadChunk,
    Version,
)
from cloudgrpc.meta.tree import batches, below, told_path

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PAGE = 1_000


@dataclass(frozen=True)
class Fault:
    """Something in the metadata that cannot be. `subject`: an account, a file or a chunk."""

    subject: str
    message: str


@dataclass(frozen=True)
class Page:
    """What a page of a table came to. `last`: where the next begins; "" at the end."""

    last: str
    count: int
    faults: list[Fault]


@dataclass(frozen=True)
class Lost:
    """Chunks that files need and of which no good copy is known, and those files."""

    chunks: int
    files: int
    some: list[str]  # whose, and the path


def accounts(after: str, limit: int = PAGE) -> Page:
    """Whether each account's books are what a recount gives, and all it has hangs below its root, or went."""
    query = Account.select(
        Account.account_id, Account.email, Account.used_bytes, Account.reserved_bytes, Account.root_id
    )
    page = rows(
        query.where((Account.account_id > after) & (Account.root_id != "")).order_by(Account.account_id).limit(limit)
    )
    ids = [account_id for account_id, *_ in page]
    used, reserved = _used(ids), _reserved(ids)
    adrift = _adrift(ids)
    faults = []
    for account_id, email, its_used, its_reserved, root_id in page:
        if its_used != used.get(account_id, 0):
            faults.append(Fault(email, f"uses {used.get(account_id, 0)} bytes, but its account says {its_used}"))
        if its_reserved != reserved.get(account_id, 0):
            message = (
                f"uploads under way reserve {reserved.get(account_id, 0)} bytes, but its account says {its_reserved}"
            )
            faults.append(Fault(email, message))
        root = Entry.get_or_none(Entry.entry_id == root_id)
        if root is None or root.account_id != account_id or root.kind != "folder" or root.parent_id is not None:
            faults.append(Fault(email, f"its root folder {root_id} is none"))
        if account_id in adrift:
            faults.append(Fault(email, adrift[account_id]))
    return Page(_last(ids, limit), len(page), faults)


def entries(after: str, limit: int = PAGE) -> Page:
    """Whether each file has a version of its own, and lies in a folder of its own account; counts the files."""
    folder = Entry.alias()
    own = Version.alias()
    query = (
        Entry.select(Entry.entry_id, Entry.kind, Entry.version_id, own.version_id, Entry.parent, folder.kind)
        .join(own, JOIN.LEFT_OUTER, on=((own.version_id == Entry.version_id) & (own.entry == Entry.entry_id)))
        .switch(Entry)
        .join(folder, JOIN.LEFT_OUTER, on=((folder.entry_id == Entry.parent) & (folder.account == Entry.account)))
        .where(Entry.entry_id > after)
        .order_by(Entry.entry_id)
        .limit(limit)
    )
    page = rows(query)
    faults = []
    for entry_id, kind, version_id, its_version, parent_id, parent_kind in page:
        if kind == "file" and its_version is None:
            faults.append(Fault(_place(entry_id), f"its version {version_id} is none of its own"))
        if kind == "folder" and version_id is not None:
            faults.append(Fault(_place(entry_id), "is a folder and has a version"))
        if parent_id is not None and parent_kind != "folder":
            faults.append(Fault(_place(entry_id), f"lies in {parent_id}, which is no folder of the same account"))
    files = sum(kind == "file" for _, kind, *_ in page)
    return Page(_last([entry_id for entry_id, *_ in page], limit), files, faults)


def versions(after: str, limit: int = PAGE) -> Page:
    """Whether each version's extents follow each other from the first, and come to its size; and whether it has a key
    that opens, if they are sealed."""
    query = (
        Version.select(
            Version.version_id,
            Version.entry,
            Version.number,
            Version.size_bytes,
            Version.digest,
            Version.wrapped_key,
            Account.wrapped_key,
            Account.root_id != "",
        )
        .join(Entry)
        .join(Account)
    )
    page = rows(query.where(Version.version_id > after).order_by(Version.version_id).limit(limit))
    sealed = Case(None, [(Chunk.is_sealed, 1)], 0)
    odd = Case(None, [(Extent.length + TAG_BYTES * sealed != Chunk.length, 1)], 0)
    sums = (
        Extent.select(
            Extent.version,
            fn.COUNT(Extent.position),
            fn.SUM(Extent.length),
            fn.MIN(Extent.position),
            fn.MAX(Extent.position),
            fn.SUM(odd),
            fn.SUM(sealed),
        )
        .join(Chunk)
        .where((Extent.version > after) & (Extent.version <= (page[-1][0] if page else after)))
        .group_by(Extent.version)
    )
    extents = {version_id: sums_of_it for version_id, *sums_of_it in rows(sums)}
    faults = []
    for version_id, entry_id, number, size, digest, wrapped_key, owners_key, is_standing in page:
        count, total, first, last, strange, sealed_chunks = extents.get(version_id, (0, 0, 0, -1, 0, 0))
        if total != size or first != 0 or last != count - 1 or strange:
            message = f"version {number} is of {size} bytes, but its {count} chunks come to {total}, or miss one"
            faults.append(Fault(_place(entry_id), message))
        if sealed_chunks and not wrapped_key:
            message = f"{sealed_chunks} chunks of version {number} are sealed, and it has no key"
            faults.append(Fault(_place(entry_id), message))
        elif is_standing and not _opens(owners_key, wrapped_key, digest):
            faults.append(Fault(_place(entry_id), f"the key of version {number} does not open"))
    return Page(_last([version_id for version_id, *_ in page], limit), len(page), faults)


def chunks(after: str, limit: int = PAGE) -> Page:
    """Whether chunks age if and only if no extent names them."""
    query = Chunk.select(Chunk.chunk_id, Chunk.unreferenced_at).where(Chunk.chunk_id > after)
    page = rows(query.order_by(Chunk.chunk_id).limit(limit))
    here = (Extent.chunk > after) & (Extent.chunk <= (page[-1][0] if page else after))
    named = {chunk_id for (chunk_id,) in rows(Extent.select(Extent.chunk).distinct().where(here))}
    faults = []
    for chunk_id, unreferenced_at in page:
        if chunk_id in named and unreferenced_at is not None:
            faults.append(Fault(f"chunk {chunk_id}", "a file needs it, and yet it waits to be collected"))
        if chunk_id not in named and unreferenced_at is None:
            faults.append(Fault(f"chunk {chunk_id}", "no file needs it, and yet it is never collected"))
    return Page(_last([chunk_id for chunk_id, _ in page], limit), len(page), faults)


def stretch(after: str, end: str, limit: int = PAGE) -> Stretch:
    """The next chunks with their copies, and what uploads have planned among them: about `limit` of each, and none
    behind `end` ("": wherever it ends)."""
    ends = [end] if end else []
    for column in (Chunk.chunk_id, UploadChunk.chunk_id):
        ids = rows(column.model.select(column).where(column > after).order_by(column).limit(limit))
        if len(ids) == limit:
            ends.append(ids[-1][0])
    last = min(ends, default="")
    return _stretch(lambda column: (column > after) & ((column <= last) if last else True), last)


def stretch_of(ids: Sequence[str]) -> Stretch:
    """The same for chunks by their ids, of which some may be none."""
    parts = [_stretch(lambda column, some=batch: column.in_(some), "") for batch in batches(ids)]
    return Stretch(
        "",
        {chunk_id: known for part in parts for chunk_id, known in part.chunks.items()},
        frozenset[str]().union(*(part.on_the_way for part in parts)),
        frozenset[tuple[str, str]]().union(*(part.doomed for part in parts)),
    )


def wanted(factor: int) -> int:
    """How many copies a chunk is to have now."""
    return wanted_copies(factor, staying_nodes())


def files_of(chunk_id: str) -> list[str]:
    """Whose they are and their paths, of those that need the chunk and were not deleted for good."""
    query = Version.select(Version.entry, Version.version_id).join(Extent).where(Extent.chunk == chunk_id).distinct()
    found = rows(query.limit(PAGE))
    ancestry = Ancestry()
    ancestry.learn(entry_id for entry_id, _ in found)
    return [_told(entry_id, version_id) for entry_id, version_id in found if not ancestry.is_purged(entry_id)]


def lost(limit: int) -> Lost:
    """`limit`: of files that are named."""
    good = Copy.select(SQL("1")).where((Copy.chunk == Chunk.chunk_id) & (Copy.state == "good"))
    is_lost = Chunk.unreferenced_at.is_null() & ~fn.EXISTS(good)
    purged = below(Entry.purged_at.is_null(False))
    is_kept = Version.entry.not_in(purged.select(purged.c.entry_id))
    if not Chunk.select().where(is_lost).exists():
        return Lost(0, 0, [])
    held = Version.select().join(Extent).join(Chunk).where(is_lost & is_kept).with_cte(purged)
    ((chunks, files),) = rows(held.select(fn.COUNT(Chunk.chunk_id.distinct()), fn.COUNT(Version.entry.distinct())))
    some = rows(held.select(Version.entry, fn.MAX(Version.version_id)).group_by(Version.entry).limit(limit))
    return Lost(int(chunks), int(files), [_told(entry_id, version_id) for entry_id, version_id in some])


def _stretch(is_meant: Callable[..., Any], last: str) -> Stretch:
    """`is_meant`: a condition on a column of chunk ids."""
    chunks = {
        chunk_id: Known(unreferenced_at is None)
        for chunk_id, unreferenced_at in rows(
            Chunk.select(Chunk.chunk_id, Chunk.unreferenced_at).where(is_meant(Chunk.chunk_id))
        )
    }
    for chunk_id, node_id, state in rows(Copy.select(Copy.chunk, Copy.node, Copy.state).where(is_meant(Copy.chunk))):
        chunks[chunk_id].copies[node_id] = state
    planned = rows(UploadChunk.select(UploadChunk.chunk_id).where(is_meant(UploadChunk.chunk_id)))
    doomed = rows(
        Stray.select(Stray.chunk_id, Stray.node).where(is_meant(Stray.chunk_id) & Stray.doomed_at.is_null(False))
    )
    return Stretch(last, chunks, frozenset(one for (one,) in planned), frozenset(doomed))


def _opens(owners_key: str, wrapped_key: str, digest: str) -> bool:
    try:
        sealing.plain_digest(owners_key, wrapped_key, digest)
    except (KeyDamaged, Missing):
        return False
    return True


def _used(account_ids: Sequence[str]) -> dict[str, int]:
    """Logical bytes of all versions of what is live or in the trash, counted anew."""
    kept = below(Entry.account.in_(account_ids) & Entry.parent.is_null() & Entry.purged_at.is_null())
    query = (
        Version.select(Entry.account, fn.SUM(Version.size_bytes))
        .join(Entry)
        .join(kept, on=(kept.c.entry_id == Entry.entry_id))
        .group_by(Entry.account)
        .with_cte(kept)
    )
    return {account_id: int(total) for account_id, total in rows(query)}


def _reserved(account_ids: Sequence[str]) -> dict[str, int]:
    is_open = Upload.account.in_(account_ids) & (Upload.state == "open")
    query = Upload.select(Upload.account, fn.SUM(Upload.size_bytes)).where(is_open).group_by(Upload.account)
    return {account_id: int(total) for account_id, total in rows(query)}


def _adrift(account_ids: Sequence[str]) -> dict[str, str]:
    """In words, of accounts some of whose entries hang neither below the root folder nor below something deleted."""
    mine = Entry.account.in_(account_ids)
    is_top = Entry.parent.is_null() & (
        Entry.trashed_at.is_null(False) | Entry.purged_at.is_null(False) | (Entry.entry_id == Account.root_id)
    )
    tops = Entry.select(Entry.entry_id).join(Account).where(mine & is_top)
    held = below(Entry.entry_id.in_(tops))
    query = (
        Entry.select(Entry.account, fn.COUNT(Entry.entry_id))
        .join(held, on=(held.c.entry_id == Entry.entry_id))
        .group_by(Entry.account)
        .with_cte(held)
    )
    hanging = dict(rows(query))
    everything = rows(Entry.select(Entry.account, fn.COUNT(Entry.entry_id)).where(mine).group_by(Entry.account))
    return {
        account_id: f"{count - hanging.get(account_id, 0)} of its files and folders hang nowhere"
        for account_id, count in everything
        if count != hanging.get(account_id, 0)
    }


def _place(entry_id: str) -> str:
    """Whose it is and its path."""
    entry = Entry.get_by_id(entry_id)
    email = Account.get_by_id(entry.account_id).email
    return f"{email}: {told_path(entry_id)}"


def _told(entry_id: str, version_id: str) -> str:
    is_newest = Entry.get_by_id(entry_id).version_id == version_id
    return _place(entry_id) if is_newest else f"{_place(entry_id)} (an older version)"


def _last(ids: Sequence[str], limit: int) -> str:
    return ids[-1] if len(ids) == limit else ""
