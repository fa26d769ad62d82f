"""Signing in, as one flow: ask for a code, check it, then enroll or log in, and keep the session."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Protocol

from cloudgrpc.clients import render
from cloudgrpc.clients.session import MAIL_TIMEOUT_S, SignIn
from cloudgrpc.errors import (
    AccountUnknown,
    AlreadyEnrolled,
    CodeSpent,
    CodeWrong,
    SignInLeft,
    TooManyCodes,
    TooManyTries,
)
from cloudgrpc.pb import cloud_storage_pb2 as pb

if TYPE_CHECKING:
    from cloudgrpc.clients.session import Gateway, SessionStore

CODE_DIGITS = 6
ANOTHER = ""  # what is read in place of a code when the person wants a new one
ANOTHER_WORDS = {"", "resend"}
LEAVING_WORDS = {"exit", "quit"}


class Person(Protocol):
    """Whom a sign-in talks with."""

    @property
    def is_there(self) -> bool:
        """False: a script speaks for them, which cannot be asked what it did not foresee."""

    def ask(self, prompt: str) -> str:
        """The line that was typed. Raises: EOFError when the person left."""

    def tell(self, text: str) -> None: ...


class AtStdin:
    """The person at stdin, or a script; what they are told goes to stderr."""

    @property
    def is_there(self) -> bool:
        return sys.stdin.isatty()

    def ask(self, prompt: str) -> str:
        print(prompt, end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            print(file=sys.stderr)
            raise EOFError
        return line.strip()

    def tell(self, text: str) -> None:
        print(render.shown(text), file=sys.stderr)


class Entrance:
    """The way into one gateway."""

    def __init__(self, gateway: Gateway, store: SessionStore, person: Person) -> None:
        self._gateway = gateway
        self._store = store
        self._person = person

    def enroll(self, email: str, full_name: str) -> SignIn:
        """Raises: SignInLeft when the person left, AlreadyEnrolled, and whatever the gateway refuses."""
        request = pb.EnrollRequest(email=email, full_name=full_name, verification_token=self.prove(email))
        try:
            reply = self._gateway.call(self._gateway.auth.Enroll, request)
        except AlreadyEnrolled as error:
            # As told by the gateway the error has lost its facts, and the hint needs the e-mail.
            raise AlreadyEnrolled(email=email) from error
        return self._keep(email, reply.session_token)

    def login(self, email: str) -> SignIn:
        """Raises: SignInLeft when the person left, AccountUnknown, and whatever the gateway refuses."""
        request = pb.LoginRequest(email=email, verification_token=self.prove(email))
        try:
            reply = self._gateway.call(self._gateway.auth.Login, request)
        except AccountUnknown as error:
            raise AccountUnknown(email=email) from error
        return self._keep(email, reply.session_token)

    def prove(self, email: str) -> str:
        """The verification token for `email`. Raises: SignInLeft when the person left, MailFailed."""
        self._send_code(email, "A code that was sent before still works, if it was not used yet.")
        while True:
            code = self._read_code()
            if code == ANOTHER:
                self._send_code(email, "Until then the newest code still works.")
                continue
            request = pb.VerifyOTPRequest(email=email, otp=code)
            try:
                return self._gateway.call(self._gateway.auth.VerifyOTP, request).verification_token
            except CodeWrong as error:
                self._person.tell(str(error))
            except CodeSpent as error:
                self._person.tell(str(error))
                self._send_code(email, "Press Enter then.")
            except TooManyTries as error:
                if not self._person.is_there:
                    raise
                self._person.tell(f"{error} Wait so long, or leave with Ctrl-D.")

    def _send_code(self, email: str, meanwhile: str) -> None:
        """`meanwhile`: what the person can do while the gateway sends no further code."""
        try:
            self._gateway.call(self._gateway.auth.SendOTP, pb.SendOTPRequest(email=email), MAIL_TIMEOUT_S)
        except TooManyCodes as error:
            self._person.tell(f"{error} {meanwhile}")
        else:
            self._person.tell(f"A code of {CODE_DIGITS} digits was sent to {email}. Enter sends a new one.")

    def _read_code(self) -> str:
        """Six digits, or ANOTHER."""
        while True:
            try:
                typed = self._person.ask("Code: ")
            except EOFError:
                raise SignInLeft from None
            word = "".join(typed.split()).lower()
            if word in LEAVING_WORDS:
                raise SignInLeft
            if word in ANOTHER_WORDS:
                return ANOTHER
            # Judged here first, so that a slip does not cost one of the few attempts.
            if len(word) == CODE_DIGITS and word.isascii() and word.isdigit():
                return word
            self._person.tell(f"A code is {CODE_DIGITS} digits. Enter sends a new one, Ctrl-D leaves.")

    def _keep(self, email: str, session_token: str) -> SignIn:
        sign_in = SignIn(email=email, session_token=session_token)
        self._store.remember(self._gateway.address, sign_in)
        return sign_in
