"""Transfers through the gateway's own parts, over nodes in memory: what is read, what is kept, what is given back."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from blake3 import blake3

from cloudgrpc import config
from cloudgrpc.actions.budget import CHUNKS_IN_FLIGHT, CHUNKS_OF_ONE, CHUNKS_OF_UPLOADS, SLOW_OF_ONE, Budget
from cloudgrpc.actions.downloads import Downloads
from cloudgrpc.actions.intake import Parts
from cloudgrpc.actions.nodes import Nodes
from cloudgrpc.actions.upload_sessions import UploadSessions
from cloudgrpc.actions.uploads import Uploads
from cloudgrpc.chunks.memory import MemoryStore
from cloudgrpc.core.chunking import CHUNK_BYTES
from cloudgrpc.errors import (
    CopiesUnreachable,
    DataLost,
    InvalidField,
    Missing,
    NodeUnavailable,
    PartSizeWrong,
    TooManySlow,
    UploadBusy,
    UploadDiffers,
    UploadEnded,
    UploadUnfinished,
)
from cloudgrpc.meta import changes, copies, nodes
from cloudgrpc.meta.upload_sessions import Session, Span
from contract.meta_fixture import Meta, introduction, wish_for

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from cloudgrpc.chunks.base import Chunk
    from cloudgrpc.meta.accounts import Caller
    from cloudgrpc.meta.uploads import Answer

PIECE = 1 << 20
FILM = random.Random(1).randbytes(3 * CHUNK_BYTES + 5)  # four chunks
DIGEST = f"blake3:{blake3(FILM).hexdigest()}"


class FakeNode(MemoryStore):
    """A node that counts what is read from it, and can be out of reach."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.reads: list[str] = []
        self.is_away = False
        self.held_puts: asyncio.Event | None = None  # until then what is put is on its way
        self.held_reads: dict[str, asyncio.Event] = {}

    async def put(self, chunk: Chunk) -> tuple[str, ...]:
        if self.held_puts is not None:
            await self.held_puts.wait()
        return await super().put(chunk)

    async def get(self, chunk_id: str) -> Chunk:
        if self.is_away:
            raise NodeUnavailable(node_id=self.name, reason="away")
        if chunk_id in self.held_reads:
            await self.held_reads[chunk_id].wait()
        self.reads.append(chunk_id)
        return await super().get(chunk_id)

    async def copy_from(self, chunk_id: str, checksum: str, host: str, port: int) -> None:
        raise AssertionError("nobody repairs here")

    async def close(self) -> None:
        pass


class Gateway:
    """The parts of one gateway that move bytes; another one may share the nodes and the database."""

    def __init__(self, database: Meta, stores: dict[str, FakeNode]) -> None:
        self.stores = stores
        self.nodes = Nodes(
            database.database, config.Cluster(), database.run(cluster_id), lambda node: stores[node.node_id]
        )
        self.budget = Budget()
        parts = Parts(database.database, self.nodes, self.budget, silence_s=20, slow_s=0.05)
        self.downloads = Downloads(parts)
        self.uploads = Uploads(parts, config.Drive())
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
        async with asyncio.timeout(5):
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


@pytest.fixture
def alice(database: Meta) -> Caller:
    return database.enroll()


@pytest.fixture
def stores(database: Meta, alice: Caller) -> dict[str, FakeNode]:
    """Three nodes; the one that people are enrolled with is not among them."""
    database.sql("DELETE FROM node")
    made = {name: FakeNode(name) for name in ("node1", "node2", "node3")}
    for name in made:
        database.run(nodes.register, introduction(name))
    return made


@pytest.fixture
def gateway(database: Meta, stores: dict[str, FakeNode]) -> Gateway:
    return Gateway(database, stores)


async def begin(gateway: Gateway, person: Caller, size: int = len(FILM), **wish: Any) -> Session:
    return await gateway.sessions.begin(wish_for(person, "film", size, **wish), "")


