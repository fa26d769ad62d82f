"""The client of Campay against the sandbox and against odd servers: what is certain, what is unclear, and what is sent
how often."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from pytest_httpserver import HTTPServer

from cloudgrpc.core.payment_states import Record
from cloudgrpc.errors import (
    AmountRefused,
    CampayDown,
    CloudError,
    MobileMoneyDown,
    PaymentRefused,
    PhoneWrong,
    SettingsWrong,
)
from cloudgrpc.outside import campay as module
from cloudgrpc.outside.campay import Campay, Collected, Unclear
from cloudgrpc.outside.campay_http import MOST_BYTES
from cloudgrpc.sales import Campay as Settings
from program import HOST, PATIENCE_S, free_port
from sandbox import PASSWORD, USERNAME, SandboxServer
from smtp import Certificate

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path


T = TypeVar("T")

PHONE = "237670000001"
TOKEN = "the-token-of-this-test"
SOON_S = 0.4  # a timeout that is to be reached
TRIES = 10
TODAY = datetime.now(UTC)


@pytest.fixture(scope="module")
def shared() -> Iterator[SandboxServer]:
    with SandboxServer() as server:
        yield server


@pytest.fixture
def server(shared: SandboxServer) -> SandboxServer:
    shared.forget()
    return shared


@pytest.fixture(scope="module")
def empty() -> Iterator[HTTPServer]:
    """Shared by the tests, since it takes half a second to stop."""
    with HTTPServer(host=HOST) as server:
        yield server


@pytest.fixture
def bare(empty: HTTPServer) -> HTTPServer:
    """A server that answers what the test wants."""
    empty.clear()
    return empty


@pytest.fixture
def odd(bare: HTTPServer) -> HTTPServer:
    """The same, but /api/token/ is answered as it should be."""
    bare.expect_request("/api/token/").respond_with_json({"token": TOKEN, "expires_in": 3600})
    return bare


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Whatever the test did, no log may hold a whole number, a token or a password."""
    yield caplog
    told = [record.getMessage() for record in caplog.records if record.name.startswith("cloudgrpc")]
    assert [line for line in told if PHONE in line or PASSWORD in line or TOKEN in line] == []


def settings(port: int, **changes: Any) -> Settings:
    told = {"base_url": f"http://{HOST}:{port}/api", "username": USERNAME, "password": PASSWORD, "timeout_s": 10.0}
    return Settings(**{**told, **changes})


def ask(given: Settings, question: Callable[[Campay], Awaitable[T]]) -> T:
    """One client, one question."""

    async def once() -> T:
        with closing(Campay(given)) as campay:
            return await question(campay)

    return asyncio.run(once())


def collect(given: Settings, phone: str = PHONE, amount_xaf: int = 10, payment_id: str = "p-1") -> Collected:
    return ask(given, lambda campay: campay.collect(payment_id, amount_xaf, phone, f"Starter, payment {payment_id}"))


def transaction(given: Settings, reference: str) -> Record | None:
    return ask(given, lambda campay: campay.transaction(reference))


def find(given: Settings, payment_id: str, days_ago: int = 0) -> str | None:
    then = TODAY - timedelta(days=days_ago)
    return ask(given, lambda campay: campay.find(payment_id, then, then))


def unclear(given: Settings, **asked: Any) -> str:
    with pytest.raises(Unclear) as told:
        collect(given, **asked)
    assert asked.get("phone", PHONE) not in str(told.value)
    return str(told.value)


def late(given: Settings, **asked: Any) -> None:
    """Unclear, for nothing came in time. What a busy machine did not even send in time is asked once more."""
    for _ in range(TRIES):
        with suppress(MobileMoneyDown):
            assert unclear(given, **asked) == f"not done within {SOON_S:g} s"
            return
    raise AssertionError("nothing was ever sent")


def refused(given: Settings, kind: type[CloudError], **asked: Any) -> str:
    with pytest.raises(kind) as told:
        collect(given, **asked)
    assert asked.get("phone", PHONE) not in str(told.value)
    return str(told.value)


