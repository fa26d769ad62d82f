"""Payments in every order of doorbells, rounds, looks, cancellations, operators and crashes: one payment grants at most
once, and at least once when Campay says that the money came."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from cloudgrpc.core.payment_states import State
from cloudgrpc.errors import CloudError
from cloudgrpc.meta.models import Account
from cloudgrpc.meta.payment_models import Payment, StorageGrant
from cloudgrpc.outside import campay_plays
from cloudgrpc.outside.campay_plays import Play, Reply
from contract.payment_fixture import BOSS, TIER, Shop
from sandbox import SandboxServer

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from contract.meta_fixture import Meta

# Numbers of whose transactions nothing becomes until a test says so.
PHONES = {
    "237670000090": Play("answers, and stays pending"),
    "237670000091": Play("answers 500, but it was made", reply=Reply.ERROR),
    "237670000092": Play("is cut, but it was made", reply=Reply.CUT),
    "237670000093": Play("answers 500, and nothing was made", reply=Reply.ERROR, is_made=False),
    "237670000094": Play("refuses", reply=Reply.REFUSED, is_made=False),
}
TIERS = st.sampled_from([TIER, "basic"])
ANY = st.integers(0, 1 << 30)
EFFECTS = st.one_of(st.none(), st.none(), st.integers(0, 11))


class Shopping(RuleBasedStateMachine):
    database: Meta
    campay: SandboxServer

    def __init__(self) -> None:
        super().__init__()
        self.campay.sandbox.transactions.clear()
        self.database.sql("UPDATE payment SET look_at = NULL")  # of runs before: only this one's are looked at
        self.alice = self.database.enroll()
        self.at_first = self.look()[0]
        self.shop = Shop(self.database.database, self.campay.settings())

    def teardown(self) -> None:
        """Whatever happened, the next rounds find everything out."""
        self.everything_due()
        self.shop.act(self.shop.settling.look_due())
        self.check_every_money_is_room()
        self.shop.close()

    # What there is

    def look(self) -> tuple[int, list[Payment], dict[str, StorageGrant]]:
        """Alice's quota, payments and grants, in one transaction: looked at after every step."""

        def work() -> tuple[int, list[Payment], dict[str, StorageGrant]]:
            quota = Account.get_by_id(self.alice.account_id).quota_bytes
            mine = Payment.select().where(Payment.account_id == self.alice.account_id).order_by(Payment.created_at)
            grants = StorageGrant.select().where(StorageGrant.account_id == self.alice.account_id)
            return quota, list(mine), {grant.payment_id: grant for grant in grants}

        return self.database.run(work)

    def pick(self, which: int) -> Payment | None:
        _, there, _ = self.look()
        return there[which % len(there)] if there else None

    def act(self, crash_at: int | None, work: Coroutine[Any, Any, Any]) -> Any:
        self.shop.fuse.left = crash_at
        try:
            return self.shop.act(work)
        except CloudError as error:
            return error
        finally:
            self.shop.fuse.left = None

    def everything_due(self) -> None:
        mine = f"account_id = '{self.alice.account_id}'"
        self.database.sql(f"UPDATE payment SET look_at = 0 WHERE look_at IS NOT NULL AND {mine}")

    # What happens

    @rule(tier=TIERS, phone=st.sampled_from(sorted(PHONES)), crash_at=EFFECTS)
    def buy(self, tier: str, phone: str, crash_at: int | None) -> None:
        self.act(crash_at, self.shop.payments.buy(self.alice, tier, "mtn_momo", phone, ""))

    @rule(which=ANY, status=st.sampled_from(["SUCCESSFUL", "SUCCESSFUL", "FAILED"]))
    def money_moves_or_not(self, which: int, status: str) -> None:
        made = [each for each in self.campay.sandbox.transactions.values() if each.status != "SUCCESSFUL"]
        if made:
            self.campay.sandbox.settle(made[which % len(made)].reference, status)

    @rule(which=ANY, crash_at=EFFECTS, lies=st.booleans())
    def the_doorbell_rings(self, which: int, crash_at: int | None, lies: bool) -> None:
        made = list(self.campay.sandbox.transactions.values())
        if made:
            told = made[which % len(made)]
            reference = made[0].reference if lies else told.reference
            self.act(crash_at, self.shop.settling.ring(told.external_reference, reference))

    @rule(crash_at=EFFECTS)
    def a_round_comes(self, crash_at: int | None) -> None:
        self.everything_due()
        self.act(crash_at, self.shop.settling.look_due())

    @rule(which=ANY, crash_at=EFFECTS)
    def the_buyer_looks(self, which: int, crash_at: int | None) -> None:
        payment = self.pick(which)
        if payment:
            self.act(crash_at, self.shop.payments.check(self.alice, payment.payment_id))

    @rule(which=ANY, crash_at=EFFECTS)
    def the_buyer_cancels(self, which: int, crash_at: int | None) -> None:
        payment = self.pick(which)
        if payment:
            self.act(crash_at, self.shop.payments.cancel(self.alice, payment.payment_id))

    @rule(which=ANY, crash_at=EFFECTS)
    def an_operator_asks(self, which: int, crash_at: int | None) -> None:
        payment = self.pick(which)
        if payment:
            self.act(crash_at, self.shop.desk.reconcile(BOSS, payment.payment_id))

    @rule(which=ANY, of=ANY, crash_at=EFFECTS)
    def an_operator_gives_a_reference(self, which: int, of: int, crash_at: int | None) -> None:
        payment, made = self.pick(which), list(self.campay.sandbox.transactions)
        if payment and made:
            self.act(crash_at, self.shop.desk.set_reference(BOSS, payment.payment_id, made[of % len(made)]))

    @rule(which=ANY, crash_at=EFFECTS)
    def an_operator_pays_back(self, which: int, crash_at: int | None) -> None:
        payment = self.pick(which)
        if payment:
            self.act(crash_at, self.shop.desk.refund(BOSS, payment.payment_id, "a mistake"))

    @rule(which=ANY, crash_at=EFFECTS)
    def an_operator_ends_it(self, which: int, crash_at: int | None) -> None:
        payment = self.pick(which)
        if payment:
            self.act(crash_at, self.shop.desk.close(BOSS, payment.payment_id, "nothing came"))

    @rule()
    def two_minutes_pass(self) -> None:
        self.database.age("payment", "created_at", 120_000_000)

    # What must hold

    @invariant()
    def the_laws_hold(self) -> None:
        quota, payments, grants = self.look()
        made = list(self.campay.sandbox.transactions.values())
        standing = {each.payment_id: each.storage_bytes for each in grants.values() if each.taken_back_at is None}
        assert quota == self.at_first + sum(standing.values())
        assert {*standing} == {each.payment_id for each in payments if each.state == State.COMPLETED}
        assert {*grants} <= {each.external_reference for each in made if each.status == "SUCCESSFUL"}
        asked = [each.external_reference for each in made]
        assert len(asked) == len(set(asked)), "Campay was asked twice to collect"
        tiers = [each.tier_id for each in payments if each.state in (State.PENDING, State.PROCESSING)]
        assert len(tiers) == len(set(tiers)), "two payments for one tier are open"

    def check_every_money_is_room(self) -> None:
        _, payments, grants = self.look()
        for payment in payments:
            if payment.state == State.REFUNDED:
                continue
            came = [
                each
                for each in self.campay.sandbox.transactions.values()
                if (each.external_reference, each.status) == (payment.payment_id, "SUCCESSFUL")
            ]
            assert bool(came) == (payment.payment_id in grants), payment.__data__


@pytest.fixture
def campay(monkeypatch: pytest.MonkeyPatch) -> Iterator[SandboxServer]:
    for phone, play in PHONES.items():
        monkeypatch.setitem(campay_plays.PLAYS, int(phone[-2:]), play)
    with SandboxServer() as server:
        yield server


@pytest.mark.timeout(1800)
def test_every_money_that_came_is_room_once_whatever_happens_in_between(
    database: Meta, campay: SandboxServer, pytestconfig: pytest.Config
) -> None:
    is_long = pytestconfig.getoption("--soak")
    runs = settings(max_examples=200 if is_long else 12, stateful_step_count=60 if is_long else 20, deadline=None)
    machine = type("Shopping", (Shopping,), {"database": database, "campay": campay})
    run_state_machine_as_test(machine, settings=runs)