async def downloaded(gateway: Gateway, person: Caller, file_id: str) -> bytes:
    got: list[bytes] = []

    async def write(piece: memoryview) -> None:
        got.append(bytes(piece))

    await gateway.downloads.send(await gateway.downloads.open(person, file_id), write)
    return b"".join(got)


# Copies that move while a download is under way


def move_copies(database: Meta, stores: dict[str, FakeNode]) -> None:
    """Every chunk to the node that did not have it, as repair does after both others were lost."""
    for chunk_id in {chunk_id for store in stores.values() for chunk_id in store.chunks}:
        holders = [store for store in stores.values() if chunk_id in store.chunks]
        (other,) = [store for store in stores.values() if chunk_id not in store.chunks]
        other.chunks[chunk_id] = holders[0].chunks[chunk_id]
        database.run(copies.add_good, chunk_id, other.name)
        for holder in holders:
            del holder.chunks[chunk_id]


async def stored_film(gateway: Gateway, person: Caller) -> Answer:
    return await gateway.uploads.upload(wish_for(person, "film", len(FILM)), reader(cut(FILM)))


def test_a_download_finds_the_copies_that_were_moved_under_it(
    database: Meta, gateway: Gateway, stores: dict[str, FakeNode], alice: Caller
) -> None:
    async def work() -> bytes:
        opened = await gateway.downloads.open(alice, (await stored_film(gateway, alice)).file_id)
        got: list[bytes] = []

        async def write(piece: memoryview) -> None:
            if not got:  # the page that says where the chunks are was read
                await asyncio.to_thread(move_copies, database, stores)
            got.append(bytes(piece))

        for _ in range(CHUNKS_IN_FLIGHT - 1):
            await gateway.budget.take_to_send()  # so that nothing is read ahead
        await gateway.downloads.send(opened, write)
        return b"".join(got)

    assert asyncio.run(work()) == FILM


@pytest.mark.parametrize(("way", "error"), [("gone", DataLost), ("away", CopiesUnreachable)])
def test_a_download_without_any_copy_says_whether_there_is_hope(
    gateway: Gateway, stores: dict[str, FakeNode], alice: Caller, way: str, error: type[Exception]
) -> None:
    async def work() -> None:
        answer = await stored_film(gateway, alice)
        for store in stores.values():
            if way == "gone":
                store.chunks.clear()
            store.is_away = way == "away"
        with pytest.raises(error):
            await downloaded(gateway, alice, answer.file_id)
        await gateway.nodes.close()

    asyncio.run(work())


def test_a_download_of_what_was_purged_and_is_half_swept_ends_and_leaves_nothing_out(
    database: Meta, gateway: Gateway, alice: Caller
) -> None:
    async def work() -> bytes:
        opened = await gateway.downloads.open(alice, (await stored_film(gateway, alice)).file_id)
        await asyncio.to_thread(database.run, changes.purge, alice, opened.file.file_id)
        await asyncio.to_thread(database.sql, "DELETE FROM extent WHERE position = 1")
        got: list[bytes] = []

        async def write(piece: memoryview) -> None:
            got.append(bytes(piece))

        with pytest.raises(Missing):
            await gateway.downloads.send(opened, write)
        return b"".join(got)

    assert FILM.startswith(asyncio.run(work()))


# Parts of a file


@pytest.mark.parametrize("name", ["version", "offset", "length"])
def test_a_range_is_not_negative(gateway: Gateway, alice: Caller, name: str) -> None:
    async def work() -> None:
        answer = await stored_film(gateway, alice)
        with pytest.raises(InvalidField, match=f"{name}:"):
            await gateway.downloads.open(alice, answer.file_id, **{name: -1})

    asyncio.run(work())


