"""The gateway's parts and how they hang together: built in one function, known to each other by constructor."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import grpc

from cloudgrpc import rpc
from cloudgrpc.actions.account_care import AccountCare
from cloudgrpc.actions.accounts import Accounts
from cloudgrpc.actions.admins import Admins
from cloudgrpc.actions.audit import Audit
from cloudgrpc.actions.backups import Backups
from cloudgrpc.actions.budget import Budget
from cloudgrpc.actions.carrying import Carrier, Throttle
from cloudgrpc.actions.census import Census
from cloudgrpc.actions.checking import Checking
from cloudgrpc.actions.collecting import Collecting
from cloudgrpc.actions.downloads import Downloads
from cloudgrpc.actions.endings import Endings
from cloudgrpc.actions.event_feed import EventFeed
from cloudgrpc.actions.extras import Extras
from cloudgrpc.actions.files import Files
from cloudgrpc.actions.history import History
from cloudgrpc.actions.intake import Parts
from cloudgrpc.actions.master_keys import MasterKeys
from cloudgrpc.actions.node_care import NodeCare
from cloudgrpc.actions.node_watch import NodeWatch
from cloudgrpc.actions.nodes import Nodes
from cloudgrpc.actions.overview import Overviews
from cloudgrpc.actions.pacing import Pacing
from cloudgrpc.actions.payment_desk import PaymentDesk
from cloudgrpc.actions.payments import Payments
from cloudgrpc.actions.people import People
from cloudgrpc.actions.readiness import Readiness
from cloudgrpc.actions.rebalance import Rebalance
from cloudgrpc.actions.repair import Repair
from cloudgrpc.actions.rereading import Rereading
from cloudgrpc.actions.rewrapping import Rewrapping
from cloudgrpc.actions.scrub import Scrub
from cloudgrpc.actions.sealing import Sealer
from cloudgrpc.actions.searching import Searching
from cloudgrpc.actions.settling import Settling
from cloudgrpc.actions.sharing import Sharing
from cloudgrpc.actions.small_uploads import SmallUploads
from cloudgrpc.actions.speeds import Speeds
from cloudgrpc.actions.standing import Standing
from cloudgrpc.actions.tending import Tending
from cloudgrpc.actions.trash import Trash
from cloudgrpc.actions.upkeep import Upkeep
from cloudgrpc.actions.upload_sessions import UploadSessions
from cloudgrpc.actions.uploads import Uploads
from cloudgrpc.actions.versions import Versions
from cloudgrpc.chunks.remote import RemoteStore
from cloudgrpc.config import MIB
from cloudgrpc.meta import sealing
from cloudgrpc.meta.promises import Promise
from cloudgrpc.meters import Meters
from cloudgrpc.pb import cloud_storage_pb2_grpc as services
from cloudgrpc.servers.entrance import build_joining
from cloudgrpc.services.admin import AdminService
from cloudgrpc.services.auth import AuthService
from cloudgrpc.services.file import FileService, add_file_service
from cloudgrpc.services.health import Pulse, services_of
from cloudgrpc.services.history import HistoryService
from cloudgrpc.services.identities import AT_GATEWAYS, Identities
from cloudgrpc.services.interceptors import ClusterSecret, ErrorsToStatuses, RequestMeter, Visitors
from cloudgrpc.services.join import JoinService
from cloudgrpc.services.node import NodeService
from cloudgrpc.services.payment import PaymentService
from cloudgrpc.services.read_only import ReadOnly
from cloudgrpc.services.sharing import SharingService
from cloudgrpc.services.storage import StorageService
from cloudgrpc.services.upload import UploadService, add_upload_service
from cloudgrpc.trust.identity import node_identity
from cloudgrpc.trust.secrets import ADMIN, DIGEST, shared_secret
from cloudgrpc.trust.secrets_backup import watch_unsaved

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from cloudgrpc.actions.joining import Joining
    from cloudgrpc.config import Config
    from cloudgrpc.core.rotation import AnySecret
    from cloudgrpc.meta.db import Database
    from cloudgrpc.outside.campay import Campay
    from cloudgrpc.servers.gateway_trust import GatewayTrust


UPLOAD_FILES = "/cloudstorage.FileService/UploadFiles"  # its refusals are not those of the call


@dataclass(frozen=True)
class Outside:
    """What of the world the gateway speaks to. `deliver(email, code)` brings a sign-in code to its owner; `campay`:
    None when there is no account there."""

    deliver: Callable[[str, str], Awaitable[None]]
    campay: Campay | None


@dataclass(frozen=True)
class House:
    accounts: Accounts
    admins: Admins
    care: AccountCare
    audit: Audit
    files: Files
    trash: Trash
    versions: Versions
    history: History
    sharing: Sharing
    searching: Searching
    uploads: Uploads
    small_uploads: SmallUploads
    sessions: UploadSessions
    downloads: Downloads
    settling: Settling
    payments: Payments
    desk: PaymentDesk
    feed: EventFeed
    nodes: Nodes
    node_care: NodeCare
    upkeep: Upkeep
    meters: Meters
    readiness: Readiness
    pulse: Pulse
    speeds: Speeds
    census: Census
    overviews: Overviews
    people: People
    backups: Backups
    checking: Checking
    standing: Standing
    master_keys: MasterKeys
    joining: Joining

    async def close(self) -> None:
        await self.payments.close()
        await self.settling.close()
        await self.accounts.close()
        await self.readiness.close()
        await self.census.close()
        await self.audit.close()
        await self.nodes.close()


def build(
    config: Config,
    database: Database,
    secret: AnySecret,
    cluster_id: str,
    outside: Outside,
    *,
    trust: GatewayTrust | None = None,
) -> House:
    """`trust`: None for plaintext."""
    watch = NodeWatch()
    timeout_s, papers = config.cluster.node_timeout_s, trust.tls if trust else None
    the_nodes = Nodes(
        database,
        config.cluster,
        cluster_id,
        watch,
        lambda node: RemoteStore(
            node.node_id,
            node.host,
            node.port,
            secret,
            timeout_s,
            papers=papers,
            expected=node_identity(node.node_id).host,
            watch=partial(watch.note, node.node_id),
        ),
    )
    audit = Audit(database)
    promise = Promise(config.drive.new_account_mb * MIB, config.cluster.replication_factor, config.drive.overcommit)
    digest_key = shared_secret(config, DIGEST)
    care = AccountCare(database, config.upkeep.closed_account_s)
    meters = Meters()
    budget = Budget()
    parts = Parts(database, the_nodes, budget, config.drive.silence_s, meters)
    downloads = Downloads(parts)
    tending = build_tending(config, database, the_nodes, budget, meters)
    scrub = Scrub(database, the_nodes, config.upkeep, lambda: budget.busy, meters)
    collecting = Collecting(database, the_nodes, config.upkeep)
    trash, versions = Trash(database, config.drive), Versions(database, config.drive)
    sharing = Sharing(database)
    settling = Settling(database, outside.campay, config.payments.look_s)
    rereading = Rereading(database, outside.campay, settling)
    standing = Standing(database, sells=outside.campay is not None)
    census = Census(database, config.cluster.replication_factor)
    feed = EventFeed(database, config.upkeep.event_days)
    joining = build_joining(config, database, secret)
    endings = Endings(database, trust.endings if trust else None)
    harmless = [collecting.take_inventories, feed.tidy, joining.tidy, endings.tell]
    chores = [
        collecting.collect,
        scrub.round,
        care.tidy,
        trash.end_old,
        versions.end_old,
        trash.sweep,
        sharing.end_expired,
        Rewrapping(database).round,
        Sealer(database, the_nodes, config, lambda: budget.busy).round,
    ]
    is_key_unsaved = watch_unsaved(config, lambda: sealing.keyring().ids)
    readiness = Readiness(the_nodes)
    overviews = Overviews(database, the_nodes, census, promise, endings=endings, is_key_unsaved=is_key_unsaved)
    return House(
        accounts=Accounts(database, digest_key, outside.deliver, promise, config.limits),
        admins=Admins(database, shared_secret(config, ADMIN), config.limits.admin_tries_per_hour),
        care=care,
        audit=audit,
        files=Files(database, config.drive),
        trash=trash,
        versions=versions,
        history=History(database),
        sharing=sharing,
        searching=Searching(database),
        uploads=Uploads(parts, config.drive),
        small_uploads=SmallUploads(parts, config.drive, partial(audit.refused, UPLOAD_FILES)),
        sessions=UploadSessions(parts, downloads, config.drive),
        downloads=downloads,
        settling=settling,
        payments=Payments(database, outside.campay, settling, config, promise, digest_key=digest_key),
        desk=PaymentDesk(database, outside.campay, settling),
        feed=feed,
        nodes=the_nodes,
        node_care=NodeCare(database, the_nodes),
        upkeep=Upkeep(
            database,
            the_nodes,
            tending,
            config.upkeep,
            chores=chores,
            harmless=harmless,
            apart={settling.lease: settling.look_due, rereading.lease: rereading.catch_up},
            paused=standing.is_paused,
        ),
        meters=meters,
        readiness=readiness,
        pulse=Pulse(readiness.look, _served(hears_nodes=trust is None)),
        speeds=Speeds(meters),
        census=census,
        overviews=overviews,
        people=People(database),
        backups=Backups(database, config.data_folder, the_nodes, standing),
        checking=Checking(database, the_nodes),
        standing=standing,
        joining=joining,
        master_keys=MasterKeys(database),
    )


def build_tending(config: Config, database: Database, nodes: Nodes, budget: Budget, meters: Meters) -> Tending:
    def busy() -> float:
        return budget.busy

    settings, carrier = config.upkeep, Carrier(database, nodes)
    fast, slow = Throttle(settings.repair_mib_s, busy), Throttle(settings.rebalance_mib_s, busy)
    extras = Extras(database, nodes, settings.repair_mib_s, busy, meters)
    return Tending(
        database,
        nodes,
        settings,
        repair=Repair(database, nodes, carrier, meters, fast=fast, slow=slow),
        extras=extras,
        rebalance=Rebalance(database, carrier, extras, meters, throttle=slow, settings=settings),
    )


def build_server(house: House, config: Config, secret: AnySecret, *, hears_nodes: bool = True) -> grpc.aio.Server:
    """For people; `hears_nodes`: for nodes, too, as long as they have no port of their own."""
    interceptors = [
        # The first is the outermost. Errors are told with the visitor that Visitors sets: all run in the call's task.
        RequestMeter(house.meters),
        ErrorsToStatuses(house.audit.refused),
        Visitors(Pacing(config.limits.peer_calls_per_second), behind_proxy=config.gateway.behind_proxy),
        ClusterSecret(secret),
        ReadOnly(house.standing),
    ]
    server = grpc.aio.server(interceptors=interceptors, options=rpc.SERVER_OPTIONS)
    services.add_AuthServiceServicer_to_server(AuthService(house.accounts, house.care), server)
    files = FileService(
        house.accounts,
        house.files,
        uploads=house.uploads,
        small_uploads=house.small_uploads,
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
    if hears_nodes:
        _add_node_service(house, server)
    services.add_JoinServiceServicer_to_server(JoinService(house.joining), server)
    services.add_PaymentServiceServicer_to_server(PaymentService(house.accounts, house.payments), server)
    admin = AdminService(
        house.admins,
        house.desk,
        house.payments.mode,
        overviews=house.overviews,
        people=house.people,
        speeds=house.speeds,
        feed=house.feed,
        node_care=house.node_care,
        backups=house.backups,
        checking=house.checking,
        standing=house.standing,
        joining=house.joining,
        master_keys=house.master_keys,
    )
    services.add_AdminServiceServicer_to_server(admin, server)
    house.pulse.add_to(server)
    return server


def _served(*, hears_nodes: bool) -> list[str]:
    """Where people are served."""
    return [name for name in services_of() if hears_nodes or not name.endswith(".NodeService")]


def build_cluster_server(house: House, secret: AnySecret) -> grpc.aio.Server:
    """For nodes, on a port where everybody shows a certificate."""

    interceptors = [
        RequestMeter(house.meters),
        ErrorsToStatuses(house.audit.refused),
        # Before the identities: it refuses without reading a request, and they ask each request whom it speaks of.
        ClusterSecret(secret),
        Identities(AT_GATEWAYS, house.joining.refusal),
    ]
    server = grpc.aio.server(interceptors=interceptors, options=rpc.cluster_options())
    _add_node_service(house, server)
    return server


def _add_node_service(house: House, server: grpc.aio.Server) -> None:
    # What it does not implement, the generated servicer answers with UNIMPLEMENTED.
    service = NodeService(house.nodes, house.joining, house.audit)  # type: ignore[abstract]
    services.add_NodeServiceServicer_to_server(service, server)
