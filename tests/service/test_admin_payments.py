"""What operators see of payments and do about them, with the admin key, against a real gateway and the sandbox."""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from cloudgrpc import cli
from cloudgrpc.errors import Exit
from cloudgrpc.outside.campay_ledger import Transaction
from cluster_harness import PATIENT, Cluster
from person import Person, Terminal
from sandbox import SandboxServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from user import User

AT_ONCE, NEVER, FOREIGN, NOTHING_MADE = ("2376700000" + digits for digits in ("01", "12", "21", "17"))
KEY = "the-admin-key-of-this-test"


@pytest.fixture(scope="module")
def campay() -> Iterator[SandboxServer]:
    with SandboxServer() as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def shop(campay: SandboxServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Whose key lies in its data folder."""
    settings: dict[str, Any] = {**PATIENT, **campay.variables(), "drive_new_account_mb": 1}
    cluster = Cluster(tmp_path_factory.mktemp("shop"), nodes=1, capacity_gb=100, **settings)
    try:
        yield cluster.start()
    finally:
        cluster.close()


@pytest.fixture
def hers(shop: Cluster, tmp_path: Path) -> User:
    return shop.enroll(f"alice-{tmp_path.name}@example.org")


@pytest.fixture
def alice(hers: User, tmp_path: Path) -> Person:
    person = Person(hers.cluster, tmp_path)
    person.is_signed_in_as(hers)
    return person


def bought(person: Person, phone: str, tier: str = "starter", status: str = "completed") -> str:
    """The ID of the payment."""
    person.here("pay", "buy", "--tier", tier, "--phone", phone, "--no-wait", "--yes")
    person.cluster.wait(lambda: newest(person)["status"] == status, what=f"a payment that is {status}")
    return str(newest(person)["payment_id"])


def newest(person: Person) -> dict[str, object]:
    told: dict[str, object] = json.loads(person.here("pay", "status", "--json"))
    return told


def admin(cluster: Cluster, *words: str, exit_code: int = Exit.OK) -> str:
    """What it tells; in this process, which saves the start of a program each time."""
    told = io.StringIO()
    with redirect_stdout(told), redirect_stderr(told):
        left = cli.run(["admin", "--gateway", cluster.address, "--data-dir", str(cluster.data), *words])
    assert left == exit_code, told.getvalue()
    return told.getvalue()


def shown(cluster: Cluster, *words: str) -> dict[str, list[dict[str, object]]]:
    told: dict[str, list[dict[str, object]]] = json.loads(admin(cluster, "--payments", "--json", *words))
    return told


# The key


def test_without_the_right_key_nothing_is_shown(shop: Cluster, tmp_path: Path) -> None:
    missing = shop.run("admin", "--data-dir", str(tmp_path), "--payments")
    assert missing.returncode == Exit.NOT_SIGNED_IN
    assert str(tmp_path) in missing.stderr
    wrong = shop.run("admin", "--payments", admin_key=KEY)
    assert wrong.returncode == Exit.NOT_SIGNED_IN
    assert KEY not in wrong.stdout + wrong.stderr


def test_a_key_that_others_may_read_is_refused(shop: Cluster, tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "admin.key"
    path.parent.mkdir()
    path.write_text(KEY)
    path.chmod(0o644)
    refused = shop.run("admin", "--data-dir", str(tmp_path), "--payments")
    assert refused.returncode == Exit.USAGE
    assert "chmod 600" in refused.stderr
    assert KEY not in refused.stderr


def test_a_person_types_the_key_unseen(shop: Cluster, alice: Person) -> None:
    key = (shop.data / "secrets" / "admin.key").read_text().strip()
    terminal = Terminal([sys.executable, "-m", "cloudgrpc", "admin", "--payments"], alice.folder, alice.environment)
    terminal.expect_exact("Admin key")
    terminal.sendline(key)
    terminal.expect_exact("Success rate")
    assert key not in str(terminal.before)
    assert terminal.left() == Exit.OK


# The view


def test_operators_see_everybodys_payments_what_they_add_up_to_and_what_waits(alice: Person, hers: User) -> None:
    bought(alice, AT_ONCE)
    paid = bought(alice, AT_ONCE, "standard")
    waiting = bought(alice, FOREIGN, "basic", "processing")
    told = admin(alice.cluster, "--payments", "--user", hers.email)
    assert told.index(waiting[:12]) < told.index(paid[:12]), "the newest first"
    assert "Sandbox" in told
    assert "11 XAF, not about 10 XAF" in told, "why it waits"
    assert "3: 1 processing, 2 completed" in told
    assert "100.0% of those that ended" in told
    assert "20 XAF (2)" in told.splitlines()[-1], "today's bar comes last"
    attention = admin(alice.cluster, "--payments", "--attention", "--user", hers.email)
    assert waiting[:12] in attention
    assert paid[:12] not in attention


def test_payments_are_filtered_by_status_buyer_and_time(alice: Person, hers: User) -> None:
    paid = bought(alice, AT_ONCE)
    bought(alice, NEVER, "basic", "processing")
    mine = ("--user", hers.email)

    def found(*words: str) -> list[object]:
        return [payment["payment_id"] for payment in shown(alice.cluster, *mine, *words)["payments"]]

    assert len(found()) == 2
    assert found("--status", "completed") == [paid]
    assert len(found("-n", "1")) == 1
    assert len(found("--since", "1h")) == 2
    assert found("--until", "1h") == []
    assert found("--until", "2020-01-01") == []
    assert len(found("--until", datetime.now().astimezone().date().isoformat())) == 2, "a day is meant to its end"
    assert "-n" in admin(alice.cluster, "--payments", "-n", "-1", exit_code=Exit.USAGE)
    assert "refunded" in admin(alice.cluster, "--payments", "--status", "lost", exit_code=Exit.USAGE)
    assert "--payments" in admin(alice.cluster, "--status", "failed", exit_code=Exit.USAGE)


# The acts


def test_a_refund_takes_the_room_back_deletes_nothing_and_makes_a_full_account_read_only(
    alice: Person, hers: User
) -> None:
    paid = bought(alice, AT_ONCE)
    hers.upload("a.bin", bytes(2 << 20))
    act = ("payment", "refund", paid[:8], "--reason", "bought twice")
    assert "--yes" in admin(alice.cluster, *act, exit_code=Exit.USAGE)
    told = admin(alice.cluster, *act, "--yes")
    assert "250.0 MB were taken back" in told
    assert "The buyer has 1.0 MB now, 2.0 MB of it used." in told
    assert "read-only" in told
    assert "mobile operator" in told
    assert "a.bin" in alice.here("ls")
    assert "bought twice" in alice.here("pay", "status")
    admin(alice.cluster, *act, "--yes", exit_code=Exit.NOT_NOW)


def test_campay_is_asked_when_an_operator_wants_it(alice: Person, campay: SandboxServer) -> None:
    open_one = bought(alice, NEVER, "premium", "processing")
    told = admin(alice.cluster, "payment", "reconcile", open_one, "--yes")
    assert "is processing, as before" in told
    reference = str(newest(alice)["transaction_ref"])
    campay.sandbox.transactions[reference].status = "SUCCESSFUL"
    told = admin(alice.cluster, "payment", "reconcile", open_one[:8], "--yes")
    assert "is completed" in told
    known = admin(alice.cluster, "payment", "reference", open_one, "another", "--yes", exit_code=Exit.NOT_NOW)
    assert reference in known


def test_an_act_is_asked_about_once_at_a_terminal(alice: Person) -> None:
    paid = bought(alice, AT_ONCE)
    words = ["admin", "--data-dir", str(alice.cluster.data), "payment", "refund", paid, "--reason", "why not"]
    terminal = Terminal([sys.executable, "-m", "cloudgrpc", *words], alice.folder, alice.environment)
    terminal.expect_exact("mark it as paid back? [y/N]")
    terminal.sendline("n")
    terminal.expect_exact("Nothing was changed.")
    assert terminal.left() == Exit.OK
    assert newest(alice)["status"] == "completed"


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["payment"],
        ["payment", "refund", "abcdef"],
        ["payment", "reconcile", "abc", "--yes"],
        ["--payments", "payment", "reconcile", "abcdef"],
    ],
    ids=" ".join,
)
def test_words_that_make_no_sense_are_refused(shop: Cluster, words: list[str]) -> None:
    admin(shop, *words, exit_code=Exit.USAGE)


def test_a_payment_that_does_not_exist_is_not_found(shop: Cluster) -> None:
    for name in ("abcdef", "0" * 32):
        admin(shop, "payment", "reconcile", name, "--yes", exit_code=Exit.NOT_FOUND)


def test_what_never_comes_is_ended_and_what_has_no_reference_gets_it(alice: Person, campay: SandboxServer) -> None:
    shop = alice.cluster
    never = bought(alice, NOTHING_MADE, status="processing")
    told = admin(shop, "payment", "close", never[:8], "--reason", "Campay knows nothing of it", "--yes")
    assert "is failed now. It failed: Campay knows nothing of it. Nothing was added." in told
    lost = bought(alice, NOTHING_MADE, "basic", status="processing")
    made = Transaction(
        lost, NOTHING_MADE, "MTN", 10, "", status="SUCCESSFUL", made_at=0
    )  # in no history that is asked for
    campay.sandbox.transactions[made.reference] = made
    told = admin(shop, "payment", "reference", lost[:12], made.reference, "--yes")
    assert f"has Campay's reference {made.reference} now." in told
    assert "is completed now. 512.0 MB were added." in told
