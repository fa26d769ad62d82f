"""`certs init`: the cluster's authority, the gateway's certificate, and a copy of what must not be lost."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from cloudgrpc import rpc
from cloudgrpc.clients import render
from cloudgrpc.errors import CloudError, UsageWrong
from cloudgrpc.shell import at_terminal
from cloudgrpc.trust import secrets_backup
from cloudgrpc.trust.authority import Authority, general_name
from cloudgrpc.trust.gateway_papers import authority_of, certify, default_names
from cloudgrpc.trust.identity import THE_GATEWAY
from cloudgrpc.trust.papers import FOLDER, Papers
from cloudgrpc.trust.secrets import ADMIN, CLUSTER, DIGEST, MASTER, is_generated, master_keys, shared_secret

if TYPE_CHECKING:
    import argparse

    from cloudgrpc.config import Config

MASTER_KEY = """The master key: stored files are encrypted, and secrets/master.key in this data folder opens them.
Whoever loses it loses every file; neither the nodes nor a backup of the metadata help without it.
Save it now with the other secrets and the authority's key, best on a medium that you take away."""
LATER = "Save them soon: cloudgrpc secrets backup FILE"
DATABASE = "metadata.sqlite3"


def init(config: Config, args: argparse.Namespace, _outer: argparse.Namespace) -> None:
    if not (args.yes or args.backup or at_terminal.can_ask()):
        raise UsageWrong(reason="a script is asked nothing: add --yes, or --backup FILE to save the secrets")
    for name in args.names:
        general_name(name)  # a wrong one is told before anything is made
    folder = config.data_folder / FOLDER
    is_new = authority_of(config) is None
    authority = Authority.create(folder, config.tls.certificate_days)
    papers = Papers.open(folder, THE_GATEWAY)
    if papers is None or set(names := _names(config, papers, args.names)) != set(papers.names):
        names = _names(config, papers, args.names)
        is_first, papers = papers is None, papers or Papers(folder, THE_GATEWAY)
        certify(authority, papers, names)
    else:
        is_first = False
    _tell_made(config, authority, papers, is_new=is_new)
    _save(config, args, is_due=is_new or is_first)
    _tell_next(config, is_running=not is_first and not is_new)


def _names(config: Config, papers: Papers | None, given: list[str]) -> list[str]:
    told = [*given, *(papers.names if papers else default_names(config))]
    return list(dict.fromkeys(each.strip("[]").lower().rstrip(".") for each in told))


def _tell_made(config: Config, authority: Authority, papers: Papers, *, is_new: bool) -> None:
    signer = authority.known[0]
    made = "is made" if is_new else "was here already"
    _tell(f"The cluster's authority {signer.authority_id} {made}, good until {_day(signer.expires_at)}.")
    _tell(f"The gateway's certificate is good until {_day(papers.expires_at)} and renews itself. It is for:")
    _tell(f"  {', '.join(papers.names)}")
    _tell(f"All of it is in {config.data_folder / FOLDER}; its keys never leave this machine by themselves.")


def _save(config: Config, args: argparse.Namespace, *, is_due: bool) -> None:
    if args.backup is None and not is_due:
        return
    if not _make_secrets(config):
        _tell("")
        _tell("Once the gateway has been started here, save its secrets: cloudgrpc secrets backup FILE")
        return
    if is_generated(config, MASTER) and config.encryption.at_rest:
        _tell("")
        for line in MASTER_KEY.splitlines():
            _tell(line)
    if args.backup is not None:
        _back_up(config, args.backup)
    elif args.yes:
        _tell(LATER)
    else:
        _ask_and_back_up(config)


def _ask_and_back_up(config: Config) -> None:
    while told := at_terminal.typed("File to save them in (Enter: later): "):
        try:
            _back_up(config, Path(told))
        except CloudError as error:
            render.print_failure(error)
        else:
            return
    _tell(LATER)


def _back_up(config: Config, path: Path) -> None:
    file = path.expanduser()
    _tell(f"{file} holds {', '.join(secrets_backup.back_up(config, file))}.")
    _tell("Who has it can read and do everything here; without it, a lost disk is a lost drive.")


def _make_secrets(config: Config) -> bool:
    """As the gateway's first start would, so that they can be saved now. Not where there may be a database already: its
    files may need another key, which has to be brought back. Returns whether all are there."""
    if config.database.host or (config.data_folder / DATABASE).exists():
        return (config.data_folder / "secrets" / "master.key").exists() or not is_generated(config, MASTER)
    for key in (CLUSTER, DIGEST, ADMIN):
        shared_secret(config, key)
    master_keys(config)
    return True


def _tell_next(config: Config, *, is_running: bool) -> None:
    host, port = config.cluster_place
    _tell("")
    if is_running:
        _tell("A gateway that runs shows the new certificate by itself, if it was started with the first one.")
    else:
        _tell("Start the gateway (anew, if it runs). It then speaks TLS alone: with people")
        _tell(f"on {rpc.address(config.gateway.host, config.gateway.port)}, with nodes on {rpc.address(host, port)}.")
    _tell("Nodes join by a code each, also those that are here already:   cloudgrpc certs invite NODE_ID")
    _tell(
        "People name its authority once:   cloudgrpc shell --ca ca.crt   (the file: cloudgrpc certs ca show > ca.crt)"
    )


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(seconds))


def _tell(line: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        print(render.shown(line), file=sys.stdout)
