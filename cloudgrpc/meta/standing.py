"""Where the database stands after a restore: read-only until an operator has reconciled it with nodes and Campay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from peewee import SQL, Value, fn

from cloudgrpc.core.payment_states import CREDITABLE, State
from cloudgrpc.errors import NotReconciled, NotRestored
from cloudgrpc.meta import checks, events
from cloudgrpc.meta.db import locked, now, rows
from cloudgrpc.meta.models import Chunk, Cluster, Event, Node, Stray
from cloudgrpc.meta.payment_models import Payment

if TYPE_CHECKING:
    from collections.abc import Sequence

UNKNOWN = "payment.unknown"
COMPARED = "payments.compared"
FILES_TOLD = 100
# Payments that had ended when the backup was made, and may have succeeded at Campay since.
LOOK_BACK_US = 30 * 24 * 3600 * 1_000_000


@dataclass(frozen=True)
class Standing:
    cluster_id: str
    restored_at: int | None  # None: it takes writes
    backup_made_at: int | None


@dataclass(frozen=True)
class Reconciliation:
    """How far the nodes and Campay were looked at since the restore."""

    restored_at: int | None  # None: open, as it is after the one that opened
    backup_made_at: int
    nodes_waiting: list[str]
    lost: checks.Lost
    payments_waiting: int  # that have not come to their end at Campay
    is_compared: bool  # what Campay knows with what this database knows
    sells: bool  # there is an account at Campay; without one it can never be asked
    payments_unknown: list[str]
    files_unknown: int  # on nodes: of what was stored after the backup

    def waiting(self) -> str:
        """In words what must be waited for; "" when all was looked at."""
        nodes = self.nodes_waiting
        words = [f"not looked at since the restore: {', '.join(nodes)}"] if nodes else []
        if not self.is_compared and self.sells:
            words.append("payments were not compared with Campay yet")
        elif not self.is_compared:
            words.append("payments cannot be compared, for this gateway has no account at Campay")
        return "; ".join(words)


@dataclass(frozen=True)
class Transaction:
    """Money that Campay tells of and no payment here names."""

    reference: str
    payment_id: str  # ours, of the time after the backup
    words: str  # amount, how it ended, when


def look() -> Standing:
    row = Cluster.get()
    return Standing(row.cluster_id, row.restored_at, row.backup_made_at)


def is_restored() -> bool:
    """Whether nothing may be made or deleted, but what an operator does."""
    return Cluster.select().where(Cluster.restored_at.is_null(False)).exists()


def reconciliation(*, sells: bool) -> Reconciliation:
    """`sells`: there is an account at Campay. Raises: NotRestored."""
    row = Cluster.get()
    if row.restored_at is None:
        raise NotRestored
    return _reconciliation(row, row.restored_at, sells=sells)


def open_up(operator: str, *, sells: bool, force: bool) -> Reconciliation:
    """Take writes again. Raises: NotRestored, NotReconciled."""
    row = locked(Cluster.select()).get()
    if row.restored_at is None:
        raise NotRestored
    found = _reconciliation(row, row.restored_at, sells=sells)
    waiting = found.waiting()
    if waiting and not force:
        raise NotReconciled(waiting=waiting)
    Cluster.update(restored_at=None).execute()
    _begin_graces(row.restored_at)
    events.record(
        "cluster.reconciled",
        "the restored drive takes writes again",
        by=events.OPERATOR,
        operator=operator,
        not_waited_for=waiting,
        chunks_lost=found.lost.chunks,
        files_lost=found.lost.files,
        files_unknown=found.files_unknown,
    )
    return found


def _begin_graces(restored_at: int) -> None:
    """What was stored after the backup is of this cluster, as an operator says by opening it: collecting does not stop
    for it, as it does for unknown files. Its grace begins now, for until now a later backup could have named it; that
    of what uploads had sent that were under way in the backup, too."""
    moment = now()
    Stray.update(first_seen_at=moment).where(Stray.doomed_at.is_null()).execute()
    Chunk.update(unreferenced_at=moment).where(Chunk.unreferenced_at >= restored_at).execute()
    Chunk.insert_from(
        _unknown().select(Stray.chunk_id, Value(0), Value(""), Value(moment), Value(moment)).distinct(),
        [Chunk.chunk_id, Chunk.length, Chunk.checksum, Chunk.created_at, Chunk.unreferenced_at],
    ).execute()


def _unknown() -> Any:
    return Stray.select().where(
        Stray.doomed_at.is_null() & ~fn.EXISTS(Chunk.select(SQL("1")).where(Chunk.chunk_id == Stray.chunk_id))
    )


def doubtful(backup_made_at: int) -> Any:
    """The condition of payments that may stand otherwise at Campay than in the backup."""
    is_recent = Payment.created_at > backup_made_at - LOOK_BACK_US
    has_traces = Payment.is_unclear | Payment.reference.is_null(False)
    return (Payment.state == State.PROCESSING) | (Payment.state.in_(CREDITABLE) & is_recent & has_traces)


def payments_to_read(mode: str) -> list[str] | None:
    """Payments of this mode that may stand otherwise at Campay than in the backup; None: nothing was restored, or all
    were looked at and compared."""
    row = Cluster.get()
    if row.restored_at is None or _is_compared(row.restored_at):
        return None
    query = Payment.select(Payment.payment_id).where((Payment.mode == mode) & doubtful(row.backup_made_at or 0))
    return [payment_id for (payment_id,) in rows(query.order_by(Payment.created_at))]


def note_compared(told: Sequence[Transaction]) -> int:
    """All that Campay tells since the backup was looked at; `told`: those of them that name a payment of ours. What no
    payment here names is an event each; returns how many."""
    row = locked(Cluster.select()).get()
    if row.restored_at is None or _is_compared(row.restored_at):
        return 0
    unknown = [one for one in told if not _is_known(one)]
    for one in unknown:
        events.record(UNKNOWN, one.words, reference=one.reference, payment_id=one.payment_id)
    events.record(COMPARED, f"Campay's history since the backup was read: {len(unknown)} payments are unknown here")
    return len(unknown)


def _is_known(told: Transaction) -> bool:
    names = (Payment.payment_id == told.payment_id) | (Payment.reference == told.reference)
    return Payment.select().where(names).exists()


def _reconciliation(row: Cluster, restored_at: int, *, sells: bool) -> Reconciliation:
    waiting = Node.inventory_at.is_null() | (Node.inventory_at < restored_at)
    nodes = rows(Node.select(Node.node_id).where(waiting).order_by(Node.node_id))
    since = Event.at >= restored_at
    unknown = rows(Event.select(Event.message).where((Event.kind == UNKNOWN) & since).order_by(Event.event_id))
    is_open = (Payment.state == State.PROCESSING) & (Payment.attention == "")
    payments = Payment.select(fn.COUNT(Payment.payment_id)).where(is_open).scalar()
    return Reconciliation(
        restored_at=restored_at,
        backup_made_at=row.backup_made_at or 0,
        nodes_waiting=[node_id for (node_id,) in nodes],
        lost=checks.lost(FILES_TOLD),
        payments_waiting=int(payments),
        # Who never sold anything has nothing to compare.
        is_compared=_is_compared(restored_at) or (not sells and not Payment.select().exists()),
        sells=sells,
        payments_unknown=[message for (message,) in unknown],
        files_unknown=_unknown().count(),
    )


def _is_compared(restored_at: int) -> bool:
    return Event.select().where((Event.kind == COMPARED) & (Event.at >= restored_at)).exists()
