"""Accounts, codes, proofs and sessions. Codes and tokens arrive here as keyed digests only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudgrpc.core import otp
from cloudgrpc.core.otp import SentCode, Verdict
from cloudgrpc.core.pace import in_seconds
from cloudgrpc.errors import (
    AccountDisabled,
    AccountUnknown,
    AlreadyEnrolled,
    PoolPromised,
    ProofMissing,
    SessionEnded,
    TooManyCodes,
    TooManyTries,
)
from cloudgrpc.meta import events, paces, promises
from cloudgrpc.meta.db import locked, now
from cloudgrpc.meta.models import Account, Entry, OtpChallenge, Proof, Session, new_id
from cloudgrpc.meta.prepared import Prepared, blank

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudgrpc.core.pace import Rule
    from cloudgrpc.core.peers import Visitor
    from cloudgrpc.meta.promises import Promise


@dataclass(frozen=True)
class Caller:
    """Whose session a call carries. Times are microseconds since 1970."""

    account_id: str
    email: str
    full_name: str
    root_id: str
    created_at: int
    session_id: str
    session_expires_at: int
    closes_at: int | None  # when the files of a closed account go; None: it is open


_STANDING = Prepared(
    lambda: Account.select(Account.disabled_at, Account.disabled_reason).where(
        Account.account_id == blank("account_id")
    )
)
_CALLER = Prepared(
    lambda: (
        Session.select(
            Account.account_id,
            Account.email,
            Account.full_name,
            Account.root_id,
            Account.created_at,
            Session.session_id,
            Session.expires_at,
            Account.closes_at,
            Account.disabled_at,
            Account.disabled_reason,
        )
        .join(Account)
        .where((Session.digest == blank("digest")) & (Session.expires_at > blank("now")))
    )
)


@dataclass(frozen=True)
class NewSession:
    """A session about to be opened: the keyed digest of its token, how long it is valid, and who asks."""

    digest: str
    valid_us: int
    visitor: Visitor


def remember_code(email: str, digest: str, rules: Sequence[Rule], visitor: Visitor) -> None:
    """The newest code takes the row: an older one is void from here on. Raises: TooManyCodes, by the rules."""
    wait = paces.take(rules)
    if wait:
        raise TooManyCodes(seconds=in_seconds(wait))
    row = {"email": email, "digest": digest, "expires_at": now() + otp.VALID_US, "attempts": 0}
    OtpChallenge.insert(row).on_conflict(
        conflict_target=[OtpChallenge.email],
        update={OtpChallenge.digest: digest, OtpChallenge.expires_at: row["expires_at"], OtpChallenge.attempts: 0},
    ).execute()
    events.record("code.made", f"a sign-in code for {email} was made", visitor=visitor)


def forget_code(email: str, rule: str, visitor: Visitor) -> None:
    """The code did not reach anybody: it is void, and the next may be asked for at once."""
    OtpChallenge.delete().where(OtpChallenge.email == email).execute()
    paces.give_back(rule)
    events.record("code.undelivered", f"the sign-in code for {email} could not be delivered", visitor=visitor)


def judge_code(
    email: str, digest: str, proof_digest: str, rules: Sequence[Rule], visitor: Visitor
) -> tuple[Verdict, int]:
    """Judge a typed code and record the attempt. OK uses the code up and keeps a proof under `proof_digest`.

    Returns the verdict and the attempts left; a wrong one raises nothing, since that would undo the record of the
    attempt. Raises: TooManyTries, by the rules.
    """
    wait = paces.take(rules)
    if wait:
        raise TooManyTries(seconds=in_seconds(wait))
    moment = now()
    row = locked(OtpChallenge.select().where(OtpChallenge.email == email)).first()
    sent = SentCode(row.digest, row.expires_at, row.attempts) if row else None
    verdict = otp.check_code(sent, digest, moment)
    if verdict is Verdict.WRONG:
        OtpChallenge.update(attempts=OtpChallenge.attempts + 1).where(OtpChallenge.email == email).execute()
        left = otp.MAX_ATTEMPTS - row.attempts - 1
        events.record("code.wrong", f"a wrong sign-in code was typed for {email}", visitor=visitor, left=left)
        return verdict, left
    if verdict is Verdict.OK:
        OtpChallenge.delete().where(OtpChallenge.email == email).execute()
        Proof.create(
            digest=proof_digest,
            email=email,
            expires_at=moment + otp.PROOF_VALID_US,
            peer=visitor.connection,
            peer_expires_at=moment + otp.PEER_PROOF_VALID_US,
        )
        events.record("code.verified", f"{email} was verified", visitor=visitor)
    return verdict, 0


def enroll(email: str, full_name: str, proof: str, session: NewSession, promise: Promise) -> Caller:
    """Make an account with its root folder and first session. `proof`: digest of the token, or "" to go by the peer.

    Raises: ProofMissing, AccountDisabled, AlreadyEnrolled, PoolPromised.
    """
    use_proof(email, proof, session.visitor)
    promises.take_turn()
    standing = Account.get_or_none(Account.email == email)
    if standing is not None:
        check_enabled(standing.disabled_at, standing.disabled_reason)
        raise AlreadyEnrolled(email=email)
    promises.check(promise.new_account_bytes, promise, PoolPromised)
    moment, account_id, root_id = now(), new_id(), new_id()
    account = Account.create(
        account_id=account_id,
        email=email,
        full_name=full_name,
        quota_bytes=promise.new_account_bytes,
        root_id=root_id,
        created_at=moment,
        last_login_at=moment,
    )
    Entry.create(
        entry_id=root_id,
        account=account_id,
        kind="folder",
        name="",
        name_key="",
        created_at=moment,
        modified_at=moment,
    )
    events.record("account.enrolled", f"{email} enrolled", account_id=account_id, visitor=session.visitor)
    return _open_session(account, session)


def log_in(email: str, proof: str, session: NewSession) -> Caller:
    """Raises: ProofMissing, AccountUnknown, AccountDisabled."""
    use_proof(email, proof, session.visitor)
    account = Account.get_or_none(Account.email == email)
    if account is None:
        raise AccountUnknown(email=email)
    Account.update(last_login_at=now()).where(Account.account_id == account.account_id).execute()
    return _open_session(account, session)


def change_name(caller: Caller, full_name: str, visitor: Visitor) -> None:
    Account.update(full_name=full_name).where(Account.account_id == caller.account_id).execute()
    events.record("account.renamed", f"{caller.email} changed the name", account_id=caller.account_id, visitor=visitor)


def find_caller(digest: str) -> Caller:
    """Raises: SessionEnded for a session that never was, has ended, or expired; AccountDisabled."""
    row = _CALLER.one(digest=digest, now=now())
    if row is None:
        raise SessionEnded
    *of_caller, disabled_at, disabled_reason = row
    check_enabled(disabled_at, disabled_reason)
    return Caller(*of_caller)


def check_still_enabled(account_id: str) -> None:
    """For what goes on for long after its call began. Raises: AccountDisabled."""
    row = _STANDING.one(account_id=account_id)
    if row is not None:
        check_enabled(*row)


def check_enabled(disabled_at: int | None, reason: str) -> None:
    """Raises: AccountDisabled."""
    if disabled_at is not None:
        raise AccountDisabled(why=f": {reason}" if reason else "")


def sweep() -> None:
    """Forget what has expired."""
    moment = now()
    OtpChallenge.delete().where(OtpChallenge.expires_at < moment).execute()
    Proof.delete().where(Proof.expires_at < moment).execute()
    for session in locked(Session.select(Session, Account).join(Account).where(Session.expires_at < moment)):
        Session.delete().where(Session.digest == session.digest).execute()
        events.record(
            "session.expired",
            f"a session of {session.account.email} ran out",
            account_id=session.account.account_id,
            by="",
        )
    paces.sweep()


def _open_session(account: Account, session: NewSession) -> Caller:
    moment = now()
    Session.create(
        digest=session.digest,
        session_id=new_id(),
        account=account.account_id,
        created_at=moment,
        last_used_at=moment,
        expires_at=moment + session.valid_us,
        peer=session.visitor.host,
        client=session.visitor.client,
    )
    events.record(
        "session.started", f"{account.email} signed in", account_id=account.account_id, visitor=session.visitor
    )
    return find_caller(session.digest)


def use_proof(email: str, proof: str, visitor: Visitor) -> None:
    """A proof is good for one use. Clients that know only the contract send no token: then the connection that
    verified the address is the proof, for a minute. Raises: ProofMissing."""
    moment = now()
    by_token = (Proof.digest == proof) & (Proof.expires_at > moment)
    by_peer = (Proof.peer == visitor.connection) & (Proof.peer != "") & (Proof.peer_expires_at > moment)
    used = Proof.delete().where((Proof.email == email) & (by_token if proof else by_peer)).execute()
    if not used:
        raise ProofMissing(email=email)
