"""The webhook: a real listener on a real socket, whom it lets ring, and whom it does not."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import jwt
import pytest
import requests

from cloudgrpc.errors import DatabaseUnavailable, PortInUse
from cloudgrpc.outside.webhook import signature_of
from cloudgrpc.servers.http_listener import HttpListener
from cloudgrpc.services.http import ID_LETTERS, MOST_BYTES, build_app
from program import HOST, PATIENCE_S
from sandbox import WEBHOOK_KEY, SandboxServer, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cloudgrpc.errors import CloudError

TOLD = {"status": "SUCCESSFUL", "reference": "r-1", "external_reference": "p-1", "amount": "10"}
OFTEN = 6_000


class Bell:
    """Stands for the gateway's payments: keeps who rang, and fails when told to."""

    def __init__(self) -> None:
        self.rung: list[tuple[str, str]] = []
        self.failure: CloudError | None = None

    async def ring(self, external_reference: str, reference: str) -> None:
        self.rung.append((external_reference, reference))
        if self.failure is not None:
            raise self.failure


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[Bell, str]]:
    bell = Bell()
    with serving(build_app(bell, WEBHOOK_KEY, OFTEN)) as port:
        yield bell, f"http://{HOST}:{port}/webhooks/campay"


@pytest.fixture
def bell(shared: tuple[Bell, str]) -> Bell:
    bell, _ = shared
    bell.rung.clear()
    bell.failure = None
    return bell


@pytest.fixture
def url(shared: tuple[Bell, str]) -> str:
    return shared[1]


def signature(key: str = WEBHOOK_KEY, **claims: Any) -> str:
    return signature_of({"iat": int(time.time()), **claims}, key)


def in_query(url: str, told: dict[str, Any]) -> int:
    return requests.get(url, params=told, timeout=10).status_code


def in_query_of_post(url: str, told: dict[str, Any]) -> int:
    return requests.post(url, params=told, timeout=10).status_code


def in_form(url: str, told: dict[str, Any]) -> int:
    return requests.post(url, data=told, timeout=10).status_code


def in_json(url: str, told: dict[str, Any]) -> int:
    return requests.post(url, json=told, timeout=10).status_code


WAYS = [in_query, in_query_of_post, in_form, in_json]


@pytest.mark.parametrize("way", WAYS)
def test_who_is_signed_rings_however_the_parameters_come(bell: Bell, url: str, way: Callable[..., int]) -> None:
    assert way(url, {**TOLD, "signature": signature()}) == 200
    assert bell.rung == [("p-1", "r-1")]


def part(fields: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(fields).encode()).rstrip(b"=").decode()


