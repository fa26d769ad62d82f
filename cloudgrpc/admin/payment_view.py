"""`admin --payments`: everybody's payments, what waits for an operator, what they add up to, and revenue by day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from cloudgrpc.admin import revenue
from cloudgrpc.admin.desk import Wanted
from cloudgrpc.clients import render
from cloudgrpc.core.payment_states import OPEN, State
from cloudgrpc.core.units import size_words
from cloudgrpc.errors import UsageWrong
from cloudgrpc.shell import dates, receipt
from cloudgrpc.shell.money import NO_SALE, xaf
from cloudgrpc.shell.payments import short
from cloudgrpc.shell.stream_table import StreamTable, terminal_width

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from cloudgrpc.admin.desk import Desk
    from cloudgrpc.pb import cloud_storage_pb2 as pb

LABEL_LETTERS = 14
LINES = 20
OFF = "Nothing is sold now: the gateway has no account at Campay"
TITLES = ["ID", "When", "Tier", "Amount", "Status", "From", "Who"]


@dataclass(frozen=True)
class View:
    wanted: Wanted
    lines: int  # 0: all
    is_json: bool
    last_day: date  # of the chart, in UTC


def wanted(args: argparse.Namespace) -> View:
    """Raises: UsageWrong."""
    now = datetime.now(UTC)
    if args.status is not None and args.status not in [*State]:
        raise UsageWrong(reason=f"--status is one of {', '.join(State)}, not {args.status!r}")
    if args.lines is not None and args.lines < 0:
        raise UsageWrong(reason="-n is a whole number; 0 means all")
    since = dates.start(args.since, now) if args.since else ""
    until = _until(args.until, now) if args.until else ""
    # Until is the first moment that is not meant.
    last = min(now, datetime.fromisoformat(until) - timedelta(seconds=1)) if until else now
    meant = Wanted(args.status or "", args.user or "", since, until, args.attention)
    lines = LINES if args.lines is None else args.lines
    return View(meant, lines, args.json, last.astimezone(UTC).date())


def show(desk: Desk, view: View) -> None:
    if view.is_json:
        payments = [facts(payment) for payment in desk.payments(view.wanted, view.lines)]
        render.print_json({"payments": payments, "totals": totals_facts(desk.totals(view.wanted))})
        return
    totals = desk.totals(view.wanted)
    if words := NO_SALE.get(totals.mode, "" if totals.mode else OFF):
        print(f"{words}.\n")
    _show_payments(desk, view)
    if not view.wanted.only_attention and totals.attention:
        waiting = Wanted("", view.wanted.user, view.wanted.since, view.wanted.until, only_attention=True)
        print(f"\n{render.styled('Waiting for an operator', render.BOLD)}")
        _show_waiting(desk.payments(waiting))
    _show_totals(totals)
    _show_revenue(totals, view.last_day)


def _until(word: str, now: datetime) -> str:
    """A day is meant to its end. Raises: UsageWrong."""
    told = dates.start(word, now)
    if dates.DAY.fullmatch(word) and word < date.max.isoformat():
        return dates.start((date.fromisoformat(word) + timedelta(days=1)).isoformat(), now)
    return told


def _show_payments(desk: Desk, view: View) -> None:
    if view.wanted.only_attention:
        _show_waiting(desk.payments(view.wanted, view.lines))
        return
    # One more than is shown tells whether there are more.
    found = list(desk.payments(view.wanted, view.lines + 1 if view.lines else 0))
    table = StreamTable(TITLES, right=["Amount"])
    table.add([_row(payment) for payment in (found[: view.lines] if view.lines else found)])
    if not found:
        print("No payments.")
    elif view.lines and len(found) > view.lines:
        print(f"... the newest {view.lines}; -n 0 shows all")


def _row(payment: pb.PaymentRecord) -> list[str]:
    return [
        short(payment),
        render.when(payment.created_at),
        render.shown(payment.tier_name),
        xaf(payment.amount_xaf),
        receipt.status_words(payment) + (" !" if payment.attention else ""),
        render.shown(payment.phone_number),
        render.shown(payment.email),
    ]


def _show_waiting(payments: Iterable[pb.PaymentRecord]) -> None:
    table = StreamTable(["ID", "When", "Who", "Amount", "Status", "Why"], right=["Amount"])
    rows = [
        [
            short(payment),
            render.when(payment.created_at),
            render.shown(payment.email),
            xaf(payment.amount_xaf),
            receipt.status_words(payment),
            render.shown(payment.attention),
        ]
        for payment in payments
    ]
    table.add(rows)
    if not rows:
        print("Nothing waits for an operator.")


def _show_totals(totals: pb.PaymentTotalsResponse) -> None:
    count = sum(totals.payments.values())
    known = [state for state in State if totals.payments.get(state)]
    by_status = ", ".join(f"{totals.payments[state]:,} {state}" for state in known)
    has_ended = any(state not in OPEN for state in known)
    lines = [
        ("Payments", f"{count:,}" + (f": {by_status}" if by_status else "")),
        ("Unclear", f"{totals.unclear:,}"),
        ("For operators", f"{totals.attention:,}"),
        ("Success rate", f"{totals.success_rate:.1%} of those that ended" if has_ended else "none has ended"),
        ("Revenue", xaf(totals.revenue_xaf)),
        ("Refunded", xaf(totals.refunded_xaf)),
        ("Room sold", size_words(totals.bytes_sold)),
    ]
    if totals.mode:
        balance = xaf(totals.balance_xaf) if totals.HasField("balance_xaf") else "could not be asked"
        lines.append(("At Campay", balance))
    print()
    for label, words in lines:
        print(f"{render.styled(label.ljust(LABEL_LETTERS), render.BOLD)}{words}")


def _show_revenue(totals: pb.PaymentTotalsResponse, last: date) -> None:
    print(f"\n{render.styled(f'Revenue by day (UTC), {revenue.DAYS} days up to {last}', render.BOLD)}")
    for line in revenue.chart(revenue.by_day(totals.days, last), terminal_width()):
        print(line)


def facts(payment: pb.PaymentRecord) -> dict[str, object]:
    """Those of `receipt.facts`, and: email and user_id of the buyer; attention: why it waits for an operator, or null;
    looks_again_at: when Campay is asked next by itself, null for never."""
    return {
        **receipt.facts(payment),
        "email": payment.email,
        "user_id": payment.user_id,
        "attention": payment.attention or None,
        "looks_again_at": payment.looks_again_at or None,
    }


def totals_facts(totals: pb.PaymentTotalsResponse) -> dict[str, object]:
    """payments: by status; success_rate: 0 to 1; days: in UTC, those with a completed payment; balance_xaf: at Campay,
    null when it could not be asked."""
    return {
        "mode": totals.mode or None,
        "payments": {state: totals.payments[state] for state in State if state in totals.payments},
        "unclear": totals.unclear,
        "attention": totals.attention,
        "success_rate": totals.success_rate,
        "revenue_xaf": totals.revenue_xaf,
        "refunded_xaf": totals.refunded_xaf,
        "bytes_sold": totals.bytes_sold,
        "balance_xaf": totals.balance_xaf if totals.HasField("balance_xaf") else None,
        "days": [{"day": day.day, "amount_xaf": day.amount_xaf, "payments": day.payments} for day in totals.days],
    }