def becomes(given: Settings, reference: str, status: str) -> Record:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        record = transaction(given, reference)
        assert record is not None
        if record.status == status:
            return record
        assert time.monotonic() < deadline, record
        time.sleep(0.02)


def wait(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# The documented numbers


@pytest.mark.parametrize(("phone", "ussd"), [("237670000001", "*126#"), ("237690000010", "#150*50#")])
def test_a_number_that_succeeds_at_once(server: SandboxServer, phone: str, ussd: str) -> None:
    collected = collect(server.settings(), phone)
    assert collected.ussd_code == ussd
    record = transaction(server.settings(), collected.reference)
    assert record == Record(collected.reference, "p-1", 10, "XAF", "SUCCESSFUL")
    assert server.sandbox.transactions[collected.reference].phone == phone


@pytest.mark.parametrize(
    ("number", "statuses"),
    [
        ("11", ["FAILED"]),
        ("13", ["SUCCESSFUL"]),
        ("14", ["SUCCESSFUL"]),
        ("15", ["SUCCESSFUL"]),
        ("19", ["FAILED", "SUCCESSFUL"]),
        ("99", ["SUCCESSFUL"]),
    ],
)
def test_a_number_whose_transaction_goes_its_way(server: SandboxServer, number: str, statuses: list[str]) -> None:
    reference = collect(server.settings(), f"2376700000{number}").reference
    record = becomes(server.settings(), reference, statuses[-1])
    assert bool(record.reason) == (statuses[-1] == "FAILED")
    assert [line for line in server.told if reference in line] == [
        f"transaction {reference}: {status}" for status in statuses
    ]


def test_a_number_that_stays_pending(server: SandboxServer) -> None:
    reference = collect(server.settings(), "237670000012", payment_id="p-12").reference
    becomes(server.settings(), collect(server.settings(), "237670000019").reference, "SUCCESSFUL")
    assert becomes(server.settings(), reference, "PENDING")
    server.sandbox.settle(reference, "FAILED")
    assert becomes(server.settings(), reference, "FAILED").amount_xaf == 10


def test_a_number_whose_collect_is_answered_too_late_is_unclear_and_found(server: SandboxServer) -> None:
    late(server.settings(timeout_s=SOON_S), phone="237670000016")
    wait(lambda: find(server.settings(), "p-1"))
    reference = find(server.settings(), "p-1")
    assert reference is not None
    assert becomes(server.settings(), reference, "SUCCESSFUL").external_reference == "p-1"
    assert server.sandbox.requests["/collect/"] == 1


@pytest.mark.parametrize(("number", "is_made"), [("17", False), ("18", True), ("22", True)])
def test_a_number_without_a_readable_answer_is_unclear_and_never_asked_again(
    server: SandboxServer, number: str, is_made: bool
) -> None:
    unclear(server.settings(), phone=f"2376700000{number}")
    assert server.sandbox.requests["/collect/"] == 1
    reference = find(server.settings(), "p-1")
    assert (reference is not None) == is_made
    if reference is not None:
        assert becomes(server.settings(), reference, "SUCCESSFUL")


def test_a_number_that_is_refused_for_its_balance(server: SandboxServer) -> None:
    assert "Insufficient balance" in refused(server.settings(), PaymentRefused, phone="237670000020")
    assert server.sandbox.transactions == {}


def test_a_number_whose_amount_differs(server: SandboxServer) -> None:
    record = transaction(server.settings(), collect(server.settings(), "237690000021").reference)
    assert record is not None
    assert (record.amount_xaf, record.status) == (11, "SUCCESSFUL")


@pytest.mark.parametrize(
    ("asked", "kind"),
    [
        ({"phone": "67000000"}, PhoneWrong),
        ({"phone": "237620000001"}, PhoneWrong),
        ({"amount_xaf": 0}, AmountRefused),
        ({"amount_xaf": 1_000_001}, AmountRefused),
    ],
)
def test_what_campay_does_not_take_is_refused(
    server: SandboxServer, asked: dict[str, Any], kind: type[CloudError]
) -> None:
    refused(server.settings(), kind, **asked)
    assert server.sandbox.transactions == {}


# The sandbox's memory


def test_a_sandbox_that_starts_again_forgets_nothing_and_goes_on(tmp_path: Path) -> None:
    journal = tmp_path / "data" / "campay_sandbox.jsonl"
    with SandboxServer(pace=1, journal=journal) as first:
        late = collect(first.settings(), "237670000013", payment_id="late").reference
        done = collect(first.settings(), payment_id="done").reference
        becomes(first.settings(), done, "SUCCESSFUL")
    assert journal.stat().st_mode & 0o077 == 0
    with journal.open("a") as torn:
        torn.write('{"reference": "to')
    for _ in range(2):
        with SandboxServer(pace=0.01, journal=journal) as again:
            assert becomes(again.settings(), done, "SUCCESSFUL").external_reference == "done"
            assert find(again.settings(), "late") == late
            becomes(again.settings(), late, "SUCCESSFUL")


# History and balance


def test_a_payment_is_found_in_the_history_of_its_days_only(server: SandboxServer) -> None:
    reference = collect(server.settings(), payment_id="p-1").reference
    collect(server.settings(), payment_id="p-11")
    assert find(server.settings(), "p-1") == reference
    assert find(server.settings(), "p-1", days_ago=10) is None
    assert find(server.settings(), "p") is None


def test_the_balance_is_what_was_paid(server: SandboxServer) -> None:
    collect(server.settings(), amount_xaf=900)
    collect(server.settings(), "237670000012", amount_xaf=50)
    assert ask(server.settings(), Campay.balance) == 900


def test_a_transaction_that_campay_does_not_know(server: SandboxServer) -> None:
    for reference in ("unknown", "ü ?#&", "r-1?x"):
        assert transaction(server.settings(), reference) is None


def test_a_reference_leads_nowhere_else(server: SandboxServer) -> None:
    for reference in ("../balance", "a/b", "..", ""):
        with pytest.raises(CampayDown):
            transaction(server.settings(), reference)
    assert server.sandbox.requests["/balance/"] == 0


def test_a_page_that_is_not_campays_is_no_answer_about_a_transaction(odd: HTTPServer) -> None:
    for body in ("<h1>Not Found</h1>", "[]"):
        odd.expect_oneshot_request("/api/transaction/r-1/").respond_with_data(body, status=404)
        with pytest.raises(CampayDown):
            transaction(settings(odd.port), "r-1")


# Tokens


def test_one_token_serves_all(server: SandboxServer) -> None:
    async def often(campay: Campay) -> None:
        await asyncio.gather(*(campay.balance() for _ in range(8)))

    ask(server.settings(), often)
    assert (server.sandbox.requests["/token/"], server.sandbox.requests["/balance/"]) == (1, 8)


def test_a_token_that_is_taken_no_more_is_renewed_once_for_all(server: SandboxServer) -> None:
    async def after(campay: Campay) -> None:
        await campay.balance()
        server.sandbox.forget_tokens()
        await asyncio.gather(*(campay.balance() for _ in range(4)))

    ask(server.settings(), after)
    assert server.sandbox.requests["/token/"] == 2


def test_collect_is_sent_once_more_after_a_401_which_is_definite(server: SandboxServer) -> None:
    async def after(campay: Campay) -> Collected:
        await campay.balance()
        server.sandbox.forget_tokens()
        return await campay.collect("p-1", 10, PHONE, "Starter")

    reference = ask(server.settings(), after).reference
    assert list(server.sandbox.transactions) == [reference]
    assert server.sandbox.requests["/collect/"] == 2


def test_a_token_is_renewed_before_it_ends(server: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.sandbox.token_s = 300

    async def later(campay: Campay) -> None:
        await campay.balance()
        await campay.balance()
        now = time.monotonic
        with monkeypatch.context() as clock:  # for the client alone: to the sandbox the token is good for long
            clock.setattr(module, "time", SimpleNamespace(monotonic=lambda: now() + 290))
            await campay.balance()

    ask(server.settings(), later)
    assert (server.sandbox.requests["/token/"], server.sandbox.requests["/balance/"]) == (2, 3)  # no 401 between


def test_a_token_that_is_refused_again_and_again_ends_the_call(odd: HTTPServer) -> None:
    odd.expect_request("/api/collect/").respond_with_json({"detail": f"Invalid token {TOKEN}"}, status=401)
    words = refused(settings(odd.port), MobileMoneyDown)
    assert "Invalid token …" in words
    assert len(odd.log) == 4


def test_a_wrong_password_is_told_and_surely_nothing_was_charged(server: SandboxServer) -> None:
    given = server.settings(password="another-pass-Word")
    assert "no token: HTTP 400: Unable to log in" in refused(given, MobileMoneyDown)
    with pytest.raises(CampayDown, match="no token"):
        transaction(given, "r-1")
    assert server.sandbox.requests["/collect/"] == 0


@pytest.mark.parametrize(
    "body", ["", "[]", "{}", '{"token": 7}', '{"token": ""}', '{"token": "a\\nb"}', "[" * 100_000, "<h1>"]
)
def test_a_token_that_cannot_be_read_is_none(bare: HTTPServer, body: str) -> None:
    bare.expect_request("/api/token/").respond_with_data(body)
    assert "no token: the answer holds none" in refused(settings(bare.port), MobileMoneyDown)


def test_who_waited_for_a_token_in_vain_does_not_ask_again() -> None:
    async def many(campay: Campay) -> list[Any]:
        calls = [campay.balance() for _ in range(4)]
        return await asyncio.gather(*calls, return_exceptions=True)

    with closing(socket.create_server((HOST, 0))) as line:
        ends = ask(settings(line.getsockname()[1], timeout_s=SOON_S), many)
        assert all(isinstance(end, CampayDown) for end in ends)
        line.setblocking(False)
        line.accept()[0].close()
        with pytest.raises(BlockingIOError):
            line.accept()


# Answers to collect that are odd


def test_what_is_sent_to_collect(odd: HTTPServer) -> None:
    odd.expect_request("/api/collect/").respond_with_json({"reference": "r-1", "ussd_code": None, "operator": "mtn"})
    assert collect(settings(odd.port)) == Collected("r-1", "")
    request = odd.log[-1][0]
    assert json.loads(request.data) == {
        "amount": "10",
        "currency": "XAF",
        "from": PHONE,
        "description": "Starter, payment p-1",
        "external_reference": "p-1",
    }
    assert request.headers["Authorization"] == f"Token {TOKEN}"


@pytest.mark.parametrize("status", [200, 400, 403, 500, 503])
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"message": f"ER101 {PHONE}"}, PhoneWrong),
        ({"errors": [{"code": "ER102"}]}, PhoneWrong),
        ({"ER201": ""}, AmountRefused),
        ("<h1>ER301</h1>", PaymentRefused),
    ],
)
def test_a_code_of_campays_is_definite_whatever_the_status(
    odd: HTTPServer, status: int, body: Any, kind: type[CloudError]
) -> None:
    data = body if isinstance(body, str) else json.dumps(body)
    odd.expect_request("/api/collect/").respond_with_data(data, status=status)
    refused(settings(odd.port), kind)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, PaymentRefused),
        (402, PaymentRefused),
        (422, PaymentRefused),
        (403, MobileMoneyDown),
        (429, MobileMoneyDown),
    ],
)
def test_other_refusals_are_told_in_campays_words(odd: HTTPServer, status: int, kind: type[CloudError]) -> None:
    words = f"No\r\nmore of {PHONE} with {PASSWORD}"
    odd.expect_request("/api/collect/").respond_with_json({"message": words}, status=status)
    assert "No more of 23767*****01 with …; nothing was charged" in refused(settings(odd.port), kind)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, '{"message": "ER999"}'),
        (502, "<h1>Bad Gateway</h1>"),
        (408, "{}"),
        (200, ""),
        (200, "{}"),
        (200, "[]"),
        (200, '{"reference": null}'),
        (200, '{"reference": 7}'),
        (200, '{"reference": ""}'),
        (200, '{"reference": "a\\nb"}'),
        (200, '{"reference": "r-1"'),
        (201, "\xff"),
        (204, ""),
    ],
)
def test_an_answer_without_a_reference_is_unclear(odd: HTTPServer, status: int, body: str) -> None:
    odd.expect_request("/api/collect/").respond_with_data(body, status=status)
    assert f"HTTP {status} without a reference" in unclear(settings(odd.port))
    assert len(odd.log) == 2


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_unclear_and_not_followed(odd: HTTPServer, status: int) -> None:
    elsewhere = {"Location": f"http://{HOST}:{odd.port}/elsewhere/"}
    odd.expect_request("/api/collect/").respond_with_data("", status=status, headers=elsewhere)
    unclear(settings(odd.port))
    assert [request.path for request, _ in odd.log] == ["/api/token/", "/api/collect/"]


