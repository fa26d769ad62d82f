"""A network line to a gateway, which counts what goes over it and can be held at a given byte, in either direction."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self

from program import HOST, PATIENCE_S

BLOCK_BYTES = 64 << 10


class Line:
    """A listener that passes every connection on. `up` is what clients send, `down` what the gateway sends."""

    def __init__(self, port: int) -> None:
        """`port`: the gateway's."""
        self.up = _Way()
        self.down = _Way()
        self._port = port
        self._sockets: list[socket.socket] = []
        self._pumps: list[threading.Thread] = []
        self._listener = socket.create_server((HOST, 0))
        self.address = f"{HOST}:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        for way in (self.up, self.down):
            way.release()
        for each in self._sockets:
            each.close()

    def wait_idle(self) -> None:
        """Until every connection is over, and what was on its way at its end has gone through."""
        for pump in self._pumps:
            pump.join(PATIENCE_S)
            assert not pump.is_alive(), "a connection goes on"

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    gateway = socket.create_connection((HOST, self._port))
                except OSError:  # it is away
                    client.close()
                    continue
                self._sockets += [client, gateway]
                for way, source, target in ((self.up, client, gateway), (self.down, gateway, client)):
                    pump = threading.Thread(target=way.pump, args=(source, target), daemon=True)
                    pump.start()
                    self._pumps.append(pump)


class _Way:
    def __init__(self) -> None:
        self.count = 0  # bytes that went through
        self._limit: int | None = None
        self._is_held = threading.Event()
        self._goes_on = threading.Event()

    def hold_after(self, count: int) -> None:
        """Let `count` bytes more through, and then none until `release`."""
        self._is_held.clear()
        self._goes_on.clear()
        self._limit = self.count + count

    def wait_held(self) -> None:
        assert self._is_held.wait(PATIENCE_S), f"only {self.count} bytes came"

    def release(self) -> None:
        self._limit = None
        self._goes_on.set()

    def pump(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(BLOCK_BYTES):
                if self._limit is not None and self.count + len(data) > self._limit:
                    self._is_held.set()
                    self._goes_on.wait()
                target.sendall(data)
                self.count += len(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
