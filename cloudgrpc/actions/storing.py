"""One chunk on its way to as many nodes as are wanted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudgrpc.chunks.replicated import ReplicatedStore
from cloudgrpc.errors import DiskFull, PoolFull, QuorumMissed

if TYPE_CHECKING:
    from cloudgrpc.actions.nodes import Nodes
    from cloudgrpc.chunks.base import Chunk
    from cloudgrpc.errors import CloudError


@dataclass(frozen=True)
class Kept:
    """`node_ids`: of those that have it on disk; `quorum`: how many had to."""

    node_ids: tuple[str, ...]
    quorum: int


async def store(nodes: Nodes, chunk: Chunk) -> Kept:
    """Choose nodes and send it to all at once; one that fails is replaced. Raises: NodesTooFew, PoolFull,
    QuorumMissed."""
    placing = await nodes.place(len(chunk.data))
    heard_at = {store.name: nodes.heard_at(store.name) for store in placing.stores}
    troubles: list[CloudError] = []

    def report(name: str, chunk_id: str, error: CloudError) -> None:
        troubles.append(error)
        nodes.report(name, chunk_id, error)

    try:
        names = await ReplicatedStore(placing.stores, placing.wanted, placing.quorum, report).put(chunk)
    except QuorumMissed as error:
        if not all(isinstance(trouble, DiskFull) for trouble in troubles):
            raise
        # The nodes had less room than they last said.
        raise PoolFull(candidates=len(placing.stores) - len(troubles), quorum=placing.quorum) from error
    for name in names:
        nodes.note_placed(name, len(chunk.data), heard_at[name])
    return Kept(names, placing.quorum)
