"""Campay, which takes mobile money: its HTTP API through requests, in a few threads of its own.

What matters is what is certain. Nothing was sent, or Campay says no: surely no money moves. Campay names a transaction:
it is asked how that stands. Everything between is `Unclear`: the money may move, and must be found out.
"""

from __future__ import annotations

import asyncio
import logging
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from cloudgrpc.core.payment_states import CURRENCY
from cloudgrpc.core.phone import masked
from cloudgrpc.errors import CampayDown, MobileMoneyDown
from cloudgrpc.outside import campay_answers as answers
from cloudgrpc.outside.campay_answers import Answer, Unanswered

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from cloudgrpc.core.payment_states import Record
    from cloudgrpc.outside.campay_answers import Told
    from cloudgrpc.outside.campay_http import Http
    from cloudgrpc.sales import Campay as Settings

log = logging.getLogger(__name__)
T = TypeVar("T")

THREADS = 4
AT_ONCE = THREADS + 32
EARLY_S = 60.0  # a token is renewed so long before it ends, but never sooner than in the last tenth of its life
UNTOLD_LIFE_S = 60.0
LONGEST_LIFE_S = 86400.0
TOKEN = re.compile(r"[!-~]{1,4096}")
OURS = frozenset({401, 403, 404, 405, 429})  # the gateway's fault or Campay's, not the buyer's; nothing was begun


@dataclass(frozen=True)
class Collected:
    """Campay has asked the phone's owner to confirm."""

    reference: str
    ussd_code: str


class Unclear(Exception):
    """Campay may have been asked to collect, and may take the money: never to be asked again blindly. Holds why."""


class Campay:
    """Every HTTP exchange ends within `timeout_s`; a call takes four at most, when its token ended unexpectedly, after
    waiting for its turn no longer than that. A caller that is cancelled leaves; what it asked for is done all the same.

    Raises: SettingsWrong when the certificates to trust cannot be read.
    """

    def __init__(self, settings: Settings) -> None:
        # Importing requests takes 0.1 s, which a gateway that sells nothing does not pay.
        from cloudgrpc.outside.campay_http import Http

        self.mode = settings.mode
        self._secrets = (settings.password, settings.username)
        self._http = Http(settings)
        self._token = Token(self._http, settings.username, settings.password)
        # Those who buy wait for nobody who only looks.
        self._collecting = Turns("campay-collect", settings.timeout_s)
        self._looking = Turns("campay-look", settings.timeout_s)

    async def collect(self, payment_id: str, amount_xaf: int, phone: str, description: str) -> Collected:
        """Ask for money, once. `payment_id` is our `external_reference`; `phone`: 237 and nine digits.

        Raises: PhoneWrong, AmountRefused, PaymentRefused, MobileMoneyDown, when surely no money can move; Unclear.
        """
        request = {
            "amount": str(amount_xaf),
            "currency": CURRENCY,
            "from": phone,
            "description": description,
            "external_reference": payment_id,
        }
        try:
            answer = await self._collecting.run(lambda: self._ask("POST", "/collect/", request))
        except Unanswered as error:
            log.warning("collect for payment %s, from %s: %s", payment_id, masked(phone), error)
            if error.was_sent:
                # The operator may still take the money: failing here would charge without delivering.
                raise Unclear(str(error)) from None
            raise MobileMoneyDown(reason=error) from None
        try:
            return self._collected(answer)
        except Exception as error:
            log.warning("collect for payment %s, from %s: %s", payment_id, masked(phone), error)
            raise

    async def transaction(self, reference: str) -> Record | None:
        """Campay's own record; None: it knows no such transaction. Raises: CampayDown."""
        answer = await self._look("GET", f"/transaction/{quote(reference, safe='')}/")
        if answer.status == 404 and isinstance(answer.body, dict):  # else it is a wrong URL's page
            return None
        return _found(answers.record_in(self._good(answer)))

    async def find(self, payment_id: str, since: datetime, until: datetime) -> str | None:
        """The reference of the transaction that names our payment, from Campay's history of these days; None: there is
        none so far. Raises: CampayDown."""
        return answers.find_payment(await self._history(since, until), payment_id)

    async def told(self, since: datetime, until: datetime) -> list[Told]:
        """All that Campay's history of these days tells. Raises: CampayDown."""
        return answers.told_in(await self._history(since, until))

    async def balance(self) -> int:
        """XAF in the account at Campay. Raises: CampayDown."""
        body = self._good(await self._look("GET", "/balance/"))
        return _found(answers.floor_xaf(body.get("total_balance")) if isinstance(body, dict) else None)

    def close(self) -> None:
        """End what is under way: the process would wait for it."""
        self._http.close()
        self._collecting.close()
        self._looking.close()

    async def _history(self, since: datetime, until: datetime) -> list[dict[str, Any]]:
        # Whose midnight parts Campay's days, and whether the last one is within, is not documented.
        first, last = since.astimezone(UTC).date(), until.astimezone(UTC).date() + timedelta(days=1)
        days = {"start_date": first.isoformat(), "end_date": last.isoformat()}
        answer = await self._look("POST", "/history/", days)
        return _found(answers.history_in(self._good(answer)))

    async def _look(self, method: str, path: str, body: dict[str, str] | None = None) -> Answer:
        try:
            return await self._looking.run(lambda: self._ask(method, path, body))
        except Unanswered as error:
            raise CampayDown(reason=error) from None

    def _ask(self, method: str, path: str, body: dict[str, str] | None) -> Answer:
        """In a thread. A token that Campay refuses is renewed once; whatever was asked with it was not done."""
        token = self._token.get()
        answer = self._http.exchange(method, path, token, body)
        if answer.status == 401:
            answer = self._http.exchange(method, path, self._token.get(refused=token), body)
        return answer

    def _collected(self, answer: Answer) -> Collected:
        reference = answers.reference_in(answer.body)
        if 200 <= answer.status < 300 and reference:
            return Collected(reference, answers.printable(str(answer.body.get("ussd_code") or "")))
        code = answers.error_code(answer.body, answer.text)
        if code:
            raise answers.refusal(code, self._saying(answer))
        if answer.status in OURS:
            raise MobileMoneyDown(reason=self._saying(answer))
        # 408: a proxy lost patience, perhaps with Campay.
        if 400 <= answer.status < 500 and answer.status != 408:
            raise answers.refusal("", self._saying(answer))
        raise Unclear(f"HTTP {answer.status} without a reference: {self._saying(answer)}")

    def _good(self, answer: Answer) -> Any:
        if answer.status == 200 and answer.body is not None:
            return answer.body
        raise CampayDown(reason=f"HTTP {answer.status}: {self._saying(answer)}")

    def _saying(self, answer: Answer) -> str:
        return answers.saying(answer.body, answer.text, (*self._secrets, self._token.now))


