"""What the gateway answers over HTTP: Campay's webhook, and those who watch it.

A call of the webhook is a doorbell. It is judged by its signature alone and leads to Campay's own record; what it says
of status and amount is not even read.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from cloudgrpc.core.pace import Rule, in_seconds, take_turn
from cloudgrpc.core.peers import visitor_of
from cloudgrpc.errors import CloudError
from cloudgrpc.outside.webhook import is_signed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request

log = logging.getLogger(__name__)

PATH = "/webhooks/campay"
MOST_BYTES = 16 << 10
MOST_FIELDS = 100
PATIENCE_S = 10.0  # for the body
ID_LETTERS = 64
MOST_PEERS = 10_000
MINUTE_US = 60_000_000


class Payments(Protocol):
    async def ring(self, external_reference: str, reference: str) -> None:
        """See how this payment stands; one that is not known is no error. Raises: CloudError."""


def build_app(
    payments: Payments,
    webhook_key: str,
    per_minute: int,
    *,
    behind_proxy: bool = False,
    watched: Sequence[Route] = (),
) -> Starlette:
    """`per_minute`: for each peer's address. `behind_proxy`: as in [gateway]. `watched`: observing.routes."""
    webhook = Webhook(payments, webhook_key, per_minute, behind_proxy=behind_proxy)
    app = Starlette(routes=[Route(PATH, webhook.answer, methods=["GET", "POST"]), *watched])
    app.router.redirect_slashes = False  # to what would be a path more
    return app


class Webhook:
    def __init__(self, payments: Payments, key: str, per_minute: int, *, behind_proxy: bool) -> None:
        self._payments = payments
        self._key = key
        self._pace = PerMinute(per_minute)
        self._behind_proxy = behind_proxy

    async def answer(self, request: Request) -> Response:
        wait_s = self._pace.take(self._peer(request))
        if wait_s:
            return _said(429, "too many calls", {"Retry-After": str(wait_s)})
        try:
            body = await _body(request)
        except (TimeoutError, ClientDisconnect):
            return _said(408, "the body did not come")
        if body is None:
            return _said(413, f"more than {MOST_BYTES} bytes", {"Connection": "close"})
        return await self._heard(_parameters(request, body))

    async def _heard(self, told: dict[str, str]) -> Response:
        """The same for payments that are known and unknown: the caller learns nothing."""
        if not self._key:
            log.warning("a webhook call cannot be checked: [campay] webhook_key is not set")
            return _said(503, "cannot be checked now")
        if not is_signed(told.get("signature", ""), self._key):
            log.warning("a webhook call without a good signature was refused")
            return _said(403, "the signature is wrong")
        payment_id, reference = _id(told.get("external_reference", "")), _id(told.get("reference", ""))
        try:
            await self._payments.ring(payment_id, reference)
        except CloudError as error:
            log.warning("webhook call for payment %s, transaction %s: %s", payment_id, reference, error)
            return _said(503, "cannot be checked now")
        return _said(200, "ok")

    def _peer(self, request: Request) -> str:
        host = request.client.host if request.client else ""
        forwarded = request.headers.get("x-forwarded-for", "")
        return visitor_of(f"ipv4:{host}:0", forwarded, "", behind_proxy=self._behind_proxy).host


class PerMinute:
    """How many calls a minute somebody may make, counted in this process."""

    def __init__(self, count: int) -> None:
        self._rule = Rule("", max(1, MINUTE_US // count), count)
        self._due: dict[str, int] = {}

    def take(self, name: str) -> int:
        """0, or the seconds to wait."""
        moment = time.monotonic_ns() // 1000
        self._due[name], wait_us = take_turn(self._rule, self._due.get(name, 0), moment)
        if len(self._due) > MOST_PEERS:
            self._due = {name: due for name, due in self._due.items() if due > moment}
        return in_seconds(wait_us)


async def _body(request: Request) -> bytes | None:
    """None: it is too long, and the rest was not read. Raises: TimeoutError."""
    body = b""
    async with asyncio.timeout(PATIENCE_S):
        async for piece in request.stream():
            body += piece
            if len(body) > MOST_BYTES:
                return None
    return body


def _parameters(request: Request, body: bytes) -> dict[str, str]:
    """From the query, and over it from the body: a form, or JSON. What cannot be read is not there."""
    told = dict(request.query_params)
    text = body.decode(errors="replace").strip()
    if "json" not in request.headers.get("content-type", "") and not text.startswith("{"):
        try:
            return told | dict(parse_qsl(text, max_num_fields=MOST_FIELDS))
        except ValueError:
            return told
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return told
    if isinstance(fields, dict):
        told |= {key: value for key, value in fields.items() if isinstance(value, str)}
    return told


def _id(told: str) -> str:
    """An id of ours or of Campay's, as it may stand in a log."""
    return "".join(letter for letter in told[:ID_LETTERS] if letter.isprintable())


def _said(status: int, words: str, headers: dict[str, str] | None = None) -> Response:
    return PlainTextResponse(f"{words}\n", status, headers)
