"""Buying room, as far as no gateway is asked: choosing, naming payments, waiting, and the countdown."""

from __future__ import annotations

import pytest

from cloudgrpc.errors import (
    CloudError,
    Exit,
    GatewayUnreachable,
    PaymentEnded,
    PaymentRefused,
    PaymentUnknown,
    SessionEnded,
    TierUnknown,
    UsageWrong,
)
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.shell import countdown
from cloudgrpc.shell.buying import Wish, chosen_tier, known_operator
from cloudgrpc.shell.money import mode_words, xaf
from cloudgrpc.shell.paying import poll, raise_unless_paid
from cloudgrpc.shell.payments import named

OFFERS = pb.GetStorageTiersResponse(
    mode="production", tiers=[pb.StorageTier(tier_id="starter"), pb.StorageTier(tier_id="2")]
)
KNOWN = [pb.PaymentRecord(payment_id=digits * 4) for digits in ("3f9c2a17", "3f9c2a18", "deadbeef")]


class Clock:
    """Time passes only while somebody pauses."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def pause(self, seconds: float) -> None:
        self.now_s += seconds

    def poll(self, answers: list[str | CloudError], seconds: float) -> str:
        """The status in the end; "" for none."""
        told = iter(answers)

        def check() -> pb.CheckPaymentStatusResponse:
            answer = next(told)
            if isinstance(answer, CloudError):
                raise answer
            return pb.CheckPaymentStatusResponse(payment=pb.PaymentRecord(status=answer))

        reply = poll(check, seconds, lambda: self.now_s, self.pause)
        return reply.payment.status if reply else ""


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_payment_is_looked_at_every_two_seconds_until_it_has_ended(clock: Clock) -> None:
    assert clock.poll(["pending", "processing", "completed"], 120) == "completed"
    assert clock.now_s == 4


def test_a_gateway_that_is_away_for_a_moment_ends_no_waiting(clock: Clock) -> None:
    away = GatewayUnreachable(address="x")
    assert clock.poll([away, "processing", away, "failed"], 120) == "failed"


def test_waiting_ends_on_time_with_what_was_known_then(clock: Clock) -> None:
    assert clock.poll(["processing"] * 99, 5) == "processing"
    assert clock.now_s == 5
    assert Clock().poll([GatewayUnreachable(address="x")] * 99, 5) == ""


def test_a_session_that_ends_meanwhile_begins_no_second_purchase(clock: Clock) -> None:
    assert clock.poll(["processing", SessionEnded()], 120) == "processing"


@pytest.mark.parametrize(
    ("status", "is_unclear", "exit_code", "words"),
    [
        ("failed", False, Exit.NOT_NOW, "No money."),
        ("cancelled", False, Exit.NOT_NOW, "No money."),
        ("processing", False, Exit.TOO_SLOW, "not confirmed yet"),
        ("processing", True, Exit.TOO_SLOW, "do not pay again"),
    ],
)
def test_what_is_not_paid_has_an_exit_code_that_says_so(
    status: str, is_unclear: bool, exit_code: int, words: str
) -> None:
    payment = pb.PaymentRecord(payment_id="3f9c2a17" * 4, status=status, is_unclear=is_unclear, message="No money.")
    with pytest.raises(CloudError, match=words) as told:
        raise_unless_paid(payment)
    assert told.value.exit_code == exit_code
    assert "3f9c2a17" in str(told.value)
    if not is_unclear and exit_code == Exit.NOT_NOW:
        assert isinstance(told.value, PaymentRefused | PaymentEnded)


def test_a_paid_one_is_no_failure() -> None:
    raise_unless_paid(pb.PaymentRecord(status="completed"))


@pytest.mark.parametrize(
    ("left_s", "clock"), [(120, "2:00"), (119.6, "2:00"), (61, "1:01"), (9.2, "0:09"), (-3, "0:00")]
)
def test_the_countdown_tells_minutes_and_seconds(left_s: float, clock: str) -> None:
    assert countdown.line("Waiting", left_s, 80) == f"Waiting {clock}"


def test_the_countdown_never_folds() -> None:
    for width in range(1, 40):
        assert len(countdown.line("Waiting for the confirmation", 90, width)) < max(width, len("0:00") + 2)


def test_a_tier_is_chosen_by_its_number_or_its_id() -> None:
    assert chosen_tier(OFFERS, "1").tier_id == "starter"
    assert chosen_tier(OFFERS, "2").tier_id == "2"
    assert chosen_tier(OFFERS, "Starter").tier_id == "starter"
    for typed in ("0", "3", "-1", "gold", "²"):
        with pytest.raises(TierUnknown):
            chosen_tier(OFFERS, typed)


def test_a_script_is_told_everything_that_is_missing_at_once() -> None:
    with pytest.raises(UsageWrong) as told:
        Wish(None, None, None, is_sure=False).check(OFFERS)
    assert [option for option in ("--tier", "starter", "--phone", "--yes") if option not in str(told.value)] == []
    Wish("starter", None, "670000001", is_sure=True).check(OFFERS)


def test_the_operator_follows_from_the_number() -> None:
    assert known_operator("237670000001") == "mtn_momo"
    assert known_operator("237690000001") == "orange_money"


def test_a_payment_is_named_by_how_its_id_begins() -> None:
    assert named("DEADBE", KNOWN) is KNOWN[2]
    assert named("3f9c2a18", KNOWN) is KNOWN[1]
    for beginning, refusal in (("3f9c2a1", UsageWrong), ("deadb", UsageWrong), ("", UsageWrong)):
        with pytest.raises(refusal):
            named(beginning, KNOWN)
    with pytest.raises(PaymentUnknown):
        named("abcdef", KNOWN)


def test_money_is_written_with_its_thousands() -> None:
    assert xaf(1500) == "1,500 XAF"


def test_only_a_real_sale_says_nothing_of_its_mode() -> None:
    assert mode_words("production", 2500) == ""
    assert "10 XAF" in mode_words("demo", 10)
    assert "no money moves" in mode_words("sandbox", 10)
