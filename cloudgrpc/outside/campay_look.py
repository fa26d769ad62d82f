"""Campay looked at by who sets a gateway up: whether it takes our credentials, and what time it is there."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from cloudgrpc.outside.campay import Token
from cloudgrpc.outside.campay_answers import Unanswered
from cloudgrpc.outside.campay_http import Http

if TYPE_CHECKING:
    from cloudgrpc.sales import Campay as Settings


@dataclass(frozen=True)
class Met:
    """`fault`: why there is no token; "" when there is one. `ahead_s`: how far our clock is before Campay's, to a
    second or so; None when it did not tell the time."""

    fault: str
    ahead_s: float | None


def meet(settings: Settings) -> Met:
    """Ask for a token, and nothing else; blocking, for `timeout_s` at most. Raises: SettingsWrong, as Campay."""
    http, fault = Http(settings), ""
    try:
        Token(http, settings.username, settings.password).get()
    except Unanswered as error:
        fault = str(error)
    finally:
        http.close()
    return Met(fault, _ahead(http.date))


def _ahead(date: str) -> float | None:
    with contextlib.suppress(ValueError):
        return time.time() - parsedate_to_datetime(date).timestamp()
    return None
