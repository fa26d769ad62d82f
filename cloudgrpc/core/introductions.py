"""What a storage node may say of itself when it registers."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cloudgrpc.errors import InvalidField

NODE_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}\Z")
INSTANCE_ID = re.compile(r"[0-9a-f]{32}\Z")
MOST_BYTES = 1 << 50  # of one node: the pool's sum must stay a number that a database can hold
ZONE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,62})?\Z")
ZONE_RULE = "must be 1 to 63 of letters, digits, '.', '_' and '-', and begin with a letter or digit"
ADDRESS = re.compile(r"([A-Za-z0-9.:\[\]-]{1,255}:[0-9]{1,5})?\Z")
MOST_REASON = 300  # characters of what is shown in one line of a table
HOST = re.compile(r"[A-Za-z0-9.:\[\]-]{1,255}\Z")


@dataclass(frozen=True)
class Introduction:
    """Sizes in bytes; `instance_id` is of the node's folder; `metrics_address`: where it answers HTTP, or ""."""

    node_id: str
    instance_id: str
    host: str
    port: int
    capacity_bytes: int
    used_bytes: int
    chunk_count: int
    cpu_cores: int
    is_read_only: bool = False
    read_only_reason: str = ""
    zone: str = ""
    metrics_address: str = ""


def check_introduction(
    *,
    node_id: str,
    instance_id: str,
    host: str,
    port: int,
    capacity_bytes: int,
    used_bytes: int,
    chunk_count: int,
    cpu_cores: int,
    is_read_only: bool = False,
    read_only_reason: str = "",
    zone: str = "",
    metrics_address: str = "",
) -> Introduction:
    """Raises: InvalidField."""
    rules = [
        (NODE_ID.match(node_id), "node_id", "must be 1 to 63 of a-z, 0-9 and -, and not begin with -"),
        (INSTANCE_ID.match(instance_id), "instance_id", "must be 32 hexadecimal digits"),
        (HOST.match(host), "host", "is not a host name or address"),
        (1 <= port <= 65535, "port", "must be 1 to 65535"),
        (0 < capacity_bytes <= MOST_BYTES, "storage_capacity", "must be more than 0 and at most 1 PiB"),
        (0 <= used_bytes <= MOST_BYTES, "storage_used", "must not be negative and at most 1 PiB"),
        (chunk_count >= 0, "chunk_count", "must not be negative"),
        (ZONE.match(zone), "zone", f"{ZONE_RULE}, or be empty"),
        (ADDRESS.match(metrics_address), "metrics_address", "is not HOST:PORT"),
    ]
    for holds, field, reason in rules:
        if not holds:
            raise InvalidField(field=field, reason=reason)
    return Introduction(
        node_id=node_id,
        instance_id=instance_id,
        host=host,
        port=port,
        capacity_bytes=capacity_bytes,
        used_bytes=used_bytes,
        chunk_count=chunk_count,
        cpu_cores=max(1, cpu_cores),
        is_read_only=is_read_only,
        read_only_reason=reason_line(read_only_reason) if is_read_only else "",
        zone=zone,
        metrics_address=metrics_address,
    )


def reason_line(told: str) -> str:
    """A node's words as one line that a terminal can show; PostgreSQL takes no NUL."""
    return "".join(letter if letter.isprintable() else "?" for letter in told[:MOST_REASON])


def could_be_a_node(node_id: str, instance_id: str) -> bool:
    """Whether a node of these ids can have registered; others need not be looked for, and PostgreSQL takes no NUL."""
    return bool(NODE_ID.match(node_id) and INSTANCE_ID.match(instance_id))
