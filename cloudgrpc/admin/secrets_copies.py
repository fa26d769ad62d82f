"""`secrets backup` and `restore`: all secrets as one file to be kept elsewhere, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudgrpc.clients import render
from cloudgrpc.trust import secrets_backup
from cloudgrpc.trust.secrets import DIGEST, MASTER, NAMES, is_generated, secret_place

if TYPE_CHECKING:
    import argparse

    from cloudgrpc.config import Config

OTHERS = 0o077
ELSEWHERE = "Move it off this machine, to where only you come: who has it can read and do everything."


def backup(config: Config, args: argparse.Namespace, _outer: argparse.Namespace) -> None:
    file = args.file.expanduser()
    names = secrets_backup.back_up(config, file)
    _tell(f"{file} holds {', '.join(names)}.")
    for key in NAMES:
        if not is_generated(config, key) and key in {MASTER, DIGEST}:
            _tell(f"Not in it, keep it apart: the {NAMES[key]} key, {secret_place(config, key)}.")
    for line in [
        ELSEWHERE,
        "Without the master key no stored file can be read, also not from a backup of the metadata.",
        f"Bring it back, into a data folder that has none:   cloudgrpc secrets restore {file.name}",
    ]:
        _tell(line)


def restore(config: Config, args: argparse.Namespace, _outer: argparse.Namespace) -> None:
    names = secrets_backup.restore(config, args.file.expanduser())
    _tell(f"{config.data_folder} holds {', '.join(names)} again, as they were.")
    if args.file.expanduser().stat().st_mode & OTHERS:
        _tell(f"Others may read {args.file}, and with it everything; close it with: chmod 600 {args.file}")
    _tell("Next, if the database is lost, too:   start the gateway, then: cloudgrpc admin restore FILE")


def _tell(line: str) -> None:
    print(render.shown(line))
