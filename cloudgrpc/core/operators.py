"""Operators: who acts with an admin key, and what such a key may do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

OWN_KEY = "the gateway's own key"


class Role(StrEnum):
    """What a key may do; each may also do what stands before it."""

    VIEW = "view"  # look at everything
    OPERATE = "operate"  # act
    OWN = "own"  # give and revoke keys: the gateway's own key alone


@dataclass(frozen=True)
class Operator:
    """Whoever showed a good key; `name` is the key's."""

    name: str
    role: Role

    def may(self, needs: Role) -> bool:
        order = list(Role)
        return order.index(self.role) >= order.index(needs)