def test_only_the_chunks_of_the_range_are_read(gateway: Gateway, alice: Caller) -> None:
    async def work() -> None:
        answer = await stored_film(gateway, alice)
        for offset, length, chunks in (
            (0, 1, 1),
            (CHUNK_BYTES, CHUNK_BYTES, 1),
            (CHUNK_BYTES - 1, 2, 2),
            (CHUNK_BYTES, None, 3),
            (len(FILM), None, 0),
            (5, 0, 0),
        ):
            opened = await gateway.downloads.open(alice, answer.file_id, 0, offset, length)
            before, got = gateway.reads, bytearray()

            async def write(piece: memoryview, got: bytearray = got) -> None:
                got.extend(piece)

            await gateway.downloads.send(opened, write)
            assert got == FILM[offset : None if length is None else offset + length]
            assert gateway.reads - before == chunks, (offset, length)

    asyncio.run(work())


# The content of uploads that rest


def test_what_was_sent_in_order_through_one_gateway_is_not_read_back(gateway: Gateway, alice: Caller) -> None:
    async def work() -> None:
        session = await begin(gateway, alice)
        for first, count in ((0, 1), (1, 2), (3, 1)):
            await gateway.put(alice, session, first, count)
        answer = await gateway.sessions.finish(alice, session.upload_id, DIGEST)
        assert (answer.digest, gateway.reads) == (DIGEST, 0)
        assert await downloaded(gateway, alice, answer.file_id) == FILM

    asyncio.run(work())


@pytest.mark.parametrize(("way", "reads"), [("another gateway", 4), ("out of order", 2), ("partly out of order", 1)])
def test_what_was_sent_in_any_other_way_is_read_back_and_is_the_same(
    database: Meta, gateway: Gateway, stores: dict[str, FakeNode], alice: Caller, way: str, reads: int
) -> None:
    async def work() -> None:
        session, last = await begin(gateway, alice), gateway
        if way == "another gateway":
            await gateway.put(alice, session, 0, 2)
            last = Gateway(database, stores)
            await last.put(alice, session, 2, 2)
        elif way == "out of order":
            await gateway.put(alice, session, 2, 2)
            await gateway.put(alice, session, 0, 2)
        else:
            for first in (0, 1, 3, 2):
                await gateway.put(alice, session, first, 1)
        answer = await last.sessions.finish(alice, session.upload_id, DIGEST)
        assert answer.digest == DIGEST
        assert last.reads == reads
        assert await downloaded(last, alice, answer.file_id) == FILM

    asyncio.run(work())


def test_two_streams_of_one_upload_bring_their_chunks_at_once(gateway: Gateway, alice: Caller) -> None:
    async def work() -> None:
        session = await begin(gateway, alice)
        await asyncio.gather(gateway.put(alice, session, 0, 2), gateway.put(alice, session, 2, 2))
        assert (await gateway.sessions.finish(alice, session.upload_id, DIGEST)).digest == DIGEST

    asyncio.run(work())


def test_a_chunk_that_was_sent_again_is_what_is_verified(gateway: Gateway, alice: Caller) -> None:
    """Its digest is known of the older one only."""

    async def work() -> None:
        session = await begin(gateway, alice)
        wrong = bytes(CHUNK_BYTES)
        await gateway.put(alice, session, 0, 4, wrong + FILM[CHUNK_BYTES:])
        await gateway.put(alice, session, 0, 1)
        assert (await gateway.sessions.finish(alice, session.upload_id, DIGEST)).digest == DIGEST
        assert gateway.reads == 3

    asyncio.run(work())


def test_what_was_known_of_chunks_that_were_replaced_elsewhere_is_found_out(
    database: Meta, gateway: Gateway, stores: dict[str, FakeNode], alice: Caller
) -> None:
    async def work() -> None:
        session = await begin(gateway, alice)
        await gateway.put(alice, session, 0, 4, bytes(CHUNK_BYTES) + FILM[CHUNK_BYTES:])
        await Gateway(database, stores).put(alice, session, 0, 1)
        assert (await gateway.sessions.finish(alice, session.upload_id, "")).digest == DIGEST
        assert gateway.reads == 4

    asyncio.run(work())


