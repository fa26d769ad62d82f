"""The Campay sandbox in a thread of the test's own, and any ASGI app beside it, on real sockets."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cloudgrpc.outside.campay_sandbox import TOKEN_S, Sandbox
from cloudgrpc.sales import Campay
from cloudgrpc.servers.http_listener import HttpListener
from program import HOST, PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from starlette.types import ASGIApp

USERNAME = "app-username"
PASSWORD = "app-pass-Word"
WEBHOOK_KEY = "the-webhook-key-of-this-test-app"


@contextmanager
def serving(
    app: ASGIApp,
    port: int = 0,
    *,
    begin: Callable[[], None] = lambda: None,
    end: Callable[[], Awaitable[None]] | None = None,
) -> Iterator[int]:
    """The port of an app that runs in a thread. `begin`, `end`: called within its loop."""
    ready: list[tuple[asyncio.AbstractEventLoop, asyncio.Event, int]] = []
    is_up = threading.Event()

    async def serve() -> None:
        listener, stop = HttpListener(app, HOST, port, "a test"), asyncio.Event()
        ready.append((asyncio.get_running_loop(), stop, await listener.start()))
        begin()
        is_up.set()
        await stop.wait()
        if end is not None:
            await end()
        await listener.stop()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="serving")
    thread.start()
    try:
        assert is_up.wait(PATIENCE_S), "no server came up"
        loop, stop, given = ready[0]
        yield given
    finally:
        if is_up.is_set():
            loop.call_soon_threadsafe(stop.set)
        thread.join(PATIENCE_S)


class SandboxServer:
    """`with SandboxServer() as campay: … campay.settings() … campay.sandbox.transactions`."""

    def __init__(self, webhook_url: str = "", pace: float = 0.02, journal: Path | None = None, port: int = 0) -> None:
        self.told: list[str] = []
        self.sandbox = Sandbox(
            USERNAME, PASSWORD, WEBHOOK_KEY, webhook_url, pace=pace, journal=journal, tell=self.told.append
        )
        self.port = port

    def __enter__(self) -> SandboxServer:
        box = self.sandbox
        self._serving = serving(box.app, self.port, begin=box.resume, end=box.close)
        self.port = self._serving.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._serving.__exit__(None, None, None)

    def forget(self) -> None:
        """As if it were new, for a test that shares it with others."""
        box = self.sandbox
        for transaction in list(box.transactions.values()):
            transaction.steps_done = 1000  # what would have become of it does not
        box.forget_tokens()
        for kept in (box.transactions, box.requests, self.told):
            kept.clear()
        box.ring_method, box.token_s = "GET", TOKEN_S

    def settings(self, **changes: Any) -> Campay:
        """What a client is told of this sandbox."""
        told: dict[str, Any] = {
            "base_url": f"http://{HOST}:{self.port}/api",
            "username": USERNAME,
            "password": PASSWORD,
            "webhook_key": WEBHOOK_KEY,
            "timeout_s": 10.0,
        }
        return Campay(**{**told, **changes})

    def variables(self, **changes: Any) -> dict[str, object]:
        """The same for a cluster: `make_cluster(**campay.variables())`."""
        campay = self.settings(**changes)
        return {f"campay_{key}": value for key in campay.__struct_fields__ if (value := getattr(campay, key)) != ""}
