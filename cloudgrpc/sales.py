"""The settings of selling: what is for sale, whose numbers are whose, and the account at Campay."""

from __future__ import annotations

import ipaddress
from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Meta, Struct

Prefixes = tuple[Annotated[str, Meta(pattern="^[0-9]{1,9}(-[0-9]{1,9})?$")], ...]
Pause = Annotated[float, Meta(gt=0, le=86400)]  # seconds


class Tier(Struct, frozen=True, forbid_unknown_fields=True):
    """What is for sale under a name. A sold one is kept as it was, whatever becomes of it here."""

    tier_id: Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9_-]{0,31}$")]
    name: Annotated[str, Meta(min_length=1, max_length=40)]
    storage_mb: Annotated[int, Meta(ge=1, le=1_000_000_000)]
    price_xaf: Annotated[int, Meta(ge=1, le=100_000_000)]
    description: Annotated[str, Meta(max_length=200)] = ""


class Payments(Struct, frozen=True, forbid_unknown_fields=True):
    """What is sold, to whose phones, and how payments are followed."""

    tiers: tuple[Tier, ...] = (
        Tier("starter", "Starter", 250, 500, "A shelf for documents"),
        Tier("basic", "Basic", 512, 900, "Documents and some photos"),
        Tier("standard", "Standard", 1024, 1500, "A family's photos"),
        Tier("premium", "Premium", 2048, 2500, "Photos and videos"),
    )
    mtn_prefixes: Prefixes = ("67", "650-654", "680-683")
    orange_prefixes: Prefixes = ("69", "655-659", "686-689", "640-649")
    look_s: Pause = 5


class Campay(Struct, frozen=True, forbid_unknown_fields=True):
    """The account at Campay that takes the money; without a username nothing can be bought."""

    base_url: Annotated[str, Meta(pattern="^https?://[^/?#@]+(/[^?#]*)?$")] = "https://demo.campay.net/api"
    username: str = ""
    password: str = ""
    webhook_key: str = ""
    demo_max_xaf: Annotated[int, Meta(ge=1, le=100_000_000)] = 10
    timeout_s: Pause = 30
    ca_file: str = ""

    @property
    def api_url(self) -> str:
        """Without a slash at its end; people also give the site alone."""
        url = self.base_url.rstrip("/")
        return url if urlsplit(url).path else f"{url}/api"

    @property
    def mode(self) -> str:
        """ "" when nothing can be bought; else "sandbox" (on this machine), "demo" or "production", by the URL."""
        if not self.username:
            return ""
        if self.is_here:
            return "sandbox"
        return "demo" if self.host.startswith("demo.") else "production"

    @property
    def is_here(self) -> bool:
        """Whether it is on this machine."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def host(self) -> str:
        """ "" for what is no URL."""
        try:
            return urlsplit(self.base_url).hostname or ""
        except ValueError:
            return ""