def test_an_answer_past_the_limit_is_unclear(odd: HTTPServer) -> None:
    odd.expect_request("/api/collect/").respond_with_data("x" * (MOST_BYTES + 1))
    assert unclear(settings(odd.port)) == "an answer without an end"


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"data": {}}', '{"total_balance": "much"}', '{"status": "PENDING"}'])
def test_answers_to_looks_that_cannot_be_read_are_told(odd: HTTPServer, body: str) -> None:
    for path in ("/api/transaction/r-1/", "/api/history/", "/api/balance/"):
        odd.expect_request(path).respond_with_data(body)
    for look in (lambda: transaction(settings(odd.port), "r-1"), lambda: find(settings(odd.port), "p-1")):
        with pytest.raises(CampayDown):
            look()
    with pytest.raises(CampayDown):
        ask(settings(odd.port), Campay.balance)


def test_a_netrc_does_not_replace_our_token(odd: HTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine {HOST} login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    odd.expect_request("/api/collect/").respond_with_json({"reference": "r-1"})
    collect(settings(odd.port))
    assert odd.log[-1][0].headers["Authorization"] == f"Token {TOKEN}"


# Who is not there, says nothing, or hangs up


@contextmanager
def silent() -> Iterator[int]:
    """The port of a server that takes connections and says nothing."""
    with closing(socket.create_server((HOST, 0))) as line:
        yield line.getsockname()[1]


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


class Line:
    """A server of one's own: `/token/` is answered, and then `act` has the connection of every other request."""

    def __init__(self, act: Callable[[socket.socket], None]) -> None:
        self.requests = 0
        self._act = act
        self._line = socket.create_server((HOST, 0))
        self.port: int = self._line.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Line:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._line.shutdown(socket.SHUT_RDWR)
        self._line.close()
        self._thread.join(10)

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self._line.accept()
            except OSError:
                return
            with line, suppress(OSError):  # the client has left
                head = request_on(line)
                if b"/token/" in head:
                    body = json.dumps({"token": TOKEN, "expires_in": 3600}).encode()
                    line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
                elif head:
                    self.requests += 1
                    self._act(line)


def request_on(line: socket.socket) -> bytes:
    """All of it: what is closed before it was read resets the connection."""
    told = b""
    while b"\r\n\r\n" not in told:
        piece = line.recv(65536)
        if not piece:
            return b""
        told += piece
    head, _, body = told.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: ([0-9]+)", head)
    while length and len(body) < int(length[1]):
        body += line.recv(65536)
    return head


def reset(line: socket.socket) -> None:
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def hang_up(line: socket.socket) -> None:
    pass


def half(line: socket.socket) -> None:
    line.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"reference": "r-1"}')


