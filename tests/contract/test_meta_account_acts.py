"""What operators do to accounts, and what that does to sessions and to uploads under way; on both engines."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

import pytest

from cloudgrpc.core.peers import Visitor
from cloudgrpc.errors import AccountDisabled, QuotaExceeded, QuotaMoved, SessionEnded, UserUnknown
from cloudgrpc.meta import account_acts, accounts, files, uploads
from cloudgrpc.meta.models import Event
from cloudgrpc.meta.promises import Promise
from contract.meta_fixture import GB, KEEP, Meta, session

if TYPE_CHECKING:
    from cloudgrpc.meta.accounts import Caller

OPERATOR = Visitor("", "198.51.100.1", "a dashboard")
KEY = "night shift"


@pytest.fixture
def alice(database: Meta) -> Caller:
    return database.enroll()


def set_quota(database: Meta, person: Caller, quota: int, expected: int | None = None) -> str:
    return database.run(account_acts.set_quota, person.email, quota, expected, KEY, OPERATOR)


def disable(database: Meta, person: Caller, reason: str = "the bill is open") -> str:
    return database.run(account_acts.disable, person.email, reason, KEY, OPERATOR)


def enable(database: Meta, person: Caller) -> str:
    return database.run(account_acts.enable, person.email, KEY, OPERATOR)


def log_in(database: Meta, person: Caller) -> str:
    """The digest of the session's token."""
    new = session()
    database.run(accounts.log_in, person.email, database.prove(person.email), new)
    return new.digest


def quota(database: Meta, person: Caller) -> int:
    return database.read(files.room, person.account_id).allocated_bytes


def newest(database: Meta, kind: str) -> dict[str, object]:
    event = database.run(Event.select().where(Event.kind == kind).order_by(Event.event_id.desc()).first)
    told: dict[str, object] = json.loads(event.details)
    return told


# Quota


def test_a_quota_is_what_the_operator_says_and_the_event_tells_who_and_what(database: Meta, alice: Caller) -> None:
    assert set_quota(database, alice, 5 * GB) == alice.account_id
    assert quota(database, alice) == 5 * GB
    told = newest(database, "quota.changed")
    assert (told["before_bytes"], told["after_bytes"]) == (GB, 5 * GB)
    assert (told["by"], told["operator"], told["from"]) == ("operator", KEY, OPERATOR.host)


def test_below_what_is_used_nothing_more_can_be_stored_and_nothing_is_lost(database: Meta, alice: Caller) -> None:
    file_id = database.put(alice, "a", 100)
    set_quota(database, alice, 50)
    with pytest.raises(QuotaExceeded):
        database.begin(alice, "b", 1)
    assert database.read(files.find_file, alice, file_id).size_bytes == 100


def test_the_quota_it_has_already_is_no_event(database: Meta, alice: Caller) -> None:
    set_quota(database, alice, GB)
    assert database.events("quota.changed") == 0


def test_a_quota_that_moved_meanwhile_is_left_alone(database: Meta, alice: Caller) -> None:
    with pytest.raises(QuotaMoved, match=r"is 1\.0 GB by now"):
        set_quota(database, alice, 3 * GB, expected=2 * GB)
    assert quota(database, alice) == GB
    set_quota(database, alice, 3 * GB, expected=GB)
    assert quota(database, alice) == 3 * GB


def test_of_operators_who_expect_the_same_quota_one_wins(database: Meta, alice: Caller) -> None:
    acts = [partial(account_acts.set_quota, alice.email, (2 + each) * GB, GB, KEY, OPERATOR) for each in range(4)]
    outcomes = database.race(acts)
    assert sorted(type(each).__name__ for each in outcomes) == ["QuotaMoved"] * 3 + ["str"]
    assert database.events("quota.changed") == 1


def test_nobody_has_no_quota(database: Meta) -> None:
    with pytest.raises(UserUnknown):
        database.run(account_acts.set_quota, "nobody@example.org", GB, None, KEY, OPERATOR)


# Shutting out


