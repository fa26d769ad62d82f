"""Many small uploads begun, or ended, in one transaction, since each transaction waits for the disk.

Every upload is for itself, in a savepoint: what one is refused for leaves the others as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from cloudgrpc.errors import CloudError, Missing
from cloudgrpc.meta import tree, uploads
from cloudgrpc.meta.db import is_postgres, rows
from cloudgrpc.meta.models import DATABASE, Upload
from cloudgrpc.meta.targets import Reaching

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cloudgrpc.meta.tree import Limits
    from cloudgrpc.meta.uploads import Answer, Opened, Planned, Stored, Wish

T = TypeVar("T")


@dataclass(frozen=True)
class Wanted:
    upload_id: str
    wish: Wish
    planned: Sequence[Planned]


@dataclass(frozen=True)
class Sent:
    """What `uploads.commit` wants to know of an upload."""

    upload_id: str
    stored: Sequence[Stored]
    digest: str
    quorum: int


def begin(wanted: Sequence[Wanted], lease_us: int, limits: Limits) -> list[Answer | Opened | CloudError]:
    """`uploads.begin` for each: what it returns, or raises."""
    owners = _owners([one.wish for one in wanted])
    # All at once, or two batches could wait for each other's.
    tree.lock(owner for owner in owners if isinstance(owner, str))
    reaching = Reaching()

    def opened(one: Wanted) -> Answer | Opened:
        return uploads.begin_locked(one.upload_id, one.wish, one.planned, lease_us, limits, reaching=reaching)

    return [
        owner if isinstance(owner, CloudError) else _apart(partial(opened, one))
        for one, owner in zip(wanted, owners, strict=True)
    ]


def commit(sent: Sequence[Sent], keep: int) -> list[Answer | CloudError]:
    """`uploads.commit` for each, in their order: what it returns, or raises."""
    _lock_drives([one.upload_id for one in sent])
    reaching = Reaching()

    def committed(one: Sent) -> Answer:
        return uploads.commit_locked(one.upload_id, one.stored, one.digest, one.quorum, keep, reaching=reaching)

    return [_apart(partial(committed, one)) for one in sent]


def abandon(upload_ids: Sequence[str]) -> None:
    """`uploads.abandon` for each; those that are not open stay as they are."""
    _lock_drives(upload_ids)
    for upload_id in upload_ids:
        uploads.abandon(upload_id)


def _owners(wishes: Sequence[Wish]) -> list[str | Missing]:
    """Whose drive each is for, or why it is for none: what comes to be reached a moment later has no lock."""
    reaching, owners = Reaching(), list[str | Missing]()
    for wish in wishes:
        try:
            owners.append(reaching(wish.person, wish.parent_id).owner_id)
        except Missing as error:
            owners.append(error)
    return owners


def _lock_drives(upload_ids: Sequence[str]) -> None:
    if is_postgres():
        tree.lock(
            owner_id
            for batch in tree.batches(upload_ids)
            for (owner_id,) in rows(Upload.select(Upload.account).where(Upload.upload_id.in_(batch)).distinct())
        )


def _apart(work: Callable[[], T]) -> T | CloudError:
    try:
        with DATABASE.atomic():
            return work()
    except CloudError as error:
        return error
