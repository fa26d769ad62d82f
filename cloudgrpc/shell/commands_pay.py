"""The shell's command for buying room: pay, with tiers, buy, status, history and cancel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudgrpc.clients import render
from cloudgrpc.clients.session import Session
from cloudgrpc.core.payment_states import OPEN
from cloudgrpc.core.units import size_words
from cloudgrpc.errors import NotSignedIn, SessionEnded, UsageWrong
from cloudgrpc.shell import at_terminal, offers, receipt
from cloudgrpc.shell.actions import Actions, run_action
from cloudgrpc.shell.buying import Wish
from cloudgrpc.shell.completion import PAYMENT, TIER
from cloudgrpc.shell.money import PROVIDERS
from cloudgrpc.shell.parser import Command, Parser, whole_number
from cloudgrpc.shell.paying import WAIT_S
from cloudgrpc.shell.payments import Payments, short
from cloudgrpc.shell.purchase import Purchase

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from cloudgrpc.clients.session import Gateway, SessionStore
    from cloudgrpc.pb import cloud_storage_pb2 as pb
    from cloudgrpc.shell.sign_in import Entrance, Person

LINES = 20
ID_HELP = "a payment's ID, or how it begins (default: the newest)"


def _buy_words(buy: Parser) -> None:
    buy.add_argument("--email", metavar="WHO", help="buy for this account; signs in as it first, if need be")
    TIER.on(buy.add_argument("--tier", metavar="T", help="what to buy: an ID of pay tiers"))
    buy.add_argument("--provider", choices=sorted(PROVIDERS), help="the mobile operator (default: by the number)")
    buy.add_argument("--phone", metavar="N", help="the mobile number that pays, such as 237670000001")
    buy.add_argument("--yes", action="store_true", help="ask nothing; a script needs it")
    waiting = buy.add_mutually_exclusive_group()
    waiting.add_argument(
        "--wait", metavar="SECONDS", type=whole_number, default=WAIT_S, help=f"for the phone (default: {WAIT_S})"
    )
    waiting.add_argument("--no-wait", dest="wait", action="store_const", const=0, help="begin only; look later")
    _json(buy)


def _json(parser: Parser) -> None:
    parser.add_argument("--json", action="store_true", help="print as JSON, for programs")


def _payment_id(parser: Parser, words: str) -> None:
    PAYMENT.on(parser.add_argument("--payment-id", metavar="ID", help=words))


class PayCommands:
    def __init__(self, gateway: Gateway, store: SessionStore, entrance: Entrance, person: Person) -> None:
        self._gateway = gateway
        self._store = store
        self._entrance = entrance
        self._person = person

    def commands(self) -> list[Command]:
        return [Command("Buy room by mobile money.", self._parser(), run_action)]

    def _parser(self) -> Parser:
        parser = Parser(
            "pay",
            "Buy room by mobile money, MTN MoMo or Orange Money, and see what you bought.",
            """
            pay tiers
            pay buy
            pay buy --tier basic --phone 237670000001
            pay status
            """,
        )
        actions = Actions(parser, lambda _: parser.print_help())
        _json(actions.add("tiers", self._tiers, "Show what can be bought.", "pay tiers\npay tiers --json"))
        buy = actions.add("buy", self._buy, _BUY, _BUY_EXAMPLES)
        buy.description = f"{buy.description}\n\n{_BUY_EXITS}"
        _buy_words(buy)
        status = actions.add("status", self._status, "Show how a payment stands now.", _STATUS_EXAMPLES)
        _payment_id(status, ID_HELP)
        _json(status)
        history = actions.add(
            "history", self._history, "List your payments, the newest first.", "pay history\npay history -n 0 --json"
        )
        history.add_argument(
            "-n", "--lines", metavar="N", type=whole_number, default=LINES, help=f"so many (default: {LINES}; 0: all)"
        )
        _json(history)
        cancel = actions.add("cancel", self._cancel, "Cancel a payment that is under way.", _CANCEL_EXAMPLES)
        _payment_id(cancel, "a payment's ID, or how it begins (default: the only one under way)")
        cancel.add_argument("--yes", action="store_true", help="ask nothing; a script needs it")
        _json(cancel)
        return parser

    def _tiers(self, args: argparse.Namespace) -> None:
        told, is_mine = self._offers()
        if args.json:
            render.print_json(offers.facts(told, is_mine=is_mine))
        else:
            offers.show(told, is_mine=is_mine)

    def _offers(self) -> tuple[pb.GetStorageTiersResponse, bool]:
        """And whether they tell what is the person's own; prices are for everybody."""
        known = self._store.known(self._gateway.address)
        if known:
            try:
                return offers.offers(self._gateway, known.session_token), True
            except NotSignedIn:
                pass
        return offers.offers(self._gateway, ""), False

    def _buy(self, args: argparse.Namespace) -> None:
        session = self._session_of(args.email) if args.email else self._session()
        wish = Wish(args.tier, args.provider, args.phone, args.yes)
        Purchase(session, self._person).run(wish, wait_s=args.wait, is_json=args.json)

    def _status(self, args: argparse.Namespace) -> None:
        payments = Payments(self._session())
        reply = payments.check(payments.id_of(args.payment_id))
        if args.json:
            render.print_json(receipt.facts(reply.payment) | {"quota_bytes": reply.quota_bytes})
            return
        receipt.show(reply.payment)
        print(f"\n{render.shown(_next_words(reply))}")

    def _history(self, args: argparse.Namespace) -> None:
        pages = Payments(self._session()).pages(args.lines)
        if args.json:
            render.print_json_list(receipt.facts(payment) for page in pages for payment in page)
            return
        from cloudgrpc.shell.stream_table import StreamTable

        table, rows = StreamTable(receipt.TITLES, right=receipt.FIGURES), 0
        for page in pages:
            table.add([receipt.row(payment) for payment in page])
            rows += len(page)
        if not rows:
            print("You have bought nothing yet; see what there is with: pay tiers")

    def _cancel(self, args: argparse.Namespace) -> None:
        payments = Payments(self._session())
        if not args.yes and not at_terminal.can_ask():
            raise UsageWrong(reason="a script is asked nothing: add --yes to cancel without a question")
        payment_id = payments.id_of(args.payment_id) if args.payment_id else _only(payments.under_way())
        if payment_id and not args.yes:
            self._person.tell(receipt.one_line(payments.check(payment_id).payment))
        if not payment_id or not (args.yes or at_terminal.agreed("Cancel it?")):
            self._person.tell("Nothing was cancelled.")
            return
        payment = payments.cancel(payment_id)
        if args.json:
            render.print_json(receipt.facts(payment))
            return
        print(f"Payment {short(payment)} is cancelled. Do not confirm it on your phone;")
        print("should the money be taken all the same, the room is added.")

    def _session(self) -> Session:
        """Raises: SessionEnded when nobody is signed in."""
        return Session(self._gateway, self._store.signed_in(self._gateway.address).session_token)

    def _session_of(self, email: str) -> Session:
        """Raises: SessionEnded in a script that is not signed in as `email`; as Entrance.login."""
        known = self._store.known(self._gateway.address)
        if known and known.email.lower() == email.strip().lower():
            return Session(self._gateway, known.session_token)
        if not self._person.is_there:
            raise SessionEnded.told(
                f"This shell is not signed in as {email}, and a script cannot be asked for the code."
            )
        return Session(self._gateway, self._entrance.login(email).session_token)


