"""Buying room at the shell, against a real gateway and the Campay sandbox."""

from __future__ import annotations

import json
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import grpc
import pytest

from cloudgrpc import rpc
from cloudgrpc.clients.session import Gateway, Session
from cloudgrpc.errors import CloudError, Exit
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.pb import cloud_storage_pb2_grpc as stubs
from cloudgrpc.shell import buying
from cloudgrpc.shell.buying import Buying, Wish
from cloudgrpc.shell.completer import Completer
from cloudgrpc.shell.shell import Shell
from cloudgrpc.shell.sign_in import AtStdin
from cluster_harness import CALM, Cluster
from person import Person
from program import HOST
from sandbox import SandboxServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from person import Terminal
    from user import User

AT_ONCE, DECLINED, NEVER, CUT, POOR = ("2376700000" + digits for digits in ("01", "11", "12", "22", "20"))
ORANGE = "237690000001"


@pytest.fixture(scope="module")
def campay() -> Iterator[SandboxServer]:
    with SandboxServer() as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def shop(campay: SandboxServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    settings = {**CALM, "upkeep_round_s": 0.3, **campay.variables()}  # for payments to be looked at
    cluster = Cluster(tmp_path_factory.mktemp("shop"), nodes=1, capacity_gb=100, **settings)
    try:
        yield cluster.start()
    finally:
        cluster.close()


@pytest.fixture
def person(shop: Cluster, tmp_path: Path) -> Person:
    return Person(shop, tmp_path)


@pytest.fixture
def hers(person: Person) -> User:
    return person.cluster.enroll(f"alice-{person.folder.name}@example.org")


@pytest.fixture
def alice(person: Person, hers: User) -> Person:
    person.is_signed_in_as(hers)
    return person


def buy(person: Person, tier: str, phone: str, *more: str, exit_code: int = Exit.OK) -> str:
    return person.here("pay", "buy", "--tier", tier, "--phone", phone, "--yes", *more, exit_code=exit_code)


def history(person: Person) -> list[dict[str, object]]:
    told: list[dict[str, object]] = json.loads(person.here("pay", "history", "--json"))
    return told


def answer(terminal: Terminal, question: str, typed: str) -> None:
    terminal.expect_exact(question)
    terminal.sendline(typed)


# What is for sale


def test_prices_are_for_everybody_and_what_is_mine_for_me(person: Person, hers: User) -> None:
    told = person.here("pay", "tiers")
    assert re.search(r"standard +Standard +1\.0 GB +1,500 XAF", told)
    assert "Sandbox: no money moves" in told
    assert "You have" not in told
    assert json.loads(person.here("pay", "tiers", "--json"))["quota_bytes"] is None
    person.is_signed_in_as(hers)
    assert "You have 1.0 GB, 0 B of it used." in person.here("pay", "tiers")


def test_a_gateway_without_campay_says_that_nothing_can_be_bought(calm: Cluster, tmp_path: Path) -> None:
    person = Person(calm, tmp_path)
    assert "Nothing can be bought here now" in person.here("pay", "tiers")
    person.is_signed_in_as(calm.enroll("would-buy@example.org"))
    buy(person, "basic", AT_ONCE, exit_code=Exit.UNAVAILABLE)


# Buying


def test_what_is_paid_for_is_there(alice: Person, campay: SandboxServer) -> None:
    told = buy(alice, "standard", "6 70 00 00 01")
    assert "Standard: 1.0 GB more room for 1,500 XAF." in told
    assert "10 XAF are charged to 237670000001 (MTN MoMo)." in told
    assert "*126#" in told
    assert "Paid. 1.0 GB of room were added." in told
    assert "0 B of 2.0 GB used" in told
    (payment,) = history(alice)
    assert payment["status"] == "completed"
    assert payment["transaction_ref"] in campay.sandbox.transactions
    assert str(payment["payment_id"]) in told
    assert re.search(r"standard .* 1,500 XAF +1 ", alice.here("pay", "tiers"))
    assert json.loads(alice.here("storage", "--json"))["allocated_bytes"] == 2 << 30


def test_for_a_program_the_receipt_is_one_document(alice: Person) -> None:
    process = alice.start("pay", "buy", "--tier", "starter", "--phone", ORANGE, "--yes", "--json")
    out, talk = process.communicate(timeout=60)
    receipt = json.loads(out)
    assert process.returncode == Exit.OK, talk
    assert receipt["provider"] == "orange_money"
    assert receipt["storage_added_bytes"] == 250 << 20
    assert receipt["quota_bytes"] == (1 << 30) + (250 << 20)
    assert "#150*50#" in talk


def test_a_script_says_all_of_it_and_is_never_asked(alice: Person) -> None:
    told = alice.here("pay", "buy", exit_code=Exit.USAGE)
    assert all(option in told for option in ("--tier", "--phone", "--yes"))
    assert "gold" in buy(alice, "gold", AT_ONCE, exit_code=Exit.NOT_FOUND)
    buy(alice, "basic", "12345", exit_code=Exit.BAD_INPUT)
    assert "Orange Money" in buy(alice, "basic", ORANGE, "--provider", "mtn", exit_code=Exit.BAD_INPUT)
    assert history(alice) == []


def test_what_is_refused_or_declined_adds_nothing_and_fails(alice: Person) -> None:
    assert "nothing was charged" in buy(alice, "basic", POOR, exit_code=Exit.NOT_NOW)
    told = buy(alice, "basic", DECLINED, exit_code=Exit.NOT_NOW)
    assert "declined" in told
    assert "Nothing was added" in told
    assert [payment["status"] for payment in history(alice)] == ["failed", "failed"]


def test_what_nobody_confirms_stays_open_is_never_charged_twice_and_can_be_given_up(
    alice: Person, campay: SandboxServer
) -> None:
    told = buy(alice, "basic", NEVER, "--wait", "1", exit_code=Exit.TOO_SLOW)
    (payment,) = history(alice)
    short = str(payment["payment_id"])[:12]
    assert f"pay status --payment-id {short}" in told
    asked = len(campay.sandbox.transactions)
    told = buy(alice, "basic", NEVER, "--no-wait")
    assert f"Payment {short} for Basic was under way already; nothing new is charged." in told
    assert len(campay.sandbox.transactions) == asked
    assert f"--payment-id {short}" in alice.here("pay", "tiers")
    assert "*126#" in alice.here("pay", "status")
    assert "--yes" in alice.here("pay", "cancel", exit_code=Exit.USAGE)
    assert "Do not confirm it on your phone" in alice.here("pay", "cancel", "--yes")
    assert history(alice)[0]["status"] == "cancelled"
    assert "under way" in alice.here("pay", "cancel", "--yes", exit_code=Exit.NOT_FOUND)


def test_of_several_open_payments_a_script_names_one_and_a_person_chooses(alice: Person) -> None:
    for tier in ("basic", "starter"):
        buy(alice, tier, NEVER, "--no-wait")
    newest, oldest = (str(payment["payment_id"]) for payment in history(alice))
    told = alice.here("pay", "cancel", "--yes", exit_code=Exit.USAGE)
    assert newest[:12] in told
    assert oldest[:12] in told
    terminal = alice.terminal("pay", "cancel")
    answer(terminal, "Your choice", "2")
    answer(terminal, "Cancel it? [y/N]", "y")
    terminal.expect_exact(f"Payment {oldest[:12]} is cancelled.")
    assert terminal.left() == Exit.OK
    assert [payment["status"] for payment in history(alice)] == ["processing", "cancelled"]


def test_while_it_is_unclear_whether_money_moved_nobody_is_told_to_pay_again(alice: Person) -> None:
    told = buy(alice, "basic", CUT, "--no-wait")
    assert "It is being found out whether the money moved; do not pay again." in told
    alice.cluster.wait(lambda: history(alice)[0]["status"] == "completed", what="what became of it")
    assert len(history(alice)) == 1


class Flaky(stubs.PaymentServiceServicer):
    """A gateway whose answers get lost."""

    def __init__(self, lost_answers: int) -> None:
        self.lost_answers = lost_answers
        self.request_ids: list[str] = []

    def InitiatePayment(  # noqa: N802 - gRPC's name
        self, request: pb.InitiatePaymentRequest, context: grpc.ServicerContext
    ) -> pb.InitiatePaymentResponse:
        self.request_ids.append(request.request_id)
        if len(self.request_ids) <= self.lost_answers:
            context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        return pb.InitiatePaymentResponse(success=True, payment_id="1" * 32, is_repeat=True)


def begun_at(flaky: Flaky) -> pb.InitiatePaymentResponse:
    server = grpc.server(ThreadPoolExecutor(2), options=rpc.SERVER_OPTIONS)
    stubs.add_PaymentServiceServicer_to_server(flaky, server)
    port = server.add_insecure_port(f"{HOST}:0")
    server.start()
    told = pb.GetStorageTiersResponse(mode="production")
    try:
        with Gateway(f"{HOST}:{port}") as gateway:
            wish = Wish("basic", None, AT_ONCE, is_sure=True)
            return Buying(Session(gateway, "token"), AtStdin()).begin(told, pb.StorageTier(tier_id="basic"), wish)
    finally:
        server.stop(0).wait()


def test_a_lost_answer_is_asked_for_once_more_by_the_same_request_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buying, "RETRY_PAUSE_S", 0.01)
    flaky = Flaky(lost_answers=1)
    assert not begun_at(flaky).is_repeat, "it is a repeat of ours, which is not told to the buyer"
    first, second = flaky.request_ids
    assert first == second != ""
    with pytest.raises(CloudError, match="under way all the same") as told:
        begun_at(Flaky(lost_answers=2))
    assert told.value.exit_code == Exit.UNAVAILABLE
    assert "pay history" in told.value.advice


