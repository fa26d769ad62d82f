"""Sign in, enroll, sign out: codes and tokens are made and digested here, and live as digests below."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from typing import TYPE_CHECKING

import pyotp

from cloudgrpc.core.otp import Verdict, check_email
from cloudgrpc.errors import CodeSpent, CodeWrong, InvalidField, SessionEnded
from cloudgrpc.meta import accounts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from cloudgrpc.meta.accounts import Caller, Promise
    from cloudgrpc.meta.db import Database

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
        *,
        trusts_peers: bool,
    ) -> None:
        self._db = database
        self._key = digest_key.encode()
        self._deliver = deliver
        self._promise = promise
        self._trusts_peers = trusts_peers

    async def send_code(self, email: str) -> str:
        """Make a fresh code, keep its digest, deliver it; returns the address in its stored form."""
        address = check_email(email)
        code = pyotp.HOTP(pyotp.random_base32()).at(secrets.randbelow(1 << 31))
        await self._db.run(accounts.remember_code, address, self._digest("code", f"{address}:{code}"))
        await self._deliver(address, code)
        return address

    async def verify_code(self, email: str, code: str, peer: str) -> str:
        """A one-use token that proves the address. Raises: CodeWrong, CodeSpent."""
        address, typed = check_email(email), code.strip()
        if not CODE.match(typed):
            raise InvalidField(field="otp", reason="must be 6 digits")
        token = secrets.token_urlsafe(TOKEN_BYTES)
        verdict, left = await self._db.run(
            accounts.judge_code,
            address,
            self._digest("code", f"{address}:{typed}"),
            self._digest("proof", token),
            self._proving_peer(peer),
        )
        if verdict is Verdict.WRONG:
            raise CodeWrong(left=left)
        if verdict is Verdict.SPENT:
            raise CodeSpent(email=address)
        return token

    async def enroll(self, email: str, full_name: str, token: str, peer: str) -> tuple[str, Caller]:
        """A new account and its first session's token."""
        address, name = check_email(email), _check_full_name(full_name)
        session_token, session = self._new_session(peer)
        caller = await self._db.run(accounts.enroll, address, name, self._proof_digest(token), session, self._promise)
        return session_token, caller

    async def log_in(self, email: str, token: str, peer: str) -> tuple[str, Caller]:
        address = check_email(email)
        session_token, session = self._new_session(peer)
        caller = await self._db.run(accounts.log_in, address, self._proof_digest(token), session)
        return session_token, caller

    async def log_out(self, session_token: str) -> None:
        await self._db.run(accounts.log_out, self._session_digest(session_token))

    async def caller(self, session_token: str) -> Caller:
        """Whose session this is. Raises: SessionEnded."""
        return await self._db.read(accounts.find_caller, self._session_digest(session_token))

    def _new_session(self, peer: str) -> tuple[str, accounts.NewSession]:
        token = secrets.token_urlsafe(TOKEN_BYTES)
        return token, accounts.NewSession(self._session_digest(token), SESSION_US, self._proving_peer(peer))

    def _session_digest(self, token: str) -> str:
        if not token:
            raise SessionEnded
        return self._digest("session", token)

    def _proof_digest(self, token: str) -> str:
        return self._digest("proof", token) if token else ""

    def _proving_peer(self, peer: str) -> str:
        """Behind a proxy one connection carries many people, so it proves nothing."""
        return peer if self._trusts_peers else ""

    def _digest(self, purpose: str, secret: str) -> str:
        return hmac.new(self._key, f"{purpose}:{secret}".encode(errors="surrogatepass"), hashlib.sha256).hexdigest()


def _check_full_name(full_name: str) -> str:
    name = full_name.strip()
    if not name or len(name) > NAME_LETTERS or not name.isprintable():
        raise InvalidField(field="full_name", reason=f"must be 1 to {NAME_LETTERS} printable characters")
    return name