class Turns:
    """A few threads, not the loop's own: an API that hangs would hold up whoever else needs one."""

    def __init__(self, name: str, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix=name)
        self._room = threading.BoundedSemaphore(AT_ONCE)

    async def run(self, work: Callable[[], T]) -> T:
        """Raises: Unanswered, as never sent, when there is no turn for it in time; and what `work` raises."""
        if not self._room.acquire(blocking=False):
            raise Unanswered(f"{AT_ONCE} questions are under way already", was_sent=False)
        asked_at = time.monotonic()
        try:
            task = self._threads.submit(lambda: self._in_time(asked_at, work))
        except RuntimeError:  # closed
            self._room.release()
            raise Unanswered("the gateway is stopping", was_sent=False) from None
        task.add_done_callback(lambda _: self._room.release())
        return await asyncio.shield(asyncio.wrap_future(task))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _in_time(self, asked_at: float, work: Callable[[], T]) -> T:
        """Whoever asked long ago may have given up; a phone that rings then would be a riddle to its owner."""
        if time.monotonic() - asked_at >= self._timeout_s:
            raise Unanswered(f"its turn did not come within {self._timeout_s:g} s", was_sent=False)
        return work()


class Token:
    """What the other calls are made with, kept until shortly before it ends; for several threads, of which one renews
    it for all."""

    def __init__(self, http: Http, username: str, password: str) -> None:
        self.now = ""
        self._http = http
        self._credentials = {"username": username, "password": password}
        self._lock = threading.Lock()
        self._until = 0.0
        self._failed_at = -1.0
        self._failure = ""

    def get(self, refused: str = "") -> str:
        """`refused`: the token that Campay took no more. Raises: Unanswered, as never sent."""
        asked_at = time.monotonic()
        with self._lock:
            if self.now and self.now != refused and time.monotonic() < self._until:
                return self.now
            if self._failed_at >= asked_at:  # while we waited for the lock: asking on would only take as long again
                raise Unanswered(self._failure, was_sent=False)
            try:
                self.now, self._until = self._renew()
            except Unanswered as error:
                self._failure, self._failed_at = f"no token: {error}", time.monotonic()
                raise Unanswered(self._failure, was_sent=False) from None
            return self.now

    def _renew(self) -> tuple[str, float]:
        started = time.monotonic()
        answer = self._http.exchange("POST", "/token/", body=self._credentials)
        body = answer.body if isinstance(answer.body, dict) else {}
        token = body.get("token")
        if answer.status != 200:
            raise Unanswered(self._refusal(answer), was_sent=True)
        if not isinstance(token, str) or not TOKEN.fullmatch(token):
            raise Unanswered("the answer holds none", was_sent=True)  # not quoted: it may hold one after all
        life_s = min(float(answers.floor_xaf(body.get("expires_in")) or UNTOLD_LIFE_S), LONGEST_LIFE_S)
        return token, started + life_s - min(EARLY_S, life_s / 10)

    def _refusal(self, answer: Answer) -> str:
        return f"HTTP {answer.status}: {answers.saying(answer.body, answer.text, self._credentials.values())}"


def _found(read: T | None) -> T:
    if read is None:
        raise CampayDown(reason="its answer cannot be read")
    return read
