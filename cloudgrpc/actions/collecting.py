"""Freeing what no file needs: inventories of the nodes, and the deletes that follow after the grace time.

The laws of what may be deleted are in `meta.orphans`; here is the order of telling.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from cloudgrpc.chunks.expecting import ExpectingStore
from cloudgrpc.errors import ChunkCorrupt, ChunkMissing, CloudError
from cloudgrpc.meta import nodes, orphans
from cloudgrpc.meta.db import now

if TYPE_CHECKING:
    from cloudgrpc.actions.nodes import Nodes
    from cloudgrpc.config import Upkeep
    from cloudgrpc.meta.db import Database
    from cloudgrpc.meta.nodes import NodeState
    from cloudgrpc.meta.orphans import DueStray

log = logging.getLogger(__name__)

PAGE = 1_000
DELETES = 1_000  # chunks in one message to a node
# More unknown files than this part of a node's files look like a wrong or an empty database.
UNKNOWN_PART = 0.01


class Collecting:
    def __init__(self, database: Database, nodes: Nodes, settings: Upkeep) -> None:
        self._db = database
        self._nodes = nodes
        self._settings = settings
        self._is_listing = False

    async def take_inventories(self) -> None:
        """Compare the files of every node that is due with the copy rows, both ways. Deletes nothing."""
        self._is_listing = True
        try:
            for node_id in await self._db.read(nodes.due_for_inventory, int(self._settings.inventory_s * 1_000_000)):
                node = (await self._nodes.view()).get(node_id)
                try:
                    if node is not None:
                        await self._take_inventory(node)
                except CloudError as error:  # it stays due, and the others get their turn
                    log.warning("no inventory of %s: %s", node_id, error)
        finally:
            self._is_listing = False

    async def collect(self) -> None:
        """Doom what is past its grace, and tell the nodes; forget what is gone everywhere."""
        # Not while a list of files is on its way that may still name what was deleted meanwhile. One that is begun now
        # names none of it: what is bare had gone from the nodes before.
        if not self._is_listing:
            await self._db.run(orphans.forget_bare_chunks, self._grace_us, DELETES)
        await self._db.run(orphans.doom_orphans, self._grace_us, DELETES)
        for node in (await self._nodes.view()).values():
            if node.is_online:
                await self._doom_strays(node)
                await self._delete_doomed(node)

    @property
    def _grace_us(self) -> int:
        return int(self._settings.grace_s * 1_000_000)

    async def _take_inventory(self, node: NodeState) -> None:
        store = self._nodes.store(node)
        wanted, _ = await self._nodes.copies()
        after, files, unknown, missing = "", 0, 0, 0
        while True:
            listed_at = await self._db.read(now)
            listed = await store.page(after, PAGE)
            last = listed[-1] if len(listed) == PAGE else ""
            found = await self._db.run(orphans.compare_page, node.node_id, listed, (after, last), listed_at, wanted)
            files, unknown, missing = files + len(listed), unknown + found.unknown, missing + found.missing
            if not last:
                break
            after = last
        is_collecting = unknown <= files * UNKNOWN_PART
        if not is_collecting:
            log.error("%d of %d files on %s are unknown: nothing is deleted there", unknown, files, node.node_id)
        await self._db.run(
            nodes.note_inventory, node.node_id, is_collecting=is_collecting, files=files, unknown=unknown
        )
        self._nodes.forget_view()
        if missing:
            log.warning("%d chunks are missing on %s", missing, node.node_id)
            self._nodes.repair_wanted.set()

    async def _doom_strays(self, node: NodeState) -> None:
        factor = self._nodes.settings.replication_factor
        for stray in await self._db.read(orphans.due_strays, node.node_id, self._grace_us, factor, DELETES):
            verified = await self._verify(stray)
            await self._db.run(orphans.doom_stray, node.node_id, stray.chunk_id, self._grace_us, verified, factor)

    async def _verify(self, stray: DueStray) -> list[str]:
        """Which of the keepers can really give the chunk, now."""
        view = await self._nodes.view()
        verified = []
        for keeper in stray.keepers:
            try:
                store = ExpectingStore(self._nodes.store(view[keeper]), {stray.chunk_id: stray.checksum})
                await store.get(stray.chunk_id)
            except (ChunkMissing, ChunkCorrupt) as error:
                self._nodes.report(keeper, stray.chunk_id, error)
            except CloudError as error:
                log.warning("%s does not show its copy of chunk %s: %s", keeper, stray.chunk_id, error)
            else:
                verified.append(keeper)
        return verified

    async def _delete_doomed(self, node: NodeState) -> None:
        doomed = await self._db.read(orphans.doomed_on, node.node_id, DELETES)
        if not doomed:
            return
        try:
            still_there = set(await self._nodes.store(node).delete(doomed))
        except CloudError as error:
            log.warning("%s could not be told to delete %d chunks: %s", node.node_id, len(doomed), error)
            return
        gone = [chunk_id for chunk_id in doomed if chunk_id not in still_there]
        await self._db.run(orphans.confirm_deleted, node.node_id, gone)
        log.info("%d chunks that no file needs were deleted from %s", len(gone), node.node_id)
