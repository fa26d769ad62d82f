"""Where a paged list goes on: a few texts and numbers, as a token that a client gives back as it got it."""

from __future__ import annotations

import base64
import json
from typing import Any

from cloudgrpc.errors import InvalidField

NUMBER_MOST = (1 << 63) - 1  # what a column takes


def write_token(*last: str | int) -> str:
    return base64.urlsafe_b64encode(json.dumps(last).encode()).decode()


def read_token(token: str, *shape: type) -> Any:
    """What `write_token` was given, a tuple of values of these types; None for "". Raises: InvalidField."""
    if not token:
        return None
    try:
        told = json.loads(base64.urlsafe_b64decode(token.encode()))
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, list) or [type(one) for one in told] != list(shape) or not all(map(_can_be_stored, told)):
        raise InvalidField(field="page_token", reason="is not one that a list gave")
    return tuple(told)


def _can_be_stored(value: str | int) -> bool:
    """JSON can spell NUL and half of a surrogate pair, which no database keeps as text."""
    if isinstance(value, int):
        return 0 <= value <= NUMBER_MOST
    return "\0" not in value and value.encode(errors="replace").decode() == value
