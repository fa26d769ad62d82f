"""Codes, proofs, enrolment and sessions (spec §4), on both engines."""

from __future__ import annotations

import functools
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from cloudgrpc.core import otp
from cloudgrpc.core.otp import Verdict
from cloudgrpc.errors import AccountUnknown, AlreadyEnrolled, PoolPromised, ProofMissing, SessionEnded
from cloudgrpc.meta import accounts, files, sessions, tree
from cloudgrpc.meta.files import Room
from cloudgrpc.meta.models import Account, OtpChallenge, Proof, Session, new_id
from cloudgrpc.meta.promises import Promise
from contract.meta_fixture import GB, HOUR, Meta, session, visitor

if TYPE_CHECKING:
    from cloudgrpc.meta.accounts import Caller

EMAIL = "alice@example.org"
PLENTY = Promise(GB, 1, 1000.0)


def judge(database: Meta, typed: str = "code", email: str = EMAIL, peer: str = "peer") -> tuple[Verdict, int]:
    return database.run(accounts.judge_code, email, typed, new_id(), [], visitor(peer))


def enroll(database: Meta, proof: str, email: str = EMAIL, peer: str = "peer", promise: Promise = PLENTY) -> Caller:
    return database.run(accounts.enroll, email, "Alice", proof, session(peer), promise)


def log_in(database: Meta, proof: str, email: str = EMAIL, peer: str = "peer") -> Caller:
    return database.run(accounts.log_in, email, proof, session(peer))


@pytest.fixture(autouse=True)
def _pool(database: Meta) -> None:
    database.add_node("node1", capacity=GB)


def test_a_code_is_good_once(database: Meta) -> None:
    database.run(accounts.remember_code, EMAIL, "code", [], visitor())
    assert judge(database) == (Verdict.OK, 0)
    assert judge(database) == (Verdict.SPENT, 0)


def test_a_code_typed_many_times_at_once_is_good_once(database: Meta) -> None:
    database.run(accounts.remember_code, EMAIL, "code", [], visitor())
    tries = [functools.partial(accounts.judge_code, EMAIL, "code", new_id(), [], visitor()) for _ in range(8)]
    assert Counter(verdict for verdict, _ in database.race(tries)) == {Verdict.OK: 1, Verdict.SPENT: 7}
    assert database.run(Proof.select().count) == 1


def test_a_new_code_voids_the_older_one_and_starts_its_attempts_anew(database: Meta) -> None:
    database.run(accounts.remember_code, EMAIL, "old", [], visitor())
    judge(database, "wrong")
    database.run(accounts.remember_code, EMAIL, "new", [], visitor())
    assert judge(database, "old") == (Verdict.WRONG, otp.MAX_ATTEMPTS - 1)
    assert judge(database, "new") == (Verdict.OK, 0)


def test_after_five_wrong_ones_the_right_code_is_refused_too(database: Meta) -> None:
    database.run(accounts.remember_code, EMAIL, "code", [], visitor())
    assert [judge(database, "wrong") for _ in range(5)] == [(Verdict.WRONG, left) for left in (4, 3, 2, 1, 0)]
    assert judge(database) == (Verdict.SPENT, 0)


def test_wrong_codes_typed_at_once_are_all_counted(database: Meta) -> None:
    database.run(accounts.remember_code, EMAIL, "code", [], visitor())
    guesses = [functools.partial(accounts.judge_code, EMAIL, f"guess{n}", new_id(), [], visitor()) for n in range(12)]
    assert Counter(verdict for verdict, _ in database.race(guesses)) == {Verdict.WRONG: 5, Verdict.SPENT: 7}
    assert database.run(OtpChallenge.get_by_id, EMAIL).attempts == otp.MAX_ATTEMPTS


def test_a_code_of_another_address_is_no_code(database: Meta) -> None:
    database.run(accounts.remember_code, "bob@example.org", "code", [], visitor())
    assert judge(database) == (Verdict.SPENT, 0)
    assert judge(database, email="bob@example.org") == (Verdict.OK, 0)


