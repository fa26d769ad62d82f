"""Who else may use what. A share counts while it lasts; what it opens is decided by `tree.reach`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from peewee import JOIN

from cloudgrpc.core.paging import how_many_fit
from cloudgrpc.core.units import minute, rfc3339
from cloudgrpc.errors import InvalidField, ShareUnknown
from cloudgrpc.meta import events, tree
from cloudgrpc.meta.ancestry import Ancestry
from cloudgrpc.meta.changes import reach_to_change, record
from cloudgrpc.meta.db import now, rows
from cloudgrpc.meta.models import Account, Entry, Share, Version, new_id

if TYPE_CHECKING:
    from cloudgrpc.meta.tree import Person

Place = tuple[int, str]  # where a list of shares goes on: when the last was made, and its id

ALLOWED = {"read": "to read", "write": "to read and write"}


@dataclass(frozen=True)
class Terms:
    """What somebody may do, and until when; times are microseconds since 1970."""

    permission: str  # "read" or "write"
    until_at: int | None  # None: for good


@dataclass(frozen=True)
class WithMe:
    """A share as the one sees it whom it is for."""

    share_id: str
    entry_id: str
    name: str
    is_folder: bool
    size_bytes: int  # of a file
    owner_email: str
    terms: Terms
    created_at: int


@dataclass(frozen=True)
class Mine:
    """A share as its owner sees it."""

    share_id: str
    entry_id: str
    path: str  # "" while it lies in the trash
    is_folder: bool
    email: str
    terms: Terms
    created_at: int


def share(person: Person, entry_id: str, email: str, terms: Terms) -> str:
    """Let somebody use a live entry and all below it, or change how they may; returns the share's id.

    Raises: Missing, OwnerOnly; InvalidField for the root folder, and for an end that is over.
    """
    entry = reach_to_change(person, entry_id).check_own()
    if entry.is_top:
        raise InvalidField(field="file_id", reason="is the root folder; share what is in it")
    if terms.until_at is not None and terms.until_at <= now():
        raise InvalidField(field="until", reason="must be in the future")
    is_it = (Share.entry == entry.entry_id) & (Share.email == email)
    for over in rows(_named().where(is_it & (Share.until_at <= now()))):
        _expire(*over)
    standing = Share.get_or_none(is_it)
    share_id: str = standing.share_id if standing else new_id()
    if standing is None:
        Share.create(
            share_id=share_id,
            entry=entry.entry_id,
            account=entry.owner_id,
            email=email,
            permission=terms.permission,
            created_at=now(),
            until_at=terms.until_at,
        )
    elif Terms(standing.permission, standing.until_at) == terms:
        return share_id
    else:
        Share.update(permission=terms.permission, until_at=terms.until_at).where(Share.share_id == share_id).execute()
    until = "" if terms.until_at is None else f" until {minute(terms.until_at)}"
    record(
        "share.changed" if standing else "share.made",
        f"{entry.path} is shared with {email} {ALLOWED[terms.permission]}{until}",
        person,
        entry.owner_id,
        entry_id=entry.entry_id,
        email=email,
        permission=terms.permission,
        until=rfc3339(terms.until_at),
    )
    return share_id


def unshare(person: Person, share_id: str) -> None:
    """End a share of the person's, or one with them. Raises: ShareUnknown."""
    found = Share.get_or_none(Share.share_id == share_id)
    if found is not None:
        # As every change of a drive: an upload that commits after this must not have looked before it.
        tree.lock([found.account_id])
        if found.account_id != person.account_id:
            find_with_me(person, share_id)
    if not _end(person, Share.share_id == share_id):
        raise ShareUnknown(what=f"Share {share_id}")


def unshare_with(person: Person, entry_id: str, email: str) -> None:
    """End the share of one's own entry with somebody. Raises: ShareUnknown."""
    tree.lock([person.account_id])
    is_it = (Share.entry == entry_id) & (Share.email == email) & (Share.account == person.account_id)
    if not _end(person, is_it):
        raise ShareUnknown(what=f"A share of {entry_id} with {email}")


def with_me(person: Person, after: Place | None, limit: int) -> tuple[list[WithMe], Place | None]:
    """What others share with the person, the newest first, and where the next page goes on (None: that was all). A page
    may be short: what lies in a trash, and what a closed account shares, is passed over."""
    found = rows(_page(_with_me(person), after, limit))
    ancestry = Ancestry()
    ancestry.learn(row[2] for row in found)
    live = [_view(row) for row in found[:limit] if ancestry.names_below(row[2], row[-1]) is not None]
    return live, _last(found, limit, limit)


def find_with_me(person: Person, share_id: str) -> WithMe:
    """Raises: ShareUnknown."""
    row = next(iter(rows(_with_me(person).where(Share.share_id == share_id))), None)
    ancestry = Ancestry()
    ancestry.learn([row[2]] if row else [])
    if row is None or ancestry.names_below(row[2], row[-1]) is None:
        raise ShareUnknown(what=f"Share {share_id}")
    return _view(row)


