"""Operators: who acts with an admin key, and what such a key may do."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from cloudgrpc.errors import InvalidField

OWN_KEY = "the gateway's own key"
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


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


def check_name(name: str) -> str:
    """Raises: InvalidField."""
    if not NAME.fullmatch(name):
        raise InvalidField(field="name", reason="must be 1 to 63 of a-z 0-9 . _ - and begin with a letter or digit")
    return name


def role_of(told: str) -> Role:
    """Of a key that is given to somebody. Raises: InvalidField."""
    given = [Role.VIEW, Role.OPERATE]
    if told not in given:
        raise InvalidField(field="role", reason=f"must be {' or '.join(given)}")
    return Role(told)
