"""How many calls a second somebody may make, counted in this process."""

from __future__ import annotations

import time

from cloudgrpc.core.pace import Rule, in_seconds, take_turn
from cloudgrpc.errors import TooManyCalls

BURST_S = 10
MOST_NAMES = 100_000


class Pacing:
    def __init__(self, per_second: int) -> None:
        self._rule = Rule("", max(1, 1_000_000 // per_second), per_second * BURST_S)
        self._due: dict[str, int] = {}

    def take(self, name: str) -> None:
        """Raises: TooManyCalls."""
        moment = time.monotonic_ns() // 1000
        self._due[name], wait = take_turn(self._rule, self._due.get(name, 0), moment)
        if wait:
            raise TooManyCalls(seconds=in_seconds(wait))
        if len(self._due) > MOST_NAMES:
            self._due = {name: due for name, due in self._due.items() if due > moment}
