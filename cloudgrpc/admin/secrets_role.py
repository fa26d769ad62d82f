"""`cloudgrpc secrets …`: the secrets of this machine's data folder, listed, rotated, saved and brought back."""

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

PROG = "cloudgrpc secrets"
NAMES = ["cluster", "master"]


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
        "The secrets of this machine's data folder.",
        f"""
        {PROG} list
        {PROG} backup /media/stick/drive-secrets.tar
        {PROG} add cluster
        """,
    )
    actions = Actions(parser, lambda _: parser.print_help())
    actions.added.required = True
    _add_list(actions)
    _add_rotation(actions)
    _add_copies(actions)
    return parser


def _add_list(actions: Actions) -> None:
    words = "Which there are, where they are kept, and their fingerprints; never a secret."
    listed = actions.add("list", lambda _: None, words, f"{PROG} list\n{PROG} list --json")
    listed.set_defaults(module="secrets_list", act="show")
    acts.add_json(listed)


def _add_rotation(actions: Actions) -> None:
    words = "Accept a further one, beside the one in use; without --from a new one is made."
    add = actions.add("add", lambda _: None, words, f"{PROG} add cluster\n{PROG} add cluster --from -")
    add.set_defaults(module="secrets_rotation", act="add")
    _add_name(add)
    add.add_argument("--from", dest="source", metavar="FILE", help="that holds it; - asks for it, or reads stdin")
    words = "Make an accepted one the one in use; the one before stays accepted."
    use = actions.add("use", lambda _: None, words, f"{PROG} use cluster 1f0c88d2")
    use.set_defaults(module="secrets_rotation", act="use")
    words = "Accept one no longer, when nobody shows it any more."
    remove = actions.add("remove", lambda _: None, words, f"{PROG} remove cluster 9b1de340")
    remove.set_defaults(module="secrets_rotation", act="remove")
    for parser in (use, remove):
        _add_name(parser)
        parser.add_argument("fingerprint", metavar="FINGERPRINT", help=f"as in: {PROG} list")
    acts.add_yes(remove)


def _add_copies(actions: Actions) -> None:
    words = "Save all secrets, and the certificate authority if there is one, as one file to be kept elsewhere."
    backup = actions.add("backup", lambda _: None, words, f"{PROG} backup /media/stick/drive-secrets.tar")
    backup.set_defaults(module="secrets_copies", act="backup")
    backup.add_argument("file", metavar="FILE", type=Path, help="a new one; only you can read it")
    words = "Bring them back into a data folder that has none, before the gateway is started there."
    restore = actions.add("restore", lambda _: None, words, f"{PROG} restore /media/stick/drive-secrets.tar")
    restore.set_defaults(module="secrets_copies", act="restore")
    restore.add_argument("file", metavar="FILE", type=Path, help=f"that was written by: {PROG} backup")


def _add_name(parser: Parser) -> None:
    parser.add_argument(
        "name", choices=NAMES, help="cluster: gateway and nodes know each other by it; master: files are sealed with it"
    )
