"""What the pool has promised to all accounts together, and whether it may promise more: see core.quota."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from peewee import SQL, Select, fn

from cloudgrpc.core import quota
from cloudgrpc.core.units import size_words
from cloudgrpc.meta.db import locked, rows
from cloudgrpc.meta.models import DATABASE, Account, Cluster, Node
from cloudgrpc.meta.payment_models import Payment

if TYPE_CHECKING:
    from cloudgrpc.errors import Limit


@dataclass(frozen=True)
class Promise:
    """What a new account gets, and what the pool may promise."""

    new_account_bytes: int
    copies: int
    overcommit: float


def take_turn() -> None:
    """Until the transaction ends nobody else is promised anything: two cannot both get the last of the pool."""
    locked(Cluster.select()).execute()


def check(needed: int, promise: Promise, refusal: type[Limit]) -> None:
    """Raises: `refusal`, of the facts needed, promised and limit, when the pool cannot promise so much more."""
    take_turn()
    capacity, promised = capacity_and_promised()
    limit = quota.promise_limit(capacity, promise.copies, promise.overcommit)
    if promised + needed > limit:
        raise refusal(needed=size_words(needed), promised=size_words(promised), limit=size_words(limit))


def capacity_and_promised() -> tuple[int, int]:
    """Bytes that all nodes may keep, and bytes promised to all accounts, with what payments under way will bring."""
    capacity, quotas, under_way = (int(each or 0) for each in rows(_SUMS)[0])
    return capacity, quotas + under_way


# In one statement: between two of them a payment that completes could be in neither. The states are written out, for
# SQLite to see that its partial index is meant.
_SUMS = Select(
    columns=[
        Node.select(fn.SUM(Node.capacity_bytes)),
        Account.select(fn.SUM(Account.quota_bytes)),
        Payment.select(fn.SUM(Payment.storage_bytes)).where(SQL("state IN ('pending', 'processing')")),
    ]
).bind(DATABASE)
