"""Certificates that near their end though they should have been renewed, and authorities that do: in words."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from cloudgrpc.core.units import minute

DAY_US = 86400 * 1_000_000
UNRENEWED = 5  # one part in so many of its life is left: two fifths were for renewing it
AUTHORITY_US = 180 * DAY_US  # time for nodes that seldom run, and for people with its file
OWN_US = 14 * DAY_US  # who gives certificates for the web has them renewed weeks before


class Whose(Enum):
    NODE = "node"
    GATEWAY = "gateway"
    PEOPLE = "people"  # of [tls] certificate_file, which others renew
    AUTHORITY = "authority"


@dataclass(frozen=True)
class Ending:
    """`name`: the node's id, or the authority's. `ends_at` in microseconds since 1970."""

    whose: Whose
    name: str
    ends_at: int

    @property
    def words(self) -> str:
        until = minute(self.ends_at)
        if self.whose is Whose.NODE:
            return f"The certificate of {self.name} ends on {until} and is not renewed; that machine's log says why."
        if self.whose is Whose.GATEWAY:
            return f"The gateway's own certificate ends on {until} and is not renewed; the gateway's log says why."
        if self.whose is Whose.PEOPLE:
            return f"The certificate in [tls] certificate_file ends on {until}: put a newer one in its place."
        return f"The authority {self.name} ends on {until}: exchange it, beginning with cloudgrpc certs ca add"


def is_ending(whose: Whose, issued_at: int, ends_at: int, now: int) -> bool:
    """Times in microseconds."""
    left = ends_at - now
    if whose is Whose.AUTHORITY:
        return left < AUTHORITY_US
    return left < (OWN_US if whose is Whose.PEOPLE else (ends_at - issued_at) // UNRENEWED)
