"""Sign-in codes by mail: what arrives, what a bad mail server can do to us, and a gateway that mails its codes."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import string
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cloudgrpc.config import Mail
from cloudgrpc.core.otp import check_email
from cloudgrpc.errors import InvalidField, MailFailed, SettingsWrong
from cloudgrpc.outside import mail
from cloudgrpc.outside.mail import Delivery, Mailer, compose
from cloudgrpc.pb import cloud_storage_pb2 as pb
from program import HOST, PATIENCE_S, free_port
from smtp import PASSWORD, USER, Certificate, MailServer
from user import CALL_S, User, refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cluster_harness import Cluster

CODE = "550123"
ALICE = "alice@example.org"
SOON_S = 0.2  # the deadline of a send that is to miss it
FOREVER_S = 100.0  # longer than PATIENCE_S
HEADERS = ["From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate.make(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def server(certificate: Certificate) -> Iterator[MailServer]:
    with MailServer(certificate) as server:
        yield server


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """The lines about mail; whatever the test did, none may hold a code or a password."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(f"{record.levelname} {handler.format(record)}")  # type: ignore[method-assign]
    logger = logging.getLogger(mail.__name__)
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)
    assert [line for line in lines if CODE in line or PASSWORD in line] == []


def send(settings: Mail, email: str = ALICE, code: str = CODE) -> None:
    async def once() -> None:
        with closing(Mailer(settings)) as mailer:
            await mailer.send_code(email, code)

    asyncio.run(once())


def fail(settings: Mail, email: str = ALICE) -> float:
    """Send in vain; the seconds that it took."""
    started = time.monotonic()
    with pytest.raises(MailFailed, match="could not be sent") as failed:
        send(settings, email)
    # A traceback in some log would show these.
    assert failed.value.__cause__ is None
    assert failed.value.__suppress_context__
    assert email in str(failed.value)
    return time.monotonic() - started


def threads_end() -> None:
    """They are told to, not waited for."""
    deadline = time.monotonic() + PATIENCE_S
    while left := [thread.name for thread in threading.enumerate() if thread.name.startswith("mail_")]:
        assert time.monotonic() < deadline, left
        time.sleep(0.01)


# What arrives


@pytest.mark.parametrize("security", ["ssl", "starttls"])
def test_a_code_arrives_under_tls_and_as_the_user(certificate: Certificate, security: str, log: list[str]) -> None:
    with MailServer(certificate, security) as server:
        send(server.settings(sender_name="Drive of Åsa & Co"))
    (received,) = server.received
    assert (received.sender, received.recipients) == (USER, [ALICE])
    assert received.message["From"] == f"Drive of Åsa & Co <{USER}>"
    assert received.message["To"] == ALICE
    assert received.message["Subject"] == f"{CODE} is your Drive of Åsa & Co code"
    assert received.message["Auto-Submitted"] == "auto-generated"
    assert abs(received.message["Date"].datetime.timestamp() - time.time()) < 60
    assert received.message["Message-ID"].endswith("@example.org>")
    for kind in ("plain", "html"):
        assert CODE in received.part(kind)
        assert "valid for 5 minutes" in received.part(kind)
        assert "did not ask for it, ignore" in received.part(kind)
    assert "Drive of Åsa & Co:" in received.part("plain")
    assert "Drive of Åsa &amp; Co:" in received.part("html")
    assert server.passwords == [PASSWORD]
    assert log == []


def test_the_sender_may_be_another_than_the_user(server: MailServer) -> None:
    send(server.settings(sender="codes@drive.example.net"))
    (received,) = server.received
    assert received.sender == "codes@drive.example.net"
    assert received.message["From"] == "CloudGrpc <codes@drive.example.net>"
    assert received.message["Message-ID"].endswith("@drive.example.net>")
    assert received.message["Subject"] == f"{CODE} is your CloudGrpc code"


def test_a_server_is_known_by_its_name_as_well(server: MailServer) -> None:
    send(server.settings(host="localhost"))
    assert len(server.received) == 1


def test_many_codes_at_once_each_reach_their_owner(server: MailServer) -> None:
    async def all_of_them() -> None:
        with closing(Mailer(server.settings(timeout_s=FOREVER_S))) as mailer:
            await asyncio.gather(*(mailer.send_code(f"p{n}@example.org", f"{n:06}") for n in range(mail.AT_ONCE)))

    asyncio.run(all_of_them())
    told = {received.recipients[0]: received.code for received in server.received}
    assert told == {f"p{n}@example.org": f"{n:06}" for n in range(mail.AT_ONCE)}


# What goes wrong


