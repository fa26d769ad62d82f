"""What is counted by reading whole tables: chunks by copies, files, payments; too slow to be done for every look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from peewee import JOIN, SQL, Case, fn

from cloudgrpc.core.payment_states import State
from cloudgrpc.core.placement import wanted_copies
from cloudgrpc.meta import tree, unsealed
from cloudgrpc.meta.copies import staying_nodes
from cloudgrpc.meta.db import now, rows
from cloudgrpc.meta.models import Chunk, Copy, Entry, Node
from cloudgrpc.meta.payment_models import Payment
from cloudgrpc.meta.spread import NOT_GOOD

# In the words of the index of files; without it SQLite would read every entry.
IS_FILE = SQL("kind = 'file'")


@dataclass(frozen=True)
class Count:
    """All of one moment; `counted_at` is the database's, in microseconds since 1970."""

    whole: int  # chunks that files need, with all the copies they are to have on online nodes
    missing: int  # with fewer
    lost: int  # with none on any node
    copies_missing: int
    bytes_missing: int
    copies_wanted: int
    unsealed: int  # chunks that files need and that are not encrypted
    bytes_unsealed: int
    files: int  # live ones
    payments: dict[str, int]  # by status
    revenue_xaf: int  # of the completed ones
    counted_at: int

    @property
    def chunks(self) -> int:
        return self.whole + self.missing + self.lost


def count(factor: int) -> Count:
    wanted = wanted_copies(factor, staying_nodes())
    chunks, whole, lost, copies_missing, bytes_missing = _tally(wanted)
    unsealed_chunks, bytes_unsealed = unsealed.count()
    payments, revenue = _payments()
    return Count(
        whole=whole,
        missing=chunks - whole - lost,
        lost=lost,
        copies_missing=copies_missing,
        bytes_missing=bytes_missing,
        copies_wanted=wanted,
        unsealed=unsealed_chunks,
        bytes_unsealed=bytes_unsealed,
        files=_files() - _files_below(Entry.trashed_at.is_null(False) | Entry.purged_at.is_null(False)),
        payments=payments,
        revenue_xaf=revenue,
        counted_at=now(),
    )


def _tally(wanted: int) -> tuple[int, ...]:
    """Chunks that files need; of these whole, lost; copies and bytes that are missing.

    The index that has copies in the order of chunks does not know their state, and rows are slow to look up. So all
    copies are counted as if they were good, and then the few chunks with one that is not are counted anew.
    """
    online = [node_id for (node_id,) in rows(Node.select(Node.node_id).where(Node.is_online))]
    doubtful = Chunk.chunk_id.in_(Copy.select(Copy.chunk).where(NOT_GOOD))
    of_doubtful = (counted(wanted, online, doubtful), counted(wanted, online, doubtful, Copy.state == "good"))
    taken_for_good, wrongly, rightly = (rows(query)[0] for query in (counted(wanted, online), *of_doubtful))
    return tuple(
        int(all_of_them) - int(wrong) + int(right)
        for all_of_them, wrong, right in zip(taken_for_good, wrongly, rightly, strict=True)
    )


def counted(wanted: int, online: list[str], chunks: Any = True, copies: Any = True) -> Any:
    """The figures of `_tally` of some chunks, by some copies; conditions on Chunk and Copy."""
    here = fn.SUM(Case(None, [(Copy.node.in_(online), 1)], 0))
    held = (
        Chunk.select(Chunk.length.alias("length"), here.alias("here"), fn.COUNT(Copy.node).alias("anywhere"))
        .join(Copy, JOIN.LEFT_OUTER, on=(Copy.chunk == Chunk.chunk_id) & copies)
        .where(Chunk.unreferenced_at.is_null() & chunks)
        .group_by(Chunk.chunk_id)
        .alias("held")
    )
    is_there = held.c.anywhere > 0
    lacking = Case(None, [(is_there & (held.c.here < wanted), wanted - held.c.here)], 0)
    return held.select_from(
        fn.COUNT(SQL("*")),
        _sum(Case(None, [(is_there & (held.c.here >= wanted), 1)], 0)),
        _sum(Case(None, [(is_there, 0)], 1)),
        _sum(lacking),
        _sum(lacking * held.c.length),
    )


def _sum(of: Any) -> Any:
    return fn.COALESCE(fn.SUM(of), 0)


def _files() -> int:
    return int(Entry.select(fn.COUNT(SQL("*"))).where(IS_FILE).scalar())


def _files_below(tops: Any) -> int:
    found = tree.below(tops)
    query = Entry.select(fn.COUNT(SQL("*"))).join(found, on=(found.c.entry_id == Entry.entry_id))
    return int(query.where(found.c.kind == "file").with_cte(found).scalar())


def _payments() -> tuple[dict[str, int], int]:
    query = Payment.select(Payment.state, fn.COUNT(Payment.payment_id), fn.SUM(Payment.amount_xaf))
    found = rows(query.group_by(Payment.state))
    amounts = {state: int(amount) for state, _, amount in found}
    return {state: count for state, count, _ in found}, amounts.get(State.COMPLETED, 0)
