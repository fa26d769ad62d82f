"""Where a PostgreSQL database is, as people write it: postgresql://USER[:PASSWORD]@HOST[:PORT]/NAME"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

from cloudgrpc.errors import UsageWrong

SCHEMES = {"postgresql", "postgres"}
USUAL_PORT = 5432


@dataclass(frozen=True)
class Place:
    host: str  # or the folder of a Unix socket
    port: int
    name: str
    user: str  # "": not said
    password: str  # "": not said


def parse(url: str) -> Place:
    """Raises: UsageWrong, which does not repeat the URL: it may hold a password."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _wrong(str(error)) from error
    if parts.scheme not in SCHEMES:
        raise _wrong("begins with postgresql://, as in postgresql://USER@HOST:PORT/NAME")
    more = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := sorted(set(more) - {"host", "port"}):
        # The gateway would not know it afterwards.
        raise _wrong(
            f"{unknown[0]} is no part of it; what else libpq knows is told by its environment, such as PGSSLMODE"
        )
    if parts.fragment:
        raise _wrong("has a # in it, which is written %23")
    host, name = more.get("host") or parts.hostname or "", unquote(parts.path.removeprefix("/"))
    if not host:
        raise _wrong("names no host; for a Unix socket add ?host=/its/folder")
    if not name or "/" in name:
        raise _wrong("ends with the database's name, as in postgresql://USER@HOST:PORT/NAME")
    if "port" in more and not (more["port"].isascii() and more["port"].isdigit() and 0 < int(more["port"]) < 1 << 16):
        raise _wrong("has a port that is none")
    port = int(more["port"]) if "port" in more else port
    return Place(host, port or USUAL_PORT, name, unquote(parts.username or ""), unquote(parts.password or ""))


def _wrong(reason: str) -> UsageWrong:
    return UsageWrong(reason=f"--to: {reason}")