def test_a_wrong_password_is_told_to_the_operator_only(server: MailServer, log: list[str]) -> None:
    fail(server.settings(password="another-secret"))
    (line,) = log
    assert line.startswith(
        f"WARNING no code was mailed to {ALICE}: signing in as {USER}: SMTPAuthenticationError: 535 "
    )
    assert "Username and Password not accepted" in line
    assert "another-secret" not in line
    assert server.received == []


def test_a_recipient_that_is_refused(server: MailServer, log: list[str]) -> None:
    server.refused.add(ALICE)
    fail(server.settings())
    assert f"handing over the mail: SMTPRecipientsRefused: 550 5.1.1 <{ALICE}>: no such mailbox" in log[0]


@pytest.mark.parametrize("security", ["ssl", "starttls"])
def test_a_certificate_that_nobody_vouches_for_gets_no_password(
    certificate: Certificate, tmp_path_factory: pytest.TempPathFactory, security: str, log: list[str]
) -> None:
    other = Certificate.make(tmp_path_factory.mktemp("other"))
    with MailServer(certificate, security) as server:
        for ca_file in ("", str(other.file)):
            fail(server.settings(ca_file=ca_file))
    assert all("SSLCertVerificationError" in line and "certificate verify failed" in line for line in log)
    assert len(log) == 2
    assert server.passwords == []


def test_a_certificate_for_another_machine_gets_no_password(tmp_path: Path, log: list[str]) -> None:
    with MailServer(Certificate.make(tmp_path, names="DNS:mail.example.org")) as server:
        fail(server.settings())
    assert server.passwords == []
    assert "IP address mismatch" in log[0]


def test_without_starttls_no_password_is_told(certificate: Certificate, log: list[str]) -> None:
    """Somebody on the way may have taken STARTTLS out of the server's answer."""
    with MailServer(certificate, "plain") as server:
        fail(server.settings(security="starttls"))
    assert server.passwords == []
    assert "starting TLS: SMTPNotSupportedError" in log[0]


def test_a_server_that_is_down(certificate: Certificate, log: list[str]) -> None:
    port = free_port()
    fail(Mail(host=HOST, port=port, user=USER, password=PASSWORD, ca_file=str(certificate.file)))
    assert f"connecting to {HOST}:{port}: ConnectionRefusedError" in log[0]


def test_a_name_that_does_not_exist(log: list[str]) -> None:
    fail(Mail(host="mail.invalid", user=USER, password=PASSWORD, timeout_s=5))
    assert "connecting to mail.invalid:465: " in log[0]


def test_what_a_server_quotes_of_the_code_or_the_password_is_not_logged(server: MailServer, log: list[str]) -> None:
    server.quotes = "mail"
    fail(server.settings())
    server.quotes = "password"
    fail(server.settings())
    assert "554 5.7.1 looks like spam: … is your CloudGrpc code" in log[0]
    assert log[1].endswith("535 5.7.8 wrong: AUTH PLAIN …, …, …")


def test_a_password_that_smtplib_cannot_send(server: MailServer, log: list[str]) -> None:
    fail(server.settings(password="geheimß"))
    assert "ß" not in log[0]
    assert "xdf" not in log[0]
    assert "not plain ASCII" in log[0]


def test_certificates_that_cannot_be_read_are_told_at_the_start(tmp_path: Path) -> None:
    missing, nonsense = tmp_path / "missing.pem", tmp_path / "nonsense.pem"
    nonsense.write_text("no certificate")
    for file in (missing, nonsense):
        with pytest.raises(SettingsWrong, match=r"\[mail\] ca_file: .*" + file.name):
            Mailer(Mail(user=USER, ca_file=str(file)))


# Who says nothing


@pytest.mark.parametrize("manner", ["silent", "trickling"])
@pytest.mark.parametrize("speaks", ["ssl", "starttls"])
def test_a_server_that_keeps_us_waiting_is_left_at_the_deadline(
    certificate: Certificate, manner: str, speaks: str, log: list[str]
) -> None:
    with MailServer(certificate, speaks) as server:
        server.manner = manner
        # A client that wants TLS at once, too, from a server that does not speak it: the handshake hangs.
        for security in {"ssl", speaks} if manner == "silent" else {speaks}:
            assert SOON_S <= fail(server.settings(timeout_s=SOON_S, security=security)) < PATIENCE_S
    assert all(line.endswith(f"connecting to {HOST}:{server.port}: not done within {SOON_S} s") for line in log)
    threads_end()


@pytest.fixture
def deaf() -> Iterator[int]:
    """The port of a machine that answers nothing, not even a connection."""
    with closing(socket.socket()) as full, closing(socket.socket()) as first, closing(socket.socket()) as second:
        full.bind((HOST, 0))
        full.listen(0)
        for line in (first, second):  # one fits, the next waits for ever
            line.setblocking(False)
            line.connect_ex(full.getsockname())
        yield full.getsockname()[1]


