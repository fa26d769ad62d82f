"""How often something may be done: the generic cell rate algorithm (ITU-T I.371), which keeps one time for each name.

`due_at` is when the next one would be due if all came evenly. A caller may be ahead of that by `at_once - 1` turns.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """`name`: what is counted, for whom. Times in microseconds."""

    name: str
    every_us: int
    at_once: int


def per_hour(name: str, count: int) -> Rule:
    return Rule(name, 3_600_000_000 // count, count)


def take_turn(rule: Rule, due_at: int, now: int) -> tuple[int, int]:
    """The new `due_at`, and 0; or the old one, and how long to wait."""
    due = max(due_at, now)
    wait = due - (rule.at_once - 1) * rule.every_us - now
    return (due_at, wait) if wait > 0 else (due + rule.every_us, 0)


def in_seconds(wait_us: int) -> int:
    """Whole seconds, rounded up."""
    return -(-wait_us // 1_000_000)
