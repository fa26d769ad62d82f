"""A check that looks while the cluster changes under it tells nothing that is not so."""

from __future__ import annotations

import asyncio
import bisect
from typing import TYPE_CHECKING, cast

from cloudgrpc import config
from cloudgrpc.actions.checking import Checking
from cloudgrpc.actions.node_watch import NodeWatch
from cloudgrpc.actions.nodes import Nodes

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudgrpc.actions.checking import Finding
    from cloudgrpc.actions.nodes import NodeStore
    from contract.meta_fixture import Meta


class Listed:
    """A node as a check sees it: by the ids it lists. `afterwards` happens once, when it has listed some."""

    def __init__(self, *chunk_ids: str) -> None:
        self.chunk_ids = {*chunk_ids}
        self.afterwards: Callable[[], object] = lambda: None

    async def page(self, after: str, limit: int) -> list[str]:
        listed = sorted(self.chunk_ids)
        page = listed[bisect.bisect_right(listed, after) :][:limit]
        afterwards, self.afterwards = self.afterwards, lambda: None
        afterwards()
        return page


def check(database: Meta, stores: dict[str, Listed]) -> list[Finding]:
    def connect(node_id: str) -> NodeStore:
        return cast("NodeStore", stores[node_id])

    nodes = Nodes(database.database, config.Cluster(), "", NodeWatch(), lambda node: connect(node.node_id))

    async def run() -> list[Finding]:
        return [finding async for finding in Checking(database.database, nodes, pause_s=0).run()]

    return asyncio.run(run())


def test_a_copy_that_went_to_a_node_that_joined_meanwhile_is_not_missing(database: Meta) -> None:
    alice = database.enroll()
    database.add_node("n1")
    (chunk_id,) = database.chunks_of(database.put(alice, "a", 5, on=("pool", "n1")))
    stores = {"pool": Listed(chunk_id), "n1": Listed(chunk_id), "n2": Listed()}

    def move() -> None:
        database.add_node("n2")
        stores["n2"].chunk_ids = {chunk_id}
        database.sql("UPDATE copy SET node_id = 'n2' WHERE node_id = 'n1'")
        stores["n1"].chunk_ids.clear()

    stores["n1"].afterwards = move
    *found, last = check(database, stores)
    assert [finding.message for finding in found if finding.level != "progress"] == []
    assert last.summary is not None
    assert (last.summary.nodes, last.summary.nodes_unreachable, last.summary.missing) == (3, 0, 0)
