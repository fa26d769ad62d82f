"""Whether this gateway can do its work now, for those that send work to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cloudgrpc.actions.patience import Patience
from cloudgrpc.core.concerns import no_writes
from cloudgrpc.errors import CloudError

if TYPE_CHECKING:
    from cloudgrpc.actions.nodes import Nodes

PATIENCE_S = 3.0  # with the database


@dataclass(frozen=True)
class Ready:
    """`troubles`: what keeps it from its work, in words; empty: nothing does."""

    can_answer: bool
    can_write: bool
    troubles: list[str] = field(default_factory=list)


class Readiness:
    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._asking = Patience(self._look, PATIENCE_S)

    async def look(self) -> Ready:
        """Soon, whatever hangs."""
        try:
            return await self._asking.ask()
        except TimeoutError:
            return Ready(False, False, [f"The database does not answer within {PATIENCE_S:g} s."])

    async def close(self) -> None:
        await self._asking.close()

    async def _look(self) -> Ready:
        try:
            takers, (_, quorum) = len(await self._nodes.takers()), await self._nodes.copies()
        except CloudError as error:
            return Ready(False, False, [str(error)])
        if takers < quorum:
            return Ready(True, False, [no_writes(takers, quorum)])
        return Ready(True, True)