def nonsense(line: socket.socket) -> None:
    line.sendall(b"SMTP ready\r\n\r\n")


@pytest.mark.parametrize("act", [reset, hang_up, half, nonsense])
def test_a_connection_that_breaks_after_the_request_is_unclear_and_sent_once(act: Callable[..., None]) -> None:
    with Line(act) as server:
        unclear(settings(server.port))
        assert server.requests == 1


def trickle_head(line: socket.socket) -> None:
    trickle(line, b"HTTP/1.1 200 OK\r\nX-Long: ")


def trickle_body(line: socket.socket) -> None:
    trickle(line, b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{"reference": "r-1"}')


def trickle(line: socket.socket, head: bytes) -> None:
    """One byte at a time, so that no socket's timeout is ever reached."""
    with suppress(OSError):  # until the client has left
        line.sendall(head)
        while True:
            line.sendall(b" ")
            time.sleep(0.02)


def say_nothing(line: socket.socket) -> None:
    with suppress(OSError):
        line.recv(1)  # until the client has left


@pytest.mark.parametrize("act", [trickle_head, trickle_body, say_nothing])
def test_a_server_that_keeps_us_waiting_is_left_at_the_deadline(act: Callable[..., None]) -> None:
    with Line(act) as server:
        started = time.monotonic()
        late(settings(server.port, timeout_s=SOON_S))
        assert time.monotonic() - started >= SOON_S


def test_nobody_there_means_surely_nothing_was_charged(deaf: int) -> None:
    assert "Connection refused; nothing was charged" in refused(settings(free_port()), MobileMoneyDown)
    assert "not done within 0.4 s" in refused(settings(deaf, timeout_s=SOON_S), MobileMoneyDown)
    nowhere = settings(1, base_url="https://campay.invalid/api", timeout_s=5)
    assert "no token: " in refused(nowhere, MobileMoneyDown)


def test_who_is_gone_between_token_and_collect_was_asked_nothing() -> None:
    """The request that matters itself is refused: still definite."""

    async def in_between(campay: Campay) -> None:
        await campay.balance()
        running.close()
        await campay.collect("p-1", 10, PHONE, "Starter")

    with ExitStack() as running:
        given = running.enter_context(SandboxServer()).settings()
        with pytest.raises(MobileMoneyDown, match="Connection refused"):
            ask(given, in_between)


# TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Certificate]:
    names = {"good": f"IP:{HOST}", "elsewhere": "DNS:campay.example"}
    return {name: Certificate.make(tmp_path_factory.mktemp(name), told) for name, told in names.items()}


@pytest.fixture(scope="module")
def secure(request: pytest.FixtureRequest, certificates: dict[str, Certificate]) -> Iterator[HTTPServer]:
    with HTTPServer(host=HOST, ssl_context=certificates[request.param].context()) as server:
        server.expect_request("/api/token/").respond_with_json({"token": TOKEN, "expires_in": 3600})
        server.expect_request("/api/collect/").respond_with_json({"reference": "r-1"})
        yield server


def over_tls(server: HTTPServer, authority: Certificate | None) -> Settings:
    ca_file = str(authority.file) if authority else ""
    return settings(0, base_url=f"https://{HOST}:{server.port}/api", ca_file=ca_file)


@pytest.mark.parametrize("secure", ["good"], indirect=True)
def test_a_certificate_that_is_trusted(secure: HTTPServer, certificates: dict[str, Certificate]) -> None:
    assert collect(over_tls(secure, certificates["good"])).reference == "r-1"


@pytest.mark.parametrize(
    ("secure", "authority"), [("good", None), ("good", "elsewhere"), ("elsewhere", "elsewhere")], indirect=["secure"]
)
def test_a_wrong_certificate_is_told_before_anything_is_sent(
    secure: HTTPServer, authority: str | None, certificates: dict[str, Certificate]
) -> None:
    given = over_tls(secure, certificates[authority] if authority else None)
    before = len(secure.log)
    assert "its certificate is not trusted: " in refused(given, MobileMoneyDown)
    assert len(secure.log) == before


def test_a_server_without_tls_is_sent_nothing(odd: HTTPServer) -> None:
    refused(settings(0, base_url=f"https://{HOST}:{odd.port}/api"), MobileMoneyDown)
    assert odd.log == []


def test_certificates_that_cannot_be_read_are_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsWrong, match=r"\[campay\] ca_file: .*missing\.pem"):
        Campay(settings(1, ca_file=str(tmp_path / "missing.pem")))


