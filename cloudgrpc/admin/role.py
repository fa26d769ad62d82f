"""`cloudgrpc admin …`: the dashboard, one view or one act, with the admin key."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

from cloudgrpc.admin import views
from cloudgrpc.admin.desk import Desk
from cloudgrpc.admin.key import admin_key
from cloudgrpc.admin.lookout import Lookout
from cloudgrpc.clients import render
from cloudgrpc.clients.trusting import connected
from cloudgrpc.errors import CloudError, Exit, UsageWrong
from cloudgrpc.shell.shell import gateway_address

if TYPE_CHECKING:
    import argparse

    from cloudgrpc.clients.session import Gateway
    from cloudgrpc.config import Config

# The first word of an act -> the module with `parsed(words)` and `run(desk, args)`, which may return an exit code.
# `parsed` gets all the words.
ACTS: dict[str, str] = {
    **dict.fromkeys(["quota", "user"], "cloudgrpc.admin.account_acts"),
    **dict.fromkeys(["node", "repair", "scrub"], "cloudgrpc.admin.node_acts"),
    **dict.fromkeys(["check", "backup", "restore", "reconcile"], "cloudgrpc.admin.care_acts"),
    "key": "cloudgrpc.admin.key_acts",
    "payment": "cloudgrpc.admin.payment_acts",
}


def run(config: Config, args: argparse.Namespace) -> int:
    """The words of an act, the flags of a view, or neither for the dashboard. Returns the exit code."""
    try:
        if args.words:
            return _act(config, args)
        return _view(config, args) if views.given(args) else _dashboard(config, args)
    except CloudError as error:
        render.print_failure(error)
        return error.exit_code


def _view(config: Config, args: argparse.Namespace) -> int:
    name = views.chosen(args)
    view = importlib.import_module(f"cloudgrpc.admin.{views.VIEWS[name].module}")
    wanted = view.wanted(args)
    with gateway_of(config, args) as gateway:
        desk = Desk if name == "payments" else Lookout
        return view.show(desk(gateway, admin_key(config)), wanted) or Exit.OK


def _dashboard(config: Config, args: argparse.Namespace) -> int:
    # It is drawn on stderr.
    if not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        flags = ", ".join(f"--{name}" for name in views.VIEWS)
        raise UsageWrong(reason=f"the dashboard needs a terminal; for a program there are {flags}, with --json")
    with gateway_of(config, args) as gateway:
        lookout, desk = Lookout(gateway, key := admin_key(config)), Desk(gateway, key)
        lookout.status()  # what is wrong is told before the screen is taken
        from cloudgrpc.admin import dashboard

        dashboard.run(lookout, desk)
    return Exit.OK


def _act(config: Config, args: argparse.Namespace) -> int:
    if views.given(args):
        raise UsageWrong(reason="an act goes by itself; its own words come behind it")
    if args.words[0] not in ACTS:
        raise UsageWrong(reason=f"there is no act {args.words[0]!r}; there are: {', '.join(ACTS)}")
    acts = importlib.import_module(ACTS[args.words[0]])
    told = acts.parsed(args.words)
    with gateway_of(config, args) as gateway:
        return acts.run(Desk(gateway, admin_key(config)), told) or Exit.OK


def gateway_of(config: Config, args: argparse.Namespace) -> Gateway:
    address = gateway_address(args.gateway) if args.gateway else config.gateway_address
    return connected(config, address, wants_system=args.tls)
