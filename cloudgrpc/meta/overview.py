"""What operators look at: the whole in figures, and the nodes. What is counted by whole tables stands in `census`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from peewee import SQL, Case, fn

from cloudgrpc.core.payment_states import State
from cloudgrpc.meta import nodes, promises
from cloudgrpc.meta.db import now, rows
from cloudgrpc.meta.models import Account, Cluster, Node, Session, Upload
from cloudgrpc.meta.node_acts import copies_left, copies_stuck
from cloudgrpc.meta.payment_models import Payment
from cloudgrpc.meta.users import IS_STANDING

if TYPE_CHECKING:
    from cloudgrpc.meta.nodes import NodeState

DAY_US = 86_400_000_000


@dataclass(frozen=True)
class Overview:
    """The whole in figures; times are microseconds since 1970, amounts XAF."""

    asked_at: int
    capacity_bytes: int
    allocated_bytes: int
    used_bytes: int  # logical: what counts in the quotas
    promised_bytes: int  # with what payments under way will bring
    users: int
    disabled_users: int
    sessions: int
    uploads: int  # under way
    payments_today: dict[str, int]  # by status, of those begun today (UTC)
    revenue_today_xaf: int  # of those completed today
    payments_attention: int
    restored_at: int | None
    last_event_id: int


@dataclass(frozen=True)
class NodeRecord:
    """A node's row, also as the gateway uses it."""

    row: Node
    state: NodeState
    copies_left: int  # that have yet to leave a node that is drained
    copies_stuck: int  # of these, that cannot


def overview() -> Overview:
    moment = now()
    today = moment // DAY_US * DAY_US
    capacity, promised = promises.capacity_and_promised()
    users, allocated, used, disabled = rows(_accounts())[0]
    cluster = Cluster.select().get()
    return Overview(
        asked_at=moment,
        capacity_bytes=capacity,
        allocated_bytes=int(allocated),
        used_bytes=int(used),
        promised_bytes=promised,
        users=users,
        disabled_users=disabled,
        sessions=Session.select().where(Session.expires_at > moment).count(),
        uploads=Upload.select().where((Upload.state == "open") & (Upload.lease_until_at > moment)).count(),
        payments_today=_begun_since(today),
        revenue_today_xaf=_completed_since(today),
        payments_attention=Payment.select().where(SQL("attention <> ''")).count(),
        restored_at=cluster.restored_at,
        last_event_id=cluster.last_event_number,
    )


def node_records() -> list[NodeRecord]:
    """By id."""
    states = {state.node_id: state for state in nodes.all_nodes()}
    return [
        NodeRecord(
            row,
            states[row.node_id],
            copies_left(row.node_id) if row.draining_at else 0,
            copies_stuck(row.node_id) if row.draining_at else 0,
        )
        for row in Node.select().order_by(Node.node_id)
    ]


def _accounts() -> Any:
    disabled = fn.COALESCE(fn.SUM(Case(None, [(Account.disabled_at.is_null(False), 1)], 0)), 0)
    return Account.select(
        fn.COUNT(Account.account_id),
        fn.COALESCE(fn.SUM(Account.quota_bytes), 0),
        fn.COALESCE(fn.SUM(Account.used_bytes), 0),
        disabled,
    ).where(IS_STANDING)


def _begun_since(moment: int) -> dict[str, int]:
    query = Payment.select(Payment.state, fn.COUNT(Payment.payment_id)).where(Payment.created_at >= moment)
    return dict(rows(query.group_by(Payment.state)))


def _completed_since(moment: int) -> int:
    completed = (Payment.state == State.COMPLETED) & (Payment.completed_at >= moment)
    return int(Payment.select(fn.COALESCE(fn.SUM(Payment.amount_xaf), 0)).where(completed).scalar())