# Who leaves, and the end


@contextmanager
def busy(turns: module.Turns) -> Iterator[None]:
    """All of its threads have other things to do."""
    free = threading.Event()
    for _ in range(module.THREADS):
        turns._threads.submit(free.wait)
    try:
        yield
    finally:
        free.set()


def test_what_was_asked_for_is_done_though_its_caller_leaves(server: SandboxServer) -> None:
    async def leave(campay: Campay) -> None:
        with busy(campay._collecting):
            asking = asyncio.create_task(campay.collect("p-1", 10, PHONE, "Starter"))
            await asyncio.sleep(0)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
        await asyncio.to_thread(wait, lambda: server.sandbox.transactions)

    ask(server.settings(), leave)
    assert server.sandbox.requests["/collect/"] == 1


def test_who_is_closed_ends_what_is_under_way() -> None:
    begun = threading.Event()

    def stay(line: socket.socket) -> None:
        begun.set()
        say_nothing(line)

    async def close(campay: Campay) -> float:
        asking = asyncio.create_task(campay.collect("p-1", 10, PHONE, "Starter"))
        await asyncio.to_thread(begun.wait, 10)
        started = time.monotonic()
        campay.close()
        with pytest.raises(Unclear, match="the gateway is stopping"):
            await asking
        with pytest.raises(MobileMoneyDown, match="the gateway is stopping"):
            await campay.collect("p-2", 10, PHONE, "Starter")
        return time.monotonic() - started

    with Line(stay) as server:
        assert ask(settings(server.port, timeout_s=100), close) < PATIENCE_S