def test_another_content_than_the_clients_is_dropped(database: Meta, gateway: Gateway, alice: Caller) -> None:
    async def work() -> None:
        session = await begin(gateway, alice)
        await gateway.put(alice, session, 0, 4, bytes(CHUNK_BYTES) + FILM[CHUNK_BYTES:])
        with pytest.raises(UploadDiffers):
            await gateway.sessions.finish(alice, session.upload_id, DIGEST)
        with pytest.raises(UploadEnded):
            await gateway.sessions.find(alice, session.upload_id)

    asyncio.run(work())
    assert database.used(alice.account_id) == (0, 0)


def test_a_chunk_whose_copies_are_lost_before_the_end_is_to_be_sent_again(
    database: Meta, gateway: Gateway, stores: dict[str, FakeNode], alice: Caller
) -> None:
    async def work() -> None:
        session = await begin(gateway, alice)
        await gateway.put(alice, session, 0, 4)
        ((lost,),) = database.rows("SELECT chunk_id FROM upload_chunk WHERE position = 2")
        for store in stores.values():
            store.chunks.pop(lost, None)
        last = Gateway(database, stores)
        with pytest.raises(UploadUnfinished, match="1 of its 4 chunks"):
            await last.sessions.finish(alice, session.upload_id, DIGEST)
        assert (await last.sessions.find(alice, session.upload_id)).stored == (Span(0, 2), Span(3, 1))
        await last.put(alice, session, 2, 1)
        answer = await last.sessions.finish(alice, session.upload_id, DIGEST)
        assert await downloaded(last, alice, answer.file_id) == FILM
        await last.nodes.close()

    asyncio.run(work())


def test_who_leaves_while_it_is_read_back_may_ask_again_and_it_goes_on(
    database: Meta, gateway: Gateway, stores: dict[str, FakeNode], alice: Caller
) -> None:
    async def work() -> None:
        session = await begin(gateway, alice)
        await gateway.put(alice, session, 0, 4)
        last = Gateway(database, stores)
        ((fourth,),) = database.rows("SELECT chunk_id FROM upload_chunk WHERE position = 3")
        held = hold_reading(stores, fourth)
        finishing = asyncio.create_task(last.sessions.finish(alice, session.upload_id, DIGEST))
        await until(lambda: last.sessions._contents.furthest(session.upload_id).position == 3)
        finishing.cancel()
        with suppress(asyncio.CancelledError):
            await finishing
        held.set()
        assert (await last.sessions.finish(alice, session.upload_id, DIGEST)).digest == DIGEST
        assert last.reads == 4, "nothing is read twice"

    asyncio.run(work())


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


def test_finishing_while_a_chunk_is_sent_again_is_refused_and_loses_nothing(
    database: Meta, gateway: Gateway, stores: dict[str, FakeNode], alice: Caller
) -> None:
    async def work() -> None:
        session = await begin(gateway, alice)
        await gateway.put(alice, session, 0, 4)
        ((fourth,),) = database.rows("SELECT chunk_id FROM upload_chunk WHERE position = 3")
        held = hold_reading(stores, fourth)
        last = Gateway(database, stores)
        finishing = asyncio.create_task(last.sessions.finish(alice, session.upload_id, ""))
        await until(lambda: last.sessions._contents.furthest(session.upload_id).position == 3)
        await gateway.put(alice, session, 0, 1)
        held.set()
        with pytest.raises(UploadBusy):
            await finishing
        assert (await last.sessions.finish(alice, session.upload_id, DIGEST)).digest == DIGEST

    asyncio.run(work())


# Streams that break off


