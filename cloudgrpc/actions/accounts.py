"""Sign in, enroll, sign out: codes and tokens are made and digested here, and live as digests below."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import re
import secrets
import time
from typing import TYPE_CHECKING

import pyotp

from cloudgrpc.actions.pacing import Pacing
from cloudgrpc.core.otp import Verdict, check_email
from cloudgrpc.core.pace import Rule, per_hour
from cloudgrpc.core.peers import VISITOR
from cloudgrpc.core.units import day
from cloudgrpc.errors import AccountClosed, CloudError, CodeSpent, CodeWrong, InvalidField, SessionEnded
from cloudgrpc.meta import accounts, sessions

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from cloudgrpc.config import Limits
    from cloudgrpc.meta.accounts import Caller
    from cloudgrpc.meta.db import Database
    from cloudgrpc.meta.promises import Promise

log = logging.getLogger(__name__)

TOUCH_S = 60.0
MOST_TOUCHED = 100_000
SESSION_US = 24 * 3600 * 1_000_000
TOKEN_BYTES = 32
CODE = re.compile(r"[0-9]{6}\Z")
NAME_LETTERS = 200


class Accounts:
    """`deliver(email, code)` brings a code to its owner; `promise` says what a new account gets."""

    def __init__(
        self,
        database: Database,
        digest_key: str,
        deliver: Callable[[str, str], Awaitable[None]],
        promise: Promise,
        limits: Limits,
    ) -> None:
        self._db = database
        self._key = digest_key.encode()
        self._deliver = deliver
        self._promise = promise
        self._limits = limits
        self._pacing = Pacing(limits.calls_per_second)
        self._touched: dict[str, float] = {}  # session digest -> when its use was last written down
        self._touching: set[asyncio.Task[None]] = set()

    async def send_code(self, email: str) -> str:
        """Make a fresh code, keep its digest, deliver it; returns the address in its stored form.

        Raises: InvalidField, TooManyCodes, MailFailed.
        """
        address, visitor = check_email(email), VISITOR.get()
        code = pyotp.HOTP(pyotp.random_base32()).at(secrets.randbelow(1 << 31))
        waiting = Rule(f"code {address}", int(self._limits.resend_s * 1_000_000), 1)
        rules = [waiting, per_hour(f"codes {address}", self._limits.codes_per_hour)]
        if visitor.host:
            rules.append(per_hour(f"codes by {visitor.host}", self._limits.peer_codes_per_hour))
        digest = self._digest("code", f"{address}:{code}")
        await self._db.run(accounts.remember_code, address, digest, rules, visitor)
        try:
            await self._deliver(address, code)
        except (CloudError, asyncio.CancelledError):  # the caller may have left while the mail was on its way
            await self._db.run(accounts.forget_code, address, waiting.name, visitor)
            raise
        return address

    async def verify_code(self, email: str, code: str) -> str:
        """A one-use token that proves the address. Raises: InvalidField, CodeWrong, CodeSpent, TooManyTries."""
        address, typed, visitor = check_email(email), code.strip(), VISITOR.get()
        if not CODE.match(typed):
            raise InvalidField(field="otp", reason="must be 6 digits")
        token = secrets.token_urlsafe(TOKEN_BYTES)
        rules = [per_hour(f"tries {address}", self._limits.tries_per_hour)]
        if visitor.host:
            rules.append(per_hour(f"tries by {visitor.host}", self._limits.peer_tries_per_hour))
        verdict, left = await self._db.run(
            accounts.judge_code,
            address,
            self._digest("code", f"{address}:{typed}"),
            self._digest("proof", token),
            rules,
            visitor,
        )
        if verdict is Verdict.WRONG:
            raise CodeWrong(left=left)
        if verdict is Verdict.SPENT:
            raise CodeSpent(email=address)
        return token

    async def enroll(self, email: str, full_name: str, token: str) -> tuple[str, Caller]:
        """A new account and its first session's token."""
        address, name = check_email(email), check_full_name(full_name)
        session_token, session = self._new_session()
        caller = await self._db.run(accounts.enroll, address, name, self.proof_digest(token), session, self._promise)
        return session_token, caller

    async def log_in(self, email: str, token: str) -> tuple[str, Caller]:
        address = check_email(email)
        session_token, session = self._new_session()
        caller = await self._db.run(accounts.log_in, address, self.proof_digest(token), session)
        return session_token, caller

    async def log_out(self, session_token: str) -> None:
        await self._db.run(sessions.log_out, self._session_digest(session_token), VISITOR.get())

    async def caller(self, session_token: str) -> Caller:
        """Whose session this is, if the account is open.

        Raises: SessionEnded, AccountDisabled, AccountClosed, TooManyCalls.
        """
        caller = await self.owner(session_token)
        if caller.closes_at is not None:
            raise AccountClosed(closes_at=day(caller.closes_at))
        return caller

    async def owner(self, session_token: str) -> Caller:
        """Whose session this is, also of a closed account. Raises: SessionEnded, AccountDisabled, TooManyCalls."""
        digest = self._session_digest(session_token)
        caller = await self._db.read(accounts.find_caller, digest)
        self._pacing.take(digest)
        self._touch(digest)
        return caller

    async def close(self) -> None:
        await asyncio.gather(*self._touching, return_exceptions=True)

    def _touch(self, digest: str) -> None:
        """Write down that the session is used, once a minute: each write would cost as much as the call itself."""
        moment = time.monotonic()
        if moment - self._touched.get(digest, -TOUCH_S) < TOUCH_S:
            return
        if len(self._touched) >= MOST_TOUCHED:
            self._touched.clear()
        self._touched[digest] = moment
        task = asyncio.create_task(self._db.run(sessions.touch, digest))
        self._touching.add(task)
        task.add_done_callback(self._touched_done)

    def _touched_done(self, task: asyncio.Task[None]) -> None:
        self._touching.discard(task)
        if not task.cancelled() and task.exception():
            log.warning("the use of a session was not written down: %s", task.exception())

    def _new_session(self) -> tuple[str, accounts.NewSession]:
        token = secrets.token_urlsafe(TOKEN_BYTES)
        return token, accounts.NewSession(self._session_digest(token), SESSION_US, VISITOR.get())

    def _session_digest(self, token: str) -> str:
        if not token:
            raise SessionEnded
        return self._digest("session", token)

    def proof_digest(self, token: str) -> str:
        return self._digest("proof", token) if token else ""

    def _digest(self, purpose: str, secret: str) -> str:
        return hmac.new(self._key, f"{purpose}:{secret}".encode(errors="surrogatepass"), hashlib.sha256).hexdigest()


def check_full_name(full_name: str) -> str:
    """The name as it is kept. Raises: InvalidField."""
    name = full_name.strip()
    if not name or len(name) > NAME_LETTERS or not name.isprintable():
        raise InvalidField(field="full_name", reason=f"must be 1 to {NAME_LETTERS} printable characters")
    return name
