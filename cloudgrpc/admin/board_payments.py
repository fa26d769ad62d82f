"""The dashboard's payments: what came in today, what waits for an operator, and the newest."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.text import Text
from textual.containers import VerticalScroll

from cloudgrpc.admin.board_page import Drawn, Page, Title
from cloudgrpc.admin.board_text import FAINT, WARN, labelled, lines, section, table
from cloudgrpc.admin.board_watch import Question
from cloudgrpc.admin.desk import Wanted
from cloudgrpc.admin.payment_view import OFF
from cloudgrpc.clients import render
from cloudgrpc.core.payment_states import State
from cloudgrpc.core.units import size_words
from cloudgrpc.shell import receipt
from cloudgrpc.shell.money import NO_SALE, xaf
from cloudgrpc.shell.payments import short

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from textual.app import ComposeResult

    from cloudgrpc.admin.desk import Desk
    from cloudgrpc.pb import cloud_storage_pb2 as pb

# Each look makes the gateway ask Campay for the balance.
EVERY_S = 30.0
NEWEST, WAITING = 50, 20


@dataclass(frozen=True)
class Sales:
    today: pb.PaymentTotalsResponse
    waiting: Sequence[pb.PaymentRecord]
    newest: Sequence[pb.PaymentRecord]


class PaymentsPage(Page):
    def __init__(self, desk: Desk) -> None:
        super().__init__(id="payments")
        self._desk = desk
        self._drawn = Drawn("Asking the gateway …", is_long=True)
        self._scroll = VerticalScroll(self._drawn)

    def compose(self) -> ComposeResult:
        yield Title("Payments", [("r", "ask again")])
        yield self._scroll

    def question(self) -> Question:
        return Question(self._ask, EVERY_S)

    def entered(self) -> None:
        self._scroll.focus()

    def answered(self, answer: object) -> None:
        if isinstance(answer, Sales):
            self._drawn.draw(lines(sales(answer, self.width)))

    def _ask(self) -> Sales:
        today = datetime.now(UTC).strftime("%Y-%m-%dT00:00:00Z")
        return Sales(
            self._desk.totals(Wanted(since=today)),
            list(self._desk.payments(Wanted(only_attention=True), WAITING)),
            list(self._desk.payments(Wanted(), NEWEST)),
        )


def sales(told: Sales, width: int) -> list[Text]:
    shown = labelled(_today(told.today), width)
    shown.append(section("Waiting for an operator: cloudgrpc admin payment", width))
    if told.waiting:
        rows = [[short(each), render.shown(each.email), render.shown(each.attention)] for each in told.waiting]
        waiting = table(["ID", "Who", "Why"], rows, width)
        for line in waiting[1:]:
            line.stylize(WARN)
        shown += waiting
    else:
        shown += [Text("nothing", FAINT)]
    shown.append(section("The newest", width))
    titles = ["ID", "When", "Tier", "Amount", "Status", "Who"]
    shown += (
        table(titles, [_row(each) for each in told.newest], width, ["Amount"]) if told.newest else [Text("none", FAINT)]
    )
    return shown


def _today(totals: pb.PaymentTotalsResponse) -> Iterator[tuple[str, str]]:
    if words := NO_SALE.get(totals.mode, "" if totals.mode else OFF):
        yield "Mode", words
    kinds = [f"{totals.payments[state]:,} {state}" for state in State if totals.payments.get(state)]
    yield "Today (UTC)", ", ".join(kinds) or "none begun yet"
    yield "Revenue", f"{xaf(totals.revenue_xaf)}, {size_words(totals.bytes_sold)} sold"
    if totals.unclear:
        yield "Unclear", f"{totals.unclear:,}"
    if totals.mode:
        yield "At Campay", xaf(totals.balance_xaf) if totals.HasField("balance_xaf") else "could not be asked"


def _row(payment: pb.PaymentRecord) -> list[str]:
    return [
        short(payment),
        render.when(payment.created_at),
        render.shown(payment.tier_name),
        xaf(payment.amount_xaf),
        receipt.status_words(payment) + (" !" if payment.attention else ""),
        render.shown(payment.email),
    ]
