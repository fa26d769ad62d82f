"""Accounts as operators see them: listed, searched, and one of them with what it holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from peewee import fn

from cloudgrpc.errors import UserUnknown
from cloudgrpc.meta import event_lists, files, sessions, tree
from cloudgrpc.meta.census import IS_FILE
from cloudgrpc.meta.db import now, rows
from cloudgrpc.meta.models import Account, Entry, Session
from cloudgrpc.meta.payment_models import Payment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudgrpc.meta.event_lists import Told
    from cloudgrpc.meta.files import File, Usage
    from cloudgrpc.meta.sessions import Standing

USERS_AT_ONCE = 1000  # looked through for a search
FILES_AT_ONCE = 1000  # looked through for live ones
FILES_LOOKED_AT = 20_000
Place = tuple[int, str]  # where the list of accounts goes on: when the last one was made, and its id
IS_STANDING = Account.root_id != ""  # a removed one is there only until its rows are gone


@dataclass(frozen=True)
class User:
    """An account as operators see it."""

    account: Account
    files: int  # live ones
    sessions: int


@dataclass(frozen=True)
class Details:
    """More of one account: the newest of each."""

    user: User
    files: list[File]
    sessions: list[Standing]
    payments: list[Payment]
    events: list[Told]
    usage: Usage


@dataclass(frozen=True)
class _Owner:
    """An account, where somebody is asked for who looks at their own."""

    account_id: str
    email: str
    root_id: str


def page(search: str, after: Place | None, limit: int) -> tuple[list[User], Place | None]:
    """Accounts with `search` in the address or the name, the newest first, of those behind `after`; and where the next
    page goes on (None: that was all)."""
    wanted, found = search.casefold(), list[Account]()
    while len(found) <= limit:
        # Looked through here, since the engines do not agree on what is the same in upper and lower case.
        batch = list(_newest_accounts(after).limit(USERS_AT_ONCE if wanted else limit + 1))
        if not batch:
            break
        found += [one for one in batch if wanted in one.email.casefold() or wanted in one.full_name.casefold()]
        after = (batch[-1].created_at, batch[-1].account_id)
    last = found[limit - 1] if len(found) > limit else None
    return _users(found[:limit]), (last.created_at, last.account_id) if last else None


def find(user: str) -> Account:
    """By id or e-mail address. Raises: UserUnknown."""
    told = tree.sound(user.strip())
    for is_it in (Account.account_id == told, Account.email == told.lower()):  # one by one, each by its index
        account = Account.get_or_none(IS_STANDING & is_it)
        if account is not None:
            return account
    raise UserUnknown(user=user)


def user_of(account_id: str) -> User:
    return _users([Account.get_by_id(account_id)])[0]


def details(user: str, most_files: int, most_payments: int, most_events: int) -> Details:
    """Raises: UserUnknown."""
    account = find(user)
    account_id = account.account_id
    payments = Payment.select().where(Payment.account_id == account_id)
    return Details(
        user=_users([account])[0],
        files=_newest_files(account, most_files),
        sessions=sessions.standing(account_id),
        payments=list(payments.order_by(Payment.created_at.desc(), Payment.payment_id.desc()).limit(most_payments)),
        events=event_lists.newest_about(account_id, most_events),
        usage=files.usage(_Owner(account_id, account.email, account.root_id)),
    )


def _newest_accounts(after: Place | None) -> Any:
    query = Account.select().where(IS_STANDING)
    if after:
        # What comes first says no more than what follows it, but an index can seek to it.
        earlier = (Account.created_at < after[0]) | (Account.account_id < after[1])
        query = query.where((Account.created_at <= after[0]) & earlier)
    return query.order_by(Account.created_at.desc(), Account.account_id.desc())


def _users(accounts: Sequence[Account]) -> list[User]:
    ids = [account.account_id for account in accounts]
    in_force, held, gone = dict[str, int](), dict[str, int](), dict[str, int]()
    moment = now()
    for batch in tree.batches(ids):
        mine = Session.account.in_(batch) & (Session.expires_at > moment)
        in_force |= dict(
            rows(Session.select(Session.account, fn.COUNT(Session.digest)).where(mine).group_by(Session.account))
        )
        held |= _files_of(batch)
        gone |= _deleted_files_of(batch)
    return [
        User(one, held.get(one.account_id, 0) - gone.get(one.account_id, 0), in_force.get(one.account_id, 0))
        for one in accounts
    ]


def _files_of(account_ids: Sequence[str]) -> dict[str, int]:
    counts = Entry.select(Entry.account, fn.COUNT(Entry.entry_id)).where(IS_FILE & Entry.account.in_(account_ids))
    return dict(rows(counts.group_by(Entry.account)))


def _deleted_files_of(account_ids: Sequence[str]) -> dict[str, int]:
    """What they have in the trash or deleted for good, as long as there are rows of it."""
    is_top = Entry.trashed_at.is_null(False) | Entry.purged_at.is_null(False)
    found = tree.below(Entry.account.in_(account_ids) & is_top)
    counts = Entry.select(Entry.account, fn.COUNT(Entry.entry_id)).join(found, on=(found.c.entry_id == Entry.entry_id))
    return dict(rows(counts.where(found.c.kind == "file").group_by(Entry.account).with_cte(found)))


def _newest_files(account: Account, most: int) -> list[File]:
    """Live ones, by when their content came."""
    ids: list[str] = []
    newest = (
        Entry.select(Entry.entry_id)
        .where(IS_FILE & (Entry.account == account.account_id))
        .order_by(Entry.modified_at.desc(), Entry.entry_id.desc())
    )
    for start in range(0, FILES_LOOKED_AT, FILES_AT_ONCE):
        batch = [entry_id for (entry_id,) in rows(newest.limit(FILES_AT_ONCE).offset(start))]
        live = _live(batch, account.root_id)
        ids += [entry_id for entry_id in batch if entry_id in live]
        if len(ids) >= most or len(batch) < FILES_AT_ONCE:
            break
    found = {row["entry_id"]: row for row in files.listed().where(Entry.entry_id.in_(ids[:most]))}
    return files.views([found[entry_id] for entry_id in ids[:most]], is_own=True)[1]


def _live(entry_ids: Sequence[str], root_id: str) -> set[str]:
    """Those that hang below the root folder."""
    live: set[str] = set()
    for batch in tree.batches(entry_ids):
        first = Entry.select(Entry.entry_id, Entry.parent).where(Entry.entry_id.in_(batch))
        chain = first.cte("chain", recursive=True, columns=("entry_id", "above_id"))
        above = Entry.alias()
        following = above.select(chain.c.entry_id, above.parent).join(chain, on=(above.entry_id == chain.c.above_id))
        found = chain.union_all(following)
        live |= {
            entry_id for (entry_id,) in rows(found.select_from(found.c.entry_id).where(found.c.above_id == root_id))
        }
    return live
