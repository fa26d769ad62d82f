"""The parts of a gateway that move bytes, over nodes in memory."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from cloudgrpc import config
from cloudgrpc.actions.budget import CHUNKS_OF_ONE, CHUNKS_OF_UPLOADS, Budget
from cloudgrpc.actions.downloads import Downloads
from cloudgrpc.actions.intake import Parts
from cloudgrpc.actions.node_watch import NodeWatch
from cloudgrpc.actions.nodes import Nodes
from cloudgrpc.actions.small_uploads import SmallUploads
from cloudgrpc.actions.upload_sessions import UploadSessions
from cloudgrpc.actions.uploads import Uploads
from cloudgrpc.chunks.memory import MemoryStore
from cloudgrpc.core.chunking import CHUNK_BYTES
from cloudgrpc.errors import (
    ChunkMissing,
    NodeUnavailable,
)
from cloudgrpc.meta import nodes
from cloudgrpc.meters import Meters
from cloudgrpc.wire import split_data
from contract.meta_fixture import Meta, introduction, wish_for

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

    from cloudgrpc.chunks.base import Chunk
    from cloudgrpc.core.scrub import Claim, Verified
    from cloudgrpc.meta.accounts import Caller
    from cloudgrpc.meta.db import Database
    from cloudgrpc.meta.upload_sessions import Session
    from cloudgrpc.meta.uploads import Answer
    from cloudgrpc.wire import Laid

PIECE = 1 << 20
FILM = random.Random(1).randbytes(3 * CHUNK_BYTES + 5)  # four chunks
DIGEST = f"blake3:{blake3(FILM).hexdigest()}"


class FakeNode(MemoryStore):
    """A node that counts what is read from it, and can be out of reach."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.reads: list[str] = []
        self.is_away = False
        self.puts_begun = 0
        self.held_puts: asyncio.Event | None = None  # until then what is put is on its way
        self.held_reads: dict[str, asyncio.Event] = {}

    async def put(self, chunk: Chunk) -> tuple[str, ...]:
        self.puts_begun += 1
        if self.held_puts is not None:
            await self.held_puts.wait()
        return await super().put(chunk)

    async def get(self, chunk_id: str) -> Chunk:
        await self._reach(chunk_id)
        return await super().get(chunk_id)

    async def fetch(self, chunk_id: str) -> Chunk:
        await self._reach(chunk_id)
        if chunk_id not in self.chunks:
            raise ChunkMissing(chunk_id=chunk_id)
        return self.chunks[chunk_id]

    async def _reach(self, chunk_id: str) -> None:
        if self.is_away:
            raise NodeUnavailable(node_id=self.name, reason="away")
        if chunk_id in self.held_reads:
            await self.held_reads[chunk_id].wait()
        self.reads.append(chunk_id)

    async def copy_from(self, chunk_id: str, checksum: str, host: str, port: int, source_id: str = "") -> None:
        raise AssertionError("nobody repairs here")

    async def verify(self, claims: Sequence[Claim]) -> Verified:
        raise AssertionError("nobody scrubs here")

    async def close(self) -> None:
        pass


class Gateway:
    """The parts of one gateway that move bytes; another one may share the nodes and the database."""

    def __init__(self, database: Meta, stores: dict[str, FakeNode], reached: Database | None = None) -> None:
        """`reached`: what the parts take for the database, when not `database` itself."""
        self.stores = stores
        self.nodes = Nodes(
            database.database,
            config.Cluster(offline_after_s=3600),  # no heartbeats come here
            database.run(cluster_id),
            NodeWatch(),
            lambda node: stores[node.node_id],
        )
        self.budget = Budget()
        parts = Parts(reached or database.database, self.nodes, self.budget, silence_s=20, meters=Meters(), slow_s=0.05)
        self.downloads = Downloads(parts)
        self.uploads = Uploads(parts, config.Drive())
        self.small_uploads = SmallUploads(parts, config.Drive(), lambda _: None)
        self.sessions = UploadSessions(parts, self.downloads, config.Drive())

    @property
    def reads(self) -> int:
        return sum(len(store.reads) for store in self.stores.values())

    async def put(self, person: Caller, session: Session, first: int, count: int, sent: bytes | None = None) -> int:
        """`sent`: the bytes of those chunks when None."""
        if sent is None:
            sent = FILM[first * CHUNK_BYTES : (first + count) * CHUNK_BYTES]
        return await self.sessions.put(person, session.upload_id, first, count, reader(cut(sent)))

    async def whole_budget(self, account_id: str) -> None:
        """Returns once everything that can be taken at once could be."""
        async with asyncio.timeout(20):
            taken = [await self.budget.take_to_receive(account_id) for _ in range(CHUNKS_OF_ONE)]
            taken += [await self.budget.take_to_receive("other") for _ in range(CHUNKS_OF_UPLOADS - CHUNKS_OF_ONE)]
        for slot in taken:
            slot.release()


def cluster_id() -> str:
    return "0" * 32


def cut(sent: bytes) -> Iterator[memoryview]:
    return (memoryview(sent)[start : start + PIECE] for start in range(0, len(sent), PIECE))


def reader(pieces: Iterable[memoryview]) -> Callable[[], Awaitable[memoryview]]:
    coming = iter(pieces)

    async def read() -> memoryview:
        return next(coming, memoryview(b""))

    return read


def hanging_up(pieces: Iterable[memoryview], hung_up: asyncio.Event) -> Callable[[], Awaitable[memoryview]]:
    """A reader whose sender says nothing more after these, and tells so."""
    coming = iter(pieces)

    async def read() -> memoryview:
        for piece in coming:
            return piece
        hung_up.set()
        await asyncio.Event().wait()
        raise AssertionError("it was not ended")

    return read


def three_nodes(database: Meta) -> dict[str, FakeNode]:
    """In place of the one that people are enrolled with."""
    database.sql("DELETE FROM node")
    made = {name: FakeNode(name) for name in ("node1", "node2", "node3")}
    for name in made:
        database.run(nodes.register, introduction(name))
    return made


async def begin(gateway: Gateway, person: Caller, size: int = len(FILM), **wish: Any) -> Session:
    return await gateway.sessions.begin(wish_for(person, "film", size, **wish), "")


async def downloaded(gateway: Gateway, person: Caller, file_id: str) -> bytes:
    got: list[bytes] = []

    async def write(piece: Laid) -> None:
        got.append(bytes(split_data(piece.packed())[0]))

    await gateway.downloads.send(await gateway.downloads.open(person, file_id), write)
    return b"".join(got)


async def stored_film(gateway: Gateway, person: Caller) -> Answer:
    return await gateway.uploads.upload(wish_for(person, "film", len(FILM)), reader(cut(FILM)))


def hold_reading(stores: dict[str, FakeNode], chunk_id: str) -> asyncio.Event:
    """No node gives this chunk before the event is set."""
    held = asyncio.Event()
    for store in stores.values():
        store.held_reads[chunk_id] = held
    return held


async def until(predicate: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not predicate():
            await asyncio.sleep(0.005)
