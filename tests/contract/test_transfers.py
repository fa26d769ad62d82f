"""Transfers through the gateway's own parts, over nodes in memory: what is read, what is kept, what is given back."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from cloudgrpc import config
from cloudgrpc.actions.budget import CHUNKS_IN_FLIGHT, CHUNKS_OF_ONE, CHUNKS_OF_UPLOADS, SLOW_OF_ONE
from cloudgrpc.actions.downloads import CHUNKS_PER_LOOK
from cloudgrpc.actions.intake import IDS_AHEAD, RECEIPTS_EVERY_S
from cloudgrpc.actions.node_watch import NodeWatch
from cloudgrpc.actions.nodes import Nodes
from cloudgrpc.actions.small_uploads import SmallFile
from cloudgrpc.core.chunking import CHUNK_BYTES
from cloudgrpc.core.sealing import TAG_BYTES
from cloudgrpc.errors import (
    AccountDisabled,
    CopiesUnreachable,
    DataLost,
    InvalidField,
    Missing,
    NodeUnavailable,
    PartSizeWrong,
    TooManySlow,
)
from cloudgrpc.meta import account_acts, changes, copies, nodes, small_uploads, uploads
from cloudgrpc.meta.upload_sessions import Span
from cloudgrpc.meta.uploads import Answer
from cloudgrpc.wire import pack_data
from contract.meta_fixture import GB, Meta, introduction, visitor, wish_for
from contract.transfer_fixture import (
    DIGEST,
    FILM,
    PIECE,
    FakeNode,
    Gateway,
    begin,
    cluster_id,
    cut,
    downloaded,
    hanging_up,
    reader,
    stored_film,
    three_nodes,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cloudgrpc.meta.accounts import Caller
    from cloudgrpc.meta.db import Database
    from cloudgrpc.wire import Laid


@pytest.fixture
def alice(database: Meta) -> Caller:
    return database.enroll()


@pytest.fixture
def stores(database: Meta, alice: Caller) -> dict[str, FakeNode]:
    return three_nodes(database)


@pytest.fixture
def gateway(database: Meta, stores: dict[str, FakeNode]) -> Gateway:
    return Gateway(database, stores)


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


def test_a_download_finds_the_copies_that_were_moved_under_it(
    database: Meta, gateway: Gateway, stores: dict[str, FakeNode], alice: Caller
) -> None:
    async def work() -> bytes:
        opened = await gateway.downloads.open(alice, (await stored_film(gateway, alice)).file_id)
        got: list[bytes] = []

        async def write(piece: Laid) -> None:
            if not got:  # the page that says where the chunks are was read
                await asyncio.to_thread(move_copies, database, stores)
            got.append(bytes(piece.data))

        for _ in range(CHUNKS_IN_FLIGHT - 1):
            await gateway.budget.take_to_send()  # so that nothing is read ahead
        await gateway.downloads.send(opened, write)
        return b"".join(got)

    assert asyncio.run(work()) == FILM


@pytest.mark.parametrize("is_sealed", [True, False])
def test_of_bytes_that_were_damaged_on_their_way_from_a_node_none_is_sent(
    request: pytest.FixtureRequest, is_sealed: bool, database: Meta, stores: dict[str, FakeNode], alice: Caller
) -> None:
    if not is_sealed:
        request.getfixturevalue("unsealed")
    gateway = Gateway(database, stores)

    def damage(store: FakeNode) -> None:
        """The checksum told is still the one that is expected."""
        for chunk_id, chunk in store.chunks.items():
            flipped = bytearray(chunk.data)
            flipped[len(flipped) // 2] ^= 1
            store.chunks[chunk_id] = replace(chunk, data=bytes(flipped))

    async def work() -> None:
        answer = await stored_film(gateway, alice)
        one, *others = stores.values()
        damage(one)
        assert await downloaded(gateway, alice, answer.file_id) == FILM
        for store in others:
            damage(store)
        got: list[bytes] = []

        async def write(piece: Laid) -> None:
            got.append(bytes(piece.data))

        opened = await gateway.downloads.open(alice, answer.file_id)
        with pytest.raises(DataLost):
            await gateway.downloads.send(opened, write)
        assert got == []
        await gateway.nodes.close()

    asyncio.run(work())


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

        async def write(piece: Laid) -> None:
            got.append(bytes(piece.data))

        with pytest.raises(Missing):
            await gateway.downloads.send(opened, write)
        return b"".join(got)

    assert FILM.startswith(asyncio.run(work()))


def test_a_download_ends_soon_after_its_readers_account_was_disabled(
    database: Meta, gateway: Gateway, alice: Caller
) -> None:
    size = (CHUNKS_PER_LOOK + 2) * CHUNK_BYTES

    async def work() -> int:
        answer = await gateway.uploads.upload(wish_for(alice, "long", size), reader(cut(bytes(size))))
        opened = await gateway.downloads.open(alice, answer.file_id)
        got = 0

        async def write(piece: Laid) -> None:
            nonlocal got
            if not got:
                disable = partial(account_acts.disable, alice.email, "a test", "a key", visitor())
                await asyncio.to_thread(database.run, disable)
            got += len(piece.data)

        with pytest.raises(AccountDisabled, match="a test"):
            await gateway.downloads.send(opened, write)
        return got

    assert asyncio.run(work()) < CHUNKS_PER_LOOK * CHUNK_BYTES


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

            async def write(piece: Laid, got: bytearray = got) -> None:
                got.extend(piece.data)

            await gateway.downloads.send(opened, write)
            assert got == FILM[offset : None if length is None else offset + length]
            assert gateway.reads - before == chunks, (offset, length)

    asyncio.run(work())


@pytest.mark.parametrize("is_sealed", [True, False])
@pytest.mark.parametrize(("offset", "length"), [(0, None), (PIECE - 1, None), (5, CHUNK_BYTES), (CHUNK_BYTES + 7, 100)])
def test_every_message_is_one_of_a_piece_s_bytes_and_no_longer(
    request: pytest.FixtureRequest,
    is_sealed: bool,
    database: Meta,
    stores: dict[str, FakeNode],
    alice: Caller,
    offset: int,
    length: int | None,
) -> None:
    if not is_sealed:
        request.getfixturevalue("unsealed")
    gateway = Gateway(database, stores)

    async def work() -> list[bytes]:
        answer = await stored_film(gateway, alice)
        opened = await gateway.downloads.open(alice, answer.file_id, 0, offset, length)
        sent: list[bytes] = []

        async def write(piece: Laid) -> None:
            assert piece.packed() == pack_data(piece.data)
            sent.append(bytes(piece.data))

        await gateway.downloads.send(opened, write)
        return sent

    sent = asyncio.run(work())
    assert b"".join(sent) == FILM[offset : None if length is None else offset + length]
    assert max(map(len, sent)) <= PIECE


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


# How full the nodes are


def test_what_befalls_a_node_counts_for_the_next_chunk_already(gateway: Gateway) -> None:
    """Not only once all nodes are looked at again."""

    async def names() -> list[list[str]]:
        return [[store.name for store in (await gateway.nodes.place(1)).stores] for _ in range(40)]

    async def work() -> None:
        assert {order[-1] for order in await names()} == {"node1", "node2", "node3"}
        gateway.nodes.report("node1", "0" * 32, NodeUnavailable(node_id="node1", reason="it is away"))
        gateway.nodes.note_placed("node2", 1 << 60, gateway.nodes.heard_at("node2"))
        assert {tuple(order) for order in await names()} == {("node3", "node1")}

    asyncio.run(work())


def test_a_node_that_moves_is_found_though_the_nodes_were_being_read(
    database: Meta, stores: dict[str, FakeNode]
) -> None:
    late = AnswersLate(database.database)
    watch, settings = NodeWatch(), config.Cluster()
    own = Nodes(late, settings, database.run(cluster_id), watch, lambda node: stores[node.node_id])  # type: ignore[arg-type]
    moved = replace(introduction("node1", "folder of node1", GB), port=9999)

    async def work() -> None:
        asked_before = asyncio.create_task(own.view())
        await late.has_read.wait()
        await own.register(moved, "")
        late.go_on.set()
        await asked_before
        assert (await own.view())["node1"].port == 9999

    asyncio.run(work())


class AnswersLate:
    """The database, whose first answer about the nodes waits for `go_on`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.run = database.run
        self.has_read, self.go_on = asyncio.Event(), asyncio.Event()

    async def read(self, function: Callable[..., Any], *args: Any) -> Any:
        answer = await self._database.read(function, *args)
        if function is nodes.all_nodes and not self.has_read.is_set():
            self.has_read.set()
            await self.go_on.wait()
        return answer