def test_a_machine_that_does_not_answer_at_all_is_left_at_the_deadline(deaf: int, log: list[str]) -> None:
    took = fail(Mail(host=HOST, port=deaf, user=USER, password=PASSWORD, timeout_s=SOON_S))
    assert SOON_S <= took < PATIENCE_S
    assert "not done within" in log[0]


def test_who_hangs_up_ends_even_the_connecting(deaf: int) -> None:
    async def hang_up() -> None:
        with closing(Mailer(Mail(host=HOST, port=deaf, user=USER, timeout_s=FOREVER_S))) as mailer:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(mailer.send_code(ALICE, CODE), SOON_S)
            mailer.close()
            threads_end()

    asyncio.run(hang_up())


def test_what_was_cut_before_it_connected_connects_no_more(server: MailServer) -> None:
    settings, before = server.settings(), server.connections
    delivery = Delivery(settings, ssl.create_default_context(cafile=settings.ca_file))
    delivery.cut()
    with pytest.raises(TimeoutError):
        delivery.run(compose(settings, ALICE, CODE), ALICE)
    assert server.connections == before


def test_a_hanging_send_holds_up_nobody_else(server: MailServer, log: list[str]) -> None:
    server.stuck.add(ALICE)

    async def beside() -> tuple[float, float]:
        # One thread: the first mail that took it would be noticed.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        with closing(Mailer(server.settings(timeout_s=FOREVER_S))) as mailer:
            hanging = [asyncio.create_task(mailer.send_code(ALICE, CODE)) for _ in range(mail.THREADS - 1)]
            while len(server.passwords) < len(hanging):
                await asyncio.sleep(0.01)
            started = time.monotonic()
            await asyncio.to_thread(time.sleep, 0.01)
            loops = time.monotonic() - started
            started = time.monotonic()
            await mailer.send_code("bob@example.org", CODE)
            sends = time.monotonic() - started
            assert not any(task.done() for task in hanging)
            for task in hanging:
                task.cancel()
            assert all(isinstance(end, asyncio.CancelledError) for end in await _ends(hanging))
            return loops, sends

    loops, sends = asyncio.run(beside())
    assert max(loops, sends) < PATIENCE_S
    assert server.mail_to("bob@example.org").code == CODE


def test_threads_are_free_again_after_a_deadline(server: MailServer, log: list[str]) -> None:
    server.stuck.add(ALICE)

    async def after() -> None:
        with closing(Mailer(server.settings(timeout_s=FOREVER_S))) as mailer:
            stuck = [asyncio.create_task(mailer.send_code(ALICE, CODE)) for _ in range(mail.THREADS)]
            while [each.step for each in mailer._under_way] != ["handing over the mail"] * mail.THREADS:
                await asyncio.sleep(0.01)
            pass_by(FOREVER_S)
            assert all(isinstance(end, MailFailed) for end in await _ends(stuck))
            await mailer.send_code("bob@example.org", CODE)

    asyncio.run(after())
    assert server.mail_to("bob@example.org").code == CODE
    assert all("handing over the mail: not done within 100 s" in line for line in log)


def test_who_hangs_up_frees_the_thread(server: MailServer) -> None:
    server.stuck.add(ALICE)

    async def hang_up() -> None:
        with closing(Mailer(server.settings(timeout_s=FOREVER_S))) as mailer:
            callers = [asyncio.create_task(mailer.send_code(ALICE, CODE)) for _ in range(mail.THREADS)]
            while len(server.passwords) < len(callers):
                await asyncio.sleep(0.01)
            for caller in callers:
                caller.cancel()
            await _ends(callers)
            async with asyncio.timeout(PATIENCE_S):
                await mailer.send_code("bob@example.org", CODE)

    asyncio.run(hang_up())


def test_too_many_at_once_fail_without_waiting(server: MailServer, log: list[str]) -> None:
    server.manner = "silent"

    async def flood() -> None:
        with closing(Mailer(server.settings(timeout_s=FOREVER_S))) as mailer:
            waiting = [asyncio.create_task(mailer.send_code(ALICE, CODE)) for _ in range(mail.AT_ONCE)]
            await asyncio.sleep(0)
            async with asyncio.timeout(PATIENCE_S):
                with pytest.raises(MailFailed):
                    await mailer.send_code("bob@example.org", CODE)
            assert not any(task.done() for task in waiting)
            pass_by(FOREVER_S)
            async with asyncio.timeout(PATIENCE_S):  # the wait for a thread is within the deadline
                assert all(isinstance(end, MailFailed) for end in await _ends(waiting))

    asyncio.run(flood())
    assert f"bob@example.org: waiting for its turn: {mail.AT_ONCE} mails are under way already" in log[0]
    assert len(log) == mail.AT_ONCE + 1


