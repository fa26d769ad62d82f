"""`admin quota …` and `admin user …`: how much room an account has, and whether anybody signs in to it."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudgrpc.admin import acts
from cloudgrpc.admin.care_desk import CareDesk
from cloudgrpc.clients import render
from cloudgrpc.core.units import size_words
from cloudgrpc.shell.actions import Actions
from cloudgrpc.shell.amounts import MOST, size
from cloudgrpc.shell.at_terminal import typable
from cloudgrpc.shell.parser import Parser

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudgrpc.admin.desk import Desk
    from cloudgrpc.pb import cloud_storage_pb2 as pb

QUOTA, USER = "quota", "user"
CHANGE = re.compile(r"[-+]\s*\d.*", re.DOTALL)
READ_ONLY = "More than that is used, so the account is read-only until files are deleted; nothing was deleted."


@dataclass(frozen=True)
class Room:
    """What a quota is to be: so much, or so much more or less than it is."""

    size: int
    is_change: bool

    def after(self, before: int) -> int:
        return min(MOST, max(0, before + self.size)) if self.is_change else self.size


def room(word: str) -> Room:
    """500MB, 1.5 GB, +1GB, -200MB. For argparse."""
    told = word.strip()
    sign, amount = (told[0], told[1:].strip()) if CHANGE.fullmatch(told) else ("", told)
    if re.fullmatch(r"[0-9.]+", amount) and amount.strip("0."):
        raise argparse.ArgumentTypeError(f"{told} of what? write {told}MB or {told}GB")
    bytes_ = size(amount)
    return Room(-bytes_ if sign == "-" else bytes_, bool(sign))


def parsed(words: Sequence[str]) -> argparse.Namespace:
    """Raises: UsageWrong; SystemExit for --help."""
    # With a space before it, -1GB is no option to argparse.
    told = [f" {word}" if CHANGE.fullmatch(word) else word for word in words[1:]]
    parser = parser_of(words[0])
    args: argparse.Namespace = parser.parse_args(told)
    if words[0] == QUOTA:
        try:
            args.room = room(" ".join(args.size))
        except argparse.ArgumentTypeError as error:
            parser.error(str(error))
    return args


def parser_of(act: str) -> Parser:
    return _quota_parser() if act == QUOTA else _user_parser()


def run(desk: Desk, args: argparse.Namespace) -> int | None:
    code: int | None = args.act(CareDesk(desk), args)
    return code


def _quota_parser() -> Parser:
    prog = f"cloudgrpc admin {QUOTA}"
    parser = Parser(
        prog,
        "Give an account more or less room than it has: a size, or + or - and a size. What was bought counts in it.",
        f"""
        {prog} alice@example.org 2GB
        {prog} alice@example.org +500MB
        {prog} alice@example.org -1GB --yes
        """,
    )
    parser.set_defaults(act=_set_quota)
    _add_who(parser)
    parser.add_argument("size", metavar="SIZE", nargs="+", help="500MB, 1.5GB, or +1GB for more and -1GB for less")
    acts.add_yes(parser)
    return parser


def _user_parser() -> Parser:
    prog = f"cloudgrpc admin {USER}"
    parser = Parser(
        prog,
        "Shut an account out, or let it in again. Its files stay in either case.",
        f"""
        {prog} disable alice@example.org --reason "the bill is open"
        {prog} enable alice@example.org
        """,
    )
    actions = Actions(parser, lambda _: parser.print_help())
    actions.added.required = True
    words = "End the sessions of an account, and let nobody sign in to it; what it shares stays readable by others."
    disable = _add(actions, "disable", words, f'{prog} disable alice@example.org --reason "the bill is open"')
    disable.set_defaults(act=_disable)
    disable.add_argument("--reason", metavar="TEXT", default="", help="why; the person sees it")
    enable = _add(actions, "enable", "Let an account in again.", f"{prog} enable alice@example.org")
    enable.set_defaults(act=_enable)
    return parser


def _add(actions: Actions, name: str, words: str, example: str) -> Parser:
    parser = actions.add(name, lambda _: None, words, example)
    _add_who(parser)
    acts.add_yes(parser)
    return parser


def _add_who(parser: Parser) -> None:
    parser.add_argument("who", metavar="WHO", help="an account, by its e-mail address or id")


def _set_quota(desk: CareDesk, args: argparse.Namespace) -> None:
    acts.check_can_ask(args)
    before = desk.account(args.who)
    quota = args.room.after(before.storage_allocated)
    preview = [] if args.yes else _quota_preview(before, quota, desk.status())
    if not acts.is_agreed(args, preview, "Change it?"):
        return
    reply = desk.set_quota(before.user_id, quota, before.storage_allocated)
    now = reply.user.storage_allocated
    was = size_words(before.storage_allocated)
    acts.told(f"{reply.user.email} has {size_words(now)} now, {_used(reply.user)}; it had {was}.")
    print(_promised(reply.promised_bytes, reply.promisable_bytes))
    if reply.user.storage_used > now:
        print(READ_ONLY)
    print(f"The account with all it has: {_look(reply.user)}")


def _quota_preview(user: pb.UserInfo, quota: int, status: pb.SystemStatusResponse) -> list[str]:
    more = quota - user.storage_allocated
    return [
        f"{_who(user)}: {size_words(user.storage_allocated)} -> {size_words(quota)}, {_used(user)}",
        _promised(status.promised_bytes + more, status.promisable_bytes),
        *([READ_ONLY.replace("so the account is", "so the account becomes")] if user.storage_used > quota else []),
    ]


def _promised(promised: int, promisable: int) -> str:
    words = f"That makes {size_words(promised)} promised to all, of {size_words(promisable)} that may be."
    return words if promised <= promisable else f"{words} That is more than may be: add a node."


def _disable(desk: CareDesk, args: argparse.Namespace) -> None:
    acts.check_can_ask(args)
    before = desk.account(args.who)
    if before.disabled_at and args.reason in {"", before.disabled_reason}:
        acts.told(f"{_who(before)} was disabled already, {render.when(before.disabled_at)}.")
        return
    lines = [
        f"{_who(before)}: {size_words(before.storage_used)} in {render.count(before.file_count, 'file')}",
        f"{render.count(before.sessions, 'session')} of it would end, and nobody could sign in; the files stay.",
    ]
    if not acts.is_agreed(args, lines, "Disable it?"):
        return
    user = desk.set_disabled(before.user_id, True, args.reason).user
    acts.told(f"{user.email} is disabled; its sessions are ended, its files stay.")
    acts.told(f"Let it in again with: cloudgrpc admin user enable {typable(user.email)}")


def _enable(desk: CareDesk, args: argparse.Namespace) -> None:
    acts.check_can_ask(args)
    before = desk.account(args.who)
    if not before.disabled_at:
        acts.told(f"{_who(before)} is not disabled.")
        return
    why = f": {before.disabled_reason}" if before.disabled_reason else ""
    lines = [f"{_who(before)}: disabled {render.when(before.disabled_at)}{why}"]
    if not acts.is_agreed(args, lines, "Let it in again?"):
        return
    user = desk.set_disabled(before.user_id, False, "").user
    acts.told(f"{user.email} may sign in again.")
    print(f"The account with all it has: {_look(user)}")


def _who(user: pb.UserInfo) -> str:
    return f"{user.email} ({user.name})" if user.name else user.email


def _used(user: pb.UserInfo) -> str:
    under_way = f" and {size_words(user.reserved_bytes)} of uploads under way" if user.reserved_bytes else ""
    return f"{size_words(user.storage_used)} used{under_way}"


def _look(user: pb.UserInfo) -> str:
    return render.shown(f"cloudgrpc admin --user {typable(user.email)}")
