"""Comparing metadata and nodes, both ways, and the metadata with itself. Nothing is changed.

Nodes list their chunks in order, and so does the metadata: all walk through the ids side by side, a stretch at a time,
so that memory stays the same however many there are. What looks wrong is looked at once more after a pause, for files
and rows come and go while everything runs.
"""

from __future__ import annotations

import asyncio
import bisect
import logging
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudgrpc.core.agreement import Level, short_chunks, unknown_files
from cloudgrpc.errors import CloudError
from cloudgrpc.meta import checks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cloudgrpc.actions.nodes import Nodes, NodeStore
    from cloudgrpc.core.agreement import Disagreement, Stretch
    from cloudgrpc.meta.db import Database

log = logging.getLogger(__name__)

PAGE = 2_000  # ids of a node at a time
PAUSE_S = 0.5  # an upload's last chunk reaches its nodes, and a delete its rows, in much less
MOST_TOLD = 1_000  # of each level; the summary counts all
STRETCHES_A_WORD = 50
PARTS = {
    "accounts": checks.accounts,
    "files": checks.entries,
    "versions": checks.versions,
    "chunks": checks.chunks,
}


@dataclass(frozen=True)
class Summary:
    """`missing`, `lost`: chunks; `unknown`: files on nodes."""

    files: int
    chunks: int
    copies: int
    missing: int
    lost: int
    wrong: int
    unknown: int
    nodes: int
    nodes_unreachable: int


@dataclass(frozen=True)
class Finding:
    """`summary`: with the last one."""

    level: Level
    subject: str
    message: str
    summary: Summary | None = None


class Checking:
    def __init__(self, database: Database, nodes: Nodes, pause_s: float = PAUSE_S) -> None:
        self._db = database
        self._nodes = nodes
        self._pause_s = pause_s

    async def run(self) -> AsyncIterator[Finding]:
        """What there is to tell, the summary at last."""
        counts: Counter[str] = Counter()
        async for finding in self._all(counts):
            counts[finding.level] += 1
            if finding.level is Level.PROGRESS or counts[finding.level] <= MOST_TOLD:
                yield finding
        summary = Summary(
            files=counts["files"],
            chunks=counts["needed"],
            copies=counts["copies"],
            missing=counts[Level.MISSING],
            lost=counts["chunks lost"],
            wrong=counts[Level.WRONG],
            unknown=counts["unknown"],
            nodes=counts["nodes"],
            nodes_unreachable=counts["unreachable"],
        )
        yield Finding(Level.PROGRESS, "", "All was looked at.", summary)

    async def _all(self, counts: Counter[str]) -> AsyncIterator[Finding]:
        for part in PARTS:
            async for finding in self._metadata(part, counts):
                yield finding
        async for finding in self._nodes_and_metadata(counts):
            yield finding

    async def _metadata(self, part: str, counts: Counter[str]) -> AsyncIterator[Finding]:
        after = ""
        while True:
            page = await self._db.read(PARTS[part], after)
            counts[part] += page.count
            for fault in page.faults:
                yield Finding(Level.WRONG, fault.subject, fault.message)
            if not page.last:
                break
            after = page.last
        yield Finding(Level.PROGRESS, "metadata", f"{counts[part]} {part} were looked at")

    async def _nodes_and_metadata(self, counts: Counter[str]) -> AsyncIterator[Finding]:
        walk = _Walk()
        for node_id in await self._join(walk):
            yield _unreachable(node_id, "it is offline")
        after, stretches = "", 0
        while True:
            end = await walk.go_on(after)
            stretch = await self._db.read(checks.stretch, after, end)
            counts["needed"] += sum(known.is_needed for known in stretch.chunks.values())
            counts["copies"] += sum(list(known.copies.values()).count("good") for known in stretch.chunks.values())
            async for finding in self._stretch(walk, stretch, after, counts):
                yield finding
            for node_id, reason in walk.take_failures():
                yield _unreachable(node_id, reason)
            if not stretch.last:
                break
            after, stretches = stretch.last, stretches + 1
            if stretches % STRETCHES_A_WORD == 0:
                yield Finding(Level.PROGRESS, "chunks", f"{counts['needed']} chunks were compared with nodes")
        for node_id, files in walk.seen.items():
            yield Finding(Level.PROGRESS, node_id, f"{files} files were compared with the metadata")
        counts["nodes"] = len(walk.met)
        counts["unreachable"] = len(walk.met) - len(walk.seen)

    async def _join(self, walk: _Walk) -> list[str]:
        """Nodes that were not there yet take part from here on; returns those of them that are offline."""
        self._nodes.forget_view()
        new = [node for node_id, node in (await self._nodes.view()).items() if node_id not in walk.met]
        for node in new:
            walk.join(node.node_id, self._nodes.store(node) if node.is_online else None)
        return [node.node_id for node in new if not node.is_online]

    async def _stretch(self, walk: _Walk, stretch: Stretch, after: str, counts: Counter[str]) -> AsyncIterator[Finding]:
        """Lists, rows; and where they disagree, rows and lists again: what is told was so in all of them."""
        wanted = await self._db.read(checks.wanted, self._nodes.settings.replication_factor)
        before = walk.take(stretch.last)
        found = [*short_chunks(stretch, before, wanted), *unknown_files(stretch, before)]
        if not found:
            return
        await asyncio.sleep(self._pause_s)
        ids = {one.chunk_id for one in found}
        rows = await self._db.read(checks.stretch_of, sorted(ids))
        await self._join(walk)  # or what was moved to a node that has just come would look missing
        after_it = await walk.again(after, stretch.last)
        either = {node_id: (before.get(node_id, set()) | here) & ids for node_id, here in after_it.items()}
        both = {node_id: before.get(node_id, set()) & here & ids for node_id, here in after_it.items()}
        for one in [*short_chunks(rows, either, wanted), *unknown_files(rows, both)]:
            async for finding in self._told(one, counts):
                yield finding

    async def _told(self, one: Disagreement, counts: Counter[str]) -> AsyncIterator[Finding]:
        """Of a chunk that is lost: its files. Those that were deleted for good, and are still being swept, lose
        nothing."""
        if one.level is Level.NOTE:
            counts["unknown"] += 1
        if one.level is not Level.LOST:
            yield Finding(one.level, f"chunk {one.chunk_id}", one.message)
            return
        files = await self._db.read(checks.files_of, one.chunk_id)
        counts["chunks lost"] += bool(files)
        for file in files:
            yield Finding(Level.LOST, file, f"chunk {one.chunk_id}: {one.message}")


