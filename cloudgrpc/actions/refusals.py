"""What a node refused, kept until a sign of life takes it to the gateway, where the record is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudgrpc.core.event_kinds import is_recorded
from cloudgrpc.core.peers import VISITOR

if TYPE_CHECKING:
    from cloudgrpc.errors import CloudError

MOST = 20  # that differ; more say little more


@dataclass(frozen=True)
class Refused:
    error_code: str
    message: str
    method: str
    peer: str  # address of the caller


class Refusals:
    def __init__(self) -> None:
        self._waiting: list[Refused] = []

    def note(self, method: str, error: CloudError, peer: str = "") -> None:
        """`peer`: when there is no call whose visitor it was."""
        if not is_recorded(error):
            return
        refused = Refused(error.code, str(error), method, peer or VISITOR.get().host)
        if refused not in self._waiting and len(self._waiting) < MOST:
            self._waiting.append(refused)

    def waiting(self) -> list[Refused]:
        return list(self._waiting)

    def told(self, these: list[Refused]) -> None:
        """The gateway has heard of them."""
        self._waiting = [one for one in self._waiting if one not in these]
