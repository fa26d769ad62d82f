"""The rounds that seal what was stored before and wrap keys anew, over nodes in memory: what they do, what they leave
alone, and what a crash between any two of their steps leaves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from cloudgrpc import config
from cloudgrpc.actions.rewrapping import Rewrapping
from cloudgrpc.actions.sealing import Sealer
from cloudgrpc.core.rotation import MasterKeys
from cloudgrpc.meta import sealing, unsealed
from contract.meta_fixture import MASTER_KEYS, Meta, sealing_with
from contract.transfer_fixture import FILM, Gateway, downloaded, hold_reading, stored_film, three_nodes, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudgrpc.actions.nodes import Nodes
    from cloudgrpc.meta.accounts import Caller
    from contract.transfer_fixture import FakeNode

FAST = config.Config(encryption=config.Encryption(background_mib_s=1_000_000))
PIECE = FILM[100:200]
SECOND_KEYS = MasterKeys({"0b0b0b0b": b"\x0b" * 32}, "0b0b0b0b")
BOTH_KEYS = MasterKeys({**SECOND_KEYS.keys, **MASTER_KEYS.keys}, "0b0b0b0b")


class Killed(Exception):
    """The gateway ended here."""


class Mortal:
    """A database whose gateway ends before or after a transaction."""

    def __init__(self, database: Meta, at: Callable[..., Any], *, is_after: bool) -> None:
        self._db = database.database
        self._at = at
        self._is_after = is_after
        self.read = self._db.read

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        if function is not self._at:
            return await self._db.run(function, *args)
        if self._is_after:
            await self._db.run(function, *args)
        raise Killed


@pytest.fixture
def alice(database: Meta) -> Caller:
    return database.enroll()


@pytest.fixture
def stores(database: Meta, alice: Caller) -> dict[str, FakeNode]:
    return three_nodes(database)


@pytest.fixture
def gateway(database: Meta, stores: dict[str, FakeNode]) -> Gateway:
    return Gateway(database, stores)


def film(gateway: Gateway, alice: Caller) -> str:
    """Stored plain."""
    with sealing_with(None):
        return asyncio.run(stored_film(gateway, alice)).file_id


def sealer(database: Any, nodes: Nodes) -> Sealer:
    return Sealer(database, nodes, FAST, lambda: 0.0)


def seal(database: Meta, gateway: Gateway) -> None:
    asyncio.run(sealer(database.database, gateway.nodes).round())


def is_readable(stores: dict[str, FakeNode], of: list[str]) -> bool:
    """Whether any of these chunks tells what is in it to whoever has the nodes."""

    async def look() -> bool:
        return any(
            [
                PIECE in (await store.get(one)).data
                for store in stores.values()
                for one in await store.page("", 99)
                if one in of
            ]
        )

    return asyncio.run(look())


def left(database: Meta) -> bool:
    return database.read(unsealed.look).is_left


def test_a_film_is_sealed_and_reads_as_before_also_for_who_began_before(
    database: Meta, alice: Caller, gateway: Gateway, stores: dict[str, FakeNode]
) -> None:
    file_id = film(gateway, alice)
    old = database.chunks_of(file_id)
    assert is_readable(stores, old)

    async def seal_under_a_reader() -> bytes:
        held = hold_reading(stores, old[-1])
        reading = asyncio.create_task(downloaded(gateway, alice, file_id))
        await until(lambda: gateway.reads >= 3)
        for store in stores.values():
            store.held_reads.clear()  # for others
        await sealer(database.database, gateway.nodes).round()
        held.set()
        return await reading

    assert asyncio.run(seal_under_a_reader()) == FILM
    new = database.chunks_of(file_id)
    assert len(new) == len(old)
    assert not set(new) & set(old)
    assert not is_readable(stores, new)
    assert asyncio.run(downloaded(gateway, alice, file_id)) == FILM
    assert not left(database)
    seal(database, gateway)  # which finds nothing, and tells so
    assert (database.events("sealing.begun"), database.events("sealing.done")) == (1, 1)
    assert database.chunks_of(file_id) == new
    database.check_books(alice)


@pytest.mark.parametrize(
    ("at", "is_after"),
    [(unsealed.begin, True), (unsealed.give_key, True), (unsealed.plan, True), (unsealed.swap, False)],
)
def test_wherever_the_gateway_is_killed_the_film_is_whole_and_sealed_by_the_next(
    database: Meta, alice: Caller, gateway: Gateway, stores: dict[str, FakeNode], at: Callable[..., Any], is_after: bool
) -> None:
    file_id = film(gateway, alice)
    with pytest.raises(Killed):
        asyncio.run(sealer(Mortal(database, at, is_after=is_after), gateway.nodes).round())
    assert asyncio.run(downloaded(gateway, alice, file_id)) == FILM
    seal(database, gateway)
    assert not left(database)
    assert not is_readable(stores, database.chunks_of(file_id))
    assert asyncio.run(downloaded(gateway, alice, file_id)) == FILM
    known = {chunk_id for (chunk_id,) in database.rows("SELECT chunk_id FROM chunk")}
    for store in stores.values():
        assert set(asyncio.run(store.page("", 99))) <= known, "what was sent is known, so that it is collected"
    database.check_books(alice)


def test_nothing_is_sealed_while_it_is_switched_off(database: Meta, alice: Caller, gateway: Gateway) -> None:
    film(gateway, alice)
    sealing.bind(lambda: MASTER_KEYS, seals_new=False)
    before = database.digest()
    seal(database, gateway)
    assert database.digest() == before


def test_it_waits_while_nodes_are_away_and_goes_on_when_they_are_back(
    database: Meta, alice: Caller, gateway: Gateway
) -> None:
    file_id = film(gateway, alice)
    old = database.chunks_of(file_id)
    same = sealer(database.database, gateway.nodes)
    for node_id in ("node2", "node3"):
        database.set_offline(node_id)
    gateway.nodes.forget_view()
    for _ in range(3):  # which gives keys, and then rests
        asyncio.run(same.round())
    assert database.chunks_of(file_id) == old
    database.sql("UPDATE node SET is_online = TRUE, offline_since_at = NULL")
    gateway.nodes.forget_view()
    asyncio.run(same.round())
    assert not set(database.chunks_of(file_id)) & set(old)
    assert not left(database)


def test_a_chunk_that_cannot_be_read_now_does_not_keep_the_others_waiting(
    database: Meta, alice: Caller, gateway: Gateway, stores: dict[str, FakeNode]
) -> None:
    file_id = film(gateway, alice)
    old = database.chunks_of(file_id)
    first = min(old)
    held = {name: store.chunks.pop(first) for name, store in stores.items() if first in store.chunks}
    seal(database, gateway)
    assert set(database.chunks_of(file_id)) & set(old) == {first}
    for name, chunk in held.items():
        stores[name].chunks[first] = chunk
    database.sql("UPDATE copy SET state = 'good'")  # as a look at doubts finds
    seal(database, gateway)
    assert not set(database.chunks_of(file_id)) & set(old)
    assert asyncio.run(downloaded(gateway, alice, file_id)) == FILM


def test_nodes_that_are_nearly_full_are_left_to_people(database: Meta, alice: Caller, gateway: Gateway) -> None:
    """What is replaced stays for the grace time: without this it would fill them."""
    file_id = film(gateway, alice)
    old = database.chunks_of(file_id)
    database.sql("UPDATE node SET used_bytes = capacity_bytes * 91 / 100")
    gateway.nodes.forget_view()
    seal(database, gateway)
    assert database.chunks_of(file_id) == old
    assert asyncio.run(gateway.nodes.place(1)).stores, "people can still store"
    database.sql("UPDATE node SET used_bytes = 0")
    gateway.nodes.forget_view()
    seal(database, gateway)
    assert not left(database)


def test_nothing_is_sent_where_fewer_nodes_have_room_than_the_old_copies_are_on(
    database: Meta, alice: Caller, gateway: Gateway
) -> None:
    """It could not take the old one's place, and would be sent in vain, round after round."""
    gateway.nodes.settings = config.Cluster(offline_after_s=3600, write_quorum=1)
    file_id = film(gateway, alice)
    old = database.chunks_of(file_id)
    database.sql("UPDATE node SET used_bytes = capacity_bytes * 91 / 100 WHERE node_id <> 'node1'")
    gateway.nodes.forget_view()
    seal(database, gateway)
    assert database.chunks_of(file_id) == old
    assert {chunk_id for (chunk_id,) in database.rows("SELECT chunk_id FROM chunk")} == set(old)
    database.sql("UPDATE node SET used_bytes = 0")
    gateway.nodes.forget_view()
    seal(database, gateway)
    assert not left(database)


def test_keys_are_wrapped_with_the_new_master_key_and_no_chunk_is_touched(
    database: Meta, alice: Caller, gateway: Gateway
) -> None:
    file_id = asyncio.run(stored_film(gateway, alice)).file_id
    chunks = database.chunks_of(file_id)
    with sealing_with(BOTH_KEYS):
        rewrapping = Rewrapping(database.database)
        asyncio.run(rewrapping.round())
        asyncio.run(rewrapping.round())
    with sealing_with(SECOND_KEYS):
        assert asyncio.run(downloaded(gateway, alice, file_id)) == FILM
    assert database.chunks_of(file_id) == chunks
    assert database.events("master_key.rewrapped") == 1
