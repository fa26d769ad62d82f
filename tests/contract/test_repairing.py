"""Making missing copies over nodes in memory: what cannot be copied for now holds up nothing that can."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from cloudgrpc import config
from cloudgrpc.actions.carrying import AT_ONCE, BATCH, Carrier, Throttle
from cloudgrpc.actions.node_watch import NodeWatch
from cloudgrpc.actions.nodes import Nodes
from cloudgrpc.actions.repair import Repair
from cloudgrpc.core import repair
from cloudgrpc.errors import DiskFailed, NodeUnavailable
from cloudgrpc.meta import nodes, spread
from cloudgrpc.meta.models import Chunk, Copy, new_id
from cloudgrpc.meters import Meters
from contract.meta_fixture import HOUR, Meta, introduction
from contract.transfer_fixture import FakeNode, cluster_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudgrpc.errors import CloudError

PORTS = {"sick": 9001, "well": 9002, "target": 9003}
MORE = 10
FAILURES = {
    "its disk fails at each chunk": DiskFailed.told("the source cannot read it"),
    "it is out of reach": NodeUnavailable.told("the source does not answer"),
}


class Target(FakeNode):
    """Whatever is to be fetched from one port fails; what was asked for is noted."""

    def __init__(self, name: str, failure: CloudError) -> None:
        super().__init__(name)
        self.failure: CloudError | None = failure
        self.asked: list[str] = []

    async def copy_from(self, chunk_id: str, checksum: str, host: str, port: int, source_id: str = "") -> None:
        self.asked.append(chunk_id)
        if port == PORTS["sick"] and self.failure:
            raise self.failure


class Town:
    """A gateway's repair, and three nodes of which one is to get all copies."""

    def __init__(self, database: Meta, failure: CloudError) -> None:
        self.database = database
        database.sql("DELETE FROM node")
        for name, port in PORTS.items():
            database.run(nodes.register, replace(introduction(name), port=port, is_read_only=name != "target"))
        self.target = Target("target", failure)
        stores = {"sick": FakeNode("sick"), "well": FakeNode("well"), "target": self.target}
        settings = config.Cluster(offline_after_s=3600)  # no heartbeats come here
        self.nodes = Nodes(
            database.database, settings, database.run(cluster_id), NodeWatch(), lambda node: stores[node.node_id]
        )
        fast, slow = Throttle(1e6, lambda: 0), Throttle(1e6, lambda: 0)
        carrier = Carrier(database.database, self.nodes)
        self.repair = Repair(database.database, self.nodes, carrier, Meters(), fast=fast, slow=slow)

    async def round(self, stop: Callable[[], bool] = lambda: False) -> tuple[bool, bool]:
        survey = await self.database.database.read(spread.look, 2, HOUR, ["target"])
        return await self.repair.make_missing(survey, stop)


def fill(node_id: str, count: int) -> list[str]:
    """Chunks with one copy each; by hand, since so many uploads would take long."""
    ids = [new_id() for _ in range(count)]
    Chunk.insert_many([{"chunk_id": one, "length": 1, "checksum": "c", "created_at": 1} for one in ids]).execute()
    Copy.insert_many([{"chunk": one, "node": node_id, "state": "good", "created_at": 1} for one in ids]).execute()
    return ids


@pytest.mark.parametrize("failure", FAILURES.values(), ids=list(FAILURES))
def test_more_chunks_than_are_planned_at_once_that_cannot_be_copied_do_not_hold_up_the_others(
    database: Meta, failure: CloudError
) -> None:
    town = Town(database, failure)
    sick, (well,) = database.run(fill, "sick", BATCH + MORE), database.run(fill, "well", 1)

    async def main() -> None:
        assert await town.round() == (True, True)
        assert well not in town.target.asked  # they were as urgent, and filled the first batch
        tried = len(town.target.asked)
        assert tried == BATCH if isinstance(failure, DiskFailed) else tried <= AT_ONCE
        assert await town.round() == (True, True)
        assert database.state(well, "target") == "good"
        assert len(town.target.asked) == tried + 1 + (MORE if isinstance(failure, DiskFailed) else 0)
        # With nothing else to do they are tried again, and then it rests.
        assert await town.round() == (False, True)
        assert set(town.target.asked) == {*sick, well} or not isinstance(failure, DiskFailed)
        town.target.failure = None
        tried = len(town.target.asked)
        assert await town.round(lambda: len(town.target.asked) > tried) == (True, True)
        assert {database.state(one, "target") for one in town.target.asked[tried:]} == {"good"}

    asyncio.run(main())


def test_who_fails_again_and_again_waits_longer_but_not_for_ever() -> None:
    waits = [repair.setback_s(failures) for failures in range(1, 100)]
    assert waits[0] == repair.FIRST_SETBACK_S
    assert waits == sorted(waits)
    assert waits[-1] == repair.LONGEST_SETBACK_S
