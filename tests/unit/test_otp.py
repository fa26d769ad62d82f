"""How a typed code is judged, and what an e-mail address may be."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cloudgrpc.core.otp import EMAIL_BYTES, MAX_ATTEMPTS, SentCode, Verdict, check_code, check_email
from cloudgrpc.errors import InvalidField

DIGESTS = st.text("0123456789abcdef", min_size=1, max_size=8)
TIMES = st.integers(0, 1 << 60)
EXPIRES = 1_000_000


@given(DIGESTS, TIMES, st.integers(0, 2 * MAX_ATTEMPTS), TIMES)
def test_the_right_code_in_time_and_within_the_attempts_is_ok_and_nothing_else_is(
    digest: str, expires_at: int, attempts: int, now: int
) -> None:
    alive = now < expires_at and attempts < MAX_ATTEMPTS
    sent = SentCode(digest, expires_at, attempts)
    assert check_code(sent, digest, now) is (Verdict.OK if alive else Verdict.SPENT)
    assert check_code(sent, digest + "0", now) is (Verdict.WRONG if alive else Verdict.SPENT)


@pytest.mark.parametrize(
    ("now", "verdict"), [(EXPIRES - 1, Verdict.OK), (EXPIRES, Verdict.SPENT), (EXPIRES + 1, Verdict.SPENT)]
)
def test_a_code_is_spent_from_the_very_moment_it_expires(now: int, verdict: Verdict) -> None:
    assert check_code(SentCode("d", EXPIRES, 0), "d", now) is verdict


@given(DIGESTS, st.integers(MAX_ATTEMPTS, 1000), TIMES)
def test_no_code_is_ever_ok_once_the_attempts_are_used_up(digest: str, attempts: int, now: int) -> None:
    assert check_code(SentCode(digest, now + 1, attempts), digest, now) is Verdict.SPENT


@given(DIGESTS, TIMES)
def test_a_code_that_was_never_sent_is_spent(typed: str, now: int) -> None:
    assert check_code(None, typed, now) is Verdict.SPENT


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("a@b.co", "a@b.co"),
        ("  Alice.B+tag@Example.ORG\n", "alice.b+tag@example.org"),
        ("o'neil_1@mail.example-site.cm", "o'neil_1@mail.example-site.cm"),
        ("zoë@example.org", "zoë@example.org"),
        ("x" * 64 + "@example.org", "x" * 64 + "@example.org"),
    ],
)
def test_an_address_is_stored_in_one_form(typed: str, stored: str) -> None:
    assert check_email(typed) == stored


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "alice",
        "alice@",
        "@example.org",
        "alice@example",
        "alice@@example.org",
        "alice@exam ple.org",
        "ali ce@example.org",
        "alice@example..org",
        "alice@-example.org",
        "alice@example-.org",
        "alice@.org",
        "alice@example.o",
        "alice,bob@example.org",
        '"alice"@example.org',
        "Alice <alice@example.org>",
        "alice@example.org\nBcc: bob@example.org",
        "ali\0ce@example.org",
        "ali\x1bce@example.org",
        "ali\u202ece@example.org",
        "ali\ud800ce@example.org",
        "x" * 65 + "@example.org",
        "x@" + "abc." * 63 + "org",
    ],
)
def test_what_is_no_address_is_refused_by_its_field(typed: str) -> None:
    with pytest.raises(InvalidField, match=r"^recipient: is not an e-mail address"):
        check_email(typed, "recipient")


@settings(max_examples=50)
@given(st.text() | st.from_regex(r"\A\s*[^@]{1,70}@[A-Za-z0-9.-]{1,40}\s*\Z"))
@example("İ@example.org")
def test_an_accepted_address_is_printable_short_and_its_own_stored_form(typed: str) -> None:
    try:
        stored = check_email(typed)
    except InvalidField:
        return
    assert stored.count("@") == 1
    assert stored.isprintable()
    assert " " not in stored
    assert len(stored.encode()) <= EMAIL_BYTES
    assert check_email(stored) == stored
    assert check_email(stored.upper()) == stored or stored.upper().lower() != stored
