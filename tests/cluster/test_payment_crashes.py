"""The gateway is killed at each step of a payment: the money that moved is room, once, and nobody is asked twice."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from cluster_harness import PATIENT, Cluster
from sandbox import SandboxServer
from turned_clocks import end_leases, execute

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LAUNCHER = Path(__file__).with_name("crash_launcher.py")
AT_ONCE = "237670000015"  # pays soon, and never rings
ROOM = 250 << 20
UNCLAIMED = ["before begin 1", "after begin 1", "before claim 1"]  # surely not sent: the retry sends it
CLAIMED = ["after claim 1", "before collect 1"]  # maybe sent, for all that the next gateway knows
SENT = ["after collect 1", "before collected 1", "after collected 1", "before complete 1", "after complete 1"]
SHORT_RUN = {"after claim 1", "after collect 1", "before complete 1"}
MOMENTS = [
    pytest.param(moment, marks=[] if moment in SHORT_RUN else [pytest.mark.soak], id=moment)
    for moment in UNCLAIMED + CLAIMED + SENT
]


@pytest.fixture
def campay() -> Iterator[SandboxServer]:
    with SandboxServer() as campay:
        yield campay


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_gateway_that_dies_loses_no_money_and_asks_nobody_twice(
    make_cluster: Callable[..., Cluster], campay: SandboxServer, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    settings = {**PATIENT, **campay.variables(), "payments_look_s": 0.2}
    cluster = make_cluster(nodes=1, capacity_gb=100, start=False, **settings)
    monkeypatch.setenv("CRASH_ORDERS", "orders")
    orders = cluster.logs / "orders"
    cluster.start_gateway(LAUNCHER)
    cluster.start_node("node1")
    alice = cluster.enroll("alice@example.org")
    before = alice.quota()
    orders.write_text(moment)
    with contextlib.suppress(grpc.RpcError):
        alice.buy(AT_ONCE, request_id="one")
    cluster.wait(lambda: not cluster.gateway.is_running, what="the gateway to be dead")
    orders.unlink()
    # As if Campay's answer were overdue, and the dead gateway's lead over.
    execute(cluster, "UPDATE payment SET look_at = 1 WHERE state = 'processing'")
    end_leases(cluster)
    cluster.start_gateway()
    again = alice.buy(AT_ONCE, request_id="one")
    if moment in CLAIMED:  # nobody is asked in its place
        assert len(campay.sandbox.transactions) == 0
        assert again.payment.status == "processing"
        assert alice.quota() == before
        return
    cluster.wait(lambda: alice.payment(again.payment_id).status == "completed", what="the room")
    assert len(campay.sandbox.transactions) == 1
    assert alice.quota() == before + ROOM
