"""Buying room: what is for sale, paying for it, and looking how it goes."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudgrpc.actions.page_tokens import read_token, write_token
from cloudgrpc.config import MIB
from cloudgrpc.core import phone as phones
from cloudgrpc.core.pace import per_hour
from cloudgrpc.core.payment_states import OFTEN_US, State
from cloudgrpc.core.payments import Offer, charged_xaf
from cloudgrpc.core.peers import VISITOR
from cloudgrpc.errors import CloudError, InvalidField, ListTooLong, PaymentsOff, PriceChanged, TierUnknown
from cloudgrpc.meta import payment_lists, payments
from cloudgrpc.meta.payments import Order
from cloudgrpc.outside.campay import Unclear

if TYPE_CHECKING:
    from cloudgrpc.actions.settling import Settling
    from cloudgrpc.config import Config
    from cloudgrpc.core.pace import Rule
    from cloudgrpc.meta.accounts import Caller
    from cloudgrpc.meta.db import Database
    from cloudgrpc.meta.payment_models import Payment
    from cloudgrpc.meta.promises import Promise
    from cloudgrpc.outside.campay import Campay

log = logging.getLogger(__name__)

PAGE_MOST = 1000
LAST_ANSWERS_S = 1.0  # for Campay, when the gateway stops
REQUEST_ID_BYTES = 200
# A collection may wait for its turn, then take a token, be refused for one that ended, take another, and go through.
TURNS = 5


@dataclass(frozen=True)
class Shelf:
    """What is for sale, and what of it is the buyer's: tier -> how often bought; tier -> the payment under way."""

    offers: list[Offer]
    bought: dict[str, int]
    under_way: dict[str, str]
    quota_bytes: int
    used_bytes: int


