"""`certs ca …`: the authority's file for people, and its exchange in three steps while all runs on.

add -> wait until all believe the new one -> use -> wait until all have certificates by it -> remove the old one
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from cloudgrpc import rpc
from cloudgrpc.admin import acts
from cloudgrpc.admin.key import admin_key
from cloudgrpc.admin.role import gateway_of
from cloudgrpc.clients import render
from cloudgrpc.errors import AuthorityInUse, AuthorityMissing, AuthorityUnknown, CloudError
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.trust import private
from cloudgrpc.trust.bundle import CA_FILE
from cloudgrpc.trust.gateway_papers import authority_of
from cloudgrpc.trust.papers import FOLDER

if TYPE_CHECKING:
    import argparse

    from cloudgrpc.config import Config
    from cloudgrpc.trust.authority import Authority, Known

PROG = "cloudgrpc certs"
SPREAD_S = 10  # two signs of life of a node, by the usual settings
RENEWED_S = 60  # in which who runs has renewed its certificate


def show(config: Config, _args: argparse.Namespace, _outer: argparse.Namespace) -> None:
    """Also at a node's machine, which believes the same."""
    bundle = private.read(config.data_folder / FOLDER / CA_FILE, is_secret=False)
    if bundle is None:
        raise AuthorityMissing
    sys.stdout.write(bundle.decode(errors="replace"))
    if sys.stdout.isatty():
        print("Give people this as a file: cloudgrpc shell --ca FILE remembers it. It is no secret.", file=sys.stderr)


def listed(config: Config, args: argparse.Namespace, _outer: argparse.Namespace) -> None:
    known = _authority(config).known
    if args.json:
        render.print_json(
            [{"authority_id": each.authority_id, "expires_at": each.expires_at, "signs": each.signs} for each in known]
        )
        return
    render.print_table(
        ["Authority", "Good until", "State"],
        [[each.authority_id, _day(each), "signs" if each.signs else "is believed"] for each in known],
    )


def add(config: Config, _args: argparse.Namespace, _outer: argparse.Namespace) -> None:
    added = _authority(config).add_ca()
    for line in [
        f"The authority {added} is made. It is believed, and signs nothing yet.",
        f"Nodes that run learn of it in about {SPREAD_S} s; one that is off now must run before the next step.",
        f"People with --ca need the new file before it, too: {PROG} ca show > ca.crt",
        f"When `{PROG} list` names no node that does not believe it: {PROG} ca use {added}",
        "It has a new key: save it with cloudgrpc secrets backup FILE",
    ]:
        acts.told(line)


def use(config: Config, args: argparse.Namespace, outer: argparse.Namespace) -> None:
    authority = _authority(config)
    chosen = _named(authority, args.authority_id)
    if chosen.signs:
        acts.told(f"The authority {chosen.authority_id} signs already; nothing was changed.")
        return
    acts.check_can_ask(args)
    standing, fault = _standing(config, outer)
    behind = list(standing.nodes_behind) if standing else []
    lines = [
        *(
            [f"Not known to believe it yet: {', '.join(behind)}. They would have to be invited again."]
            if behind
            else []
        ),
        *([f"Whether all nodes believe it is not known: {fault}"] if fault else []),
        "People whose --ca file is the old one reach the gateway no more.",
    ]
    if not acts.is_agreed(args, lines, f"Let {chosen.authority_id} sign?"):
        return
    authority.use_ca(chosen.authority_id)
    acts.told(f"The authority {chosen.authority_id} signs from now on.")
    print(f"Gateway and nodes that run renew their certificates within {RENEWED_S} s; see it with: {PROG} list")
    for each in authority.known[1:]:
        print(f"When no certificate there is by {each.authority_id}: {PROG} ca remove {each.authority_id}")


def remove(config: Config, args: argparse.Namespace, outer: argparse.Namespace) -> None:
    authority = _authority(config)
    chosen = _named(authority, args.authority_id)
    if chosen.signs:
        raise AuthorityInUse(authority_id=chosen.authority_id)
    acts.check_can_ask(args)
    standing, fault = _standing(config, outer)
    newest = {each.node_id: each for each in standing.certificates} if standing else {}
    left = [node for node, each in newest.items() if each.is_good and each.authority_id == chosen.authority_id]
    lines = [
        *([f"Still with a certificate by it: {', '.join(left)}. They would have to be invited again."] if left else []),
        *([f"Whether a node still has a certificate by it is not known: {fault}"] if fault else []),
        f"The key of {chosen.authority_id} is deleted.",
    ]
    if not acts.is_agreed(args, lines, f"Believe {chosen.authority_id} no more?"):
        return
    authority.remove_ca(chosen.authority_id)
    acts.told(f"The authority {chosen.authority_id} is believed no more; nodes that run hear it in about {SPREAD_S} s.")
    print(f"Connections that began with it end within {rpc.CONNECTION_S / 60:.0f} minutes.")
    print(f"People may go on with their file, or take the shorter one: {PROG} ca show > ca.crt")


def _authority(config: Config) -> Authority:
    """Raises: AuthorityMissing."""
    authority = authority_of(config)
    if authority is None:
        raise AuthorityMissing
    return authority


def _named(authority: Authority, told: str) -> Known:
    """Raises: AuthorityUnknown."""
    for each in authority.known:
        if each.authority_id == told.lower():
            return each
    raise AuthorityUnknown(authority_id=told)


def _standing(config: Config, outer: argparse.Namespace) -> tuple[pb.ListCertificatesResponse | None, str]:
    """What the gateway knows; or why it could not be asked."""
    try:
        key = admin_key(config)
        with gateway_of(config, outer) as gateway:
            return gateway.call(gateway.admin.ListCertificates, pb.ListCertificatesRequest(admin_key=key)), ""
    except CloudError as error:
        return None, str(error)


def _day(known: Known) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(known.expires_at))
