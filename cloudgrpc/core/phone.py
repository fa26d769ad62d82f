"""Mobile numbers of Cameroon, and whose they are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudgrpc.errors import OperatorWrong, PhoneWrong

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

COUNTRY = "237"
LOCAL_DIGITS = 9
LOCAL = re.compile(r"6[0-9]{8}")
BETWEEN = re.compile(r"[\s().\-/]+")  # what people write between digits; \s has the narrow and the no-break space
LONGEST = 40

# What the wire calls the operators -> what people call them, and what they dial to confirm.
OPERATORS = {"mtn_momo": "MTN MoMo", "orange_money": "Orange Money"}
USSD = {"mtn_momo": "*126#", "orange_money": "#150*50#"}


@dataclass(frozen=True)
class Prefix:
    """A first part of the nine digits: from `first` to `last`, both as many digits."""

    first: str
    last: str

    def fits(self, local: str) -> bool:
        return self.first <= local[: len(self.first)] <= self.last


def normalised(typed: str) -> str:
    """A number in any usual way of writing, as 237 and nine digits. Raises: PhoneWrong."""
    digits = BETWEEN.sub("", typed.strip()) if len(typed) <= LONGEST else ""
    digits = re.sub(r"\A(\+|00)", "", digits)
    if digits.startswith(COUNTRY) and len(digits) > LOCAL_DIGITS:
        digits = digits.removeprefix(COUNTRY)
    if not LOCAL.fullmatch(digits):
        raise PhoneWrong(reason="is no mobile number of Cameroon, which is 237 and nine digits, the first of them a 6")
    return COUNTRY + digits


def operator_of(phone: str, prefixes: Mapping[str, Sequence[str]]) -> str:
    """Whose a normalised number is. `prefixes`: operator -> parts such as "67" and "650-654". Raises: PhoneWrong."""
    local = phone.removeprefix(COUNTRY)
    for operator, told in prefixes.items():
        if any(prefix_of(each).fits(local) for each in told):
            return operator
    raise PhoneWrong(reason=f"{masked(phone)} is a number of neither {' nor '.join(OPERATORS.values())}")


def check_operator(phone: str, told: str, prefixes: Mapping[str, Sequence[str]]) -> None:
    """Raises: PhoneWrong, OperatorWrong when the number is another operator's than `told`."""
    right = operator_of(phone, prefixes)
    if right != told:
        raise OperatorWrong(phone=masked(phone), right=OPERATORS[right], wrong=OPERATORS[told])


def prefix_of(told: str) -> Prefix:
    """ "67" or "650-654". Raises: ValueError when the two ends are not of one length, or in the wrong order."""
    first, _, last = told.partition("-")
    last = last or first
    if len(first) != len(last) or first > last:
        raise ValueError(told)
    return Prefix(first, last)


def masked(phone: str) -> str:
    """Enough for its owner to know it again: 23767*****01."""
    return phone[:5] + "*" * max(0, len(phone) - 7) + phone[-2:]