class _Walk:
    """The lists of several nodes, read side by side. A node that fails is out from then on."""

    def __init__(self) -> None:
        self.met: set[str] = set()
        self.seen: dict[str, int] = {}  # files so far, by the nodes that are in reach
        self._stores: dict[str, NodeStore] = {}
        self._ahead: dict[str, list[str]] = {}  # listed, and not taken yet
        self._ended: set[str] = set()
        self._failures: list[tuple[str, str]] = []

    def join(self, node_id: str, store: NodeStore | None) -> None:
        """None: it is out of reach, and stays so."""
        self.met.add(node_id)
        if store is not None:
            self.seen[node_id], self._stores[node_id], self._ahead[node_id] = 0, store, []

    async def go_on(self, after: str) -> str:
        """List a page at least of each node. Returns up to which id all were listed; "": to their ends."""
        short = [one for one in self._stores if one not in self._ended and len(self._ahead[one]) < PAGE]
        await asyncio.gather(*(self._list_more(node_id, after) for node_id in short))
        return min((self._ahead[one][-1] for one in self._stores if one not in self._ended), default="")

    def take(self, last: str) -> dict[str, set[str]]:
        """What each node in reach has up to this id ("": of all that was listed)."""
        taken = {}
        for node_id in self._stores:
            here, self._ahead[node_id] = _cut(self._ahead[node_id], last)
            self.seen[node_id] += len(here)
            taken[node_id] = set(here)
        return taken

    async def again(self, after: str, last: str) -> dict[str, set[str]]:
        """The same of a stretch that was taken before, as it is now."""
        line = list(self._stores)
        lists = await asyncio.gather(*(self._list_until(node_id, after, last) for node_id in line))
        return {node_id: here for node_id, here in zip(line, lists, strict=True) if here is not None}

    def take_failures(self) -> list[tuple[str, str]]:
        failures, self._failures = self._failures, []
        return failures

    async def _list_more(self, node_id: str, after: str) -> None:
        ahead = self._ahead[node_id]
        page = await self._page(node_id, ahead[-1] if ahead else after)
        if page is None:
            return
        ahead += page
        if len(page) < PAGE:
            self._ended.add(node_id)

    async def _list_until(self, node_id: str, after: str, last: str) -> set[str] | None:
        listed: list[str] = []
        while (page := await self._page(node_id, listed[-1] if listed else after)) is not None:
            listed += page
            if len(page) < PAGE or (last and page[-1] >= last):
                return set(_cut(listed, last)[0])
        return None

    async def _page(self, node_id: str, after: str) -> list[str] | None:
        """None: the node failed."""
        try:
            return await self._stores[node_id].page(after, PAGE)
        except CloudError as error:
            log.info("check: %s: %s", node_id, error)
            self._failures.append((node_id, str(error)))
            del self._stores[node_id], self.seen[node_id]
            return None


def _cut(listed: list[str], last: str) -> tuple[list[str], list[str]]:
    """Up to `last`, and what is behind it."""
    place = bisect.bisect_right(listed, last) if last else len(listed)
    return listed[:place], listed[place:]


def _unreachable(node_id: str, reason: str) -> Finding:
    return Finding(Level.NOTE, node_id, f"cannot be reached, so its files were not looked at: {reason}")
