"""What may be promised and what may be stored."""

from __future__ import annotations


def promise_limit(capacity_bytes: int, copies: int, overcommit: float) -> int:
    """How many bytes may be promised to all accounts together: the pool holds each byte `copies` times, and people
    rarely fill what they have."""
    return int(capacity_bytes / max(1, copies) * overcommit)
