"""What the sandbox does for each test number: one table, which its start-up screen prints."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

MTN_NUMBERS = "2376700000"  # and two digits
ORANGE_NUMBERS = "2376900000"
SUCCESSFUL, FAILED, PENDING = "SUCCESSFUL", "FAILED", "PENDING"


class Reply(StrEnum):
    """How /collect/ is answered."""

    TOLD = "told"
    LATE = "late"  # after the client has lost patience
    ERROR = "error"  # HTTP 500
    CUT = "cut"  # the connection ends without an answer
    REFUSED = "refused"  # ER301


@dataclass(frozen=True)
class Step:
    """`after_s`: since the transaction was made. `rings`: how often the webhook is called then."""

    after_s: float
    status: str
    rings: int


@dataclass(frozen=True)
class Play:
    words: str
    steps: tuple[Step, ...] = ()
    reply: Reply = Reply.TOLD
    is_made: bool = True
    extra_xaf: int = 0


AT_ONCE = Play("succeeds at once", (Step(0, SUCCESSFUL, 1),))
ANY_OTHER = Play("pending for 5 s, then succeeds", (Step(5, SUCCESSFUL, 1),))

# By the last two digits.
PLAYS: dict[int, Play] = {
    **dict.fromkeys(range(1, 11), AT_ONCE),
    11: Play("fails after 2 s: declined on the phone", (Step(2, FAILED, 1),)),
    12: Play("stays pending for ever"),
    13: Play("succeeds late, after 20 s", (Step(20, SUCCESSFUL, 1),)),
    14: Play("succeeds at once, and the webhook is called twice", (Step(0, SUCCESSFUL, 2),)),
    15: Play("succeeds after 3 s, and the webhook is never called", (Step(3, SUCCESSFUL, 0),)),
    16: Play(
        "/collect/ answers after your timeout; succeeds 1 s later, without a webhook",
        (Step(1, SUCCESSFUL, 0),),
        Reply.LATE,
    ),
    17: Play("/collect/ answers 500, and nothing was made", reply=Reply.ERROR, is_made=False),
    18: Play(
        "/collect/ answers 500, but it was made: succeeds after 1 s, without a webhook",
        (Step(1, SUCCESSFUL, 0),),
        Reply.ERROR,
    ),
    19: Play("fails after 2 s, and succeeds after 20 s after all", (Step(2, FAILED, 1), Step(20, SUCCESSFUL, 1))),
    20: Play("refused: not enough money (ER301)", reply=Reply.REFUSED, is_made=False),
    21: Play("succeeds at once, but with 1 XAF more than was asked", (Step(0, SUCCESSFUL, 1),), extra_xaf=1),
    22: Play(
        "/collect/ is cut without an answer; succeeds after 1 s, with a webhook",
        (Step(1, SUCCESSFUL, 1),),
        Reply.CUT,
    ),
}


def play_of(phone: str) -> Play:
    """`phone`: 237 and nine digits."""
    head, tail = phone[:-2], phone[-2:]
    return PLAYS.get(int(tail), ANY_OTHER) if head in (MTN_NUMBERS, ORANGE_NUMBERS) else ANY_OTHER


def table() -> list[str]:
    """The test numbers and what happens, for people."""
    numbers = sorted(PLAYS)
    first_of_all, last_at_once = numbers[0], max(number for number in numbers if PLAYS[number] is AT_ONCE)
    rows = [(f"{first_of_all:02}-{last_at_once:02}", AT_ONCE.words)]
    rows += [(f"{number:02}", PLAYS[number].words) for number in numbers if PLAYS[number] is not AT_ONCE]
    return [
        f"  MTN {MTN_NUMBERS}NN, Orange {ORANGE_NUMBERS}NN, where NN is",
        *(f"    {digits:<6} {words}" for digits, words in rows),
        f"  any other number: {ANY_OTHER.words}",
    ]
