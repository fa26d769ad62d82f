"""The calls of transfers under way: tried again while the gateway or its nodes are away, and ended all at once."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

from cloudgrpc.errors import CallTooSlow, CloudError, PeerSilent, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

RETRY_PAUSES_S = (0.2, 0.5, 1.0, 2.0, 4.0)  # a gateway restarts in less

# What a transfer waits out: one that starts over each time, and one that keeps what it has.
AWAY: tuple[type[CloudError], ...] = (Unavailable,)
AWAY_OR_SLOW: tuple[type[CloudError], ...] = (Unavailable, PeerSilent, CallTooSlow)


class Live(Protocol):
    def cancel(self) -> object: ...


class Stopped(Exception):
    """Somebody ended all transfers; told to those that are under way in other threads."""


class Calls:
    """Safe to use from several threads."""

    def __init__(self) -> None:
        self._live: set[Live] = set()
        self._lock = threading.Lock()
        self._is_stopped = threading.Event()

    def stop(self) -> None:
        """End what is under way, and let nothing more begin; each raises in its own thread."""
        with self._lock:
            self._is_stopped.set()
            live = list(self._live)
        for call in live:
            call.cancel()

    @contextmanager
    def under_way(self, call: Live) -> Iterator[None]:
        """The call is over when the block is. Raises: Stopped."""
        try:
            with self._lock:
                if self._is_stopped.is_set():
                    raise Stopped
                self._live.add(call)
            yield
        finally:
            # Without effect on a call that has its answer.
            call.cancel()
            with self._lock:
                self._live.discard(call)

    def persistently(
        self,
        once: Callable[[], T],
        faults: tuple[type[CloudError], ...],
        progress: Callable[[], int] = lambda: 0,
    ) -> T:
        """Try again after `faults`; what the gateway refuses is not asked twice.

        The patience lasts about as long as a restart of the gateway, and begins anew whenever `progress` grew.
        Raises: the last fault, or Stopped.
        """
        seen, pauses = progress(), iter(RETRY_PAUSES_S)
        while True:
            try:
                return once()
            except faults:
                if progress() > seen:
                    seen, pauses = progress(), iter(RETRY_PAUSES_S)
                pause_s = next(pauses, None)
                if pause_s is None:
                    raise
            if self._is_stopped.wait(pause_s):
                raise Stopped
