"""`secrets add`, `use` and `remove`: the three steps by which a secret is changed while all runs on."""

from __future__ import annotations

import getpass
import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from cloudgrpc.admin import acts
from cloudgrpc.admin.care_desk import CareDesk
from cloudgrpc.admin.desk import Desk
from cloudgrpc.admin.key import admin_key
from cloudgrpc.admin.role import gateway_of
from cloudgrpc.clients import render
from cloudgrpc.core import rotation
from cloudgrpc.errors import LocalFile, NotOffered, NotSignedIn, SecretInUse, Unavailable, UsageWrong
from cloudgrpc.trust.secret_files import SecretFile

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from cloudgrpc.config import Config

PROG = "cloudgrpc secrets"
MASTER = "master"
STDIN = "-"
OWN = {
    "cluster": "every machine whose gateway or nodes do not share this data folder",
    MASTER: "every other gateway on the same database",
}


def add(config: Config, args: argparse.Namespace, _outer: argparse.Namespace) -> None:
    file = SecretFile(config, args.name)
    added, is_news = file.add(_given(args.source) if args.source else "")
    if not is_news:
        _tell([f"{added} is accepted already; nothing was changed."])
        return
    in_use = file.fingerprints()[0]
    if in_use == added:
        _tell([f"{added} is in use; there was none before."])
        return
    _tell(
        [
            f"{added} is accepted from now on; {in_use} stays the one in use.",
            "",
            f"Next, on {OWN[args.name]}, accept it, too:",
            f"  {PROG} add {args.name} --from -     (it is the last line of {file.path})",
            f"When all of them do, on each of them:   {PROG} use {args.name} {added}",
        ]
    )


def use(config: Config, args: argparse.Namespace, _outer: argparse.Namespace) -> None:
    file = SecretFile(config, args.name)
    before = file.fingerprints()[:1]
    rotation.place_of(file.fingerprints(), args.fingerprint)
    _settle(file)
    if not file.use(args.fingerprint):
        _tell([f"{args.fingerprint} is in use already; nothing was changed."])
        return
    lines = [f"{args.fingerprint} is in use from now on; {before[0]} is still accepted.", ""]
    if args.name == MASTER:
        lines += [
            f"Save it now, and keep that elsewhere:   {PROG} backup FILE",
            "The gateway wraps the keys of all accounts anew, by and by; no file is touched. When that is done:",
            f"  {PROG} remove {MASTER} {before[0]}",
        ]
    else:
        lines += [
            f"Next, on {OWN[args.name]}:   {PROG} use {args.name} {args.fingerprint}",
            f"When that is done on all of them, on each:   {PROG} remove {args.name} {before[0]}",
        ]
    _tell(lines)


def remove(config: Config, args: argparse.Namespace, outer: argparse.Namespace) -> None:
    file = SecretFile(config, args.name)
    prints = file.fingerprints()
    if rotation.place_of(prints, args.fingerprint) == 0:
        raise SecretInUse(fingerprint=args.fingerprint, reason="it is the one in use")
    if args.name == MASTER:
        _settle(file)  # until then a process may still wrap an account's first key with the one that was in use
        if not _is_needed_nowhere(config, args, outer):
            return
    elif not acts.is_agreed(args, [f"Whoever shows only {args.fingerprint} is refused then."], "Remove it?"):
        return
    _settle(file)
    file.remove(args.fingerprint)
    _tell([f"{args.fingerprint} is accepted no more."])
    if args.name == MASTER:
        _tell(["Keep a backup of secrets that has it for as long as you keep backups of the metadata from before."])


def _is_needed_nowhere(config: Config, args: argparse.Namespace, outer: argparse.Namespace) -> bool:
    """As the gateway says; where it cannot be asked, as the person says. Raises: SecretInUse."""
    try:
        with gateway_of(config, outer) as gateway:
            keys = CareDesk(Desk(gateway, admin_key(config))).master_keys()
    except (Unavailable, NotSignedIn, NotOffered) as error:
        print(render.shown(f"The gateway could not be asked who needs it: {error}"), file=sys.stderr)
        print(f"Files whose keys are wrapped with {args.fingerprint} cannot be read without it.", file=sys.stderr)
        return acts.is_agreed(args, [], "Remove it all the same?")
    needed = sum(key.accounts for key in keys if key.key_id == args.fingerprint)
    if needed:
        reason = f"it wraps the keys of {render.count(needed, 'account')}; the gateway wraps them anew, by and by"
        raise SecretInUse(fingerprint=args.fingerprint, reason=reason)
    return True


def _given(source: str) -> str:
    """One secret, which is never an argument: others on this machine could see that. Raises: UsageWrong, LocalFile."""
    if source == STDIN:
        is_person = sys.stdin.isatty() and sys.stderr.isatty()
        text = getpass.getpass("The secret (it is not shown): ") if is_person else sys.stdin.read()
    else:
        try:
            text = Path(source).expanduser().read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise LocalFile(path=source, reason=error.strerror or error) from error
    lines = rotation.lines_of(text)
    if len(lines) != 1:
        raise UsageWrong(reason=f"--from {source} wants one line with one secret, not {len(lines)}")
    return lines[0]


def _settle(file: SecretFile) -> None:
    """Two changes at once would be one, without the time between in which both are accepted."""
    wait_s = file.unsettled_s()
    if wait_s:
        words = f"Waiting {math.ceil(wait_s)} s, until all processes go by the last change …"
        print(words, file=sys.stderr, flush=True)
        time.sleep(wait_s)


def _tell(lines: Sequence[str]) -> None:
    for line in lines:
        print(render.shown(line))