def test_a_code_expires_after_five_minutes(database: Meta) -> None:
    database.run(accounts.remember_code, EMAIL, "code", [], visitor())
    database.age("otp_challenge", "expires_at", otp.VALID_US - 10 * 1_000_000)
    assert judge(database, "wrong")[0] is Verdict.WRONG
    database.age("otp_challenge", "expires_at", 10 * 1_000_000)
    assert judge(database) == (Verdict.SPENT, 0)


def test_no_code_is_stored_and_what_is_sent_and_typed_is_an_event_each(database: Meta) -> None:
    database.run(accounts.remember_code, EMAIL, "code", [], visitor())
    judge(database, "wrong")
    judge(database)
    assert [database.events(kind) for kind in ("code.made", "code.wrong", "code.verified")] == [1, 1, 1]


def test_a_proof_by_its_token_enrolls_once(database: Meta) -> None:
    proof = database.prove(EMAIL, peer="here")
    caller = enroll(database, proof, peer="elsewhere")
    assert (caller.email, caller.full_name) == (EMAIL, "Alice")
    with pytest.raises(ProofMissing):
        log_in(database, proof)


def test_a_new_account_has_its_bytes_an_empty_root_folder_and_a_session(database: Meta) -> None:
    caller = enroll(database, database.prove(EMAIL))
    assert database.read(files.room, caller.account_id) == Room(allocated_bytes=GB, used_bytes=0)
    usage = database.read(files.usage, caller)
    assert (usage.total_files, usage.total_folders) == (0, 0)
    assert database.run(tree.reach_folder, caller, "").entry_id == caller.root_id
    assert database.run(Session.select().count) == 1
    assert database.events("account.enrolled") == 1


def test_a_proof_is_of_one_address_only(database: Meta) -> None:
    proof = database.prove("bob@example.org")
    with pytest.raises(ProofMissing):
        enroll(database, proof)
    with pytest.raises(ProofMissing):
        enroll(database, "", peer="peer")
    assert enroll(database, proof, email="bob@example.org").email == "bob@example.org"


def test_a_proof_by_its_token_expires_after_ten_minutes(database: Meta) -> None:
    proof = database.prove(EMAIL)
    database.age("proof", "expires_at", otp.PROOF_VALID_US)
    with pytest.raises(ProofMissing):
        enroll(database, proof)


def test_the_connection_that_verified_is_a_proof_for_a_minute_and_once(database: Meta) -> None:
    database.prove(EMAIL, peer="1.2.3.4:5")
    with pytest.raises(ProofMissing):
        enroll(database, "", peer="1.2.3.4:6")
    enroll(database, "", peer="1.2.3.4:5")
    with pytest.raises(ProofMissing):
        log_in(database, "", peer="1.2.3.4:5")
    database.prove(EMAIL, peer="1.2.3.4:5")
    database.age("proof", "peer_expires_at", otp.PEER_PROOF_VALID_US)
    with pytest.raises(ProofMissing):
        log_in(database, "", peer="1.2.3.4:5")


def test_a_used_token_takes_the_connections_proof_with_it(database: Meta) -> None:
    proof = database.prove(EMAIL, peer="here")
    enroll(database, proof, peer="here")
    with pytest.raises(ProofMissing):
        log_in(database, "", peer="here")


def test_no_connection_proves_anything_behind_a_proxy(database: Meta) -> None:
    database.prove(EMAIL, peer="")
    with pytest.raises(ProofMissing):
        enroll(database, "", peer="")


def test_a_proof_shown_many_times_at_once_opens_one_session(database: Meta) -> None:
    enroll(database, database.prove(EMAIL))
    proof = database.prove(EMAIL)
    answers = database.race([functools.partial(accounts.log_in, EMAIL, proof, session()) for _ in range(6)])
    assert sum(isinstance(answer, ProofMissing) for answer in answers) == 5
    assert database.run(Session.select().count) == 2


def test_who_is_enrolled_cannot_enroll_again_but_can_still_sign_in_with_that_proof(database: Meta) -> None:
    first = enroll(database, database.prove(EMAIL))
    proof = database.prove(EMAIL)
    with pytest.raises(AlreadyEnrolled):
        enroll(database, proof)
    assert log_in(database, proof).account_id == first.account_id


