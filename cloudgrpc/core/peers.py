"""Who is at the other end of a call, as far as it can be told."""

from __future__ import annotations

import ipaddress
from contextvars import ContextVar
from dataclasses import dataclass
from urllib.parse import unquote

CLIENT_LETTERS = 100


@dataclass(frozen=True)
class Visitor:
    """`connection`: address and port, "" where a proxy stands between. `host`: the address that limits count by, ""
    when unknown. `client`: the program, as it told itself."""

    connection: str = ""
    host: str = ""
    client: str = ""


# Of the call under way; set for every call before anything else is done.
VISITOR: ContextVar[Visitor] = ContextVar("visitor", default=Visitor())  # noqa: B039 - it cannot change


def visitor_of(peer: str, forwarded: str, client: str, *, behind_proxy: bool) -> Visitor:
    """`peer`: as gRPC names it, such as ipv4:127.0.0.1:40000. `forwarded`: the x-forwarded-for of the proxy, whose
    last address is the one that it has seen itself; all before it is whatever the caller wrote."""
    told = "".join(letter for letter in client[:CLIENT_LETTERS] if letter.isprintable())
    if behind_proxy:
        return Visitor("", _network(forwarded.rpartition(",")[2].strip()), told)
    kind, _, rest = unquote(peer).partition(":")
    host = rest.rpartition(":")[0] if kind in {"ipv4", "ipv6"} else rest
    return Visitor(peer, _network(host.strip("[]")), told)


def _network(host: str) -> str:
    """Who has one IPv6 address has its /64, so that is what counts."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host[:CLIENT_LETTERS]
    if address.version == 6 and not address.is_loopback:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
