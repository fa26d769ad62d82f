"""`certs invite`, `revoke` and `list`: which machines take part, as the gateway knows them."""

from __future__ import annotations

import ipaddress
import sys
from typing import TYPE_CHECKING

from cloudgrpc.admin import acts
from cloudgrpc.admin.key import admin_key
from cloudgrpc.admin.role import gateway_of
from cloudgrpc.clients import render
from cloudgrpc.errors import CertificateUnknown, NameTaken
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.trust import private

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from cloudgrpc.config import Config

PROG = "cloudgrpc certs"
SERIAL_LETTERS = 12
TAKEN = "{path} exists already; a code replaces nothing."
TITLES = ["Node", "Certificate", "Authority", "Given", "Good until", "State"]


def invite(config: Config, args: argparse.Namespace, outer: argparse.Namespace) -> None:
    if args.to and args.to.expanduser().exists():
        raise NameTaken.told(TAKEN.format(path=args.to))
    key = admin_key(config)
    with gateway_of(config, outer) as gateway:
        request = pb.InviteNodeRequest(admin_key=key, node_id=args.node_id, address=args.address or "")
        reply = gateway.call(gateway.admin.InviteNode, request)
    # Words go to stderr alone: stdout is for the code, which may go into a file.
    for line in [
        f"By this code one machine may join as {args.node_id}, once, until {render.when(reply.expires_at)}. There:",
        f"  cloudgrpc node {args.node_id} PORT CAPACITY_GB --host ITS-ADDRESS --join -",
        "It asks for the code; do not send that where others read it.",
        f"If it gets lost, take it back: {PROG} revoke {args.node_id}",
        *_warnings(reply.address),
    ]:
        print(render.shown(line), file=sys.stderr)
    if args.to:
        _save(args.to.expanduser(), reply.code)
    else:
        print(reply.code)


def _save(path: Path, code: str) -> None:
    """For nobody else, as a file that the shell makes might not be. Raises: NameTaken, LocalFile."""
    try:
        private.write_new(path, f"{code}\n".encode())
    except FileExistsError as error:
        raise NameTaken.told(TAKEN.format(path=path)) from error
    print(f"The code is in {path}, which only you can read; delete it when the machine has joined.", file=sys.stderr)


def _warnings(address: str) -> list[str]:
    host = address.rpartition(":")[0].strip("[]")
    try:
        is_here = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_here = host == "localhost"
    return [f"It leads to {address}: to this machine only. For another one, add --address HOST:PORT"] if is_here else []


def revoke(config: Config, args: argparse.Namespace, outer: argparse.Namespace) -> None:
    acts.check_can_ask(args)
    key, node_id = admin_key(config), args.node_id
    with gateway_of(config, outer) as gateway:
        standing = gateway.call(gateway.admin.ListCertificates, pb.ListCertificatesRequest(admin_key=key))
        good = [each for each in standing.certificates if each.node_id == node_id and each.is_good]
        codes = [each for each in standing.invites if each.node_id == node_id]
        if not good and not codes:
            raise CertificateUnknown(node_id=node_id)
        lines = [
            *(f"{node_id}: certificate {each.serial[:SERIAL_LETTERS]}, {_until(each)}" for each in good),
            *(f"{node_id}: a code to join, good until {render.when(each.expires_at)}" for each in codes),
            "It is then refused, and its copies are made again from other nodes.",
        ]
        if not acts.is_agreed(args, lines, "Revoke it?"):
            return
        reply = gateway.call(gateway.admin.RevokeNode, pb.RevokeNodeRequest(admin_key=key, node_id=node_id))
    acts.told(reply.message)
    if reply.invites:
        acts.told(f"{render.count(reply.invites, 'code')} can no longer be used.")
    print(
        f"Let it in again with: {PROG} invite {node_id}   or give it up: cloudgrpc admin node remove --lost {node_id}"
    )


def show(config: Config, args: argparse.Namespace, outer: argparse.Namespace) -> None:
    key = admin_key(config)
    with gateway_of(config, outer) as gateway:
        standing = gateway.call(gateway.admin.ListCertificates, pb.ListCertificatesRequest(admin_key=key))
    newest = {each.node_id: each.serial for each in standing.certificates}
    shown = [each for each in standing.certificates if args.all or newest[each.node_id] == each.serial]
    if args.json:
        render.print_json(_facts(standing, shown))
        return
    if shown:
        render.print_table(TITLES, [_row(each) for each in shown])
    elif standing.authorities:
        print("No node has a certificate yet.")
        print(f"Let one in with: {PROG} invite NODE_ID")
    for each in standing.invites:
        acts.told(
            f"A machine may join as {each.node_id} until {render.when(each.expires_at)}, invited by {each.created_by}."
        )
    for authority in standing.authorities:
        signs = "signs" if authority.signs else "is believed"
        acts.told(f"The authority {authority.authority_id} {signs}, until {render.when(authority.expires_at)}.")
    if not standing.authorities:
        print("The gateway has no authority: it speaks plaintext, or another machine has it.")
        print(f"Make one on the gateway's machine with: {PROG} init")
    if standing.nodes_behind:
        acts.told(f"Not known to believe these yet: {', '.join(standing.nodes_behind)}.")


def _row(certificate: pb.CertificateInfo) -> list[str]:
    return [
        render.shown(certificate.node_id),
        certificate.serial[:SERIAL_LETTERS],
        certificate.authority_id,
        render.when(certificate.issued_at),
        render.when(certificate.expires_at),
        _state(certificate),
    ]


def _state(certificate: pb.CertificateInfo) -> str:
    if certificate.revoked_at:
        return f"revoked {render.when(certificate.revoked_at)}"
    return "good" if certificate.is_good else "expired"


def _until(certificate: pb.CertificateInfo) -> str:
    return f"good until {render.when(certificate.expires_at)}"


def _facts(standing: pb.ListCertificatesResponse, shown: list[pb.CertificateInfo]) -> dict[str, object]:
    """Times in UTC; null for never."""
    return {
        "certificates": [
            {
                "node_id": each.node_id,
                "serial": each.serial,
                "authority_id": each.authority_id,
                "issued_at": each.issued_at,
                "expires_at": each.expires_at,
                "revoked_at": each.revoked_at or None,
                "is_good": each.is_good,
            }
            for each in shown
        ],
        "invites": [
            {
                "node_id": each.node_id,
                "created_at": each.created_at,
                "created_by": each.created_by,
                "expires_at": each.expires_at,
            }
            for each in standing.invites
        ],
        "authorities": [
            {"authority_id": each.authority_id, "expires_at": each.expires_at, "signs": each.signs}
            for each in standing.authorities
        ],
        "nodes_behind": list(standing.nodes_behind),
    }