def test_of_one_person_enrolling_many_times_at_once_one_account_comes(database: Meta) -> None:
    proofs = [database.prove(EMAIL, peer=f"peer{n}") for n in range(6)]
    answers = database.race(
        [functools.partial(accounts.enroll, EMAIL, "Alice", proof, session(), PLENTY) for proof in proofs]
    )
    assert sum(isinstance(answer, AlreadyEnrolled) for answer in answers) == 5
    assert database.run(Account.select().count) == 1


def test_who_is_not_enrolled_cannot_sign_in_but_can_still_enroll_with_that_proof(database: Meta) -> None:
    proof = database.prove(EMAIL)
    with pytest.raises(AccountUnknown):
        log_in(database, proof)
    assert enroll(database, proof).email == EMAIL


def test_what_is_promised_never_passes_the_limit_however_many_enroll_at_once(database: Meta) -> None:
    promise = Promise(GB // 4, 2, 4.0)  # of 1 GB in 2 copies, four times: 2 GB, so eight people
    proofs = {f"p{n}@example.org": database.prove(f"p{n}@example.org") for n in range(12)}
    answers = database.race(
        [functools.partial(accounts.enroll, email, "P", proof, session(), promise) for email, proof in proofs.items()]
    )
    assert sum(isinstance(answer, PoolPromised) for answer in answers) == 4
    assert database.run(Account.select().count) == 8
    refused = next(email for email, answer in zip(proofs, answers, strict=True) if isinstance(answer, PoolPromised))
    with pytest.raises(PoolPromised, match=r"another 256\.0 MB: 2\.0 GB of 2\.0 GB"):
        enroll(database, proofs[refused], email=refused, promise=promise)
    database.add_node("node2", capacity=GB)  # capacity that joins counts at once
    enroll(database, proofs[refused], email=refused, promise=promise)


def test_nobody_enrolls_where_no_node_ever_was(database: Meta) -> None:
    database.sql("DELETE FROM node")
    with pytest.raises(PoolPromised):
        enroll(database, database.prove(EMAIL))
    assert database.run(Account.select().count) == 0


def test_a_session_is_known_until_it_expires(database: Meta) -> None:
    new = session(valid_us=HOUR)
    caller = database.run(accounts.enroll, EMAIL, "Alice", database.prove(EMAIL), new, PLENTY)
    assert database.read(accounts.find_caller, new.digest) == caller
    database.age("session", "expires_at", HOUR)
    with pytest.raises(SessionEnded):
        database.read(accounts.find_caller, new.digest)


def test_signing_out_ends_that_session_only_and_once(database: Meta) -> None:
    one, other = session(), session()
    database.run(accounts.enroll, EMAIL, "Alice", database.prove(EMAIL), one, PLENTY)
    database.run(accounts.log_in, EMAIL, database.prove(EMAIL), other)
    database.run(sessions.log_out, one.digest, visitor())
    with pytest.raises(SessionEnded):
        database.read(accounts.find_caller, one.digest)
    with pytest.raises(SessionEnded):
        database.run(sessions.log_out, one.digest, visitor())
    assert database.read(accounts.find_caller, other.digest).email == EMAIL


def test_the_sweep_forgets_what_expired_and_nothing_else(database: Meta) -> None:
    enroll(database, database.prove(EMAIL))
    database.prove(EMAIL)
    database.run(accounts.remember_code, EMAIL, "code", [], visitor())
    database.run(accounts.sweep)
    counts = [database.run(table.select().count) for table in (OtpChallenge, Proof, Session)]
    assert counts == [1, 1, 1]
    for table in ("otp_challenge", "proof", "session"):
        database.age(table, "expires_at", 2 * HOUR)
    database.run(accounts.sweep)
    assert [database.run(table.select().count) for table in (OtpChallenge, Proof, Session)] == [0, 0, 0]
    assert database.run(Account.select().count) == 1
