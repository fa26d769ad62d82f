"""Sign-in codes by mail: smtplib in a few threads of its own, every send with one deadline from queue to acceptance."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import html
import logging
import smtplib
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import make_msgid
from typing import TYPE_CHECKING

from cloudgrpc.core.otp import VALID_US
from cloudgrpc.errors import MailFailed, SettingsWrong
from cloudgrpc.outside.held_line import HeldLine

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    from cloudgrpc.config import Mail

log = logging.getLogger(__name__)

THREADS = 4  # a send takes Gmail a second or two, and a provider takes few connections at once from one user
AT_ONCE = THREADS + 32  # at that pace the last of them is sent just before the usual deadline
LOG_LETTERS = 500
VALID_MINUTES = VALID_US // 60_000_000


class Mailer:
    """Raises: SettingsWrong when the certificates to trust cannot be read."""

    def __init__(self, settings: Mail) -> None:
        self._settings = settings
        self._tls = _trust(settings.ca_file)
        # Not the loop's own threads: a mail server that hangs would hold up whoever else needs one.
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="mail")
        self._under_way: set[Delivery] = set()

    async def send_code(self, email: str, code: str) -> None:
        """Returns when the mail server took the mail. Raises: MailFailed, with the reason in the log."""
        delivery = Delivery(self._settings, self._tls)
        try:
            await self._send(delivery, email, code)
        except (OSError, ValueError, _TooMany) as error:  # smtplib's and ssl's errors are OSErrors
            words = f"no code was mailed to {email}: {delivery.step}: {_reason(error, self._settings.timeout_s)}"
            log.warning("%s", _loggable(words, [*_secrets(self._settings), code]))
            # Not `from error`: the server's words in it may quote the code, and a traceback would show them.
            raise MailFailed(email=email) from None

    def close(self) -> None:
        """End what is under way: the process would wait for it."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for delivery in tuple(self._under_way):
            delivery.cut()

    async def _send(self, delivery: Delivery, email: str, code: str) -> None:
        if len(self._under_way) >= AT_ONCE:
            raise _TooMany(f"{AT_ONCE} mails are under way already")
        message = compose(self._settings, email, code)
        self._under_way.add(delivery)
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                await asyncio.get_running_loop().run_in_executor(self._threads, delivery.run, message, email)
        finally:
            self._under_way.discard(delivery)
            delivery.cut()  # whoever waited has left: the thread is for the next


def fault_of(settings: Mail) -> str:
    """Why no mail could be sent, with the step that fails; "" when all is well. Connects and signs in, and sends
    nothing. Blocking, for `timeout_s` at most and what the name service takes. Raises: SettingsWrong, as Mailer."""
    delivery, is_late = Delivery(settings, _trust(settings.ca_file)), threading.Event()

    def end() -> None:
        is_late.set()
        delivery.cut()

    deadline = threading.Timer(settings.timeout_s, end)
    deadline.daemon = True
    deadline.start()
    try:
        delivery.try_out()
    except (OSError, ValueError) as error:
        reason = _reason(TimeoutError() if is_late.is_set() else error, settings.timeout_s)
        return _loggable(f"{delivery.step}: {reason}", _secrets(settings))
    finally:
        deadline.cancel()
    return ""


class Delivery:
    """One mail on its way, in a thread. A socket's timeout starts anew with every byte, so it bounds no delivery:
    `cut` ends one from outside, wherever it waits but in the name service.
    """

    def __init__(self, settings: Mail, tls: ssl.SSLContext) -> None:
        self.step = "waiting for its turn"
        self._settings = settings
        self._tls = tls
        self._line = HeldLine(settings.timeout_s)

    def run(self, message: EmailMessage, email: str) -> None:
        with self._signed_in() as client:
            self.step = "handing over the mail"
            # The recipient is named, since those in the header would be parsed out of it again.
            client.send_message(message, _sender(self._settings), [email])
            client.putcmd("quit")  # the answer does not matter: the mail was taken

    def try_out(self) -> None:
        """All but a mail."""
        with self._signed_in() as client:
            client.putcmd("quit")

    def cut(self) -> None:
        self._line.cut("nobody waits for it any more")

    @contextlib.contextmanager
    def _signed_in(self) -> Iterator[smtplib.SMTP]:
        mail = self._settings
        self.step = f"connecting to {mail.host}:{mail.port}"
        try:
            with contextlib.closing(_Client(mail, self._connect)) as client:
                if mail.security == "starttls":
                    self.step = "starting TLS"
                    client.starttls(context=self._tls)
                self.step = f"signing in as {mail.user}"
                client.login(mail.user, mail.password)
                yield client
        finally:
            self._line.let_go()

    def _connect(self) -> socket.socket:
        line = self._line.open(self._settings.host, self._settings.port)
        if self._settings.security == "starttls":
            return line
        return self._tls.wrap_socket(line, server_hostname=self._settings.host)


