"""`admin key …`: further admin keys, each with a name that events tell and a role that says what it may do."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from cloudgrpc.admin import acts
from cloudgrpc.admin.care_desk import CareDesk
from cloudgrpc.clients import render
from cloudgrpc.core.operators import OWN_KEY, Role
from cloudgrpc.errors import AdminKeyUnknown
from cloudgrpc.shell.actions import Actions
from cloudgrpc.shell.at_terminal import typable
from cloudgrpc.shell.parser import Parser

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from cloudgrpc.admin.desk import Desk
    from cloudgrpc.pb import cloud_storage_pb2 as pb

PROG = "cloudgrpc admin key"
MAY = {Role.VIEW: "look at everything", Role.OPERATE: "look and act"}
TITLES = ["Name", "Role", "Given", "By", "Last used", "State"]


def parsed(words: Sequence[str]) -> argparse.Namespace:
    """Raises: UsageWrong; SystemExit for --help."""
    args: argparse.Namespace = parser_of(words[0]).parse_args(words[1:])
    return args


def run(desk: Desk, args: argparse.Namespace) -> int | None:
    code: int | None = args.act(CareDesk(desk), args)
    return code


def parser_of(_act: str) -> Parser:
    parser = Parser(
        PROG,
        "Give operators keys of their own, and take them back. It needs the gateway's own key.",
        f"""
        {PROG} add bob --role operate > bob.key
        {PROG} list
        {PROG} revoke bob
        """,
    )
    actions = Actions(parser, lambda _: parser.print_help())
    actions.added.required = True
    words = "Make a key, and print it this once, alone on stdout; the gateway keeps only its digest."
    add = actions.add("add", lambda _: None, words, f"{PROG} add bob --role operate > bob.key")
    add.set_defaults(act=_add)
    add.add_argument("name", metavar="NAME", help="whose it is; events name it")
    add.add_argument("--role", choices=[*MAY], required=True, help="view: look at everything; operate: act, too")
    acts.add_yes(add)
    listed = actions.add("list", lambda _: None, "Every key there is or was, but never a key itself.", f"{PROG} list")
    listed.set_defaults(act=_list)
    acts.add_json(listed)
    revoke = actions.add("revoke", lambda _: None, "End a key at once; its name stays taken.", f"{PROG} revoke bob")
    revoke.set_defaults(act=_revoke)
    revoke.add_argument("name", metavar="NAME", help="as in the list")
    acts.add_yes(revoke)
    return parser


def _add(desk: CareDesk, args: argparse.Namespace) -> None:
    # Asked on stderr alone: stdout is for the key, which may go into a file.
    if not acts.is_agreed(args, [], f"Make a key named {args.name}, that may {MAY[Role(args.role)]}?"):
        return
    key = desk.add_key(args.name, args.role)
    for line in [
        f"This is the key of {args.name}, which may {MAY[Role(args.role)]}. It is shown this once:",
        "It is used as ADMIN_KEY, or from a file of mode 0600 named by CLOUDGRPC_ADMIN_KEY_FILE or [admin] key_file.",
        f"End it with: {PROG} revoke {typable(args.name)}",
    ]:
        print(render.shown(line), file=sys.stderr)
    print(key)


def _list(desk: CareDesk, args: argparse.Namespace) -> None:
    keys = desk.admin_keys()
    if args.json:
        render.print_json([_facts(key) for key in keys])
        return
    if keys:
        render.print_table(TITLES, [_row(key) for key in keys])
    else:
        print(f"There is no key but {OWN_KEY}.")
        print(f"Give one with: {PROG} add NAME --role operate")


def _row(key: pb.AdminKeyInfo) -> list[str]:
    return [
        render.shown(key.name),
        key.role,
        render.when(key.created_at),
        render.shown(key.created_by),
        render.when(key.last_used_at) if key.last_used_at else "never",
        f"revoked {render.when(key.revoked_at)}" if key.revoked_at else "good",
    ]


def _facts(key: pb.AdminKeyInfo) -> dict[str, object]:
    """Times in UTC; null for never."""
    return {
        "name": key.name,
        "role": key.role,
        "created_at": key.created_at,
        "created_by": key.created_by,
        "last_used_at": key.last_used_at or None,
        "revoked_at": key.revoked_at or None,
    }


def _revoke(desk: CareDesk, args: argparse.Namespace) -> None:
    acts.check_can_ask(args)
    found = next((key for key in desk.admin_keys() if key.name == args.name), None)
    if found is None:
        raise AdminKeyUnknown(name=args.name)
    if found.revoked_at:
        acts.told(f"The key {found.name} was revoked already, {render.when(found.revoked_at)}.")
        return
    used = f"last used {render.when(found.last_used_at)}" if found.last_used_at else "never used"
    lines = [f"{found.name}: {found.role}, given {render.when(found.created_at)} by {found.created_by}, {used}"]
    if not acts.is_agreed(args, lines, "Revoke it?"):
        return
    desk.revoke_key(args.name)
    acts.told(f"The key {args.name} opens nothing any more; its name stays taken, for events tell it.")
    print(f"Give another with: {PROG} add NAME --role {found.role}")
