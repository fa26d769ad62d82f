"""`cloudgrpc admin …`: one view or one act, with the admin key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudgrpc.admin.desk import Desk
from cloudgrpc.admin.key import admin_key
from cloudgrpc.clients import render
from cloudgrpc.clients.session import Gateway
from cloudgrpc.errors import CloudError, Exit, UsageWrong
from cloudgrpc.shell.shell import gateway_address

if TYPE_CHECKING:
    import argparse

    from cloudgrpc.config import Config

FILTERS = ("status", "user", "since", "until")


def run(config: Config, args: argparse.Namespace) -> int:
    """The words of an act, or the flags of a view. Returns the exit code."""
    try:
        if args.words:
            _act(config, args)
        else:
            _view(config, args)
    except CloudError as error:
        render.print_failure(error)
        return error.exit_code
    return Exit.OK


def _view(config: Config, args: argparse.Namespace) -> None:
    if not args.payments:
        raise UsageWrong(reason="name a view, such as --payments; the other flags say which payments are meant")
    from cloudgrpc.admin import payment_view

    wanted = payment_view.wanted(args)
    with _gateway(config, args) as gateway:
        payment_view.show(Desk(gateway, admin_key(config)), wanted)


def _act(config: Config, args: argparse.Namespace) -> None:
    if args.payments or args.attention or args.json or any(getattr(args, name) is not None for name in FILTERS):
        raise UsageWrong(reason="an act goes by itself; its own words come behind it")
    from cloudgrpc.admin import payment_acts

    told = payment_acts.parsed(args.words)
    with _gateway(config, args) as gateway:
        payment_acts.run(Desk(gateway, admin_key(config)), told)


def _gateway(config: Config, args: argparse.Namespace) -> Gateway:
    return Gateway(gateway_address(args.gateway) if args.gateway else config.gateway_address)