BAD = {
    "missing": None,
    "empty": "",
    "garbage": "garbage",
    "dots": "..",
    "another key": signature("another-key-of-thirty-two-letters"),
    "HS512": jwt.encode({"iat": 1}, WEBHOOK_KEY.encode().ljust(64, b"\0"), algorithm="HS512"),
    "none": f"{part({'alg': 'none', 'typ': 'JWT'})}.{part({'iat': 1})}.",
    "none, signed": f"{part({'alg': 'none', 'typ': 'JWT'})}.{part({'iat': 1})}.{signature().rpartition('.')[2]}",
    "expired": signature(exp=int(time.time()) - 60),
    "cut": signature()[:-4],
    "a header without end": base64.urlsafe_b64encode(b"[" * 3000).decode().rstrip("=") + ".e30.e30",
    "not ASCII": "ä.ö.ü",
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_signature_changes_nothing(bell: Bell, url: str, name: str) -> None:
    for way in WAYS:
        told = TOLD if BAD[name] is None else {**TOLD, "signature": BAD[name]}
        assert way(url, told) == 403
    assert bell.rung == []


def test_a_body_that_is_no_form_and_no_json_object_says_nothing(bell: Bell, url: str) -> None:
    for body in (b"{", b"[1]", b'{"signature": 1}', b"\xff\xfe", b"[" * 10_000, b"a=1&" * 3_000):
        for kind in ("application/json", "application/x-www-form-urlencoded"):
            assert requests.post(url, data=body, headers={"Content-Type": kind}, timeout=10).status_code == 403
    assert bell.rung == []


def test_a_body_past_the_limit_is_not_read_however_it_comes(bell: Bell, url: str) -> None:
    told = {**TOLD, "signature": signature(), "more": "x" * MOST_BYTES}
    assert in_form(url, told) == 413
    pieces = (b"x" * 1000 for _ in range(40))  # chunked: no length is announced
    assert requests.post(url, data=pieces, timeout=10).status_code == 413
    assert bell.rung == []


def test_who_calls_too_often_waits(bell: Bell) -> None:
    with serving(build_app(bell, WEBHOOK_KEY, 3)) as port:
        url = f"http://{HOST}:{port}/webhooks/campay"
        told = {**TOLD, "signature": signature()}
        assert [in_query(url, told) for _ in range(4)] == [200, 200, 200, 429]
        refused = requests.get(url, params=told, timeout=10)
        assert 0 < int(refused.headers["Retry-After"]) <= 20
    assert len(bell.rung) == 3


def test_bad_signatures_count_as_calls_too(bell: Bell) -> None:
    with serving(build_app(bell, WEBHOOK_KEY, 2)) as port:
        url = f"http://{HOST}:{port}/webhooks/campay"
        assert [in_query(url, TOLD) for _ in range(3)] == [403, 403, 429]


def test_behind_a_proxy_the_address_counts_that_the_proxy_saw(bell: Bell) -> None:
    with serving(build_app(bell, WEBHOOK_KEY, 1, behind_proxy=True)) as port:
        url = f"http://{HOST}:{port}/webhooks/campay"
        told = {**TOLD, "signature": signature()}

        def call(seen: str) -> int:
            return requests.get(url, params=told, headers={"X-Forwarded-For": seen}, timeout=10).status_code

        assert [call("9.9.9.9, 10.0.0.1"), call("8.8.8.8, 10.0.0.1"), call("10.0.0.2")] == [200, 429, 200]


def test_without_a_key_nothing_can_be_checked(bell: Bell) -> None:
    with serving(build_app(bell, "", OFTEN)) as port:
        for signed in (signature(), jwt.encode({}, "\0" * 64, algorithm="HS256")):
            assert in_query(f"http://{HOST}:{port}/webhooks/campay", {**TOLD, "signature": signed}) == 503
    assert bell.rung == []


def test_while_the_database_is_away_campay_is_asked_to_call_again(bell: Bell, url: str) -> None:
    bell.failure = DatabaseUnavailable(reason="away")
    assert in_query(url, {**TOLD, "signature": signature()}) == 503
    bell.failure = None
    assert in_query(url, {**TOLD, "signature": signature()}) == 200


def test_there_is_nothing_else(bell: Bell, url: str) -> None:
    site = url.removesuffix("/webhooks/campay")
    for path in ("/", "/webhooks", "/webhooks/campay/", "/webhooks/campay/x", "/docs", "//"):
        assert requests.get(site + path, timeout=10, allow_redirects=False).status_code == 404
    assert requests.put(url, timeout=10).status_code == 405
    assert bell.rung == []


def test_only_short_ids_of_a_call_are_passed_on_and_logged(
    bell: Bell, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    bell.failure = DatabaseUnavailable(reason="away")
    told = {"external_reference": "p\n\x1b[31m" + "x" * 500, "reference": "r" * 500, "operator": "0xSECRET"}
    assert in_query(url, {**told, "signature": signature()}) == 503
    ((payment_id, reference),) = bell.rung
    assert payment_id.isprintable()
    assert (len(payment_id), len(reference)) == (ID_LETTERS - 2, ID_LETTERS)
    assert payment_id in caplog.text
    assert "SECRET" not in caplog.text
    assert signature()[:20] not in caplog.text


def test_who_leaves_within_the_body_leaves_no_trace(bell: Bell, url: str, caplog: pytest.LogCaptureFixture) -> None:
    port = urlsplit(url).port
    with socket.create_connection((HOST, port)) as line:
        line.sendall(b"POST /webhooks/campay HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nsignature=")
    assert in_query(url, {**TOLD, "signature": signature()}) == 200
    assert len(bell.rung) == 1
    assert caplog.records == []


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_sandbox_rings_as_campay_does(bell: Bell, url: str, method: str) -> None:
    with SandboxServer(url) as campay:
        campay.sandbox.ring_method = method
        answer = requests.post(
            f"http://{HOST}:{campay.port}/api/token/",
            json={"username": campay.settings().username, "password": campay.settings().password},
            timeout=10,
        )
        request = {"amount": "10", "currency": "XAF", "from": "237670000014", "external_reference": "p-14"}
        collected = requests.post(
            f"http://{HOST}:{campay.port}/api/collect/",
            json=request,
            headers={"Authorization": f"Token {answer.json()['token']}"},
            timeout=10,
        )
        reference = collected.json()["reference"]
        deadline = time.monotonic() + PATIENCE_S
        while len(bell.rung) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert bell.rung == [("p-14", reference)] * 2  # 14 calls twice
        assert campay.sandbox.ring(reference, signature="wrong") == 403
        assert campay.sandbox.ring(reference, external_reference="nobody's") == 200
    assert len(bell.rung) == 3


def test_a_port_in_use_is_told_with_the_setting_to_change(bell: Bell) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        listener = HttpListener(build_app(bell, WEBHOOK_KEY, OFTEN), HOST, port, "[http] port")
        with pytest.raises(PortInUse, match=f"Port {port} ") as refused:
            asyncio.run(listener.start())
    assert refused.value.advice == "Choose another port with [http] port."
