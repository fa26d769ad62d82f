"""Money, mobile operators and kinds of payment, in words for people."""

from __future__ import annotations

from cloudgrpc.clients import render
from cloudgrpc.core.phone import OPERATORS

PROVIDERS = {"mtn": "mtn_momo", "orange": "orange_money"}  # what is typed -> what the wire calls it
# By mode, as PaymentRecord tells it.
NO_SALE = {
    "demo": "Demo mode: this is no sale",
    "sandbox": "Sandbox: no money moves, a stand-in plays Campay",
}


def xaf(amount: int) -> str:
    return f"{amount:,} XAF"


def operator(provider: str) -> str:
    return OPERATORS.get(provider, render.shown(provider))


def mode_words(mode: str, most_xaf: int) -> str:
    """What is to be known about the money; "" for a real sale. `most_xaf`: what is charged at most."""
    if mode == "demo":
        return f"{NO_SALE[mode]}; at most {xaf(most_xaf)} are charged, whatever the price."
    return f"{NO_SALE[mode]}." if mode in NO_SALE else ""
