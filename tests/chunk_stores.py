"""What the tests of chunk stores share: chunks, real nodes on port 0, and stores driven without `await`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from typing import TYPE_CHECKING, Any

import grpc

from cloudgrpc import rpc
from cloudgrpc.actions.node_disk import NodeDisk
from cloudgrpc.chunks.base import Chunk, checksum_of
from cloudgrpc.chunks.disk import DiskStore
from cloudgrpc.chunks.remote import RemoteStore
from cloudgrpc.meters import Meters
from cloudgrpc.services.interceptors import ClusterSecret, ErrorsToStatuses
from cloudgrpc.services.node_disk import NodeDoor, add_node_disk
from cloudgrpc.trust.secrets import Secret
from program import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

SECRET = "the secret of the test cluster"
KNOWN = Secret.of(SECRET)
GIB = 1 << 30


def chunk_of(data: bytes, chunk_id: str = "") -> Chunk:
    return Chunk(chunk_id or secrets.token_hex(16), data, checksum_of(data))


def random_chunk(size: int = 1000, chunk_id: str = "") -> Chunk:
    return chunk_of(os.urandom(size), chunk_id)


def open_disk(folder: Path, node_id: str = "node1", **settings: Any) -> DiskStore:
    return DiskStore.open(folder, node_id, **{"capacity_bytes": GIB, **settings})


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every path below, with the content of files."""
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@contextlib.asynccontextmanager
async def serving(store: DiskStore, *, joined: bool = True) -> AsyncIterator[int]:
    """A real server of this disk; gives its port."""
    door = NodeDoor(store.name)
    if joined:
        door.open()
    server = grpc.aio.server(interceptors=[ErrorsToStatuses(), ClusterSecret(KNOWN), door], options=rpc.SERVER_OPTIONS)
    add_node_disk(
        NodeDisk(store, lambda node_id, host, port: RemoteStore(node_id, host, port, KNOWN, PATIENCE_S)),
        server,
        Meters(),
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


class Driven:
    """A store, or anything else with async methods, called as if they were not."""

    def __init__(self, runner: asyncio.Runner, inner: Any) -> None:
        self._runner = runner
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        if not asyncio.iscoroutinefunction(found):
            return found
        return lambda *args, **named: self._runner.run(found(*args, **named))


@contextlib.contextmanager
def driving() -> Iterator[tuple[asyncio.Runner, contextlib.AsyncExitStack]]:
    """An event loop, and a stack for what must be closed within it."""
    with asyncio.Runner() as runner:
        stack = contextlib.AsyncExitStack()
        try:
            yield runner, stack
        finally:
            runner.run(stack.aclose())
