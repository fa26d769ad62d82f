"""Where a gateway puts chunks, over nodes with real disks that joined it by the wire: zones, and unwell nodes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from chunk_stores import KNOWN, SECRET, open_disk, serving
from cloudgrpc import config, rpc
from cloudgrpc.errors import DiskFailed, NodeRemoved, NodesTooFew
from cloudgrpc.meta import schema
from cloudgrpc.meta.models import Node, RemovedNode
from cloudgrpc.servers.house import Outside, build, build_server
from cloudgrpc.servers.membership import Membership, Place
from contract.meta_fixture import Meta, opened, wish_for
from contract.transfer_fixture import cut, reader
from program import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from cloudgrpc.chunks.disk import DiskStore
    from cloudgrpc.core.health import Health
    from cloudgrpc.meta.accounts import Caller
    from cloudgrpc.servers.house import House

LARGE = 200 << 10  # goes alone
SMALL = 100  # goes with others to the same node
NUMBERS = itertools.count()


@dataclass
class Town:
    """A gateway in this process, and the disks of its nodes."""

    house: House
    meta: Meta
    alice: Caller
    address: str
    folder: Path
    stack: contextlib.AsyncExitStack
    disks: dict[str, DiskStore] = field(default_factory=dict)

    async def add(self, node_id: str, zone: str = "") -> DiskStore:
        """A node that has joined."""
        joined = asyncio.Event()
        disk = open_disk(self.folder / f"{node_id}.{next(NUMBERS)}", node_id)
        self.stack.callback(disk.close)
        port = await self.stack.enter_async_context(serving(disk))
        place = Place("127.0.0.1", port, 1, zone=zone)
        membership = Membership(disk, place, self.address, KNOWN, lambda _pool: joined.set())
        keeping = asyncio.create_task(membership.keep())
        self.stack.push_async_callback(_ended, keeping)
        await asyncio.wait([keeping, asyncio.create_task(joined.wait())], return_when=asyncio.FIRST_COMPLETED)
        if keeping.done():
            keeping.result()
        self.disks[node_id] = disk
        return disk

    async def upload(self, size: int = SMALL) -> list[set[str]]:
        """A file; the nodes that hold each of its chunks."""
        wish = wish_for(self.alice, f"file{next(NUMBERS)}", size)
        answer = await self.house.uploads.upload(wish, reader(cut(os.urandom(size))))
        chunks = self.meta.chunks_of(answer.file_id)
        return [self.holders(chunk_id) for chunk_id in chunks]

    def holders(self, chunk_id: str) -> set[str]:
        return {node_id for (node_id,) in self.meta.rows(f"SELECT node_id FROM copy WHERE chunk_id = '{chunk_id}'")}

    async def health(self, node_id: str) -> Health:
        self.house.nodes.forget_view()
        return self.house.nodes.health((await self.house.nodes.view())[node_id])


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def meta(tmp_path: Path) -> Iterator[Meta]:
    with opened(config.Database(), tmp_path) as meta:
        meta.run(schema.migrate)
        yield meta


@contextlib.asynccontextmanager
async def town(meta: Meta, folder: Path) -> AsyncIterator[Town]:
    # One sign of life is all: a later one would bring a node back that a test took offline.
    calm: dict[str, Any] = {"heartbeat_s": 3600, "offline_after_s": 7200, "node_timeout_s": PATIENCE_S}
    cluster = config.Cluster(secret=SECRET, **calm)
    whole = config.Config(data=config.Data(folder=str(folder)), cluster=cluster)
    alice = meta.enroll(quota=1 << 30)
    meta.sql("DELETE FROM node")
    async with contextlib.AsyncExitStack() as stack:
        house = build(whole, meta.database, KNOWN, meta.run(schema.cluster_id), Outside(_no_mail, None))
        stack.push_async_callback(house.close)
        server = build_server(house, whole, KNOWN)
        port = rpc.listen(server, "127.0.0.1", 0, "")
        await server.start()
        stack.push_async_callback(server.stop, None)
        yield Town(house, meta, alice, f"127.0.0.1:{port}", folder, stack)


async def _no_mail(email: str, code: str) -> None:
    raise AssertionError(f"a code {code} for {email}")


def test_every_chunk_has_a_copy_in_each_of_two_zones(meta: Meta, tmp_path: Path) -> None:
    async def main() -> None:
        async with town(meta, tmp_path) as here:
            zones = {"east1": "east", "east2": "east", "west1": "west", "west2": "west"}
            for node_id, zone in zones.items():
                await here.add(node_id, zone)
            spread: list[set[str]] = []
            # Chance still chooses within a zone.
            while len(spread) < 12 or set().union(*spread) != set(zones):
                spread += await here.upload()
                assert {zones[node_id] for node_id in spread[-1]} == {"east", "west"}
                assert len(spread) < 100

    asyncio.run(main())


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_a_node_whose_calls_fail_gets_no_new_chunks_until_they_succeed_again(
    meta: Meta, tmp_path: Path, caplog: pytest.LogCaptureFixture, size: int
) -> None:
    caplog.set_level("INFO", "cloudgrpc.actions.nodes")

    async def main() -> None:
        async with town(meta, tmp_path) as here:
            for node_id in ("node1", "node2", "node3"):
                await here.add(node_id)
            sick = here.disks["node1"]
            whole = sick.put_each
            tries = 0

            async def fail(chunks: Any) -> Any:
                nonlocal tries
                tries += len(chunks)
                return [DiskFailed(node_id="node1", reason="Input/output error") for _ in chunks]

            sick.put_each = fail  # type: ignore[method-assign]
            while not (await here.health("node1")).reason:
                assert await here.upload(size) == [{"node2", "node3"}]
                assert tries < 10
            found = await here.health("node1")
            assert found.reason == "100% of the calls to it failed lately"
            assert (found.is_unwell, found.score, found.error_rate) == (True, 0, 1)
            before = tries
            for _ in range(5):
                assert await here.upload(size) == [{"node2", "node3"}]
            assert tries == before

            sick.put_each = whole  # type: ignore[method-assign]
            while (found := await here.health("node1")).reason:
                assert "node1" not in (await here.upload(size))[0]
                await here.house.nodes.probe()
            assert found.latency_s is not None
            told = [record.getMessage() for record in caplog.records if "unwell" in record.msg or "gets" in record.msg]
            words = r"node1 gets no new chunks from here: \d\d% of the calls to it failed lately"  # 3 of 4, fading
            assert re.fullmatch(words, told[0])
            assert told[1:] == ["node1 is not unwell any more"]
            spread = [holders for _ in range(20) for holders in await here.upload(size)]
            assert any("node1" in holders for holders in spread)

    asyncio.run(main())


def test_an_unwell_node_is_used_while_the_others_do_not_suffice(meta: Meta, tmp_path: Path) -> None:
    async def main() -> None:
        async with town(meta, tmp_path) as here:
            for node_id in ("node1", "node2"):
                await here.add(node_id)
            for _ in range(3):
                here.house.nodes._watch.note("node1", DiskFailed(node_id="node1", reason="r"))
            assert (await here.health("node1")).is_unwell
            assert await here.upload() == [{"node1", "node2"}]
            assert (await here.house.overviews.status()).can_write

    asyncio.run(main())


def test_with_too_few_nodes_nothing_is_kept_and_it_is_not_told_as_a_lack_of_room(meta: Meta, tmp_path: Path) -> None:
    async def main() -> None:
        async with town(meta, tmp_path) as here:
            for node_id in ("node1", "node2"):
                await here.add(node_id)
            meta.sql("UPDATE node SET is_online = FALSE WHERE node_id = 'node1'")
            with pytest.raises(NodesTooFew, match="1 of the 2 storage nodes needed are online;"):
                await here.upload()

    asyncio.run(main())


def test_a_removed_node_is_told_so_and_ends(meta: Meta, tmp_path: Path) -> None:
    async def main() -> None:
        async with town(meta, tmp_path) as here:
            disk = await here.add("node1")
            keeping = Membership(disk, Place("127.0.0.1", 9, 1), here.address, KNOWN, lambda _pool: None).keep()
            meta.run(remove, "node1")
            with pytest.raises(NodeRemoved, match="node1 was removed"):
                await asyncio.wait_for(keeping, PATIENCE_S)

    asyncio.run(main())


def remove(node_id: str) -> None:
    row = Node.get_by_id(node_id)
    RemovedNode.insert(instance_id=row.instance_id, node_id=node_id, removed_at=1).execute()
    Node.delete().where(Node.node_id == node_id).execute()
