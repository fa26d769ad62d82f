"""The role of the gateway: opens the metadata, listens, and leads the rounds of upkeep."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

from cloudgrpc import __version__, rpc
from cloudgrpc.actions.account_care import AccountCare
from cloudgrpc.actions.accounts import Accounts
from cloudgrpc.actions.audit import Audit
from cloudgrpc.actions.budget import Budget
from cloudgrpc.actions.collecting import Collecting
from cloudgrpc.actions.downloads import Downloads
from cloudgrpc.actions.files import Files
from cloudgrpc.actions.history import History
from cloudgrpc.actions.intake import Parts
from cloudgrpc.actions.nodes import Nodes
from cloudgrpc.actions.pacing import Pacing
from cloudgrpc.actions.repair import Repair
from cloudgrpc.actions.searching import Searching
from cloudgrpc.actions.sharing import Sharing
from cloudgrpc.actions.trash import Trash
from cloudgrpc.actions.upkeep import Upkeep
from cloudgrpc.actions.upload_sessions import UploadSessions
from cloudgrpc.actions.uploads import Uploads
from cloudgrpc.actions.versions import Versions
from cloudgrpc.chunks.remote import RemoteStore
from cloudgrpc.config import MIB
from cloudgrpc.core.units import size_words
from cloudgrpc.errors import FolderInUse, LocalFile
from cloudgrpc.meta import db, nodes, schema
from cloudgrpc.meta.accounts import Promise
from cloudgrpc.outside.mail import Mailer
from cloudgrpc.pb import cloud_storage_pb2_grpc as services
from cloudgrpc.servers.process import parent_gone, run_async, stop_event, until_stopped
from cloudgrpc.servers.secrets_store import shared_secret
from cloudgrpc.services.auth import AuthService
from cloudgrpc.services.file import FileService, add_file_service
from cloudgrpc.services.history import HistoryService
from cloudgrpc.services.interceptors import ClusterSecret, ErrorsToStatuses, Visitors
from cloudgrpc.services.node import NodeService
from cloudgrpc.services.sharing import SharingService
from cloudgrpc.services.storage import StorageService
from cloudgrpc.services.upload import UploadService, add_upload_service

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from cloudgrpc.config import Config

GRACE_S = 2.0


@dataclass(frozen=True)
class House:
    """The gateway's parts, built once."""

    accounts: Accounts
    care: AccountCare
    audit: Audit
    files: Files
    trash: Trash
    versions: Versions
    history: History
    sharing: Sharing
    searching: Searching
    uploads: Uploads
    sessions: UploadSessions
    downloads: Downloads
    nodes: Nodes
    upkeep: Upkeep


def run(config: Config, args: argparse.Namespace) -> None:
    rpc.tune_allocator()
    run_async(serve(config, exit_with_parent=args.exit_with_parent))


async def serve(config: Config, *, exit_with_parent: bool = False) -> None:
    """Run until told to stop.

    Raises: PlaintextRefused, PortInUse, FolderInUse, SchemaNewer, SettingsWrong, DatabaseUnavailable.
    """
    rpc.check_listen(config.gateway.host, config.cluster.allow_plaintext)
    stop = stop_event()
    with _data_folder(config), contextlib.closing(db.open_database(config.database, config.data_folder)) as database:
        await database.run(schema.migrate)
        secret = shared_secret(config, ("cluster", "secret"))
        mailer = Mailer(config.mail) if config.mail.user else None
        house = build(config, database, secret, await database.run(schema.cluster_id), mailer)
        server = build_server(house, config, secret)
        port = rpc.listen(server, config.gateway.host, config.gateway.port, "--port")
        await server.start()
        _announce(config, port, await database.read(nodes.pool_capacity))
        work = [house.upkeep.run(), *([parent_gone(stop)] if exit_with_parent else [])]
        try:
            await until_stopped(stop, *work)
        finally:
            if mailer is not None:
                mailer.close()  # first: nobody waits for a mail that hangs
            await server.stop(GRACE_S)
            await house.accounts.close()
            await house.audit.close()
            await house.nodes.close()


