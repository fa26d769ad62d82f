"""Sign-in codes: what an address may be, and how a typed code is judged."""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from enum import Enum

from cloudgrpc.errors import InvalidField

MAX_ATTEMPTS = 5
VALID_US = 5 * 60 * 1_000_000
PROOF_VALID_US = 10 * 60 * 1_000_000
PEER_PROOF_VALID_US = 60 * 1_000_000  # clients that know only the contract enroll right after verifying

# Deliberately narrower than RFC 5322: no quoting, no comments, one @, a domain with a dot.
EMAIL = re.compile(r"[^\s@\"<>()\[\]\\,;:]{1,64}@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}\Z")
EMAIL_BYTES = 254


class Verdict(Enum):
    OK = "ok"
    WRONG = "wrong"
    SPENT = "spent"


@dataclass(frozen=True)
class SentCode:
    """A code as it is remembered; `attempts` counts wrong ones so far, times are microseconds since 1970."""

    digest: str
    expires_at: int
    attempts: int


def check_code(sent: SentCode | None, typed_digest: str, now: int) -> Verdict:
    """Judge a typed code. Pure: the caller records the attempt and the verdict."""
    if sent is None or now >= sent.expires_at or sent.attempts >= MAX_ATTEMPTS:
        return Verdict.SPENT
    return Verdict.OK if hmac.compare_digest(sent.digest, typed_digest) else Verdict.WRONG


def check_email(email: str, field: str = "email") -> str:
    """The address in the one form it is stored in. Raises: InvalidField."""
    normal = email.strip().lower()
    if (
        len(normal.encode("utf-8", "surrogatepass")) > EMAIL_BYTES
        or not EMAIL.match(normal)
        or not normal.isprintable()
        or "=?" in normal  # an encoded word, which mail programs would read as something else
    ):
        raise InvalidField(field=field, reason="is not an e-mail address")
    return normal