# Looking back


def test_payments_are_named_by_how_their_ids_begin_and_only_mine_exist(alice: Person) -> None:
    buy(alice, "starter", AT_ONCE)
    whole = str(history(alice)[0]["payment_id"])
    assert whole in alice.here("pay", "status", "--payment-id", whole[:6])
    assert json.loads(alice.here("pay", "status", "--payment-id", whole.upper()[:9], "--json"))["payment_id"] == whole
    assert "at least 6" in alice.here("pay", "status", "--payment-id", whole[:5], exit_code=Exit.USAGE)
    table = alice.here("pay", "history")
    assert whole[:12] in table
    assert whole not in table
    alice.is_signed_in_as(alice.cluster.enroll("mallory@example.org"))
    for name in (whole, whole[:8]):
        alice.here("pay", "status", "--payment-id", name, exit_code=Exit.NOT_FOUND)
        alice.here("pay", "cancel", "--payment-id", name, "--yes", exit_code=Exit.NOT_FOUND)
    assert "no payments yet" in alice.here("pay", "status", exit_code=Exit.NOT_FOUND)
    assert "bought nothing yet" in alice.here("pay", "history")


def test_tab_completes_actions_tiers_and_payments(alice: Person) -> None:
    buy(alice, "starter", AT_ONCE)
    whole = history(alice)[0]["payment_id"]
    with Gateway(alice.cluster.address) as gateway:
        shell = Shell(gateway, alice.store)

        def offered(line: str) -> list[str]:
            return [each.name for each in Completer(shell.commands, shell.places).complete(line)]

        assert offered("pay ") == ["tiers", "buy", "status", "history", "cancel"]
        assert offered("pay buy --tier s") == ["starter", "standard"]
        assert offered("pay buy --provider ") == ["mtn", "orange"]
        assert offered("pay status --payment-id ") == [whole]


