"""What a look at one thing came to: how it stands, in words, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cloudgrpc.errors import CloudError


class Standing(StrEnum):
    OK = "ok"
    NOTE = "note"  # it works, and somebody may want to know
    WRONG = "wrong"  # it does not work, or will not for long


@dataclass(frozen=True)
class Finding:
    """`check`: what was looked at. `to_do`: "" when there is nothing to do."""

    check: str
    standing: Standing
    words: str
    to_do: str = ""


def ok(check: str, words: str) -> Finding:
    return Finding(check, Standing.OK, words)


def note(check: str, words: str, to_do: str = "") -> Finding:
    return Finding(check, Standing.NOTE, words, to_do)


def wrong(check: str, words: str, to_do: str) -> Finding:
    return Finding(check, Standing.WRONG, words, to_do)


def failed(check: str, error: CloudError) -> Finding:
    return Finding(check, Standing.WRONG, str(error), error.advice)
