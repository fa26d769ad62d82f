"""The content of uploads that rest is verified whole, and read back only when it is not known."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from cloudgrpc.core.chunking import CHUNK_BYTES
from cloudgrpc.errors import (
    UploadBusy,
    UploadDiffers,
    UploadEnded,
    UploadUnfinished,
)
from cloudgrpc.meta.upload_sessions import Span
from contract.transfer_fixture import (
    DIGEST,
    FILM,
    FakeNode,
    Gateway,
    begin,
    downloaded,
    hold_reading,
    three_nodes,
    until,
)

if TYPE_CHECKING:
    from cloudgrpc.meta.accounts import Caller
    from contract.meta_fixture import Meta


@pytest.fixture
def alice(database: Meta) -> Caller:
    return database.enroll()


@pytest.fixture
def stores(database: Meta, alice: Caller) -> dict[str, FakeNode]:
    return three_nodes(database)


@pytest.fixture
def gateway(database: Meta, stores: dict[str, FakeNode]) -> Gateway:
    return Gateway(database, stores)


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