class _Client(smtplib.SMTP):
    """smtplib's client over a connection that its delivery opens."""

    def __init__(self, mail: Mail, connect: Callable[[], socket.socket]) -> None:
        self._connect = connect  # first: the constructor of smtplib connects
        # Without a name smtplib would ask the name service for ours, which can take long, and tell it.
        super().__init__(mail.host, mail.port, local_hostname=_domain(mail), timeout=mail.timeout_s)

    def _get_socket(self, *_: object) -> socket.socket:
        return self._connect()


class _TooMany(Exception):
    pass


def compose(mail: Mail, email: str, code: str) -> EmailMessage:
    """Raises: ValueError for an address or a name that a header cannot hold."""
    if "=?" in email:
        # An encoded word. It has no place in an address, but Python decodes it, even to a line end and a header more.
        raise ValueError("the address holds an encoded word")
    name, domain = mail.sender_name, _domain(mail)
    message = EmailMessage(policy=SMTP)
    message["From"] = Address(name, username=_sender(mail).rpartition("@")[0], domain=domain)
    message["To"] = email
    message["Subject"] = f"{code} is your {name} code"  # first, so that a phone shows it
    message["Date"] = datetime.now(UTC)
    message["Message-ID"] = make_msgid(domain=domain)
    message["Auto-Submitted"] = "auto-generated"  # no answer from somebody on holiday
    message.set_content(TEXT.format(name=name, code=code, minutes=VALID_MINUTES))
    message.add_alternative(
        HTML.format(name=html.escape(name), code=code, minutes=VALID_MINUTES), subtype="html", cte="quoted-printable"
    )
    return message


TEXT = """\
Your sign-in code for {name}:

    {code}

It is valid for {minutes} minutes. Tell it to nobody.
If you did not ask for it, ignore this mail.
"""

HTML = """\
<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Your sign-in code</title></head>
<body style="margin:0;padding:24px;font-family:Helvetica,Arial,sans-serif;font-size:16px;color:#222;background:#fff">
<p style="margin:0 0 16px">Your sign-in code for {name}:</p>
<p style="margin:0 0 16px;font-size:36px;font-weight:bold;letter-spacing:6px">{code}</p>
<p style="margin:0 0 8px">It is valid for {minutes} minutes. Tell it to nobody.</p>
<p style="margin:0;color:#666">If you did not ask for it, ignore this mail.</p>
</body>
</html>
"""


def _secrets(mail: Mail) -> list[str]:
    """What no log may hold, in the forms in which a server may quote what it was sent."""
    encoded = [base64.b64encode(each.encode()).decode() for each in (f"\0{mail.user}\0{mail.password}", mail.password)]
    return [*encoded, mail.password]


def _sender(mail: Mail) -> str:
    return mail.sender or mail.user


def _domain(mail: Mail) -> str:
    return _sender(mail).rpartition("@")[2]


def _trust(ca_file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:
        raise SettingsWrong(faults=f"[mail] ca_file: {ca_file}: {error.strerror or error}") from error


def _reason(error: Exception, timeout_s: float) -> str:
    match error:
        case TimeoutError():
            return f"not done within {timeout_s:g} s"
        case _TooMany():
            return str(error)
        case smtplib.SMTPRecipientsRefused(recipients=refusals):
            ((code, words),) = refusals.values()
            return f"{type(error).__name__}: {code} {_text(words)}"
        case smtplib.SMTPResponseException(smtp_code=code, smtp_error=words):
            return f"{type(error).__name__}: {code} {_text(words)}"
        case UnicodeEncodeError():  # its words quote a letter, maybe of the password
            return f"{type(error).__name__}: [mail] user or password is not plain ASCII"
        case _:
            return f"{type(error).__name__}: {error}"


def _text(words: bytes | str) -> str:
    return words.decode(errors="replace") if isinstance(words, bytes) else words


def _loggable(words: str, secrets: list[str]) -> str:
    """Without what is secret, on one line, and short: a stranger's server wrote a part of it."""
    for secret in filter(None, secrets):
        words = words.replace(secret, "…")
    printable = "".join(letter if letter.isprintable() else " " for letter in words)
    return " ".join(printable.split())[:LOG_LETTERS]
