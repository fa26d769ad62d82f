"""Limits that hold for all gateways together, and over their restarts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudgrpc.core.pace import take_turn
from cloudgrpc.meta.db import now
from cloudgrpc.meta.models import Pace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudgrpc.core.pace import Rule


def take(rules: Sequence[Rule]) -> int:
    """Take a turn by all rules, or by none; returns the microseconds to wait, 0 when it was taken."""
    moment, dues, wait = now(), {}, 0
    for rule in sorted(rules, key=lambda rule: rule.name):  # in one order, or two callers could wait in a ring
        _lock(rule.name)
        standing = Pace.get_by_id(rule.name).due_at
        dues[rule.name], its_wait = take_turn(rule, standing, moment)
        wait = max(wait, its_wait)
    if not wait:
        for name, due_at in dues.items():
            Pace.update(due_at=due_at).where(Pace.name == name).execute()
    return wait


def wait(rules: Sequence[Rule]) -> int:
    """How long `take` would have to wait now, in microseconds; takes nothing."""
    moment = now()
    standing = {pace.name: pace.due_at for pace in Pace.select().where(Pace.name.in_([rule.name for rule in rules]))}
    return max((take_turn(rule, standing.get(rule.name, 0), moment)[1] for rule in rules), default=0)


def _lock(name: str) -> None:
    """The name's row is there, and stays to the transaction's end. Were one that is there ignored instead of updated
    with what it has, a sweep could take it away before it is looked at."""
    kept = {Pace.due_at: Pace.due_at}
    Pace.insert(name=name, due_at=0).on_conflict(conflict_target=[Pace.name], update=kept).execute()


def give_back(name: str) -> None:
    """What was to be done did not happen: the next may come at once."""
    Pace.delete().where(Pace.name == name).execute()


def sweep() -> None:
    """Forget what no longer slows anybody."""
    Pace.delete().where(Pace.due_at < now()).execute()
