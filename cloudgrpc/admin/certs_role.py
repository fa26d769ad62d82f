"""`cloudgrpc certs …`: the cluster's own certificates, made, given, listed and taken back."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from cloudgrpc.admin import acts
from cloudgrpc.clients import render
from cloudgrpc.errors import CloudError, Exit
from cloudgrpc.shell.actions import Actions
from cloudgrpc.shell.parser import Parser

if TYPE_CHECKING:
    import argparse

    from cloudgrpc.config import Config

PROG = "cloudgrpc certs"


def run(config: Config, args: argparse.Namespace) -> int:
    """The words of one act. Returns the exit code."""
    try:
        told = build_parser().parse_args(args.words or ["--help"])
        module = importlib.import_module(f"cloudgrpc.admin.{told.module}")
        code: int | None = getattr(module, told.act)(config, told, args)
    except CloudError as error:
        render.print_failure(error)
        return error.exit_code
    return code or Exit.OK


def build_parser() -> Parser:
    parser = Parser(
        PROG,
        "The cluster's own certificates: gateway and nodes know each other by them, and speak TLS.",
        f"""
        {PROG} init --name drive.example.org
        {PROG} invite node4
        {PROG} list
        """,
    )
    actions = Actions(parser, lambda _: parser.print_help())
    actions.added.required = True
    _add_init(actions)
    _add_nodes(actions)
    _add_authorities(actions)
    return parser


def _add_init(actions: Actions) -> None:
    words = """
    Make the cluster's authority and the gateway's certificate, on the gateway's machine. From its next start on, the
    gateway speaks TLS. Given again, it adds names to the certificate, without a new start.
    """
    init = actions.add("init", lambda _: None, words, f"{PROG} init\n{PROG} init --name drive.example.org --yes")
    init.set_defaults(module="certs_init", act="init")
    init.add_argument(
        "--name",
        dest="names",
        metavar="HOST",
        action="append",
        default=[],
        help="what the gateway is called by people and nodes, a name or an address; may be repeated",
    )
    init.add_argument("--backup", metavar="FILE", type=Path, help="save the secrets there: as cloudgrpc secrets backup")
    init.add_argument("--yes", action="store_true", help="ask nothing, and save no secrets; a script needs it")


def _add_nodes(actions: Actions) -> None:
    words = "Print a code by which one machine may join as this node, once, within 15 minutes."
    invite = actions.add("invite", lambda _: None, words, f"{PROG} invite node4\n{PROG} invite node4 > node4.code")
    invite.set_defaults(module="certs_nodes", act="invite")
    invite.add_argument("node_id", metavar="NODE_ID", help="its name in the cluster, such as node4")
    invite.add_argument(
        "--address", metavar="HOST:PORT", help="where that machine reaches the gateway (default: as the gateway says)"
    )
    words = "Refuse a node's certificates and codes at once, as when its machine was stolen."
    revoke = actions.add("revoke", lambda _: None, words, f"{PROG} revoke node4")
    revoke.set_defaults(module="certs_nodes", act="revoke")
    revoke.add_argument("node_id", metavar="NODE_ID", help="as in the list")
    acts.add_yes(revoke)
    words = "Who has which certificate, until when, who is revoked, and who may join."
    listed = actions.add("list", lambda _: None, words, f"{PROG} list\n{PROG} list --all --json")
    listed.set_defaults(module="certs_nodes", act="show")
    listed.add_argument("--all", action="store_true", help="also those that were followed by a newer one, or expired")
    acts.add_json(listed)


def _add_authorities(actions: Actions) -> None:
    ca = actions.add(
        "ca",
        lambda _: None,
        "The authority itself: shown to people, or exchanged in three steps while all runs on.",
        f"{PROG} ca show > ca.crt\n{PROG} ca add\n{PROG} ca use 3f9c2a17\n{PROG} ca remove 9b1de340",
    )
    steps = Actions(ca, lambda _: ca.print_help())
    steps.added.required = True
    show = steps.add("show", lambda _: None, "Print the file that people give as --ca.", f"{PROG} ca show > ca.crt")
    show.set_defaults(module="certs_ca", act="show")
    listed = steps.add("list", lambda _: None, "Which are believed, and which one signs.", f"{PROG} ca list")
    listed.set_defaults(module="certs_ca", act="listed")
    acts.add_json(listed)
    add = steps.add("add", lambda _: None, "Make a further one, that is believed and does not sign.", f"{PROG} ca add")
    add.set_defaults(module="certs_ca", act="add")
    use = steps.add(
        "use", lambda _: None, "Let this one sign; all certificates are renewed.", f"{PROG} ca use 3f9c2a17"
    )
    use.set_defaults(module="certs_ca", act="use")
    remove = steps.add("remove", lambda _: None, "Believe this one no more.", f"{PROG} ca remove 9b1de340")
    remove.set_defaults(module="certs_ca", act="remove")
    for parser in (use, remove):
        parser.add_argument("authority_id", metavar="ID", help=f"as in: {PROG} ca list")
        acts.add_yes(parser)
