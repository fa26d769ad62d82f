"""The role that empties the database that is configured, for development."""

from __future__ import annotations

import contextlib
import shlex
from typing import TYPE_CHECKING

from cloudgrpc.core.units import size_words
from cloudgrpc.errors import DatabaseInUse, DatabasePrecious, FolderInUse
from cloudgrpc.meta import db, resetting
from cloudgrpc.servers.asking import check_can_ask, is_named
from cloudgrpc.servers.data_folder import check_database, held
from cloudgrpc.trust.joined import FILE as JOINED

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from pathlib import Path

    from cloudgrpc.config import Config
    from cloudgrpc.meta.resetting import Holdings


def run(config: Config, args: argparse.Namespace) -> None:
    """Raises: UsageWrong, LocalFile, DatabaseInUse, DatabasePrecious, DatabaseUnavailable."""
    check_can_ask(yes=args.yes)
    words, path = db.describe(config.database, config.data_folder), config.data_folder / db.SQLITE_FILE
    if not config.database.host:
        check_database(path, "there is no database to empty")
    with _alone(config, words), resetting.opened(config.database, config.data_folder):
        found = resetting.holdings()
        if reason := _precious(found):
            if not args.force:
                raise DatabasePrecious(database=words, reason=reason)
            print(f"It looks like one that people use: {reason}.")
        resetting.check_unused(words)
        print(_losses(words, found), flush=True)
        name = config.database.name if config.database.host else config.data_folder.name
        if not args.yes and not is_named(f"Type {name} to empty it: ", name):
            return
        resetting.reset(words)
    print(_left(config.data_folder))


@contextlib.contextmanager
def _alone(config: Config, words: str) -> Iterator[None]:
    """On SQLite the data folder is held; gateways on PostgreSQL are seen by their connections."""
    if config.database.host:
        yield
        return
    try:
        with held(config.data_folder):
            yield
    except FolderInUse as error:
        raise DatabaseInUse(database=words, user="a gateway, or a copy") from error


def _precious(found: Holdings) -> str:
    if found.live_payments:
        return f"{found.live_payments} payments of real money were completed"
    if found.far_nodes:
        return f"nodes on other machines are online ({', '.join(found.far_nodes[:5])})"
    return ""


def _losses(words: str, found: Holdings) -> str:
    if found.is_empty:
        return f"{words}: nobody has an account, and there are no nodes."
    return (
        f"{words}. This is lost, and not to be brought back:\n"
        f"  accounts  {found.accounts:,}\n"
        f"  files     {found.files:,}, {size_words(found.file_bytes)} with their versions\n"
        f"  payments  {found.payments:,}\n"
        f"  nodes     {found.nodes:,}"
    )


def _left(folder: Path) -> str:
    old = [*sorted(folder.glob("node_storage_*")), *folder.glob(f"certs/{JOINED}")]
    lines = [
        "Emptied. The next gateway founds a new cluster in it.",
        "Nodes keep the old cluster's chunks, which nothing can read any more, and the",
        "new cluster refuses their folders: delete each on its machine, or start its",
        "node with another --data-dir.",
        f"A node with certificates keeps in certs/{JOINED} whose it is: delete that,",
        "too, and let it join again: cloudgrpc certs invite ID. A demo cluster's do so",
        "by themselves.",
    ]
    if old:
        lines.append(f"Here:  rm -r {' '.join(shlex.quote(str(path)) for path in old)}")
    return "\n".join(lines)