def build(config: Config, database: db.Database, secret: str, cluster_id: str, mailer: Mailer | None) -> House:
    timeout_s = config.cluster.node_timeout_s
    the_nodes = Nodes(
        database,
        config.cluster,
        cluster_id,
        lambda node: RemoteStore(node.node_id, node.host, node.port, secret, timeout_s),
    )
    accounts = Accounts(
        database,
        shared_secret(config, ("gateway", "digest_key")),
        mailer.send_code if mailer else _print_code,
        Promise(config.drive.new_account_mb * MIB, config.cluster.replication_factor, config.drive.overcommit),
        config.limits,
    )
    care = AccountCare(database, config.upkeep.closed_account_s)
    parts = Parts(database, the_nodes, Budget(), config.drive.silence_s)
    downloads = Downloads(parts)
    repair = Repair(database, the_nodes, config.upkeep)
    collecting = Collecting(database, the_nodes, config.upkeep)
    trash, versions = Trash(database, config.drive), Versions(database, config.drive)
    sharing = Sharing(database)
    chores = [
        collecting.take_inventories,
        collecting.collect,
        care.tidy,
        trash.end_old,
        versions.end_old,
        trash.sweep,
        sharing.end_expired,
    ]
    return House(
        accounts=accounts,
        care=care,
        audit=Audit(database),
        files=Files(database, config.drive),
        trash=trash,
        versions=versions,
        history=History(database),
        sharing=sharing,
        searching=Searching(database),
        uploads=Uploads(parts, config.drive),
        sessions=UploadSessions(parts, downloads, config.drive),
        downloads=downloads,
        nodes=the_nodes,
        upkeep=Upkeep(database, the_nodes, repair, chores, config.upkeep),
    )


def build_server(house: House, config: Config, secret: str) -> grpc.aio.Server:
    interceptors = [
        # The first is the outermost. It must see the visitor that the second tells of, so both run in the call's task.
        ErrorsToStatuses(house.audit.refused),
        Visitors(Pacing(config.limits.peer_calls_per_second), behind_proxy=config.gateway.behind_proxy),
        ClusterSecret(secret),
    ]
    server = grpc.aio.server(interceptors=interceptors, options=rpc.SERVER_OPTIONS)
    services.add_AuthServiceServicer_to_server(AuthService(house.accounts, house.care), server)
    files = FileService(
        house.accounts,
        house.files,
        uploads=house.uploads,
        downloads=house.downloads,
        sharing=house.sharing,
        searching=house.searching,
        settings=config.drive,
    )
    add_file_service(files, server)
    add_upload_service(UploadService(house.accounts, house.sessions, config.drive), server)
    history = HistoryService(house.accounts, house.trash, house.versions, house.history)
    services.add_HistoryServiceServicer_to_server(history, server)
    services.add_SharingServiceServicer_to_server(SharingService(house.accounts, house.sharing), server)
    services.add_StorageServiceServicer_to_server(StorageService(house.accounts, house.files), server)
    # What these do not implement, the generated servicers answer with UNIMPLEMENTED.
    services.add_NodeServiceServicer_to_server(NodeService(house.nodes), server)  # type: ignore[abstract]
    services.add_PaymentServiceServicer_to_server(services.PaymentServiceServicer(), server)  # type: ignore[abstract]
    services.add_AdminServiceServicer_to_server(services.AdminServiceServicer(), server)  # type: ignore[abstract]
    return server


@contextlib.contextmanager
def _data_folder(config: Config) -> Iterator[None]:
    """The folder, held against a second gateway: two on one SQLite file would each lead its own upkeep."""
    folder = config.data_folder
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (folder / "gateway.lock").open("w")
    except OSError as error:
        raise LocalFile(path=folder, reason=error.strerror or error) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FolderInUse(folder=folder) from error
        yield


def _announce(config: Config, port: int, pool: int) -> None:
    more = "" if pool else ", grows as nodes join"
    lines = [
        f"CloudGrpc {__version__} gateway",
        f"  listens on  {rpc.address(config.gateway.host, port)}",
        f"  database    {db.describe(config.database, config.data_folder)}",
        f"  pool        {size_words(pool) if pool else '0 GB'}{more}",
        f"  mail        {_mail(config)}",
        "  payments    not configured",
    ]
    print("\n".join(lines), flush=True)


def _mail(config: Config) -> str:
    mail = config.mail
    return f"{mail.host}:{mail.port} as {mail.user}" if mail.user else "not configured: sign-in codes are printed here"


async def _print_code(email: str, code: str) -> None:
    """Standard output only, never the log: a log is kept, and read by others."""
    await asyncio.to_thread(print, f"OTP code for {email}: {code} (valid 5 minutes)", flush=True)