def test_a_disabled_account_is_signed_out_everywhere_and_stays_out(database: Meta, alice: Caller) -> None:
    digests = [log_in(database, alice) for _ in range(2)]
    disable(database, alice)
    for digest in digests:
        with pytest.raises(SessionEnded):
            database.read(accounts.find_caller, digest)
    with pytest.raises(AccountDisabled, match="disabled by an operator: the bill is open"):
        log_in(database, alice)
    proof = database.prove(alice.email)
    with pytest.raises(AccountDisabled):
        database.run(accounts.enroll, alice.email, "Alice", proof, session(), Promise(GB, 1, 1.0))
    assert newest(database, "user.disabled")["sessions_ended"] == 3  # with the one she enrolled in


def test_a_session_that_came_to_be_all_the_same_lets_nobody_in(database: Meta, alice: Caller) -> None:
    digest = log_in(database, alice)
    database.sql("UPDATE account SET disabled_at = 1")  # as if the sign-in had been a moment faster
    with pytest.raises(AccountDisabled):
        database.read(accounts.find_caller, digest)


def test_of_a_sign_in_and_an_act_at_once_no_session_is_left_that_works(database: Meta, alice: Caller) -> None:
    digests = [session() for _ in range(3)]
    proofs = [database.prove(alice.email) for _ in digests]
    database.race(
        [
            *(partial(accounts.log_in, alice.email, proof, new) for proof, new in zip(proofs, digests, strict=True)),
            partial(account_acts.disable, alice.email, "", KEY, OPERATOR),
        ]
    )
    for new in digests:
        with pytest.raises((SessionEnded, AccountDisabled)):
            database.read(accounts.find_caller, new.digest)


def test_an_enabled_account_is_as_it_was(database: Meta, alice: Caller) -> None:
    file_id = database.put(alice, "a", 1)
    disable(database, alice)
    enable(database, alice)
    again = database.read(accounts.find_caller, log_in(database, alice))
    assert again.account_id == alice.account_id
    assert database.read(files.find_file, again, file_id).name == "a"
    assert newest(database, "user.enabled")["operator"] == KEY


def test_what_is_so_already_is_no_event(database: Meta, alice: Caller) -> None:
    enable(database, alice)
    disable(database, alice)
    since = database.rows("SELECT disabled_at FROM account")
    disable(database, alice)
    assert (database.events("user.enabled"), database.events("user.disabled")) == (0, 1)
    disable(database, alice, "another reason")
    assert database.events("user.disabled") == 2
    assert database.rows("SELECT disabled_at FROM account") == since


def test_an_upload_under_way_does_not_commit_once_its_person_is_shut_out(database: Meta, alice: Caller) -> None:
    upload_id = database.begin(alice, "a", 10)
    database.send(upload_id, 0, 10)
    disable(database, alice)
    with pytest.raises(AccountDisabled):
        database.commit(upload_id)
    assert database.used(alice.account_id) == (0, 10)
    enable(database, alice)
    assert database.commit(upload_id).version == 1


def test_of_a_commit_and_the_act_at_once_the_file_is_there_or_refused(database: Meta, alice: Caller) -> None:
    uploading = [database.begin(alice, f"f{number}", 1) for number in range(4)]
    for upload_id in uploading:
        database.send(upload_id, 0, 1)
    outcomes = database.race(
        [
            *(partial(uploads.commit, upload_id, [], "blake3:00", 1, KEEP) for upload_id in uploading),
            partial(account_acts.disable, alice.email, "", KEY, OPERATOR),
        ]
    )
    refused = [each for each in outcomes[:-1] if isinstance(each, Exception)]
    assert all(isinstance(each, AccountDisabled) for each in refused), refused
    assert database.used(alice.account_id) == (4 - len(refused), len(refused))


def test_others_still_write_where_the_disabled_person_shared(database: Meta, alice: Caller) -> None:
    """Who uploads is asked, not whose drive it is: what was shared stays."""
    bob = database.enroll()
    upload_id = database.begin(bob, "b", 1)
    database.send(upload_id, 0, 1)
    disable(database, alice)
    assert database.commit(upload_id).version == 1
