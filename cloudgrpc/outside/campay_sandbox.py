"""A Campay of our own: its HTTP API and webhook calls, with numbers that succeed, fail, come late and lie.

It takes no money. The gateway speaks to it as to Campay, so that a laptop runs the code that production does.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import requests
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cloudgrpc.core.phone import COUNTRY, LOCAL_DIGITS, USSD, masked, operator_of
from cloudgrpc.errors import PhoneWrong
from cloudgrpc.outside.campay_answers import whole_xaf
from cloudgrpc.outside.campay_ledger import Ledger, Transaction
from cloudgrpc.outside.campay_plays import SUCCESSFUL, Play, Reply, play_of
from cloudgrpc.outside.webhook import signature_of
from cloudgrpc.sales import Payments

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from starlette.requests import Request

    Handler = Callable[[Request], Awaitable[Response]]

MOST_XAF = 1_000_000
LATE_S = 60.0  # past any client's timeout
TOKEN_S = 3600
WEBHOOK_S = 5.0
SIGNED_FOR_S = 300
NAMES = {"mtn_momo": "MTN", "orange_money": "ORANGE"}


class Sandbox:
    """`pace`: what its delays are multiplied by. `tell`: hears a line of everything worth a look.

    Tests steer it from any thread: `settle`, `ring`, `forget_tokens`, `ring_method`, `token_s`; and see `transactions`
    and `requests`, how often each path was asked.
    """

    def __init__(
        self,
        username: str,
        password: str,
        webhook_key: str,
        webhook_url: str,
        *,
        pace: float = 1.0,
        journal: Path | None = None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.requests: Counter[str] = Counter()
        self.ring_method = "GET"
        self.token_s = TOKEN_S
        self.late_s = LATE_S * pace
        self.webhook_url = webhook_url
        self._credentials = (username, password)
        self._key = webhook_key
        self._pace = pace
        self._tell = tell
        self._ledger = Ledger(journal)
        self._tokens: dict[str, float] = {}
        self._playing: set[asyncio.Task[None]] = set()
        self.app = self._build()

    @property
    def transactions(self) -> dict[str, Transaction]:
        return self._ledger.transactions

    def resume(self) -> None:
        """Go on with what an earlier run left unfinished; within the loop that serves."""
        for transaction in list(self.transactions.values()):
            self._start(transaction)

    async def close(self) -> None:
        for task in self._playing:
            task.cancel()
        await asyncio.gather(*self._playing, return_exceptions=True)

    def settle(self, reference: str, status: str) -> None:
        """By hand; what else would have become of it does not."""
        transaction = self.transactions[reference]
        transaction.steps_done = len(play_of(transaction.phone).steps)
        self._become(transaction, status)

    def forget_tokens(self) -> None:
        self._tokens.clear()

    def ring(self, reference: str, **changes: str) -> int:
        """Call the webhook and wait for its HTTP status; 0: nobody listens. `changes`: parameters that differ."""
        told = {**_called(self.transactions[reference]), "signature": self._signature(), **changes}
        place = "params" if self.ring_method == "GET" else "data"
        try:
            with requests.Session() as session:
                session.trust_env = False
                answer = session.request(self.ring_method, self.webhook_url, timeout=WEBHOOK_S, **{place: told})  # type: ignore[arg-type]
        except requests.RequestException as error:
            self._tell(f"webhook for {reference}: {type(error).__name__}")
            return 0
        self._tell(f"webhook for {reference}: {answer.status_code}")
        return answer.status_code

    def _signature(self) -> str:
        now = int(time.time())
        return signature_of({"iat": now, "exp": now + SIGNED_FOR_S}, self._key) if self._key else ""

    # What becomes of a transaction

    def _start(self, transaction: Transaction) -> None:
        if transaction.steps_done < len(play_of(transaction.phone).steps):
            task = asyncio.get_running_loop().create_task(self._play(transaction))
            self._playing.add(task)
            task.add_done_callback(self._playing.discard)

    async def _play(self, transaction: Transaction) -> None:
        steps = play_of(transaction.phone).steps
        for number, step in enumerate(steps, 1):
            if number <= transaction.steps_done:
                continue
            await asyncio.sleep(max(0.0, transaction.made_at + step.after_s * self._pace - time.time()))
            if number <= transaction.steps_done:  # settled by hand meanwhile
                return
            transaction.steps_done = number
            self._become(transaction, step.status)
            for _ in range(step.rings if self.webhook_url else 0):
                await asyncio.to_thread(self.ring, transaction.reference)

    def _become(self, transaction: Transaction, status: str) -> None:
        transaction.become(status)
        self._ledger.put(transaction)
        self._tell(f"transaction {transaction.reference}: {status}")

    # What Campay answers

    def _build(self) -> Starlette:
        routes = [
            Route("/api/token/", self._counted(self._token), methods=["POST"]),
            Route("/api/collect/", self._counted(self._signed_in(self._collect)), methods=["POST"]),
            Route("/api/transaction/{reference}/", self._counted(self._signed_in(self._transaction))),
            Route("/api/history/", self._counted(self._signed_in(self._history)), methods=["GET", "POST"]),
            Route("/api/balance/", self._counted(self._signed_in(self._balance))),
        ]
        app = Starlette(routes=routes)
        app.router.redirect_slashes = False
        return app

    def _counted(self, answer: Handler) -> Handler:
        async def count(request: Request) -> Response:
            self.requests["/" + request.url.path.split("/")[2] + "/"] += 1
            return await answer(request)

        return count

    def _signed_in(self, answer: Handler) -> Handler:
        async def check(request: Request) -> Response:
            kind, _, token = request.headers.get("authorization", "").partition(" ")
            if kind != "Token" or time.monotonic() >= self._tokens.get(token, 0):
                return JSONResponse({"detail": "Invalid token."}, 401)
            return await answer(request)

        return check

    async def _token(self, request: Request) -> Response:
        told = await _fields(request)
        if (told.get("username"), told.get("password")) != self._credentials:
            self._tell("token: refused, the username or the password is wrong")
            return JSONResponse({"non_field_errors": ["Unable to log in with provided credentials."]}, 400)
        token = secrets.token_hex(20)
        self._tokens[token] = time.monotonic() + self.token_s
        return JSONResponse({"token": token, "expires_in": self.token_s})

    async def _collect(self, request: Request) -> Response:
        told = await _fields(request)
        phone, amount = str(told.get("from", "")), whole_xaf(told.get("amount"))
        operator = _operator(phone)
        if operator is None:
            return self._refused("ER101", "Invalid phone number. It must begin with 237")
        if not operator:
            return self._refused("ER102", "Unsupported phone number carrier. Only MTN and Orange are accepted")
        if amount is None or not 1 <= amount <= MOST_XAF or told.get("currency", "XAF") != "XAF":
            return self._refused("ER201", "Invalid amount. Decimal numbers are not allowed")
        play = play_of(phone)
        self._tell(f"collect {amount} XAF from {masked(phone)}: {play.words}")
        if play.reply is Reply.REFUSED:
            return self._refused("ER301", "Insufficient balance")
        if not play.is_made:
            return _server_error()
        made = Transaction(
            external_reference=str(told.get("external_reference", "")),
            phone=phone,
            operator=NAMES[operator],
            amount=amount + play.extra_xaf,
            description=str(told.get("description", "")),
        )
        self._ledger.put(made)
        return await self._reply(request, play, made, USSD[operator])

    async def _reply(self, request: Request, play: Play, made: Transaction, ussd_code: str) -> Response:
        if play.reply is Reply.LATE:
            await _until_gone(request, self.late_s)
        self._start(made)
        if play.reply is Reply.CUT:
            return await _cut(request)
        if play.reply is Reply.ERROR:
            return _server_error()
        return JSONResponse({"reference": made.reference, "ussd_code": ussd_code, "operator": made.operator.lower()})

    def _refused(self, code: str, words: str) -> Response:
        self._tell(f"collect: refused, {code}: {words}")
        return JSONResponse({"message": words, "error_code": code}, 400)

    async def _transaction(self, request: Request) -> Response:
        transaction = self.transactions.get(request.path_params["reference"])
        if transaction is None:
            return JSONResponse({"message": "Transaction not found"}, 404)
        return JSONResponse(transaction.record())

    async def _history(self, request: Request) -> Response:
        told = {**request.query_params, **await _fields(request)}
        try:
            first, last = (datetime.fromisoformat(str(told[key])).date() for key in ("start_date", "end_date"))
        except (KeyError, ValueError):
            return JSONResponse({"message": "start_date and end_date must be YYYY-MM-DD"}, 400)
        within = [
            transaction.entry()
            for transaction in self.transactions.values()
            if first <= datetime.fromtimestamp(transaction.made_at, UTC).date() <= last
        ]
        return JSONResponse({"data": within})

    async def _balance(self, _request: Request) -> Response:
        sums = Counter(dict.fromkeys(NAMES.values(), 0))
        for transaction in self.transactions.values():
            sums[transaction.operator] += transaction.amount if transaction.status == SUCCESSFUL else 0
        by_operator = {f"{name.lower()}_balance": float(amount) for name, amount in sums.items()}
        return JSONResponse({"total_balance": float(sums.total()), **by_operator, "currency": "XAF"})


def _operator(phone: str) -> str | None:
    """None: it is no number at all; "": of an operator that is not served."""
    if not (phone.isascii() and phone.isdigit() and phone.startswith(COUNTRY)):
        return None
    if len(phone) != len(COUNTRY) + LOCAL_DIGITS:
        return None
    sold = Payments()
    try:
        return operator_of(phone, {"mtn_momo": sold.mtn_prefixes, "orange_money": sold.orange_prefixes})
    except PhoneWrong:
        return ""


def _called(transaction: Transaction) -> dict[str, str]:
    """What a webhook call says."""
    names = ("status", "reference", "currency", "operator", "code", "operator_reference", "external_reference")
    told = transaction.record()
    return {**{name: str(told[name]) for name in names}, "amount": str(transaction.amount), "external_user": ""}


async def _fields(request: Request) -> dict[str, Any]:
    try:
        told = await request.json()
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


async def _until_gone(request: Request, most_s: float) -> None:
    """Until the client leaves, but no longer than this."""
    try:
        async with asyncio.timeout(most_s):
            while (await request.receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        pass


async def _cut(request: Request) -> Response:
    """ASGI has no way to hang up, so it is the server's own connection that is ended here."""
    request.receive.__self__.transport.abort()  # type: ignore[attr-defined]
    await _until_gone(request, 1.0)
    return Response()  # goes nowhere


def _server_error() -> Response:
    return JSONResponse({"message": "Something went wrong"}, 500)