def test_a_mailer_that_is_closed_leaves_no_thread(server: MailServer) -> None:
    server.stuck.add(ALICE)

    async def close() -> None:
        mailer = Mailer(server.settings(timeout_s=FOREVER_S))
        sending = asyncio.create_task(mailer.send_code(ALICE, CODE))
        while not server.passwords:
            await asyncio.sleep(0.01)
        mailer.close()
        assert isinstance((await _ends([sending]))[0], MailFailed)

    asyncio.run(close())
    threads_end()


# What an address can do


@pytest.mark.parametrize(
    "email",
    [
        "=?utf-8?q?x=0abcc=3a_mallory=40example.org?=@example.org",  # Python 3.11 makes a header of it
        "=?utf-8?q?mallory=40example.org=2c_x?=@example.org",
        "alice@example.org\r\nBcc: mallory@example.org",
        "alice@example.org\nBcc: mallory@example.org",
    ],
)
def test_an_address_brings_no_header_and_no_recipient(server: MailServer, email: str, log: list[str]) -> None:
    fail(server.settings(), email)
    assert server.received == []
    assert log[0].count("\n") == 0


@given(st.text(string.ascii_lowercase + string.digits + "!#$%&'*+/=?^_`{|}~.-é名", min_size=1, max_size=64))
def test_every_other_address_stands_in_one_header_as_it_is(local: str) -> None:
    with suppress(InvalidField):
        email = check_email(f"{local}@example.org")
        assume("=?" not in email)
        composed = compose(Mail(user=USER), email, CODE)
        head = composed.as_bytes().partition(b"\r\n\r\n")[0].replace(b"\r\n ", b" ").split(b"\r\n")
        assert [line.partition(b":")[0].decode() for line in head] == HEADERS
        assert [address.addr_spec.replace('"', "") for address in composed["To"].addresses] == [email]


# A gateway that mails its codes


def test_a_person_enrolls_by_the_code_in_the_mail(make_cluster: Callable[..., Cluster], server: MailServer) -> None:
    mailing = make_cluster(nodes=1, **server.variables())
    mailing.auth.SendOTP(pb.SendOTPRequest(email=ALICE), timeout=CALL_S)
    code = server.mail_to(ALICE).code
    proof = mailing.auth.VerifyOTP(pb.VerifyOTPRequest(email=ALICE, otp=code), timeout=CALL_S).verification_token
    enrolled = mailing.auth.Enroll(
        pb.EnrollRequest(email=ALICE, full_name="Alice", verification_token=proof), timeout=CALL_S
    )
    assert User(mailing, ALICE, enrolled.user_id, enrolled.session_token).names() == []
    said = mailing.gateway.out.read_text()
    assert f"  mail        {HOST}:{server.port} as {USER}\n" in said
    for told in (said, mailing.gateway.err.read_text()):
        assert code not in told
        assert PASSWORD not in told


def test_a_mail_that_cannot_be_sent_is_told_and_asking_again_is_no_fault(
    make_cluster: Callable[..., Cluster], server: MailServer
) -> None:
    cluster = make_cluster(nodes=0, **server.variables(password="another-secret"))
    for _ in range(2):
        with refused("UNAVAILABLE", "mail_failed") as errors:
            cluster.auth.SendOTP(pb.SendOTPRequest(email=ALICE), timeout=CALL_S)
        assert ALICE in str(errors[0])
    assert "535 5.7.8 Username and Password not accepted" in cluster.gateway.err.read_text()
    assert "another-secret" not in cluster.gateway.err.read_text() + cluster.gateway.out.read_text()


def test_a_gateway_stops_soon_though_a_mail_hangs(make_cluster: Callable[..., Cluster], server: MailServer) -> None:
    mailing = make_cluster(nodes=0, **server.variables(timeout_s=FOREVER_S))
    server.stuck.add(ALICE)
    asking = mailing.auth.SendOTP.future(pb.SendOTPRequest(email=ALICE), timeout=CALL_S)
    mailing.wait(lambda: server.passwords, what="the mail under way")
    assert mailing.stop_gateway() == 0  # it is waited for no longer than PATIENCE_S
    assert asking.exception() is not None


def pass_by(seconds: float) -> None:
    """As if so much time had gone by: what the loop was to end until then, it ends now."""
    loop = asyncio.get_running_loop()
    time_of = loop.time
    loop.time = lambda: time_of() + seconds  # type: ignore[method-assign]


async def _ends(tasks: list[Any]) -> list[Any]:
    return await asyncio.gather(*tasks, return_exceptions=True)
