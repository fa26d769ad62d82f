"""A real mail server on loopback, with TLS and AUTH, which keeps what it takes and misbehaves when told to."""

from __future__ import annotations

import asyncio
import email
import email.policy
import re
import ssl
import subprocess
import time
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from cloudgrpc.config import Mail
from program import HOST, PATIENCE_S, free_port

if TYPE_CHECKING:
    from email.message import EmailMessage
    from pathlib import Path

USER = "drive@example.org"
PASSWORD = "app pass-Word"
OK = "250 OK"
TRICKLE_S = 0.02  # between two bytes: a socket's timeout of any length never ends it


@dataclass(frozen=True)
class Certificate:
    """Signed by itself, so that it is its own authority."""

    file: Path
    key: Path

    @classmethod
    def make(cls, folder: Path, names: str = f"IP:{HOST},DNS:localhost") -> Certificate:
        made = cls(folder / "mail.pem", folder / "mail.key")
        words = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=mail",
        ]
        command = [*words, "-addext", f"subjectAltName={names}", "-out", str(made.file), "-keyout", str(made.key)]
        subprocess.run(command, check=True, capture_output=True)
        return made

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.file, self.key)
        return context


@dataclass(frozen=True)
class Received:
    """A mail as it came: the envelope, and what was in it."""

    sender: str
    recipients: list[str]
    message: EmailMessage

    def part(self, kind: str) -> str:
        """The text of the `plain` or the `html` part."""
        found = self.message.get_body((kind,))
        assert found is not None
        return str(cast("EmailMessage", found).get_content())

    @property
    def code(self) -> str:
        """As a person finds it: six digits at the start of the subject."""
        found = re.match(r"\d{6}\b", str(self.message["Subject"]))
        assert found, f"no code in {self.message['Subject']!r}"
        return found.group()


class MailServer(Controller):
    """`security`: ssl or starttls as the client's settings say it, or plain: one that has no TLS at all.

    What it refuses or leaves unanswered can be changed at any time:

      refused     recipients that it does not know
      stuck       recipients after which it says nothing more
      manner      polite; silent: takes connections and says nothing; trickling: one byte at a time without an end
      quotes      refuses every `password`, or every `mail`, with words that hold what it was sent
    """

    def __init__(self, certificate: Certificate, security: str = "ssl") -> None:
        self.certificate = certificate
        self.security = security
        self.refused: set[str] = set()
        self.stuck: set[str] = set()
        self.manner = "polite"
        self.quotes = ""
        self.received: list[Received] = []
        self.passwords: list[str] = []  # every one it was told
        self.connections = 0
        self.transports: set[asyncio.Transport] = set()
        tls = certificate.context()
        super().__init__(
            self,
            hostname=HOST,
            port=free_port(),
            ssl_context=tls if security == "ssl" else None,
            tls_context=tls if security == "starttls" else None,
            require_starttls=security == "starttls",
            auth_require_tls=security == "starttls",  # implicit TLS is none to aiosmtpd
            authenticator=self._authenticate,
            server_hostname="mail.test",
            ready_timeout=PATIENCE_S,
        )

    def __enter__(self) -> MailServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._hang_up(), self.loop).result(PATIENCE_S)
        self.stop()

    def settings(self, **changes: Any) -> Mail:
        """What a client is told of this server."""
        told: dict[str, Any] = {"host": HOST, "port": self.port, "user": USER, "password": PASSWORD}
        told |= {"ca_file": str(self.certificate.file), "timeout_s": 10.0}
        if self.security != "plain":
            told["security"] = self.security
        return Mail(**{**told, **changes})

    def variables(self, **changes: Any) -> dict[str, object]:
        """The same for a cluster: `make_cluster(**server.variables())`."""
        mail = self.settings(**changes)
        return {f"mail_{key}": value for key in mail.__struct_fields__ if (value := getattr(mail, key)) != ""}

    def mail_to(self, address: str, after: int = 0) -> Received:
        """The newest mail for this address, waited for; `after`: how many that one had already."""
        deadline = time.monotonic() + PATIENCE_S
        while len(found := [each for each in self.received if address in each.recipients]) <= after:
            assert time.monotonic() < deadline, f"no mail for {address}"
            time.sleep(0.01)
        return found[-1]

    # What aiosmtpd asks

    def factory(self) -> asyncio.BaseProtocol:
        self.connections += 1
        if self.manner == "polite":
            return _Polite(self, **self.SMTP_kwargs)
        return _Rude(self.transports, is_trickling=self.manner == "trickling")

    def _authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, told: LoginPassword
    ) -> AuthResult:
        self.passwords.append(told.password.decode())
        if self.quotes == "password":
            plain = b64encode(b"\0" + told.login + b"\0" + told.password).decode()
            words = (
                f"535 5.7.8 wrong: AUTH PLAIN {plain}, {b64encode(told.password).decode()}, {told.password.decode()}"
            )
            return AuthResult(success=False, handled=False, message=words)
        if (told.login.decode(), told.password.decode()) == (USER, PASSWORD):
            return AuthResult(success=True)
        words = "535 5.7.8 Username and Password not accepted"
        return AuthResult(success=False, handled=False, message=words)

    async def handle_MAIL(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if not session.authenticated:
            return "530 5.7.0 Authentication required"
        envelope.mail_from = address
        return OK

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.stuck:
            await asyncio.Event().wait()
        if address in self.refused:
            return f"550 5.1.1 <{address}>: no such mailbox"
        envelope.rcpt_tos.append(address)
        return OK

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        message = email.message_from_bytes(envelope.content, policy=email.policy.SMTP)
        if self.quotes == "mail":
            return f"554 5.7.1 looks like spam: {message['Subject']}"
        self.received.append(Received(str(envelope.mail_from), list(envelope.rcpt_tos), message))
        return OK

    async def _hang_up(self) -> None:
        """A connection that is still being taken or shakes hands when the loop ends would be left open."""
        assert self.server is not None
        self.server.close()
        await asyncio.sleep(0)  # those that were taken have their transports now
        for transport in self.transports:
            transport.abort()
        under_way = asyncio.all_tasks() - {asyncio.current_task()}
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        await asyncio.sleep(0)  # what was aborted is closed now


class _Polite(SMTP):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.event_handler.transports.add(transport)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.event_handler.transports.discard(self.transport)
        super().connection_lost(error)


class _Rude(asyncio.Protocol):
    """Reads, and answers with nothing, or with a greeting that never ends."""

    def __init__(self, transports: set[asyncio.Transport], *, is_trickling: bool) -> None:
        self._transports = transports
        self._is_trickling = is_trickling

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transports.add(self._transport)
        if self._is_trickling:
            self._trickle("220-mail.test ")

    def connection_lost(self, error: Exception | None) -> None:
        self._transports.discard(self._transport)

    def _trickle(self, words: str) -> None:
        if self._transport.is_closing():
            return
        self._transport.write(words[:1].encode())
        asyncio.get_running_loop().call_later(TRICKLE_S, self._trickle, words[1:] or "and ")
