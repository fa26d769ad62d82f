"""What Campay's record means for a payment, and when it is asked again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudgrpc.core.payment_states import (
    CREDITABLE,
    GIVE_UP_US,
    OPEN,
    Expected,
    Record,
    State,
    Verdict,
    judge,
    wait_us,
)
from cloudgrpc.core.payments import STANDING, charged_xaf, standing

SECOND = 1_000_000
EXPECTED = Expected("reference", "a" * 32, 500)
RECORD = Record("reference", "a" * 32, 500, "XAF", "SUCCESSFUL")


@pytest.mark.parametrize(
    ("status", "verdict"),
    [("SUCCESSFUL", Verdict.COMPLETE), ("FAILED", Verdict.FAIL), ("PENDING", Verdict.WAIT), ("odd", Verdict.FOREIGN)],
)
def test_a_record_that_fits_means_what_its_status_says(status: str, verdict: Verdict) -> None:
    assert judge(EXPECTED, replace(RECORD, status=status))[0] is verdict


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"reference": "another"}, "another reference"),
        ({"external_reference": "b" * 32}, "another payment"),
        ({"external_reference": ""}, "another payment"),
        ({"amount_xaf": 499}, "about 499 XAF, not about 500 XAF"),
        ({"amount_xaf": 501}, "about 501 XAF"),
        ({"amount_xaf": None}, "no whole amount"),
        ({"currency": "EUR"}, "'EUR'"),
        ({"currency": "xaf"}, "'xaf'"),
    ],
)
@pytest.mark.parametrize("status", ["SUCCESSFUL", "FAILED", "PENDING"])
def test_a_record_of_something_else_is_never_believed(changed: dict[str, object], words: str, status: str) -> None:
    verdict, why = judge(EXPECTED, replace(RECORD, status=status, **changed))  # type: ignore[arg-type]
    assert verdict is Verdict.FOREIGN
    assert words in why


@given(st.integers(0, 2 * GIVE_UP_US), st.integers(0, 10_000))
def test_campay_is_asked_ever_more_rarely_and_no_more_after_72_hours(age: int, looks: int) -> None:
    wait = wait_us(age, looks)
    assert (wait is None) == (age >= GIVE_UP_US)
    if wait is not None:
        assert wait in (5 * SECOND, 30 * SECOND, 900 * SECOND)
        later = wait_us(age + wait, looks + 1)
        assert later is None or later >= wait


def test_campay_is_asked_every_5_s_twelve_times_then_every_30_s_then_every_15_minutes() -> None:
    age, waits = 0, []
    for looks in range(12 + 118 + 3):
        wait = wait_us(age, looks)
        assert wait is not None
        waits.append(wait // SECOND)
        age += wait
    assert waits[:12] == [5] * 12
    assert waits[12:130] == [30] * 118
    assert waits[130:] == [900] * 3


def test_what_has_failed_is_asked_about_seldom() -> None:
    assert [wait_us(age, 0, has_failed=True) for age in (0, 60 * SECOND, GIVE_UP_US)] == [900 * SECOND] * 2 + [None]


def test_what_is_open_or_may_still_credit_is_never_what_was_granted_or_paid_back() -> None:
    settled = {State.COMPLETED, State.REFUNDED}
    assert not settled & {*OPEN, *CREDITABLE}
    assert set(State) - settled - {State.PENDING} == set(CREDITABLE)


@pytest.mark.parametrize(("mode", "charged"), [("production", 500), ("demo", 10), ("sandbox", 10), ("", 500)])
def test_the_demo_charges_little_and_production_the_price(mode: str, charged: int) -> None:
    assert charged_xaf(500, mode, 10) == charged
    assert charged_xaf(5, mode, 10) == 5


@pytest.mark.parametrize("is_unclear", [False, True])
@pytest.mark.parametrize("state", State)
def test_every_state_has_words(state: State, is_unclear: bool) -> None:
    if is_unclear and f"unclear {state}" not in STANDING:
        return
    words = standing(state, is_unclear=is_unclear, reason="no", storage_bytes=1 << 20, ussd_code="*126#")
    assert words.endswith(".")
    assert "{" not in words