def _only(under_way: Sequence[pb.PaymentRecord]) -> str:
    """The ID of the one that is meant; "" when the person left. Raises: UsageWrong in a script, of several."""
    index: int | None = 0
    if len(under_way) > 1:
        if not at_terminal.can_ask():
            known = ", ".join(f"{short(payment)} ({payment.tier_name})" for payment in under_way)
            raise UsageWrong(reason=f"{len(under_way)} payments are under way, {known}; name one with --payment-id")
        index = at_terminal.chosen("Several payments are under way:", [receipt.one_line(each) for each in under_way])
    return under_way[index].payment_id if index is not None else ""


def _next_words(reply: pb.CheckPaymentStatusResponse) -> str:
    payment = reply.payment
    if payment.status not in OPEN:
        return f"{payment.message.rstrip('.')}. You have {size_words(reply.quota_bytes)} of room."
    return receipt.UNCLEAR if payment.is_unclear else receipt.confirm_words(payment)


_BUY = "Buy room: asks for what is missing, shows the price, and waits for your phone."
_BUY_EXITS = """exit codes: 0 paid   15 refused, failed or cancelled   17 not confirmed yet, or
unclear: look later   130 left while it goes on"""
_BUY_EXAMPLES = """
pay buy
pay buy --tier basic --phone 237670000001
pay buy --tier basic --phone 237690000001 --yes --json     in a script
pay buy --email alice@example.org --tier basic
"""
_STATUS_EXAMPLES = """
pay status
pay status --payment-id 3f9c2a17
"""
_CANCEL_EXAMPLES = """
pay cancel
pay cancel --payment-id 3f9c2a17 --yes
"""
