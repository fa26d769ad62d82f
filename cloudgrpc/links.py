"""A connection to another machine of the cluster. It is made anew when our papers change; calls under way stay on the
one they began on, and end there in peace."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import grpc

from cloudgrpc import handshakes, rpc

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cloudgrpc.errors import CloudError
    from cloudgrpc.rpc import Tls

    Channel = grpc.aio.Channel

Calls = TypeVar("Calls")
log = logging.getLogger(__name__)

LOOK_S = 0.5  # between two looks whether our papers have changed
LONGEST_CALL_S = 900.0  # a connection that is left is given so long for what is under way on it
REMEMBERED_S = 10.0  # how long what was seen at the other side is told again without another look


class Link(Generic[Calls]):
    """`calls(channel)`: what is called on it. `papers`: None for plaintext; asked again and again. `expected`: the name
    in the other side's certificate. Made within a running event loop."""

    def __init__(
        self,
        host: str,
        port: int,
        calls: Callable[[Channel], Calls],
        *,
        papers: Callable[[], Tls] | None = None,
        expected: str = "",
        options: Sequence[tuple[str, Any]] = rpc.CHANNEL_OPTIONS,
    ) -> None:
        self._host, self._port = host, port
        self.address = rpc.address(host, port)
        self._make_calls = calls
        self._papers = papers
        self._expected = expected
        self._options = options
        self._leaving: set[asyncio.Task[None]] = set()
        self._looking: asyncio.Future[CloudError | None] | None = None  # the newest look at the other side
        self._looked_at = -REMEMBERED_S
        self._look_at = time.monotonic() + LOOK_S
        self._tls = papers() if papers else None
        self._channel = self._opened()
        self._calls = calls(self._channel)

    @property
    def calls(self) -> Calls:
        """On the connection of now. To be called at once, without awaiting anything between."""
        if self._papers and time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_S
            if (tls := self._papers()) != self._tls:
                self._leave()
                self._tls = tls
                self._channel = self._opened()
                self._calls = self._make_calls(self._channel)
        return self._calls

    async def why(self, failure: grpc.aio.AioRpcError) -> CloudError | None:
        """What keeps the two sides from agreeing, if that is why this call failed."""
        if failure.code() is not grpc.StatusCode.UNAVAILABLE or not handshakes.is_worth_a_look(failure.details() or ""):
            return None
        # One for all calls that failed at once: each takes a thread for seconds.
        if self._looking is None or (self._looking.done() and time.monotonic() - self._looked_at >= REMEMBERED_S):
            self._looked_at = time.monotonic()
            look = asyncio.to_thread(handshakes.look, self._host, self._port, self._tls, self._expected)
            self._looking = asyncio.ensure_future(look)
        return await asyncio.shield(self._looking)

    async def close(self) -> None:
        """Calls under way are cancelled."""
        for task in self._leaving:
            task.cancel()
        await asyncio.gather(*self._leaving, return_exceptions=True)
        await self._channel.close()

    def _opened(self) -> Channel:
        # A connection of its own: a shared one to an address that failed pauses before it tries again, even for a new
        # one.
        options = [*self._options, ("grpc.use_local_subchannel_pool", 1)]
        if self._tls is None:
            return grpc.aio.insecure_channel(self.address, options=options)
        credentials = rpc.channel_credentials(self._tls)
        return grpc.aio.secure_channel(self.address, credentials, options=[*options, rpc.as_named(self._expected)])

    def _leave(self) -> None:
        log.debug("the connection to %s is made anew with the papers of now", self.address)
        task = asyncio.create_task(self._channel.close(LONGEST_CALL_S))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
