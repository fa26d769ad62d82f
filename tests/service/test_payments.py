"""Buying room over the wire: a real gateway with its webhook, and the sandbox that rings it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
import requests

from cloudgrpc.config import MIB
from cloudgrpc.outside.webhook import signature_of
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cluster_harness import CALM, Cluster
from every_rpc import admin_key
from program import HOST, free_port
from sandbox import WEBHOOK_KEY, SandboxServer
from user import CALL_S, refused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cluster_harness import Cluster as AnyCluster
    from postgres import Database
    from user import User

AT_ONCE, WAITING, TWICE = ("2376700000" + digits for digits in ("01", "12", "14"))
ROOM = 250 * MIB


@pytest.fixture(scope="module")
def campay() -> Iterator[SandboxServer]:
    with SandboxServer() as campay:
        yield campay


@pytest.fixture(scope="module")
def shop(campay: SandboxServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AnyCluster]:
    """No round of upkeep looks after payments here: only doorbells and those who ask do."""
    port = free_port()
    campay.sandbox.webhook_url = f"http://{HOST}:{port}/webhooks/campay"
    folder = tmp_path_factory.mktemp("shop")
    sells = {**campay.variables(), "http_port": port, "limits_admin_tries_per_hour": 5}
    cluster = Cluster(folder, nodes=1, capacity_gb=500, **CALM, **sells)  # type: ignore[arg-type]
    try:
        yield cluster.start()
    finally:
        cluster.close()


@pytest.fixture
def alice(shop: AnyCluster, tmp_path: Path) -> User:
    return shop.enroll(f"alice-{tmp_path.name}@example.org")


def state_of(shop: AnyCluster, payment_id: str) -> str:
    """As it is stored; nobody asks Campay for it."""
    return str(shop.rows(f"SELECT state FROM payment WHERE payment_id = '{payment_id}'")[0][0])


@pytest.mark.parametrize(("phone", "rings"), [(AT_ONCE, 1), (TWICE, 2)], ids=["rung once", "rung twice"])
def test_a_webhook_alone_brings_the_room_and_only_once(
    campay: SandboxServer, shop: AnyCluster, alice: User, phone: str, rings: int
) -> None:
    before = alice.quota()
    payment = alice.buy(phone)
    assert payment.amount_xaf == 10
    rung = f"webhook for {payment.transaction_ref}: 200"
    shop.wait(lambda: campay.told.count(rung) == rings, what="the doorbell")
    shop.wait(lambda: state_of(shop, payment.payment_id) == "completed", what="the doorbell's effect")
    assert alice.quota() == before + ROOM
    seen = alice.payment(payment.payment_id)
    assert (seen.status, seen.storage_added, seen.quota_bytes) == ("completed", ROOM, before + ROOM)


def test_a_client_that_knows_only_the_contract_buys(shop: AnyCluster, alice: User) -> None:
    tiers = shop.payments.GetStorageTiers(pb.GetStorageTiersRequest(), timeout=CALL_S).tiers
    assert [(tier.tier_id, tier.price_xaf) for tier in tiers][:2] == [("starter", 500), ("basic", 900)]
    begun = alice.buy(AT_ONCE, "basic")
    assert (begun.success, len(begun.payment_id)) == (True, 32)
    shop.wait(lambda: alice.payment(begun.payment_id).status == "completed", what="the payment to be completed")
    (record,) = shop.payments.GetPaymentHistory(
        pb.GetPaymentHistoryRequest(session_token=alice.token, limit=5), timeout=CALL_S
    ).payments
    assert (record.tier_name, record.storage_bytes, record.status) == ("Basic", 512 * MIB, "completed")


def test_eight_clients_that_look_at_once_are_granted_once(campay: SandboxServer, alice: User) -> None:
    before, payment = alice.quota(), alice.buy(WAITING)
    campay.sandbox.settle(payment.transaction_ref, "SUCCESSFUL")
    with ThreadPoolExecutor(8) as clients:
        seen = list(clients.map(lambda _: alice.payment(payment.payment_id), range(8)))
    assert {one.status for one in seen} == {"completed"}
    assert {one.quota_bytes for one in seen} == {before + ROOM}


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "nonsense",
        signature_of({"iat": 1}, "another-key-than-the-one-it-has"),
        "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.e30.",
    ],
    ids=["missing", "nonsense", "another key", "none"],
)
def test_a_webhook_that_is_not_campays_changes_nothing(
    campay: SandboxServer, shop: AnyCluster, alice: User, signature: str
) -> None:
    payment = alice.buy(WAITING)
    campay.sandbox.settle(payment.transaction_ref, "SUCCESSFUL")
    asked = campay.sandbox.requests.total()
    assert campay.sandbox.ring(payment.transaction_ref, signature=signature) == 403
    assert (state_of(shop, payment.payment_id), campay.sandbox.requests.total()) == ("processing", asked)


def test_what_a_signed_webhook_says_is_not_believed(campay: SandboxServer, shop: AnyCluster, alice: User) -> None:
    payment = alice.buy(WAITING)
    asked = campay.sandbox.requests["/transaction/"]
    assert campay.sandbox.ring(payment.transaction_ref, status="SUCCESSFUL", amount="1000000") == 200
    shop.wait(lambda: campay.sandbox.requests["/transaction/"] > asked, what="Campay to be asked")
    assert alice.payment(payment.payment_id).status == "processing"
    unknown = requests.get(
        campay.sandbox.webhook_url,
        params={"external_reference": "0" * 32, "signature": signature_of({}, WEBHOOK_KEY)},
        timeout=CALL_S,
    )
    assert unknown.status_code == 200


def test_a_session_that_ended_sees_no_tiers_of_its_own(shop: AnyCluster, alice: User) -> None:
    with refused("UNAUTHENTICATED", "session_ended"):
        shop.payments.GetStorageTiers(pb.GetStorageTiersRequest(session_token="gone"), timeout=CALL_S)


def test_what_is_sold_out_is_told_to_operators(shop: AnyCluster, alice: User) -> None:
    shop.change("UPDATE node SET capacity_bytes = 1")
    try:
        with refused("RESOURCE_EXHAUSTED", "sold_out"):
            alice.buy(WAITING)
    finally:
        shop.change(f"UPDATE node SET capacity_bytes = {500 << 30}")
    shop.wait(lambda: bool(shop.rows("SELECT 1 FROM event WHERE kind = 'refused.sold_out'")), what="its event")
    assert alice.buy(WAITING).success


def test_who_guesses_the_admin_key_is_soon_not_heard_at_all(shop: AnyCluster) -> None:
    def ask(key: str) -> None:
        shop.admin.GetPaymentTotals(pb.PaymentTotalsRequest(admin_key=key), timeout=CALL_S)

    for _ in range(50):
        ask(admin_key(shop))
    for _ in range(5):
        with refused("UNAUTHENTICATED", "admin_key_wrong"):
            ask("a guess of sixteen")
    for key in ("another guess of it", admin_key(shop)):
        with refused("RESOURCE_EXHAUSTED", "too_many_tries"):
            ask(key)


def test_without_an_account_at_campay_nothing_is_sold_and_the_rest_works(calm: AnyCluster, tmp_path: Path) -> None:
    bob = calm.enroll(f"bob-{tmp_path.name}@example.org")
    with refused("UNAVAILABLE", "payments_off"):
        bob.buy(AT_ONCE)
    told = calm.payments.GetStorageTiers(pb.GetStorageTiersRequest(session_token=bob.token), timeout=CALL_S)
    assert (told.mode, len(told.tiers)) == ("", 4)
    assert calm.payments.GetPaymentHistory(pb.GetPaymentHistoryRequest(session_token=bob.token), timeout=CALL_S).success


def test_a_gateway_for_real_customers_refuses_a_sandbox(
    campay: SandboxServer, tmp_path: Path, postgres_database: Database
) -> None:
    on_postgres = Cluster(tmp_path / "one", nodes=0, database=postgres_database, **campay.variables())  # type: ignore[arg-type]
    beyond = Cluster(
        tmp_path / "two", nodes=0, gateway_host="0.0.0.0", cluster_allow_plaintext=True, **campay.variables()
    )  # type: ignore[arg-type]
    for cluster, words in ((on_postgres, ()), (beyond, ("--host", "0.0.0.0"))):
        ran = cluster.run("gateway", *words)
        assert ran.returncode == 2
        assert "is a sandbox on this machine" in ran.stderr
