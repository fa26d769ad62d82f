"""Which view the flags of `cloudgrpc admin` ask for, and which of them go together. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudgrpc.errors import UsageWrong

if TYPE_CHECKING:
    import argparse

# What is given for itself; --status and --user may also belong to another view.
ALONE = ("payments", "users", "nodes", "events", "monitor")
FLAGS = (*ALONE, "status", "user", "search", "since", "until", "attention", "type", "lines", "json")


@dataclass(frozen=True)
class View:
    """A module of this package, with `wanted(args)` and `show(desk, wanted)`, and the flags that it knows."""

    module: str
    flags: frozenset[str]


VIEWS = {
    "status": View("status_view", frozenset({"json"})),
    "users": View("users_view", frozenset({"search", "json"})),
    "nodes": View("nodes_view", frozenset({"json"})),
    "user": View("user_view", frozenset({"json"})),
    "payments": View("payment_view", frozenset({"status", "user", "since", "until", "attention", "lines", "json"})),
    "events": View("events_view", frozenset({"user", "since", "type", "lines", "json"})),
    "monitor": View("monitor_view", frozenset({"user", "since", "type", "json"})),
}


def given(args: argparse.Namespace) -> set[str]:
    """The flags that were typed."""
    return {flag for flag in FLAGS if vars(args)[flag] not in (None, False)}


def chosen(args: argparse.Namespace) -> str:
    """The name of the view. Raises: UsageWrong."""
    flags = given(args)
    name = _named(flags)
    if name == "status" and args.status:
        raise UsageWrong(
            reason=f"--status {args.status} says which payments: add --payments; --status alone shows the cluster"
        )
    if name == "payments" and args.status == "":
        raise UsageWrong(reason="with --payments, --status needs one of their states, such as completed")
    if foreign := sorted(flags - VIEWS[name].flags - {name}):
        raise UsageWrong(reason=f"--{name} does not go with --{', --'.join(foreign)}")
    return name


def _named(flags: set[str]) -> str:
    found = [name for name in ALONE if name in flags] or [name for name in ("status", "user") if name in flags]
    if not found:
        raise UsageWrong(reason=f"name a view: {', '.join(f'--{name}' for name in VIEWS)}")
    if len(found) > 1:
        raise UsageWrong(reason=f"one view at a time: choose among --{', --'.join(found)}")
    return found[0]
