"""Connections between machines: why one did not come about is looked up once for all calls that failed at once."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import grpc
from grpc.aio import AioRpcError, Metadata

from cloudgrpc import handshakes
from cloudgrpc.errors import TlsExpected
from cloudgrpc.links import Link

if TYPE_CHECKING:
    import pytest

DETAILS = "failed to connect to all addresses; last error: UNAVAILABLE: Socket closed"


def test_many_calls_that_fail_at_once_look_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []

    def look(host: str, *_: Any) -> TlsExpected:
        looks.append(host)
        time.sleep(0.05)
        return TlsExpected(address=host)

    monkeypatch.setattr(handshakes, "look", look)
    failure = AioRpcError(grpc.StatusCode.UNAVAILABLE, Metadata(), Metadata(), DETAILS)

    async def fail() -> None:
        link: Link[None] = Link("127.0.0.1", 1, lambda _: None)
        try:
            told = [*await asyncio.gather(*(link.why(failure) for _ in range(20))), await link.why(failure)]
        finally:
            await link.close()
        assert all(isinstance(each, TlsExpected) for each in told)

    asyncio.run(fail())
    assert looks == ["127.0.0.1"]
