"""Signing in, as one flow: ask for a code, check it, then enroll or log in, and keep the session."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from cloudgrpc.clients.session import SignIn
from cloudgrpc.errors import AccountUnknown, AlreadyEnrolled, CodeWrong, SignInLeft
from cloudgrpc.pb import cloud_storage_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudgrpc.clients.session import Gateway, SessionStore

    Ask = Callable[[str], str]  # prompt -> the line that was typed; EOFError: the person left
    Tell = Callable[[str], None]

CODE_DIGITS = 6


class Entrance:
    """The way into one gateway."""

    def __init__(self, gateway: Gateway, store: SessionStore, ask: Ask, tell: Tell) -> None:
        self._gateway = gateway
        self._store = store
        self._ask = ask
        self._tell = tell

    def enroll(self, email: str, full_name: str) -> SignIn:
        """Raises: SignInLeft when the person left, AlreadyEnrolled, and whatever the gateway refuses."""
        request = pb.EnrollRequest(email=email, full_name=full_name, verification_token=self._prove(email))
        try:
            reply = self._gateway.call(self._gateway.auth.Enroll, request)
        except AlreadyEnrolled as error:
            # As told by the gateway the error has lost its facts, and the hint needs the e-mail.
            raise AlreadyEnrolled(email=email) from error
        return self._keep(email, reply.session_token)

    def login(self, email: str) -> SignIn:
        """Raises: SignInLeft when the person left, AccountUnknown, and whatever the gateway refuses."""
        request = pb.LoginRequest(email=email, verification_token=self._prove(email))
        try:
            reply = self._gateway.call(self._gateway.auth.Login, request)
        except AccountUnknown as error:
            raise AccountUnknown(email=email) from error
        return self._keep(email, reply.session_token)

    def _prove(self, email: str) -> str:
        """The verification token for `email`."""
        self._gateway.call(self._gateway.auth.SendOTP, pb.SendOTPRequest(email=email))
        self._tell(f"A code of {CODE_DIGITS} digits was sent to {email}.")
        while True:
            request = pb.VerifyOTPRequest(email=email, otp=self._read_code())
            try:
                return self._gateway.call(self._gateway.auth.VerifyOTP, request).verification_token
            except CodeWrong as error:
                self._tell(str(error))

    def _read_code(self) -> str:
        while True:
            try:
                typed = self._ask("Code: ")
            except EOFError:
                raise SignInLeft from None
            code = "".join(typed.split())
            # Judged here first, so that a slip does not cost one of the few attempts.
            if len(code) == CODE_DIGITS and code.isascii() and code.isdigit():
                return code
            if code:
                self._tell(f"A code is {CODE_DIGITS} digits. Ctrl-D leaves.")

    def _keep(self, email: str, session_token: str) -> SignIn:
        sign_in = SignIn(email=email, session_token=session_token)
        self._store.remember(self._gateway.address, sign_in)
        return sign_in


def ask_stdin(prompt: str) -> str:
    """Read a line from stdin, be it a person or a script; the prompt goes to stderr. Raises: EOFError."""
    print(prompt, end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    if not line:
        print(file=sys.stderr)
        raise EOFError
    return line.strip()