def test_whole_chunks_stay_when_a_stream_breaks_off_and_the_digest_goes_on_from_there(
    gateway: Gateway, alice: Caller
) -> None:
    async def work() -> None:
        session = await begin(gateway, alice)
        hung_up = asyncio.Event()
        read = hanging_up(cut(FILM[: 2 * CHUNK_BYTES + PIECE]), hung_up)
        putting = asyncio.create_task(gateway.sessions.put(alice, session.upload_id, 0, 4, read))
        await hung_up.wait()
        putting.cancel()
        with suppress(asyncio.CancelledError):
            await putting
        assert (await gateway.sessions.find(alice, session.upload_id)).stored == (Span(0, 2),)
        await gateway.whole_budget(alice.account_id)
        await gateway.put(alice, session, 2, 2)
        assert (await gateway.sessions.finish(alice, session.upload_id, "")).digest == DIGEST
        assert gateway.reads == 0

    asyncio.run(work())


def test_chunks_on_their_way_to_the_nodes_arrive_there_though_the_sender_left(
    gateway: Gateway, stores: dict[str, FakeNode], alice: Caller
) -> None:
    async def work() -> None:
        session = await begin(gateway, alice)
        hung_up, held = asyncio.Event(), asyncio.Event()
        for store in stores.values():
            store.held_puts = held
        read = hanging_up(cut(FILM[: 2 * CHUNK_BYTES]), hung_up)
        putting = asyncio.create_task(gateway.sessions.put(alice, session.upload_id, 0, 4, read))
        await hung_up.wait()
        putting.cancel()
        for _ in range(20):
            await asyncio.sleep(0)
        assert not putting.done()
        held.set()
        with suppress(asyncio.CancelledError):
            await putting
        assert (await gateway.sessions.find(alice, session.upload_id)).stored == (Span(0, 2),)
        await gateway.whole_budget(alice.account_id)

    asyncio.run(work())


@pytest.mark.parametrize(("sent", "stored"), [(FILM[: CHUNK_BYTES + 1], Span(0, 1)), (FILM + b"x", Span(0, 4))])
def test_whole_chunks_stay_when_their_number_was_told_wrongly(
    gateway: Gateway, alice: Caller, sent: bytes, stored: Span
) -> None:
    async def work() -> None:
        session = await begin(gateway, alice)
        with pytest.raises(PartSizeWrong, match=str(len(FILM))):
            await gateway.put(alice, session, 0, 4, sent)
        assert (await gateway.sessions.find(alice, session.upload_id)).stored == (stored,)

    asyncio.run(work())


def test_slow_senders_make_way_and_one_account_cannot_have_too_many(gateway: Gateway, alice: Caller) -> None:
    async def work() -> None:
        slow = [
            asyncio.create_task(gateway.uploads.upload(wish_for(alice, f"film{number}", CHUNK_BYTES), forever))
            for number in range(SLOW_OF_ONE + 3)
        ]
        await until(lambda: sum(task.done() for task in slow) == 3)
        await gateway.whole_budget(alice.account_id)
        for task in slow:
            task.cancel()
        ended = await asyncio.gather(*slow, return_exceptions=True)
        assert Counter(map(type, ended)) == {TooManySlow: 3, asyncio.CancelledError: SLOW_OF_ONE}

    asyncio.run(work())


async def forever() -> memoryview:
    """A byte now and then."""
    await asyncio.sleep(0.02)
    return memoryview(b"x")


def test_a_chunk_that_is_given_up_before_its_first_step_gives_its_room_back(gateway: Gateway, alice: Caller) -> None:
    """The next message is bad, and is there already when the chunk before it is about to be sent."""

    async def work() -> None:
        def messages() -> Iterator[memoryview]:
            yield from cut(FILM[:CHUNK_BYTES])
            raise InvalidField(field="metadata", reason="must come only once")

        for _ in range(CHUNKS_OF_UPLOADS + 1):
            with pytest.raises(InvalidField):
                await gateway.uploads.upload(wish_for(alice, "film", len(FILM)), reader(messages()))
        await gateway.whole_budget(alice.account_id)

    asyncio.run(work())
