"""Buying a tier: what is missing is asked for, the price is shown, one question, and the payment begins."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudgrpc.core.phone import OPERATORS, normalised, operator_of
from cloudgrpc.core.units import size_words
from cloudgrpc.errors import (
    CallTooSlow,
    GatewayUnreachable,
    PaymentLeft,
    PaymentLost,
    PaymentsOff,
    PhoneWrong,
    TierUnknown,
    UsageWrong,
)
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.sales import Payments as Selling
from cloudgrpc.shell import at_terminal
from cloudgrpc.shell.money import PROVIDERS, operator, xaf
from cloudgrpc.shell.offers import choice_words, money_words, tier_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudgrpc.clients.session import Session
    from cloudgrpc.shell.sign_in import Person

BEGIN_TIMEOUT_S = 60.0  # the gateway waits for Campay meanwhile
RETRY_PAUSE_S = 1.0
PROVIDER_WORDS = " or ".join(PROVIDERS)


class NothingBought(Exception):
    """The person decided otherwise."""


@dataclass(frozen=True)
class Wish:
    """What was said on the command line; None for what was not."""

    tier_id: str | None
    provider: str | None
    phone: str | None
    is_sure: bool  # nobody is asked whether to go on

    def check(self, told: pb.GetStorageTiersResponse) -> None:
        """Whether it is all that a script has to say. Raises: UsageWrong with everything that is missing."""
        tiers = ", ".join(tier.tier_id for tier in told.tiers)
        missing = [
            *([f"--tier (one of {tiers})"] if self.tier_id is None else []),
            *(["--phone (the mobile number that pays)"] if self.phone is None else []),
            *([] if self.is_sure else ["--yes (to buy without a question)"]),
        ]
        if missing:
            raise UsageWrong(reason=f"a script is asked nothing; add {' and '.join(missing)}")


class Buying:
    def __init__(self, session: Session, person: Person) -> None:
        self._session = session
        self._person = person

    def choose(self, told: pb.GetStorageTiersResponse, wish: Wish) -> pb.StorageTier:
        """Raises: PaymentsOff, TierUnknown, UsageWrong in a script, NothingBought."""
        if not told.mode or not told.tiers:
            raise PaymentsOff
        if not at_terminal.can_ask():
            wish.check(told)
        if wish.tier_id is not None:
            return tier_of(told, wish.tier_id)
        self._person.tell(f"You have {size_words(told.quota_bytes)}, {size_words(told.used_bytes)} of it used.")
        self._person.tell("")
        for number, tier in enumerate(told.tiers, 1):
            self._person.tell(f"{number:3}  {choice_words(tier)}")
        while True:
            try:
                return chosen_tier(told, self._asked("\nWhich one, by number or name (Enter leaves)? "))
            except TierUnknown as error:
                self._person.tell(str(error))

    def begin(self, told: pb.GetStorageTiersResponse, tier: pb.StorageTier, wish: Wish) -> pb.InitiatePaymentResponse:
        """Raises: NothingBought, UsageWrong in a script, PaymentLeft, PaymentLost, and whatever the gateway refuses."""
        phone = self._phone(wish.phone)
        provider = self._provider(wish.provider, phone)
        self._person.tell(f"{tier.name}: {size_words(tier.storage_bytes)} more room for {xaf(tier.price_xaf)}.")
        if money := money_words(told):
            self._person.tell(money)
        charged = f"{xaf(tier.amount_xaf)} are charged to {phone} ({operator(provider)})."
        if wish.is_sure:
            self._person.tell(charged)
        elif not at_terminal.agreed(f"{charged} Go on?"):
            raise NothingBought
        self._person.tell("Asking Campay ...")
        request = pb.InitiatePaymentRequest(
            session_token=self._session.token,
            tier_id=tier.tier_id,
            provider=provider,
            phone_number=phone,
            request_id=uuid.uuid4().hex,
            expected_amount_xaf=tier.amount_xaf,
        )
        return self._initiate(request)

    def _phone(self, told: str | None) -> str:
        if told is not None:
            return normalised(told)
        while True:
            try:
                return normalised(self._asked("Mobile number that pays (Enter leaves): "))
            except PhoneWrong as error:
                self._person.tell(f"That {str(error).removeprefix('phone_number: ')} {error.advice}")

    def _provider(self, told: str | None, phone: str) -> str:
        if told is not None:
            return PROVIDERS[told]
        try:
            return known_operator(phone)
        except PhoneWrong:
            if not at_terminal.can_ask():
                reason = f"--provider is missing, {PROVIDER_WORDS}: {phone} does not tell whose number it is"
                raise UsageWrong(reason=reason) from None
        index = at_terminal.chosen(f"Whose number is {phone}?", list(OPERATORS.values()))
        if index is None:
            raise NothingBought
        return list(OPERATORS)[index]

    def _asked(self, prompt: str) -> str:
        """Raises: NothingBought when nothing was typed."""
        word = at_terminal.typed(prompt)
        if not word:
            raise NothingBought
        return word

    def _initiate(self, request: pb.InitiatePaymentRequest) -> pb.InitiatePaymentResponse:
        """Once more when no answer came: by its request_id the gateway knows the payment again, and begins no other."""
        service = self._session.gateway.payments
        try:
            try:
                return self._session.call(service.InitiatePayment, request, BEGIN_TIMEOUT_S)
            except (GatewayUnreachable, CallTooSlow) as error:
                self._person.tell(f"{error} Asking once more; nothing is charged twice.")
            time.sleep(RETRY_PAUSE_S)
            reply = self._session.call(service.InitiatePayment, request, BEGIN_TIMEOUT_S)
        except (GatewayUnreachable, CallTooSlow) as error:
            raise PaymentLost from error
        except KeyboardInterrupt:
            raise PaymentLeft(how="the payment may have been begun all the same", which="") from None
        reply.is_repeat = False  # of ourselves
        return reply


def chosen_tier(told: pb.GetStorageTiersResponse, typed: str) -> pb.StorageTier:
    """By its number in the list, from 1, or its ID. Raises: TierUnknown."""
    if typed.isascii() and typed.isdigit() and 1 <= int(typed) <= len(told.tiers):
        return told.tiers[int(typed) - 1]
    return tier_of(told, typed)


def known_operator(phone: str) -> str:
    """As the prefixes are by default; a gateway with other ones refuses what does not fit them. Raises: PhoneWrong."""
    selling = Selling()
    prefixes: dict[str, Sequence[str]] = {
        "mtn_momo": selling.mtn_prefixes,
        "orange_money": selling.orange_prefixes,
    }
    return operator_of(phone, prefixes)