def test_the_receipts_of_a_long_stream_are_written_many_at_a_time(
    database: Meta, stores: dict[str, FakeNode], alice: Caller
) -> None:
    """Of more chunks than have their ids in the beginning."""
    chunks = IDS_AHEAD + 4
    counted = Counting(database.database)
    gateway = Gateway(database, stores, counted)  # type: ignore[arg-type]

    async def work() -> None:
        session = await begin(gateway, alice, chunks * CHUNK_BYTES)
        began = time.monotonic()
        pieces = itertools.repeat(memoryview(bytes(CHUNK_BYTES)), chunks)
        await gateway.sessions.put(alice, session.upload_id, 0, chunks, reader(pieces))
        assert counted.receipts <= 4 + (time.monotonic() - began) / RECEIPTS_EVERY_S < chunks
        assert (await gateway.sessions.find(alice, session.upload_id)).stored == (Span(0, chunks),)

    asyncio.run(work())


class Counting:
    """A database that counts how often receipts are written into it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.read = database.read
        self.receipts = 0

    async def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.receipts += function is uploads.receive
        return await self._database.run(function, *args, **kwargs)


def test_every_chunk_is_counted_once_on_its_node_whenever_and_to_whomever_that_says_how_full_it_is(
    database: Meta, gateway: Gateway, stores: dict[str, FakeNode], alice: Caller
) -> None:
    def size(name: str, on_the_way: int = 0) -> int:
        return sum(len(chunk.data) for chunk in stores[name].chunks.values()) + on_the_way

    def beat(on_the_way: int = 0) -> None:
        """Every node tells it, to another gateway."""
        for name in stores:
            database.run(nodes.heartbeat, name, f"folder of {name}", size(name, on_the_way), 1, is_read_only=False)
        gateway.nodes.forget_view()

    async def free() -> dict[str, int]:
        return {name: gateway.nodes.candidate(node).free_bytes for name, node in (await gateway.nodes.view()).items()}

    async def work() -> None:
        await gateway.uploads.upload(wish_for(alice, "zero", 100), reader(cut(b"0" * 100)))
        assert await free() == {name: GB - size(name) for name in stores}
        beat()
        assert await free() == {name: GB - size(name) for name in stores}
        held = asyncio.Event()
        for store in stores.values():
            store.held_puts, store.puts_begun = held, 0
        uploading = asyncio.create_task(gateway.uploads.upload(wish_for(alice, "one", 1000), reader(cut(b"1" * 1000))))
        await until(lambda: sum(store.puts_begun for store in stores.values()) == 2)
        beat(on_the_way=1000)
        await gateway.nodes.view()
        held.set()
        await uploading
        assert min((await free()).values()) >= GB - (100 + TAG_BYTES) - (1000 + TAG_BYTES)
        beat()
        assert await free() == {name: GB - size(name) for name in stores}
        await gateway.uploads.upload(wish_for(alice, "two", 500), reader(cut(b"2" * 500)))
        assert await free() == {name: GB - size(name) for name in stores}
        beat()
        assert await free() == {name: GB - size(name) for name in stores}

    asyncio.run(work())


# Tries of one upload


class SlowToTakeUp:
    """The database, which takes up the first call of `begin` only once `go_on` is set: as one with many threads may
    take up a later call before it."""

    def __init__(self, database: Database, begin: Callable[..., Any] = uploads.begin) -> None:
        self._begin = begin
        self.go_on = asyncio.Event()
        self.holds = asyncio.Event()
        self._db = database

    async def read(self, function: Callable[..., Any], *words: Any) -> Any:
        return await self._db.read(function, *words)

    async def run(self, function: Callable[..., Any], *words: Any) -> Any:
        if function is not self._begin or self.holds.is_set():
            return await self._db.run(function, *words)
        self.holds.set()
        handed_over = asyncio.create_task(self._run_late(function, *words))
        try:
            return await asyncio.shield(handed_over)
        except asyncio.CancelledError:
            await handed_over  # as the real one: what was handed over is seen through
            raise

    async def _run_late(self, function: Callable[..., Any], *words: Any) -> Any:
        await self.go_on.wait()
        return await self._db.run(function, *words)


def test_a_try_whose_client_has_left_never_ends_its_retry(
    database: Meta, stores: dict[str, FakeNode], alice: Caller
) -> None:
    async def work() -> None:
        slow = SlowToTakeUp(database.database)
        gateway = Gateway(database, stores, slow)  # type: ignore[arg-type]
        wish = wish_for(alice, "film", len(FILM), request_id="once")
        first = asyncio.create_task(gateway.uploads.upload(wish, reader(cut(FILM))))
        await slow.holds.wait()
        first.cancel()
        sent = asyncio.Event()

        async def read() -> memoryview:
            sent.set()
            return await rest()

        rest = reader(cut(FILM))
        second = asyncio.create_task(gateway.uploads.upload(wish, read))
        with suppress(TimeoutError):  # it may wait for the first, which must not come later then
            await asyncio.wait_for(sent.wait(), 0.2)
        slow.go_on.set()
        await asyncio.wait([first])
        assert first.cancelled()
        assert (await second).digest == DIGEST

    asyncio.run(work())


def test_a_batch_whose_client_has_left_never_ends_its_retry(
    database: Meta, stores: dict[str, FakeNode], alice: Caller
) -> None:
    async def work() -> None:
        slow = SlowToTakeUp(database.database, small_uploads.begin)
        gateway = Gateway(database, stores, slow)  # type: ignore[arg-type]
        files = [SmallFile(wish_for(alice, name, 5, request_id=name), b"12345") for name in ("a", "b", "c")]
        first = asyncio.create_task(gateway.small_uploads.upload(alice.account_id, files))
        await slow.holds.wait()
        first.cancel()
        second = asyncio.create_task(gateway.small_uploads.upload(alice.account_id, files))
        await asyncio.wait([second], timeout=0.2)  # it may wait for the first, which must not come later then
        slow.go_on.set()
        await asyncio.wait([first])
        assert first.cancelled()
        assert [type(outcome) for outcome in await second] == [Answer] * 3
        assert database.used(alice.account_id) == (15, 0)

    asyncio.run(work())


def test_batches_that_wait_for_their_drive_take_no_room_from_others(
    database: Meta, stores: dict[str, FakeNode], alice: Caller
) -> None:
    async def work() -> None:
        slow = SlowToTakeUp(database.database, small_uploads.begin)
        gateway = Gateway(database, stores, slow)  # type: ignore[arg-type]
        batches = [
            asyncio.create_task(gateway.small_uploads.upload(alice.account_id, [SmallFile(wish, b"12345")]))
            for wish in (wish_for(alice, f"file{number}", 5) for number in range(CHUNKS_OF_ONE))
        ]
        await slow.holds.wait()
        await gateway.whole_budget(alice.account_id)
        slow.go_on.set()
        assert [type(outcome) for (outcome,) in await asyncio.gather(*batches)] == [Answer] * CHUNKS_OF_ONE

    asyncio.run(work())
