"""After a restore Campay is asked about what was under way, and what it tells and nobody here knows is found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from cloudgrpc.actions.rereading import Rereading
from cloudgrpc.core.payment_states import State
from cloudgrpc.meta import standing
from cloudgrpc.meta.models import Account
from cloudgrpc.meta.payment_models import Payment
from contract.backup_fixture import another, back_up, restore
from contract.payment_fixture import TIER, TIER_BYTES, Shop
from program import free_port
from sandbox import SandboxServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cloudgrpc.meta.accounts import Caller
    from cloudgrpc.meta.standing import Reconciliation
    from cloudgrpc.sales import Campay
    from contract.meta_fixture import Meta

AT_ONCE, DECLINED, WAITING = "237670000001", "237670000011", "237670000012"


@pytest.fixture
def campay() -> Iterator[SandboxServer]:
    with SandboxServer() as server:
        yield server


def buy(shop: Shop, person: Caller, phone: str, tier: str) -> Payment:
    payment, _ = shop.act(shop.payments.buy(person, tier, "mtn_momo", phone, ""))
    found: Payment = payment
    return found


def catch_up(meta: Meta, settings: Campay) -> None:
    """A round of a gateway that has just started."""
    shop = Shop(meta.database, settings)
    shop.act(Rereading(meta.database, shop.client, shop.settling).catch_up())
    shop.close()


def looked(meta: Meta) -> Reconciliation:
    return meta.read(standing.reconciliation, sells=True)


def test_what_campay_knows_better_is_found_out_after_a_restore(
    database: Meta, campay: SandboxServer, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    alice, shop = database.enroll(), Shop(database.database, campay.settings())
    before = buy(shop, alice, WAITING, TIER)
    data = back_up(database)
    (made,) = campay.sandbox.transactions.values()
    campay.sandbox.settle(made.reference, "SUCCESSFUL")
    after = buy(shop, alice, AT_ONCE, "basic")
    buy(shop, alice, DECLINED, "standard")
    campay_knows = {one.external_reference: one.reference for one in campay.sandbox.transactions.values()}
    shop.close()
    with another(request, "postgres" if database.is_postgres else "sqlite", tmp_path) as meta:
        restore(meta, data)
        closed = f"http://127.0.0.1:{free_port()}/api"
        nobody = msgspec.structs.replace(campay.settings(), base_url=closed, timeout_s=0.5)
        catch_up(meta, nobody)
        assert not looked(meta).is_compared
        catch_up(meta, campay.settings())
        assert looked(meta).is_compared
        assert meta.run(Payment.get_by_id, before.payment_id).state == State.COMPLETED
        quota = meta.run(Account.get_by_id, alice.account_id).quota_bytes
        assert quota == (1 << 30) + TIER_BYTES
        told = looked(meta).payments_unknown
        assert len(told) >= 1
        assert [words for words in told if campay_knows[after.payment_id] in words and after.payment_id in words]
        assert not [words for words in told if before.payment_id in words]
        catch_up(meta, campay.settings())
        assert looked(meta).payments_unknown == told
