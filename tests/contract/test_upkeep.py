"""The rounds of upkeep: who leads them, and how often that is asked."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from cloudgrpc import config
from cloudgrpc.actions.upkeep import LEASE, Upkeep
from cloudgrpc.meta import nodes
from contract.transfer_fixture import Gateway, three_nodes, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudgrpc.meta.db import Database
    from contract.meta_fixture import Meta

ROUND_S = 0.1
CHORES = 6


class Asked:
    """The database, which counts how often it was asked for a lease."""

    def __init__(self, database: Database) -> None:
        self.leases: Counter[str] = Counter()
        self._db = database

    async def read(self, function: Callable[..., Any], *words: Any) -> Any:
        return await self._db.read(function, *words)

    async def run(self, function: Callable[..., Any], *words: Any) -> Any:
        if function is nodes.take_lease:
            self.leases[words[0]] += 1
        return await self._db.run(function, *words)


class NothingToTend:
    async def note_drained(self) -> None:
        pass

    async def round(self, _is_wanted: bool) -> bool:
        return False


class Rounds:
    """The upkeep of one gateway, with chores that count how often they were done."""

    def __init__(self, database: Meta) -> None:
        self.asked = Asked(database.database)
        self.done: Counter[int] = Counter()
        self._upkeep = Upkeep(
            self.asked,  # type: ignore[arg-type]
            Gateway(database, three_nodes(database)).nodes,
            NothingToTend(),  # type: ignore[arg-type]
            config.Upkeep(round_s=ROUND_S),
            chores=[self._chore(number) for number in range(CHORES)],
            harmless=[],
            apart={},
            paused=self._never,
        )

    def start(self) -> asyncio.Task[None]:
        return asyncio.create_task(self._upkeep.run())

    def _chore(self, number: int) -> Callable[[], Any]:
        async def chore() -> None:
            self.done[number] += 1

        return chore

    async def _never(self) -> bool:
        return False


@pytest.fixture
def one(database: Meta) -> Rounds:
    database.enroll()
    return Rounds(database)


def test_a_round_asks_for_its_lease_once_whatever_there_is_to_do(one: Rounds) -> None:
    async def work() -> None:
        going = one.start()
        began = asyncio.get_running_loop().time()
        await until(lambda: min(one.done[number] for number in range(CHORES)) >= 5)
        rounds = (asyncio.get_running_loop().time() - began) / ROUND_S + 1
        going.cancel()
        assert one.asked.leases[LEASE] <= rounds

    asyncio.run(work())


def test_another_gateway_leads_as_soon_as_the_lease_is_free(database: Meta, one: Rounds) -> None:
    async def work() -> None:
        leading = one.start()
        await until(lambda: one.done[0] > 0)
        other = Rounds(database)
        waiting = other.start()
        await until(lambda: other.asked.leases[LEASE] >= 3)
        assert not other.done
        leading.cancel()
        await asyncio.wait([leading])  # it may just be asking for its lease once more
        database.age("lease", "until_at", 60_000_000)
        await until(lambda: other.done[0] > 0)
        waiting.cancel()

    asyncio.run(work())
