"""Mobile numbers in every way of writing, and whose they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudgrpc.core.phone import check_operator, masked, normalised, operator_of, prefix_of
from cloudgrpc.errors import OperatorWrong, PhoneWrong
from cloudgrpc.sales import Payments

PREFIXES = {"mtn_momo": Payments().mtn_prefixes, "orange_money": Payments().orange_prefixes}
DIGITS = st.from_regex(r"6[0-9]{8}", fullmatch=True, alphabet="0123456789")


@pytest.mark.parametrize(
    "typed",
    [
        "237670000001",
        "+237670000001",
        "00237670000001",
        "670000001",
        "+237 6 70 00 00 01",
        "(237) 670-000-001",
        "6.70.00.00.01",
        " 670 000 001 ",
        "237\u00a0670\u202f000\u202f001",
        "+237/670/000/001",
    ],
)
def test_any_usual_way_of_writing_is_one_number(typed: str) -> None:
    assert normalised(typed) == "237670000001"


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "67000000",
        "6700000011",
        "+33612345678",
        "67000000a",
        "٦٧٠٠٠٠٠٠١",
        "237237670000001",
        "++237670000001",
        "670000001; DROP",
        "6" * 5000,
        "+",
        "237",
    ],
)
def test_what_is_no_number_is_refused(typed: str) -> None:
    with pytest.raises(PhoneWrong, match=r"^phone_number: "):
        normalised(typed)


@given(DIGITS, st.sampled_from(["", "237", "+237", "00237", "+237 "]))
def test_normalising_is_the_same_for_every_country_code_and_changes_nothing_twice(local: str, code: str) -> None:
    number = normalised(code + local)
    assert number == "237" + local
    assert normalised(number) == number


@pytest.mark.parametrize(
    ("local", "operator"),
    [
        *((f"{first}0000001"[:9], "mtn_momo") for first in ("670", "679", "650", "654", "680", "683")),
        *(
            (f"{first}0000001"[:9], "orange_money")
            for first in ("690", "699", "655", "659", "686", "689", "640", "649")
        ),
    ],
)
def test_the_prefix_tells_the_operator(local: str, operator: str) -> None:
    assert operator_of("237" + local, PREFIXES) == operator


@pytest.mark.parametrize("local", ["660000001", "684000001", "685000001", "222000001", "639000001"])
def test_a_number_of_neither_operator_is_refused_without_telling_it_whole(local: str) -> None:
    with pytest.raises(PhoneWrong) as caught:
        operator_of("237" + local, PREFIXES)
    assert local not in str(caught.value)


def test_the_wrong_operator_is_told_with_the_right_one() -> None:
    with pytest.raises(OperatorWrong, match="number of Orange Money, not of MTN MoMo") as caught:
        check_operator("237690000001", "mtn_momo", PREFIXES)
    assert "237690000001" not in str(caught.value)
    check_operator("237690000001", "orange_money", PREFIXES)


@given(DIGITS)
def test_a_masked_number_hides_five_digits(local: str) -> None:
    hidden = masked("237" + local)
    assert len(hidden) == 12
    assert hidden.count("*") >= 5
    assert hidden[:5] + hidden[-2:] == ("237" + local)[:5] + local[-2:]


@pytest.mark.parametrize("told", ["654-650", "65-650", "6-"])
def test_a_prefix_whose_ends_do_not_fit_is_no_prefix(told: str) -> None:
    if told == "6-":
        assert prefix_of(told) == prefix_of("6")
        return
    with pytest.raises(ValueError, match=told):
        prefix_of(told)