def test_the_role_is_the_shells_command(alice: Person) -> None:
    ran = alice.cluster.run("pay", "--gateway", alice.cluster.address, "tiers", "--json")
    assert ran.returncode == Exit.OK
    assert [tier["tier_id"] for tier in json.loads(ran.stdout)["tiers"]][-1] == "premium"


# At a terminal


def test_a_person_is_asked_for_what_is_missing_and_once_whether_to_go_on(alice: Person) -> None:
    terminal = alice.terminal("pay", "buy")
    answer(terminal, "by number or name", "9")
    terminal.expect_exact("There is no tier")
    answer(terminal, "by number or name", "1")
    answer(terminal, "Mobile number", "12")
    terminal.expect_exact("That is no mobile number")
    answer(terminal, "Mobile number", "690 00 00 01")
    terminal.expect_exact("Starter: 250.0 MB more room for 500 XAF.")
    answer(terminal, "237690000001 (Orange Money). Go on? [y/N]", "y")
    terminal.expect_exact("Paid. 250.0 MB")
    assert terminal.left() == Exit.OK


@pytest.mark.parametrize("typed", ["", "n"])
def test_whoever_does_not_say_yes_buys_nothing(alice: Person, typed: str) -> None:
    terminal = alice.terminal("pay", "buy", "--tier", "basic", "--phone", AT_ONCE)
    answer(terminal, "Go on? [y/N]", typed)
    terminal.expect_exact("Nothing was bought.")
    assert terminal.left() == Exit.OK
    assert history(alice) == []


def test_ctrl_c_leaves_the_payment_under_way_and_tells_how_to_look_later(alice: Person) -> None:
    terminal = alice.terminal("pay", "buy", "--tier", "basic", "--phone", NEVER, "--yes")
    terminal.expect(r"Waiting for the confirmation.* [12]:\d\d")
    terminal._process.send_signal(signal.SIGINT)
    terminal.expect(r"Interrupted; payment [0-9a-f]{12} goes on")
    terminal.expect_exact("pay status --payment-id")
    assert terminal.left() == Exit.INTERRUPTED
    assert [payment["status"] for payment in history(alice)] == ["processing"]


def test_somebody_else_signs_in_first_and_a_script_cannot(alice: Person) -> None:
    bob = alice.cluster.enroll(f"bob-{alice.folder.name}@example.org")
    words = ("pay", "buy", "--email", bob.email, "--tier", "starter", "--phone", AT_ONCE, "--yes")
    assert bob.email in alice.here(*words, exit_code=Exit.NOT_SIGNED_IN)
    terminal = alice.terminal(*words)
    terminal.expect_exact("Code: ")
    terminal.sendline(alice.codes(bob.email)[-1])
    terminal.expect_exact("Paid.")
    assert terminal.left() == Exit.OK
    assert bob.email in alice.here("whoami")
