"""HTTP within a role's own event loop, beside its gRPC: uvicorn, which leaves signals and logging alone."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from typing import TYPE_CHECKING

import uvicorn

from cloudgrpc import rpc
from cloudgrpc.errors import PortInUse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import ASGIApp

CONNECTIONS = 500  # at once; who comes then is told 503
BACKLOG = 128


class HttpListener:
    """An app on a port. `port` 0: any that is free. `flag`: what a person changes when the port is in use."""

    def __init__(self, app: ASGIApp, host: str, port: int, flag: str) -> None:
        self._host, self._port, self._flag = host, port, flag
        config = uvicorn.Config(
            app,
            lifespan="off",
            ws="none",
            access_log=False,
            log_config=None,
            log_level="warning",
            proxy_headers=False,  # else any caller could name its own address
            server_header=False,
            limit_concurrency=CONNECTIONS,
            timeout_graceful_shutdown=1,
        )
        self._server = _Server(config)
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> int:
        """The port it listens on. Raises: PortInUse, AddressUnusable."""
        rpc.check_port(self._host, self._port, self._flag)
        line = self._bind()
        self._serving = asyncio.create_task(self._server.serve([line]))
        ready = asyncio.create_task(self._server.ready.wait())
        await asyncio.wait([self._serving, ready], return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if self._serving.done():
            self._serving.result()
        return int(line.getsockname()[1])

    async def stop(self) -> None:
        """Calls under way get a second."""
        if self._serving is not None:
            self._server.should_exit = True
            await self._serving

    def _bind(self) -> socket.socket:
        host = self._host.strip("[]")
        family = socket.getaddrinfo(host, self._port, type=socket.SOCK_STREAM)[0][0]
        try:
            return socket.create_server((host, self._port), family=family, backlog=BACKLOG)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:  # somebody was faster than we
                raise PortInUse(port=self._port, host=self._host, flag=self._flag) from error
            raise


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The role hears them itself."""
        yield
