"""A connection that another thread can end, wherever it waits but in the name service: a socket's own timeout starts
anew with every byte, so it bounds no exchange."""

from __future__ import annotations

import contextlib
import socket
import threading
import time


class HeldLine:
    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.cut_for = ""  # why it was ended
        self._lock = threading.Lock()
        self._held: socket.socket | None = None  # a second handle on the connection, beneath any TLS

    def open(self, host: str, port: int) -> socket.socket:
        """As socket.create_connection, but held before it connects, so that `cut` ends the connecting, too."""
        fault = OSError("the name has no address")
        until = time.monotonic() + self.timeout_s
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        for left, (family, kind, protocol, _, address) in zip(range(len(addresses), 0, -1), addresses, strict=True):
            line = socket.socket(family, kind, protocol)
            try:
                # A share for each, so that one that is dead (IPv6, often) leaves time for the next.
                line.settimeout(max(0.001, until - time.monotonic()) / left)
                line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._hold(line)
                line.connect(address)
            except OSError as error:
                line.close()
                fault = error
            else:
                line.settimeout(self.timeout_s)
                return line
        raise fault

    def cut(self, reason: str) -> None:
        with self._lock:
            self.cut_for = self.cut_for or reason
            if self._held is not None:
                with contextlib.suppress(OSError):  # not connected any more
                    self._held.shutdown(socket.SHUT_RDWR)

    def let_go(self) -> None:
        with self._lock:
            if self._held is not None:
                self._held.close()
                self._held = None

    def _hold(self, line: socket.socket) -> None:
        self.let_go()
        with self._lock:
            if self.cut_for:
                raise TimeoutError
            self._held = line.dup()