def mine(person: Person, entry_id: str, after: Place | None, limit: int) -> tuple[list[Mine], Place | None]:
    """What the person shares (of one entry, or of all for ""), the newest first, and where the next page goes on.

    Raises: Missing and OwnerOnly for an entry that is not theirs.
    """
    wanted = (Share.account == person.account_id) & _lasts()
    if entry_id:
        if tree.trashed_top(person, entry_id) is None:
            tree.reach(person, entry_id).check_own()
        wanted &= Share.entry == entry_id
    query = Share.select(
        Share.share_id, Share.created_at, Share.entry, Entry.kind, Share.email, Share.permission, Share.until_at
    ).join(Entry)
    found = rows(_page(query.where(wanted), after, limit))
    ancestry = Ancestry()
    ancestry.learn(row[2] for row in found)
    views = []
    for share_id, created_at, shared_id, kind, email, permission, until_at in found[:limit]:
        names = ancestry.names_below(shared_id, person.root_id)
        path = "" if names is None else f"/{'/'.join(names)}"
        views.append(Mine(share_id, shared_id, path, kind == "folder", email, Terms(permission, until_at), created_at))
    count = how_many_fit(len(view.path.encode()) for view in views)
    return [view for view in views[:count] if not ancestry.is_purged(view.entry_id)], _last(found, limit, count)


def end_expired(limit: int) -> int:
    """Forget shares whose time is over; returns how many."""
    due = _named().where(Share.until_at <= now()).order_by(Share.until_at)
    return sum(_expire(*row) for row in rows(due.limit(limit)))


def _lasts() -> Any:
    return Share.until_at.is_null() | (Share.until_at > now())


def _named() -> Any:
    """Shares as `_expire` takes them, and by which name others see what is shared, and whose it is."""
    query = Share.select(Share.share_id, Share.account, Share.entry, Share.email, Entry.name, Account.email)
    return query.join(Entry).switch(Share).join(Account)


def _with_me(person: Person) -> Any:
    """Shares with the person that last, of open accounts; the last column is the owner's root folder."""
    return (
        Share.select(
            Share.share_id,
            Share.created_at,
            Share.entry,
            Entry.name,
            Entry.kind,
            Version.size_bytes,
            Account.email,
            Share.permission,
            Share.until_at,
            Account.root_id,
        )
        .join(Entry)
        .join(Version, JOIN.LEFT_OUTER, on=(Version.version_id == Entry.version_id))
        .switch(Share)
        .join(Account)
        .where((Share.email == person.email) & _lasts() & Account.closes_at.is_null())
    )


def _page(query: Any, after: Place | None, limit: int) -> Any:
    """One more than asked for, to see whether there are more."""
    if after is not None:
        made_at, share_id = after
        # What comes first says no more than what follows it, but an index can seek to it.
        behind = (Share.created_at <= made_at) & ((Share.created_at < made_at) | (Share.share_id < share_id))
        query = query.where(behind)
    return query.order_by(Share.created_at.desc(), Share.share_id.desc()).limit(limit + 1)


def _last(found: list[Any], limit: int, count: int) -> Place | None:
    """Of what was found, `count` were told. The place is where the next page goes on."""
    if len(found) <= min(limit, count):
        return None
    share_id, made_at, *_ = found[count - 1]
    return made_at, share_id


def _view(row: tuple[Any, ...]) -> WithMe:
    share_id, created_at, entry_id, name, kind, size_bytes, owner_email, permission, until_at, _ = row
    terms = Terms(permission, until_at)
    return WithMe(share_id, entry_id, name, kind == "folder", size_bytes or 0, owner_email, terms, created_at)


def _end(person: Person, which: Any) -> bool:
    """False: there is none."""
    row = next(iter(rows(_named().where(which & _lasts()))), None)
    if row is None or not Share.delete().where(Share.share_id == row[0]).execute():
        return False
    _, owner_id, entry_id, email, name, owner_email = row
    record(
        "share.ended",
        f"{tree.told_path(entry_id)} is no longer shared with {email}",
        person,
        owner_id,
        seen=f"shared:{owner_email}/{name} is no longer shared with {email}",
        entry_id=entry_id,
        email=email,
    )
    return True


def _expire(share_id: str, owner_id: str, entry_id: str, email: str, *_: str) -> bool:
    """False: it was ended or prolonged meanwhile."""
    if not Share.delete().where((Share.share_id == share_id) & (Share.until_at <= now())).execute():
        return False
    events.record(
        "share.ended",
        f"{tree.told_path(entry_id)} is no longer shared with {email}: its time was over",
        account_id=owner_id,
        entry_id=entry_id,
        email=email,
        by="",
    )
    return True