def test_whose_turn_does_not_come_in_time_is_not_sent(server: SandboxServer) -> None:
    async def queue(campay: Campay) -> None:
        with busy(campay._collecting):
            asking = asyncio.create_task(campay.collect("p-1", 10, PHONE, "Starter"))
            await asyncio.sleep(SOON_S)
        with pytest.raises(MobileMoneyDown, match=r"its turn did not come within 0\.1 s"):
            await asking

    ask(server.settings(timeout_s=0.1), queue)
    assert server.sandbox.transactions == {}


def test_who_buys_does_not_wait_for_those_who_look(server: SandboxServer) -> None:
    async def buy(campay: Campay) -> str:
        with busy(campay._looking):
            looks = [asyncio.create_task(campay.balance()) for _ in range(module.AT_ONCE)]
            await asyncio.sleep(0)
            reference = (await campay.collect("p-1", 10, PHONE, "Starter")).reference
        await asyncio.gather(*looks)
        return reference

    assert ask(server.settings(), buy) in server.sandbox.transactions


def test_too_many_at_once_fail_without_waiting() -> None:
    async def flood(campay: Campay) -> float:
        calls = [asyncio.create_task(campay.collect("p-0", 10, PHONE, "Starter")) for _ in range(module.AT_ONCE)]
        await asyncio.sleep(0)
        started = time.monotonic()
        with pytest.raises(MobileMoneyDown, match="under way already"):
            await campay.collect("p-1", 10, PHONE, "Starter")
        took = time.monotonic() - started
        campay.close()
        await asyncio.gather(*calls, return_exceptions=True)
        return took

    with silent() as port:
        assert ask(settings(port, timeout_s=100), flood) < PATIENCE_S
