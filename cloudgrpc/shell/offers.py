"""What can be bought here, as a person sees it: the tiers, and what of them is theirs or under way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudgrpc.clients import render
from cloudgrpc.core.units import size_words
from cloudgrpc.errors import TierUnknown
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.shell.money import mode_words, xaf
from cloudgrpc.shell.payments import SHOWN_ID

if TYPE_CHECKING:
    from cloudgrpc.clients.session import Gateway

NOTHING_NOW = "Nothing can be bought here now; these are the tiers all the same."


def offers(gateway: Gateway, token: str) -> pb.GetStorageTiersResponse:
    """`token`: "" for what is nobody's in particular."""
    return gateway.call(gateway.payments.GetStorageTiers, pb.GetStorageTiersRequest(session_token=token))


def tier_of(told: pb.GetStorageTiersResponse, tier_id: str) -> pb.StorageTier:
    """Raises: TierUnknown."""
    for tier in told.tiers:
        if tier.tier_id == tier_id.lower():
            return tier
    raise TierUnknown(tier_id=repr(tier_id), tiers=", ".join(tier.tier_id for tier in told.tiers) or "none at all")


def money_words(told: pb.GetStorageTiersResponse) -> str:
    """What is to be known about the money here; "" for a real sale."""
    if not told.mode:
        return NOTHING_NOW
    return mode_words(told.mode, max((tier.amount_xaf for tier in told.tiers), default=0))


def show(told: pb.GetStorageTiersResponse, *, is_mine: bool) -> None:
    """`is_mine`: it was told to somebody who is signed in."""
    if is_mine:
        print(f"You have {size_words(told.quota_bytes)}, {size_words(told.used_bytes)} of it used.")
    if words := money_words(told):
        print(words)
    print()
    titles = ["ID", "Name", "Room", "Price", *(["Bought"] if is_mine else []), "For"]
    rows = [_row(tier, is_mine=is_mine) for tier in told.tiers]
    render.print_table(titles, rows, right=["Room", "Price", "Bought"])
    under_way = [tier for tier in told.tiers if tier.open_payment_id]
    if under_way:
        print("\nUnder way:")
    for tier in under_way:
        name = render.shown(tier.name)
        print(f"  {name}; see how it stands with: pay status --payment-id {tier.open_payment_id[:SHOWN_ID]}")


def facts(told: pb.GetStorageTiersResponse, *, is_mine: bool) -> dict[str, object]:
    """mode: "production", "demo" or "sandbox", null when nothing can be bought now; amount_xaf is what is charged.
    quota_bytes, used_bytes, bought and open_payment_id: null for nobody in particular."""
    return {
        "mode": told.mode or None,
        "quota_bytes": told.quota_bytes if is_mine else None,
        "used_bytes": told.used_bytes if is_mine else None,
        "tiers": [
            {
                "tier_id": tier.tier_id,
                "name": tier.name,
                "description": tier.description,
                "storage_bytes": tier.storage_bytes,
                "price_xaf": tier.price_xaf,
                "amount_xaf": tier.amount_xaf,
                "bought": tier.bought if is_mine else None,
                "open_payment_id": tier.open_payment_id or None,
            }
            for tier in told.tiers
        ],
    }


def choice_words(tier: pb.StorageTier) -> str:
    """A line of the list to choose from."""
    room, price = size_words(tier.storage_bytes), xaf(tier.price_xaf)
    return f"{tier.tier_id:<12}{room:>10}{price:>13}   {tier.description}".rstrip()


def _row(tier: pb.StorageTier, *, is_mine: bool) -> list[str]:
    bought = [str(tier.bought) if tier.bought else ""] if is_mine else []
    room, price = size_words(tier.storage_bytes), xaf(tier.price_xaf)
    return [tier.tier_id, render.shown(tier.name), room, price, *bought, render.shown(tier.description)]
