"""What is read from Campay's answers: amounts, refusals, words and histories, whatever shape they come in."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudgrpc.errors import AmountRefused, PaymentRefused, PhoneWrong
from cloudgrpc.outside.campay_answers import (
    Told,
    error_code,
    find_payment,
    floor_xaf,
    history_in,
    record_in,
    reference_in,
    refusal,
    saying,
    told_in,
    whole_xaf,
)
from cloudgrpc.outside.campay_plays import PLAYS, play_of, table
from cloudgrpc.outside.webhook import is_signed, signature_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
PAYMENT = "5d0c7c1e-1111-4222-8333-123456789abc"


@pytest.mark.parametrize("told", [10, 10.0, "10", "10.00", " 10 ", "10.0"])
def test_an_amount_is_read_in_every_form_that_campay_uses(told: object) -> None:
    assert whole_xaf(told) == 10


@pytest.mark.parametrize(
    "told",
    [
        10.5,
        "10.50",
        "10,00",
        "",
        None,
        True,
        -10,
        "-10",
        "1e3",
        float("nan"),
        float("inf"),
        [10],
        "ten",
        "\u0661\u0660",
    ],
)
def test_what_is_no_whole_amount_is_none(told: object) -> None:
    assert whole_xaf(told) is None


def test_a_balance_with_a_fraction_is_rounded_down() -> None:
    assert [floor_xaf(told) for told in (1234.75, "1234.75", 1234, "-0.5")] == [1234, 1234, 1234, -1]
    assert [floor_xaf(told) for told in ("much", None, "NaN", "1e999999999", "Infinity")] == [None] * 5


@pytest.mark.parametrize(
    "body",
    [
        {"error_code": "ER101", "message": "Invalid phone number"},
        {"message": "ER101: Invalid phone number"},
        {"message": "wrong (er101)"},
        {"ER101": "Invalid phone number"},
        {"errors": [{"deep": {"deeper": ["no", "\nER101"]}}]},
        ["ER101"],
        "ER101",
    ],
)
def test_a_code_is_found_wherever_it_stands(body: Any) -> None:
    assert error_code(body, "") == "ER101"


def test_a_code_is_found_in_what_is_no_json_and_not_in_longer_words() -> None:
    assert error_code(None, "<h1>ER301</h1>") == "ER301"
    for words in ("ER1011", "TIMER101", "ER999", "ER 101", "0ER1010"):
        assert error_code({"message": words}, "") == ""


def test_every_code_has_its_error() -> None:
    kinds = {"ER101": PhoneWrong, "ER102": PhoneWrong, "ER201": AmountRefused, "ER301": PaymentRefused}
    assert {code: type(refusal(code, "no")) for code in kinds} == kinds
    assert type(refusal("", "no")) is PaymentRefused


def test_a_saying_is_one_short_line_without_a_phone_or_a_secret() -> None:
    words = "Number +237 670 00 00 01 (237670000001)\r\nof app-pass-Word\x1b[31m is wrong. " + "x" * 1000
    said = saying({"status": "error", "message": words}, "", ["app-pass-Word"])
    assert said.startswith("Number 23767*****01 (23767*****01) of … [31m is wrong")
    assert len(said) <= 160
    assert said.isprintable()


def test_a_page_is_told_without_its_tags_and_silence_is_told_as_such() -> None:
    assert saying(None, "<html><h1>Bad Gateway</h1></html>") == "Bad Gateway"
    assert saying({}, "{}") == saying(None, "") == "it gives no reason"


@given(JSON)
def test_no_json_is_too_odd_to_be_read(body: Any) -> None:
    assert saying(body, "").isprintable()
    assert error_code(body, "") in {"", "ER101", "ER102", "ER201", "ER301"}
    record, entries = record_in(body), history_in(body)
    assert record is None or (record.reference and record.status)
    assert find_payment(entries or [], PAYMENT) is None or PAYMENT in str(body)
    assert whole_xaf(body) is None or isinstance(body, int | float | str)
    assert isinstance(reference_in(body), str)


def test_a_record_is_read_and_what_is_none_is_not() -> None:
    told = {"reference": "r-1", "external_reference": PAYMENT, "status": "FAILED", "amount": "10.00", "currency": "XAF"}
    record = record_in({**told, "reason": "The payer 237670000001\ndeclined"})
    assert record is not None
    assert (record.reference, record.external_reference, record.amount_xaf) == ("r-1", PAYMENT, 10)
    assert record.reason == "The payer 23767*****01 declined"
    for missing in ("reference", "status"):
        assert record_in({key: value for key, value in told.items() if key != missing}) is None
    assert record_in([told]) is None


def test_a_payment_is_found_by_external_reference_before_any_description() -> None:
    entries: list[dict[str, Any]] = [
        {"reference_uuid": "described", "description": f"Starter, payment {PAYMENT}."},
        {"reference_uuid": "named", "external_reference": PAYMENT, "description": None},
    ]
    assert find_payment(entries, PAYMENT) == "named"
    assert find_payment(entries[:1], PAYMENT) == "described"
    assert find_payment([{"reference": "old", "external_reference": PAYMENT}], PAYMENT) == "old"


@pytest.mark.parametrize("words", [f"x{PAYMENT}", f"{PAYMENT}0", f"{PAYMENT}-2", f"a-{PAYMENT}", PAYMENT.upper(), ""])
def test_a_part_of_a_longer_word_is_not_our_payment(words: str) -> None:
    assert (
        find_payment([{"reference_uuid": "other", "description": words, "external_reference": words}], PAYMENT) is None
    )
    assert find_payment([{"reference_uuid": "other", "description": "", "external_reference": ""}], "") is None


def test_the_table_of_numbers_names_every_play() -> None:
    words = "\n".join(table())
    assert all(play.words in words for play in PLAYS.values())
    assert sorted(PLAYS) == list(range(1, 23))
    assert play_of("237690000013") is PLAYS[13]
    assert play_of("237670000099") is play_of("237677777711")  # neither is in the table


@pytest.mark.parametrize("key", ["k", "a-key-as-long-as-campay-makes-them", "x" * 64, "y" * 200])
def test_a_signature_holds_for_its_own_key_only(key: str) -> None:
    signature = signature_of({"iat": 1}, key)
    assert is_signed(signature, key)
    assert not is_signed(signature, key + "x")
    assert not is_signed(signature, "")
    assert not is_signed(signature_of({"iat": 1}, ""), "")


def test_a_history_is_told_with_what_names_our_payments() -> None:
    ours = "0123456789abcdef" * 2
    entries = [
        {"reference_uuid": "r1", "external_reference": ours, "amount": "500.00", "status": "SUCCESSFUL"},
        {"reference": "r2", "description": f"CloudGrpc Starter, payment {ours}", "datetime": "2026-11-23"},
        {"reference": "r3", "external_reference": "another shop", "amount": 0.5},
        {"external_reference": ours},
    ]
    assert told_in(entries) == [
        Told("r1", ours, 500, "SUCCESSFUL", ""),
        Told("r2", ours, None, "", "2026-11-23"),
        Told("r3", "", None, "", ""),
    ]
