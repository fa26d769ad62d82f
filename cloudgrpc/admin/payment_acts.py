"""`admin payment …`: ask Campay about one payment, give it a reference by hand, mark it as paid back, or end it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudgrpc.clients import render
from cloudgrpc.core.payment_states import OPEN
from cloudgrpc.core.units import size_words
from cloudgrpc.errors import UsageWrong
from cloudgrpc.shell import at_terminal, receipt
from cloudgrpc.shell.actions import Actions
from cloudgrpc.shell.parser import Parser
from cloudgrpc.shell.payments import short

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from cloudgrpc.admin.desk import Desk
    from cloudgrpc.pb import cloud_storage_pb2 as pb

    Act = Callable[[Desk, pb.PaymentRecord, argparse.Namespace], None]

NAME = "payment"
QUESTIONS = {
    "reconcile": "Ask Campay how it stands?",
    "reference": "Set the reference, and ask Campay about it?",
    "refund": "Take the room back, and mark it as paid back?",
    "close": "End it, without room?",
}
READ_ONLY = "The account uses more than that, so it is read-only until files are deleted; nothing was deleted."
PAY_BACK = "The money itself does not move by this: pay it back at the mobile operator."


def parsed(words: Sequence[str]) -> argparse.Namespace:
    """Raises: SystemExit for --help, and for words that make no sense."""
    args: argparse.Namespace = parser_of(words[0]).parse_args(words[1:])
    return args


def run(desk: Desk, args: argparse.Namespace) -> None:
    """Raises: UsageWrong in a script that is not sure, and whatever the gateway refuses."""
    if not args.yes and not at_terminal.can_ask():
        raise UsageWrong(reason="a script is asked nothing: add --yes to act without a question")
    payment = desk.named(args.payment_id)
    if not args.yes:
        print(render.shown(f"{payment.email}  {receipt.one_line(payment)}"))
        if not at_terminal.agreed(QUESTIONS[args.name]):
            print("Nothing was changed.")
            return
    args.act(desk, payment, args)


def parser_of(_act: str) -> Parser:
    prog = f"cloudgrpc admin {NAME}"
    parser = Parser(
        prog,
        "Act on one payment, named by its ID or how that begins; what is done is an event for its buyer to see.",
        f"""
        {prog} reconcile 3f9c2a17
        {prog} reference 3f9c2a17 bcedde9b-62a7-4421-96ac-2e6179552a1a
        {prog} refund 3f9c2a17 --reason "bought twice"
        {prog} close 3f9c2a17 --reason "Campay knows nothing of it"
        """,
    )
    actions = Actions(parser, lambda _: parser.print_help())
    actions.added.required = True
    _add(actions, "reconcile", _reconcile, "Ask Campay now how a payment stands.", "3f9c2a17")
    words = "Give a payment that has none the reference that Campay knows it by."
    reference = _add(actions, "reference", _reference, words, "3f9c2a17 bcedde9b-62a7-4421-96ac-2e6179552a1a")
    reference.add_argument("reference", metavar="REFERENCE", help="as in Campay's own list of transactions")
    words = "Mark a completed payment as paid back, and take the bought room back."
    refund = _add(actions, "refund", _refund, words, '3f9c2a17 --reason "bought twice"')
    refund.description = f"{refund.description}\n{PAY_BACK}"
    words = "End a payment of which nothing more is expected; should its money come all the same, it still counts."
    close = _add(actions, "close", _close, words, '3f9c2a17 --reason "Campay knows nothing of it"')
    for act in (refund, close):
        act.add_argument("--reason", metavar="TEXT", required=True, help="why; the buyer sees it")
    return parser


def _add(actions: Actions, name: str, act: Act, words: str, example: str) -> Parser:
    parser = actions.add(name, lambda _: None, words, f"cloudgrpc admin {NAME} {name} {example}")
    parser.set_defaults(act=act, name=name)
    parser.add_argument("payment_id", metavar="ID", help="a payment's ID, or how it begins")
    parser.add_argument("--yes", action="store_true", help="ask nothing; a script needs it")
    return parser


def _reconcile(desk: Desk, before: pb.PaymentRecord, _: argparse.Namespace) -> None:
    _tell_change(before, desk.reconcile(before.payment_id).payment)


def _reference(desk: Desk, before: pb.PaymentRecord, args: argparse.Namespace) -> None:
    payment = desk.set_reference(before.payment_id, args.reference).payment
    print(render.shown(f"Payment {short(payment)} has Campay's reference {payment.transaction_ref} now."))
    _tell_change(before, payment)


def _refund(desk: Desk, before: pb.PaymentRecord, args: argparse.Namespace) -> None:
    reply = desk.refund(before.payment_id, args.reason)
    payment = reply.payment
    taken = size_words(payment.storage_bytes)
    print(render.shown(f"Payment {short(payment)} of {payment.email} is marked as paid back; {taken} were taken back."))
    print(f"The buyer has {size_words(reply.quota_bytes)} now, {size_words(reply.used_bytes)} of it used.")
    if reply.used_bytes > reply.quota_bytes:
        print(READ_ONLY)
    print(PAY_BACK)


def _close(desk: Desk, before: pb.PaymentRecord, args: argparse.Namespace) -> None:
    _tell_change(before, desk.close(before.payment_id, args.reason).payment)


def _tell_change(before: pb.PaymentRecord, after: pb.PaymentRecord) -> None:
    was, now = receipt.status_words(before), receipt.status_words(after)
    change = f"is {now}, as before" if was == now else f"was {was}, and is {now} now"
    # While it is open, the message is to its buyer.
    message = "" if after.status in OPEN else f" {after.message}"
    print(render.shown(f"Payment {short(after)} {change}.{message}"))
    if after.attention:
        print(render.shown(f"It waits for an operator: {after.attention}"))
