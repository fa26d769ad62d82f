"""The bell that tells of new events, rung after the commit of a transaction that recorded some.

    events.record --marks its thread--> the lane, after the commit --rings--> whoever hears, in this process
                                                                     \\--> NOTIFY, seldom --> the other gateways

A NOTIFY in the writing transaction itself would make all commits of the database wait for each other. So it comes after
the commit, on a line of its own, and may be lost with its gateway: who follows events looks now and then by itself.
"""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import threading
from typing import TYPE_CHECKING

import psycopg2

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg2.extensions import connection

log = logging.getLogger(__name__)

CHANNEL = "cloudgrpc_events"
GAP_S = 0.1  # between two NOTIFY of this gateway, and between two looks at those of others
RETRY_S = 2.0

_THREAD = threading.local()  # what the transaction under way on this thread recorded


def mark() -> None:
    """The transaction under way recorded an event."""
    _THREAD.is_marked = True


def forget() -> None:
    """A transaction begins."""
    _THREAD.is_marked = False


class Bell:
    """Heard in this process."""

    def __init__(self) -> None:
        self._hears: Callable[[], None] | None = None

    def hear(self, hears: Callable[[], None] | None) -> None:
        """`hears` is called on any thread, and must be quick; it may be called for nothing. None: nobody hears more."""
        self._hears = hears

    def committed(self) -> None:
        """The transaction of this thread was committed."""
        if getattr(_THREAD, "is_marked", False):
            forget()
            self.ring()

    def ring(self) -> None:
        if (hears := self._hears) is not None:
            hears()

    def close(self) -> None:
        pass


class SharedBell(Bell):
    """Heard by all gateways of one PostgreSQL. Its line is opened by the first who hears or rings."""

    def __init__(self, connect: Callable[[], connection]) -> None:
        super().__init__()
        self._connect = connect
        self._is_open = False
        self._is_closed = threading.Event()
        self._is_untold = False  # there is something that the other gateways were not told yet
        self._lock = threading.Lock()
        self._wakes, self._wakened = socket.socketpair()
        self._wakes.setblocking(False)
        self._thread = threading.Thread(target=self._loop, name="bell", daemon=True)

    def hear(self, hears: Callable[[], None] | None) -> None:
        super().hear(hears)
        if hears is not None:
            self._open()

    def ring(self) -> None:
        super().ring()
        self._is_untold = True
        self._open()
        self._wake()

    def close(self) -> None:
        with self._lock:
            self._is_closed.set()
            if self._is_open:
                self._wake()
                self._thread.join()
            self._wakes.close()
            self._wakened.close()

    def _open(self) -> None:
        with self._lock:
            if not self._is_open and not self._is_closed.is_set():
                self._is_open = True
                self._thread.start()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full: it will wake; closed: there is nobody to wake
            self._wakes.send(b"!")

    def _loop(self) -> None:
        is_told = False
        while not self._is_closed.is_set():
            try:
                with contextlib.closing(self._connect()) as line:
                    is_told = False
                    self._serve(line)
            except psycopg2.Error as error:
                if not is_told:  # once, however long the database is away
                    log.warning("events of other gateways come late, for PostgreSQL does not answer: %s", error)
                is_told = True
                self._is_closed.wait(RETRY_S)

    def _serve(self, line: connection) -> None:
        line.autocommit = True
        with line.cursor() as cursor:
            cursor.execute(f"LISTEN {CHANNEL}")
            super().ring()  # whatever came before is not told again
            ears = select.poll()  # select() knows no file above 1023, and every connection of a gateway is one
            for ear in (line, self._wakened):
                ears.register(ear, select.POLLIN)
            while not self._is_closed.is_set():
                ears.poll()
                self._drain()
                line.poll()
                if self._is_untold:
                    self._is_untold = False
                    cursor.execute(f"NOTIFY {CHANNEL}")
                if any(notice.pid != line.info.backend_pid for notice in line.notifies):
                    super().ring()
                line.notifies.clear()
                self._is_closed.wait(GAP_S)

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wakened.recv(4096, socket.MSG_DONTWAIT)
