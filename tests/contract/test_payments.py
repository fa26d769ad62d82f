"""Buying room, on both engines, against the real sandbox: what a buyer and an operator may rely on, case by case."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from cloudgrpc.actions.admins import Admins
from cloudgrpc.actions.payment_desk import filter_of
from cloudgrpc.actions.settling import FRESH_S
from cloudgrpc.core.payment_states import GIVE_UP_US, UNKNOWN_AFTER_US, State
from cloudgrpc.core.peers import Visitor
from cloudgrpc.errors import (
    AdminKeyWrong,
    CampayDown,
    InvalidField,
    MobileMoneyDown,
    NotClosable,
    NotRefundable,
    OperatorWrong,
    PaymentEnded,
    PaymentRefused,
    PaymentUnknown,
    PhoneWrong,
    PriceChanged,
    QuotaExceeded,
    ReferenceKnown,
    ReferenceTaken,
    ReferenceWrong,
    RequestIdReused,
    SoldOut,
    TierUnknown,
    TooManyPayments,
    TooManyTries,
)
from cloudgrpc.meta import closing, exports, history, payments
from cloudgrpc.meta.models import Account
from cloudgrpc.meta.payment_models import Payment, StorageGrant
from cloudgrpc.meta.promises import Promise
from cloudgrpc.outside import campay_plays
from cloudgrpc.outside.campay_plays import Play, Reply
from contract.payment_fixture import BOSS, TIER, TIER_BYTES, Crash, Shop
from sandbox import SandboxServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloudgrpc.meta.accounts import Caller
    from contract.meta_fixture import Meta

AT_ONCE, DECLINED, WAITING = "237670000001", "237670000011", "237670000012"
ANSWER_LOST, NOTHING_MADE, ERROR_BUT_MADE = "237670000022", "237670000017", "237670000018"
NO_MONEY, OTHER_AMOUNT = "237670000020", "237670000021"


class Buying:
    """Alice at a shop, with short ways to what she does and to what became of it."""

    def __init__(self, database: Meta, campay: SandboxServer) -> None:
        self.database, self.campay = database, campay
        self.alice = database.enroll()
        self.shop = Shop(database.database, campay.settings())

    def buy(self, phone: str, tier: str = TIER, request_id: str = "", caller: Caller | None = None) -> Payment:
        payment, _ = self.shop.act(self.shop.payments.buy(caller or self.alice, tier, "mtn_momo", phone, request_id))
        return payment

    def look(self, payment: Payment) -> Payment:
        found, _ = self.shop.act(self.shop.payments.check(self.alice, payment.payment_id))
        return found

    def round(self) -> None:
        self.database.sql("UPDATE payment SET look_at = 0 WHERE look_at IS NOT NULL")
        self.shop.act(self.shop.settling.look_due())

    def ring(self, payment: Payment, reference: str = "") -> None:
        self.shop.act(self.shop.settling.ring(payment.payment_id, reference))

    def settle(self, payment: Payment, status: str) -> None:
        made = self.campay.sandbox.transactions.values()
        (reference,) = [each.reference for each in made if each.external_reference == payment.payment_id]
        self.campay.sandbox.settle(reference, status)

    def now(self, payment: Payment) -> Payment:
        return self.database.run(Payment.get_by_id, payment.payment_id)

    def quota(self, caller: Caller | None = None) -> int:
        return self.database.run(Account.get_by_id, (caller or self.alice).account_id).quota_bytes

    def grants(self) -> int:
        return self.database.run(StorageGrant.select().count)

    def pass_by(self, micros: int) -> None:
        self.database.age("payment", "created_at", micros)


@pytest.fixture(scope="module")
def shared_campay() -> Iterator[SandboxServer]:
    """One for all, since its end takes longer than most tests."""
    with SandboxServer() as server:
        yield server


@pytest.fixture
def campay(shared_campay: SandboxServer) -> SandboxServer:
    shared_campay.forget()
    return shared_campay


@pytest.fixture
def buying(database: Meta, campay: SandboxServer) -> Iterator[Buying]:
    buying = Buying(database, campay)
    yield buying
    buying.shop.close()


def test_what_is_paid_is_room_and_what_it_cost_is_told(buying: Buying) -> None:
    before = buying.quota()
    payment = buying.look(buying.buy(AT_ONCE))
    assert (payment.state, payment.price_xaf, payment.amount_xaf, payment.mode) == ("completed", 500, 10, "sandbox")
    assert buying.quota() == before + TIER_BYTES
    assert payment.phone == "23767*****01"
    kinds = ["payment.begun", "payment.processing", "payment.referenced", "payment.completed"]
    assert [buying.database.events(kind) for kind in kinds] == [1, 1, 1, 1]


def test_no_row_and_no_event_holds_the_number(buying: Buying) -> None:
    buying.look(buying.buy(AT_ONCE))
    assert AT_ONCE not in repr(buying.database.digest())
    assert AT_ONCE[3:] not in repr(buying.database.digest())


@pytest.mark.parametrize("end", ["cancelled", "failed"])
def test_a_late_success_still_credits(buying: Buying, end: str) -> None:
    payment = buying.buy(WAITING)
    if end == "cancelled":
        buying.shop.act(buying.shop.payments.cancel(buying.alice, payment.payment_id))
    else:
        buying.settle(payment, "FAILED")
        buying.look(payment)
    assert buying.now(payment).state == end
    buying.settle(payment, "SUCCESSFUL")
    buying.round()
    assert buying.now(payment).state == "completed"
    assert buying.grants() == 1


def test_eight_who_look_at_once_at_two_gateways_are_granted_once(buying: Buying) -> None:
    payment, before = buying.buy(WAITING), buying.quota()
    buying.settle(payment, "SUCCESSFUL")
    other = Shop(buying.database.database, buying.campay.settings())

    async def all_at_once() -> list[Any]:
        looks = [buying.shop.payments.check(buying.alice, payment.payment_id) for _ in range(4)]
        looks += [other.payments.check(buying.alice, payment.payment_id) for _ in range(4)]
        rings = [shop.settling.ring(payment.payment_id, "") for shop in (buying.shop, other)]
        *found, _, _ = await asyncio.gather(*looks, *rings)
        return found

    found = buying.shop.act(all_at_once())
    other.close()
    assert {seen.state for seen, _ in found} == {"completed"}
    assert buying.quota() == before + TIER_BYTES
    assert buying.database.events("payment.completed") == 1


@pytest.mark.parametrize("phone", [ANSWER_LOST, ERROR_BUT_MADE])
def test_an_answer_that_was_lost_is_found_in_the_history(buying: Buying, phone: str) -> None:
    payment = buying.buy(phone)
    assert (payment.state, payment.is_unclear, payment.reference) == ("processing", True, None)
    buying.settle(payment, "SUCCESSFUL")
    buying.round()
    assert buying.now(payment).state == "completed"
    assert len(buying.campay.sandbox.transactions) == 1


def test_a_doorbell_that_names_the_reference_makes_an_unclear_payment_clear(buying: Buying) -> None:
    payment = buying.buy(ANSWER_LOST)
    buying.settle(payment, "SUCCESSFUL")
    (reference,) = buying.campay.sandbox.transactions
    buying.ring(payment, reference)
    assert buying.now(payment).state == "completed"


def test_a_doorbell_that_names_another_payments_reference_changes_nothing(buying: Buying) -> None:
    paid, unclear = buying.buy(WAITING), buying.buy(NOTHING_MADE, "basic")
    buying.settle(paid, "SUCCESSFUL")
    buying.ring(unclear, paid.reference)
    assert (buying.now(unclear).state, buying.now(unclear).reference) == ("processing", None)
    assert buying.grants() == 0


def test_what_was_never_made_stays_unclear_and_waits_for_an_operator_after_72_hours(buying: Buying) -> None:
    payment = buying.buy(NOTHING_MADE)
    buying.round()
    assert (buying.now(payment).state, buying.now(payment).attention) == ("processing", "")
    buying.pass_by(GIVE_UP_US)
    buying.round()
    assert "72 hours" in buying.now(payment).attention
    assert buying.now(payment).look_at is None
    assert len(buying.campay.sandbox.transactions) == 0


def test_after_72_hours_a_doorbell_still_credits(buying: Buying) -> None:
    payment = buying.buy(WAITING)
    buying.pass_by(GIVE_UP_US)
    buying.round()
    buying.settle(payment, "SUCCESSFUL")
    buying.ring(payment)
    assert (buying.now(payment).state, buying.now(payment).attention) == ("completed", "")


def test_money_of_another_amount_grants_nothing_and_calls_an_operator(buying: Buying) -> None:
    payment = buying.look(buying.buy(OTHER_AMOUNT))
    assert payment.state == "processing"
    assert "about 11 XAF, not about 10 XAF" in payment.attention
    buying.round()
    assert buying.database.events("payment.attention") == 1
    assert buying.grants() == 0


@pytest.mark.parametrize(
    ("phone", "provider", "error"),
    [
        (NO_MONEY, "mtn_momo", PaymentRefused),
        ("237690000001", "mtn_momo", OperatorWrong),
        ("12345", "mtn_momo", PhoneWrong),
        (AT_ONCE, "airtel", InvalidField),
    ],
)
def test_what_cannot_be_paid_is_told_and_nothing_stays_open(
    buying: Buying, phone: str, provider: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        buying.shop.act(buying.shop.payments.buy(buying.alice, TIER, provider, phone, ""))
    assert buying.buy(AT_ONCE).state in State.PROCESSING
    assert len(buying.campay.sandbox.transactions) == 1


def test_a_campay_that_is_away_charges_nothing_and_says_so(buying: Buying) -> None:
    away = Shop(buying.database.database, replace_port(buying.campay, 1))
    with pytest.raises(MobileMoneyDown):
        away.act(away.payments.buy(buying.alice, TIER, "mtn_momo", AT_ONCE, ""))
    (payment,) = away.act(away.payments.history(buying.alice, 10, ""))[0]
    away.close()
    assert payment.state == "failed"
    assert "could not be asked" in payment.reason


def replace_port(campay: SandboxServer, port: int) -> Any:
    return campay.settings(base_url=f"http://127.0.0.1:{port}/api")


def test_an_open_payment_is_not_begun_again_and_a_request_id_names_one_payment(buying: Buying) -> None:
    first = buying.buy(WAITING, request_id="one")
    assert buying.buy(WAITING).payment_id == first.payment_id
    assert buying.buy(AT_ONCE, request_id="two").payment_id == first.payment_id
    buying.settle(first, "SUCCESSFUL")
    buying.look(first)
    assert buying.buy(WAITING, request_id="one").state == "completed"
    with pytest.raises(RequestIdReused):
        buying.buy(WAITING, "basic", request_id="one")
    assert buying.buy(WAITING).payment_id != first.payment_id


def test_two_at_once_for_one_tier_are_one_payment(buying: Buying) -> None:
    async def both() -> list[Any]:
        tries = (buying.shop.payments.buy(buying.alice, TIER, "mtn_momo", WAITING, "") for _ in range(6))
        return await asyncio.gather(*tries)

    bought = buying.shop.act(both())
    assert len({payment.payment_id for payment, _ in bought}) == 1
    assert sorted(is_repeat for _, is_repeat in bought) == [False] + [True] * 5
    assert len(buying.campay.sandbox.transactions) == 1


@pytest.mark.parametrize("effect", range(8))
def test_a_crash_at_any_effect_of_buying_takes_no_money_without_room(buying: Buying, effect: int) -> None:
    buying.shop.fuse.left = effect
    ended = buying.shop.act(buying.shop.payments.buy(buying.alice, TIER, "mtn_momo", AT_ONCE, ""))
    assert (ended is Crash) == (effect < 8)
    buying.pass_by(200_000_000)
    buying.database.sql("UPDATE payment SET look_at = 0 WHERE look_at IS NOT NULL")
    buying.shop.act(buying.shop.settling.look_due())
    came = len(buying.campay.sandbox.transactions)
    assert came <= 1
    assert buying.grants() == came
    if not came and buying.database.run(Payment.select().count):
        (payment,) = buying.shop.act(buying.shop.payments.history(buying.alice, 1, ""))[0]
        assert payment.state in ("failed", "processing")


def test_what_the_pool_does_not_have_is_not_sold(buying: Buying) -> None:
    capacity = int(buying.database.rows("SELECT SUM(capacity_bytes) FROM node")[0][0])
    promised = int(buying.database.rows("SELECT SUM(quota_bytes) FROM account")[0][0])
    room_for_one = Promise(1, 1, (promised + TIER_BYTES) / capacity)
    small = Shop(buying.database.database, buying.campay.settings(), room_for_one)
    payment, _ = small.act(small.payments.buy(buying.alice, TIER, "mtn_momo", WAITING, ""))
    bob = buying.database.enroll(quota=0)
    with pytest.raises(SoldOut, match=r"250\.0 MB more cannot be sold"):
        small.act(small.payments.buy(bob, TIER, "mtn_momo", WAITING, ""))
    small.act(small.payments.cancel(buying.alice, payment.payment_id))
    assert small.act(small.payments.buy(bob, TIER, "mtn_momo", WAITING, ""))[0].state == "processing"
    small.close()


def test_another_persons_payment_does_not_exist(buying: Buying) -> None:
    bob, payment = buying.database.enroll(), buying.buy(WAITING)
    for act in (buying.shop.payments.check, buying.shop.payments.cancel):
        with pytest.raises(PaymentUnknown):
            buying.shop.act(act(bob, payment.payment_id))
    assert buying.shop.act(buying.shop.payments.history(bob, 0, "")) == ([], "")
    assert buying.now(payment).state == "processing"


def test_what_has_ended_cannot_be_cancelled_and_a_second_cancel_is_none(buying: Buying) -> None:
    payment = buying.look(buying.buy(AT_ONCE))
    with pytest.raises(PaymentEnded):
        buying.shop.act(buying.shop.payments.cancel(buying.alice, payment.payment_id))
    waiting = buying.buy(WAITING, "basic")
    for _ in range(2):
        buying.shop.act(buying.shop.payments.cancel(buying.alice, waiting.payment_id))
    assert buying.database.events("payment.cancelled") == 1


def test_tiers_may_change_without_touching_what_was_bought(buying: Buying) -> None:
    payment = buying.buy(WAITING)
    settings = buying.shop._config
    tiers = tuple(tier for tier in settings.payments.tiers if tier.tier_id != TIER)
    buying.shop._config = type(settings)(campay=settings.campay, payments=type(settings.payments)(tiers=tiers))
    buying.shop.close()
    buying.shop = Shop(buying.database.database, settings.campay)
    buying.settle(payment, "SUCCESSFUL")
    assert buying.look(payment).state == "completed"
    with pytest.raises(TierUnknown, match="starter"):
        buying.buy(WAITING, "gold")


# Operators


def test_a_refund_takes_the_room_back_and_deletes_nothing(buying: Buying) -> None:
    payment = buying.look(buying.buy(AT_ONCE))
    upload = buying.database.begin(buying.alice, "film", buying.quota() - 1)
    buying.database.send(upload, 0, buying.quota() - 1)
    buying.database.commit(upload)
    _, quota, used = buying.shop.act(buying.shop.desk.refund(BOSS, payment.payment_id, "paid twice"))
    assert used == quota + TIER_BYTES - 1
    assert buying.database.used(buying.alice.account_id)[0] == used
    with pytest.raises(QuotaExceeded):
        buying.database.begin(buying.alice, "note", 0)
    with pytest.raises(NotRefundable):
        buying.shop.act(buying.shop.desk.refund(BOSS, payment.payment_id, "again"))
    buying.round()
    assert buying.quota() == quota


def test_an_operator_gives_a_payment_its_reference_and_no_others(buying: Buying) -> None:
    unclear, waiting = buying.buy(NOTHING_MADE), buying.buy(WAITING, "basic")
    for reference, error in (
        (waiting.reference, ReferenceWrong),
        ("no-such", ReferenceWrong),
        ("../../x", InvalidField),
    ):
        with pytest.raises(error):
            buying.shop.act(buying.shop.desk.set_reference(BOSS, unclear.payment_id, reference))
    with pytest.raises(ReferenceKnown):
        buying.shop.act(buying.shop.desk.set_reference(BOSS, waiting.payment_id, "another"))
    lost = buying.buy(ANSWER_LOST, "standard")
    buying.settle(lost, "SUCCESSFUL")
    (reference,) = [
        each.reference
        for each in buying.campay.sandbox.transactions.values()
        if each.external_reference == lost.payment_id
    ]
    assert buying.shop.act(buying.shop.desk.set_reference(BOSS, lost.payment_id, reference)).state == "completed"


def test_one_reference_is_never_two_payments(buying: Buying) -> None:
    """Campay would have to be wrong for it; the money then still counts once."""
    first, second = buying.buy(ANSWER_LOST), buying.buy(NOTHING_MADE, "basic")
    (made,) = buying.campay.sandbox.transactions.values()
    buying.settle(first, "SUCCESSFUL")
    buying.round()
    made.external_reference = second.payment_id
    with pytest.raises(ReferenceTaken):
        buying.shop.act(buying.shop.desk.set_reference(BOSS, second.payment_id, made.reference))
    assert buying.grants() == 1


def test_money_for_an_account_that_is_gone_waits_for_an_operator(buying: Buying) -> None:
    payment = buying.buy(WAITING)
    buying.settle(payment, "SUCCESSFUL")
    buying.database.sql(f"UPDATE account SET root_id = '' WHERE account_id = '{buying.alice.account_id}'")
    buying.round()
    assert "pay it back" in buying.now(payment).attention
    with pytest.raises(NotRefundable):
        buying.shop.act(buying.shop.desk.refund(BOSS, payment.payment_id, "sent back"))
    ended = buying.shop.act(buying.shop.desk.close(BOSS, payment.payment_id, "sent back"))
    assert (ended.state, ended.attention) == ("failed", "")


def test_a_payment_of_the_sandbox_is_not_looked_up_in_production(buying: Buying) -> None:
    payment = buying.buy(WAITING)
    buying.settle(payment, "SUCCESSFUL")
    buying.shop.client.mode = "production"
    asked = buying.campay.sandbox.requests.total()
    buying.round()
    with pytest.raises(CampayDown, match="sandbox mode"):
        buying.shop.act(buying.shop.desk.reconcile(BOSS, payment.payment_id))
    assert buying.campay.sandbox.requests.total() == asked


def test_operators_see_everybodys_payments_by_page_and_what_they_add_up_to(buying: Buying) -> None:
    bob = buying.database.enroll()
    buying.look(buying.buy(AT_ONCE))
    waiting = buying.buy(WAITING, "basic")
    paid_back = buying.buy(WAITING, caller=bob)
    buying.settle(paid_back, "SUCCESSFUL")
    buying.round()
    buying.shop.act(buying.shop.desk.refund(BOSS, paid_back.payment_id, "a mistake"))
    buying.settle(waiting, "FAILED")
    buying.round()
    desk, everything = buying.shop.desk, filter_of("", "", "", "")
    found, token = [], ""
    while True:
        page, token = buying.shop.act(desk.list(everything, 2, token))
        found += page
        if not token:
            break
    assert [each.state for each in found] == ["refunded", "failed", "completed"]
    totals = buying.shop.act(desk.totals(everything))
    assert (totals.revenue_xaf, totals.refunded_xaf, totals.sold_bytes) == (10, 10, TIER_BYTES)
    assert totals.by_state == {"completed": 1, "failed": 1, "refunded": 1}
    assert list(totals.days.values()) == [(10, 1)]
    of_bob = filter_of("", bob.email.upper(), "", "")
    assert [each.payment_id for each in buying.shop.act(desk.list(of_bob, 0, ""))[0]] == [paid_back.payment_id]
    of_old = replace(everything, until=found[-1].created_at)
    assert buying.shop.act(desk.list(of_old, 0, ""))[0] == []
    with pytest.raises(InvalidField):
        filter_of("paid", "", "", "")


def test_what_was_bought_is_in_the_export_of_the_account(buying: Buying) -> None:
    payment = buying.look(buying.buy(AT_ONCE))
    (row,), _ = buying.database.read(exports.payments, buying.alice, None, 10)
    assert (row["id"], row["status"], row["amount_xaf"]) == (payment.payment_id, "completed", 10)
    assert exports.SECTIONS["payments"] is exports.payments


def test_who_pays_too_often_waits_and_repeats_do_not_count(buying: Buying) -> None:
    few = Shop(buying.database.database, buying.campay.settings(), per_hour=3)

    def buy(caller: Caller, phone: str) -> Payment:
        payment, _ = few.act(few.payments.buy(caller, TIER, "mtn_momo", phone, ""))
        return payment

    for _ in range(3):
        payment = buy(buying.alice, WAITING)
        assert buy(buying.alice, WAITING).payment_id == payment.payment_id
        few.act(few.payments.cancel(buying.alice, payment.payment_id))
    with pytest.raises(TooManyPayments):
        buy(buying.alice, "237670000013")
    with pytest.raises(TooManyPayments):
        buy(buying.database.enroll(), WAITING)
    assert len(buying.campay.sandbox.transactions) == 3
    few.close()


def test_a_price_that_changed_after_it_was_agreed_to_is_not_charged(buying: Buying) -> None:
    with pytest.raises(PriceChanged, match="10 XAF would be charged now, not 500 XAF"):
        buying.shop.act(buying.shop.payments.buy(buying.alice, TIER, "mtn_momo", AT_ONCE, "", agreed_xaf=500))
    assert len(buying.campay.sandbox.transactions) == 0


def test_a_payment_that_nobody_sent_is_sent_when_its_buyer_asks_again(buying: Buying) -> None:
    buying.shop.fuse.left = 1  # it is written down, and the gateway is gone
    buying.shop.act(buying.shop.payments.buy(buying.alice, TIER, "mtn_momo", AT_ONCE, "one"))
    again = buying.buy(AT_ONCE, request_id="one")
    assert buying.look(again).state == "completed"
    assert len(buying.campay.sandbox.transactions) == 1


def test_what_an_operator_ended_frees_the_tier_and_still_counts_when_its_money_comes(buying: Buying) -> None:
    payment = buying.buy(WAITING)
    with pytest.raises(NotRefundable):
        buying.shop.act(buying.shop.desk.refund(BOSS, payment.payment_id, "nothing came"))
    ended = buying.shop.act(buying.shop.desk.close(BOSS, payment.payment_id, "Campay knows nothing of it"))
    assert (ended.state, ended.reason) == ("failed", "Campay knows nothing of it")
    with pytest.raises(NotClosable):
        buying.shop.act(buying.shop.desk.close(BOSS, payment.payment_id, "again"))
    assert buying.buy(WAITING).payment_id != payment.payment_id
    buying.settle(payment, "SUCCESSFUL")
    buying.ring(payment)
    assert buying.now(payment).state == "completed"


def test_what_an_operator_ended_while_it_was_unclear_still_counts_when_its_money_comes(
    buying: Buying, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(campay_plays.PLAYS, 90, Play("is cut, but it was made", reply=Reply.CUT))
    payment = buying.buy("237670000090")
    buying.shop.act(buying.shop.desk.close(BOSS, payment.payment_id, "nothing came"))
    buying.round()
    ended = buying.now(payment)
    assert (ended.state, ended.is_unclear, ended.reason) == ("failed", False, "nothing came")
    buying.settle(payment, "SUCCESSFUL")
    buying.round()
    assert buying.now(payment).state == "completed"
    assert buying.grants() == 1


def test_what_campay_does_not_know_yet_is_no_alarm_and_one_that_was_goes_away(buying: Buying) -> None:
    payment = buying.buy(WAITING)
    (made,) = buying.campay.sandbox.transactions.values()
    buying.campay.sandbox.transactions.clear()
    buying.round()
    assert buying.now(payment).attention == ""
    buying.pass_by(UNKNOWN_AFTER_US)
    buying.round()
    assert "knows no such transaction" in buying.now(payment).attention
    buying.campay.sandbox.transactions[made.reference] = made
    buying.round()
    assert (buying.now(payment).attention, buying.now(payment).state) == ("", "processing")


def test_a_payment_of_another_account_at_campay_waits_for_an_operator_in_the_end(buying: Buying) -> None:
    payment = buying.buy(WAITING)
    buying.shop.client.mode = "production"
    assert buying.buy(WAITING).payment_id != payment.payment_id
    buying.pass_by(GIVE_UP_US)
    buying.round()
    assert "begun in sandbox mode" in buying.now(payment).attention


def test_a_buyer_who_looks_all_the_time_asks_campay_now_and_then(buying: Buying) -> None:
    payment = buying.buy(WAITING)
    asked, started = buying.campay.sandbox.requests["/transaction/"], time.monotonic()
    for _ in range(50):
        buying.look(payment)
    often = (time.monotonic() - started) / FRESH_S + 1
    assert buying.campay.sandbox.requests["/transaction/"] - asked <= min(often, 49)


def test_where_an_operator_sits_is_not_in_the_buyers_history(buying: Buying) -> None:
    payment = buying.look(buying.buy(AT_ONCE))
    buying.buy(OTHER_AMOUNT, "basic")
    buying.round()
    operator = Visitor("", "203.0.113.9", "operators-laptop")
    buying.shop.act(buying.shop.desk.refund(BOSS, payment.payment_id, "paid twice"), operator)
    recorded = repr(buying.database.rows("SELECT details FROM event"))
    assert "203.0.113.9" in recorded
    assert f'"operator": "{BOSS.name}"' in recorded
    found, _ = buying.database.read(history.happenings, buying.alice, history.NEWEST, 50)
    told = repr(found)
    assert "was paid back (paid twice)" in told
    assert "waits for an operator" in told
    assert "203.0.113.9" not in told
    assert "operators-laptop" not in told
    assert BOSS.name not in told
    assert "11 XAF" not in told


def test_an_account_that_goes_while_its_money_comes_is_no_ghost_with_room(buying: Buying) -> None:
    for _ in range(5):
        bob = buying.database.enroll()
        payment = buying.buy(WAITING, caller=bob)
        buying.settle(payment, "SUCCESSFUL")
        buying.database.sql(f"UPDATE account SET closes_at = 1 WHERE account_id = '{bob.account_id}'")
        buying.database.race([partial(payments.complete, payment.payment_id), partial(closing.remove, bob.account_id)])
        assert buying.quota(bob) == 0
        has_room = payment.payment_id in {
            row[0] for row in buying.database.rows("SELECT payment_id FROM storage_grant")
        }
        assert has_room == (buying.now(payment).state == "completed")


def test_of_many_guesses_at_once_only_a_few_are_judged(buying: Buying) -> None:
    admins = Admins(buying.database.database, "the right key of this gateway", 5)

    async def guess() -> list[Any]:
        """The last of them is right, but it comes too late to be looked at."""
        guesses = [*(f"guess {number}" for number in range(99)), "the right key of this gateway"]
        return await asyncio.gather(*map(admins.check, guesses), return_exceptions=True)

    told = buying.shop.act(guess())
    assert sum(isinstance(each, AdminKeyWrong) for each in told) == 5
    assert sum(isinstance(each, TooManyTries) for each in told) == 95
    with pytest.raises(TooManyTries):
        buying.shop.act(admins.check("the right key of this gateway"))