class Payments:
    """`campay`: None when there is no account there, and so nothing can be bought."""

    def __init__(
        self,
        database: Database,
        campay: Campay | None,
        settling: Settling,
        config: Config,
        promise: Promise,
        *,
        digest_key: str,
    ) -> None:
        self._db = database
        self._key = digest_key.encode()
        self._per_hour = config.limits.payments_per_hour
        self._campay = campay
        self._settling = settling
        self._settings = config.payments
        self._promise = promise
        self._answer_us = int(config.campay.timeout_s * TURNS * 1_000_000)
        self._prefixes = {"mtn_momo": config.payments.mtn_prefixes, "orange_money": config.payments.orange_prefixes}
        self._demo_max_xaf = config.campay.demo_max_xaf
        self._collecting: set[asyncio.Task[None]] = set()

    @property
    def mode(self) -> str:
        """ "" when nothing can be bought; see sales.Campay.mode."""
        return self._campay.mode if self._campay else ""

    def offers(self) -> list[Offer]:
        return [
            Offer(
                tier.tier_id,
                tier.name,
                tier.description,
                tier.storage_mb * MIB,
                tier.price_xaf,
                charged_xaf(tier.price_xaf, self.mode, self._demo_max_xaf),
            )
            for tier in self._settings.tiers
        ]

    async def shelf(self, caller: Caller) -> Shelf:
        bought, under_way = await self._db.read(payment_lists.bought, caller.account_id)
        quota, used = await self._db.read(payment_lists.quota_and_use, caller.account_id)
        return Shelf(self.offers(), bought, under_way, quota, used)

    async def buy(
        self, caller: Caller, tier_id: str, provider: str, phone: str, request_id: str, *, agreed_xaf: int = 0
    ) -> tuple[Payment, bool]:
        """The payment, and whether it was under way already. `agreed_xaf`: what the buyer was told; 0: anything.

        Raises: PaymentsOff, TierUnknown, InvalidField, PhoneWrong, OperatorWrong, PriceChanged, RequestIdReused,
        TooManyPayments, SoldOut, and what Campay.collect raises but Unclear.
        """
        if self._campay is None:
            raise PaymentsOff
        offer = self._offer(tier_id)
        if provider not in self._prefixes:
            raise InvalidField(field="provider", reason=f"must be {' or '.join(self._prefixes)}")
        number = phones.normalised(phone)
        phones.check_operator(number, provider, self._prefixes)
        if agreed_xaf not in (0, offer.amount_xaf):
            raise PriceChanged(now=f"{offer.amount_xaf:,}", expected=f"{agreed_xaf:,}")
        order = Order(offer, self.mode, provider, phones.masked(number), _checked(request_id))
        rules = self._rules(caller, number)
        payment, is_new = await self._db.run(payments.begin, caller, order, self._promise, rules, VISITOR.get())
        # A pending one was left by a caller who went, or whose gateway died, before anybody was asked.
        if payment.state == State.PENDING:
            await self._begin_collecting(self._campay, payment, number)
        return await self._db.read(payments.known, payment.payment_id), not is_new

    async def check(self, caller: Caller, payment_id: str) -> tuple[Payment, int]:
        """How a payment stands, and the buyer's quota, after asking Campay where that can change anything.

        Raises: PaymentUnknown.
        """
        payment = await self._db.read(payments.owned, caller, payment_id)
        try:
            await self._settling.refresh(payment)
        except CloudError as error:
            log.info("payment %s is shown as it was: %s", payment_id, error)
        payment = await self._db.read(payments.known, payment_id)
        return payment, await self._db.read(payments.quota_of, caller.account_id)

    async def history(self, caller: Caller, limit: int, page_token: str) -> tuple[list[Payment], str]:
        """A page, the newest first, and the token of the next ("" after the last); all of them without a limit.

        Raises: InvalidField, ListTooLong.
        """
        after = read_token(page_token, int, str)
        if not 0 <= limit <= PAGE_MOST:
            raise InvalidField(field="limit", reason=f"must be 0 to {PAGE_MOST}")
        wanted = payment_lists.Filter(account_id=caller.account_id)
        found, last = await self._db.read(payment_lists.page, wanted, after, limit or PAGE_MOST)
        if last and not limit:
            raise ListTooLong(most=PAGE_MOST)
        return found, write_token(*last) if last else ""

    async def cancel(self, caller: Caller, payment_id: str) -> Payment:
        """Raises: PaymentUnknown, PaymentEnded."""
        return await self._db.run(payments.cancel, caller, payment_id, VISITOR.get())

    async def close(self) -> None:
        """What Campay has not answered yet becomes unclear, and is found out after the next start."""
        if self._collecting:
            await asyncio.wait(self._collecting, timeout=LAST_ANSWERS_S)
        for task in self._collecting:
            task.cancel()
        await asyncio.gather(*self._collecting, return_exceptions=True)

    def _rules(self, caller: Caller, phone: str) -> list[Rule]:
        """So that nobody makes phones ring all day. The number is kept as a keyed digest only."""
        digest = hmac.new(self._key, f"phone:{phone}".encode(), hashlib.sha256).hexdigest()
        names = (f"payments of {caller.account_id}", f"payments from {digest}")
        return [per_hour(name, self._per_hour) for name in names]

    def _offer(self, tier_id: str) -> Offer:
        offers = {offer.tier_id: offer for offer in self.offers()}
        if tier_id not in offers:
            raise TierUnknown(tier_id=repr(tier_id[:40]), tiers=", ".join(offers) or "none for sale")
        return offers[tier_id]

    async def _begin_collecting(self, campay: Campay, payment: Payment, phone: str) -> None:
        """To its end even when the caller leaves: money may move."""
        task = asyncio.create_task(self._collect(campay, payment, phone))
        self._collecting.add(task)
        task.add_done_callback(self._collected)
        await asyncio.shield(task)

    def _collected(self, task: asyncio.Task[None]) -> None:
        self._collecting.discard(task)
        if not task.cancelled():
            task.exception()

    async def _collect(self, campay: Campay, payment: Payment, phone: str) -> None:
        payment_id = payment.payment_id
        if not await self._db.run(payments.claim, payment_id, self._answer_us):
            return  # cancelled a moment ago
        description = f"CloudGrpc {payment.tier_name}, payment {payment_id}"
        try:
            answer = await campay.collect(payment_id, payment.amount_xaf, phone, description)
        except Unclear as error:
            log.warning("payment %s is unclear: %s", payment_id, error)
            await self._db.run(payments.unclear, payment_id, str(error))
        except CloudError as error:
            await self._db.run(payments.refused, payment_id, _reason(error))
            raise
        else:
            await self._note_reference(payment_id, answer.reference, answer.ussd_code)

    async def _note_reference(self, payment_id: str, reference: str, ussd_code: str) -> None:
        if await self._db.run(payments.collected, payment_id, reference, ussd_code, OFTEN_US):
            return
        # A doorbell came first with the same one; anything else is for a person.
        payment = await self._db.read(payments.known, payment_id)
        if payment.reference != reference:
            await self._db.run(payments.flag, payment_id, f"Campay answered with {reference}, another payment's")


def _reason(error: CloudError) -> str:
    return str(error).removesuffix(".").removesuffix("; nothing was charged")


def _checked(request_id: str) -> str | None:
    """Raises: InvalidField."""
    if len(request_id.encode(errors="replace")) > REQUEST_ID_BYTES or not request_id.isprintable():
        raise InvalidField(field="request_id", reason=f"must be at most {REQUEST_ID_BYTES} printable characters")
    return request_id or None
