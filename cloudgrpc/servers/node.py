"""The role of a storage node: opens its folder, listens, and stays registered with the gateway."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING

import grpc

from cloudgrpc import rpc
from cloudgrpc.actions.node_disk import NodeDisk
from cloudgrpc.actions.refusals import Refusals
from cloudgrpc.chunks.disk import DiskStore
from cloudgrpc.chunks.remote import RemoteStore
from cloudgrpc.config import GIB, MIB
from cloudgrpc.core.introductions import MOST_BYTES, NODE_ID, ZONE, ZONE_RULE
from cloudgrpc.core.units import size_words
from cloudgrpc.errors import UsageWrong
from cloudgrpc.meters import Meters
from cloudgrpc.servers import joining
from cloudgrpc.servers.handshake_words import METHOD, heard
from cloudgrpc.servers.membership import Membership, Place, Trust
from cloudgrpc.servers.process import parent_gone, run_async, stop_event, until_stopped
from cloudgrpc.servers.renewal import by_gateway, keep_renewed
from cloudgrpc.services.health import Pulse, services_of
from cloudgrpc.services.identities import AT_NODES, Identities
from cloudgrpc.services.interceptors import ClusterSecret, ErrorsToStatuses, RequestMeter
from cloudgrpc.services.node_disk import NodeDoor, add_node_disk
from cloudgrpc.trust.identity import node_identity
from cloudgrpc.trust.joined import read_joined
from cloudgrpc.trust.papers import FOLDER
from cloudgrpc.trust.secrets import cluster_secret

if TYPE_CHECKING:
    import argparse

    from cloudgrpc.config import Config
    from cloudgrpc.core.rotation import AnySecret
    from cloudgrpc.servers.handshake_words import FailedHandshake
    from cloudgrpc.servers.http_listener import HttpListener

GRACE_S = 1.0


def run(config: Config, args: argparse.Namespace) -> None:
    """`args`: node_id, port, capacity_gb, host, cpus (None: all of this machine's), zone and http_port (None: as the
    settings say), join (None: it joins no more), exit_with_parent."""
    rpc.tune_allocator()
    cpus = args.cpus or os.cpu_count() or 1
    with_parent = bool(getattr(args, "exit_with_parent", False))
    zone = config.node.zone if args.zone is None else args.zone
    http_port = config.node.http_port if args.http_port is None else args.http_port
    code = joining.read_code(args.join) if args.join else None
    role = serve(
        config,
        args.node_id,
        args.port,
        args.capacity_gb,
        args.host,
        cpus=cpus,
        zone=zone,
        http_port=http_port,
        code=code,
        exit_with_parent=with_parent,
    )
    run_async(role)


async def serve(
    config: Config,
    node_id: str,
    port: int,
    capacity_gb: float,
    host: str,
    *,
    cpus: int,
    zone: str = "",
    http_port: int = 0,
    code: str | None = None,
    exit_with_parent: bool = False,
) -> None:
    """Run until told to stop. `port` 0: any that is free; `http_port` 0: no HTTP. `code`: to join by, first.

    Raises: what `joining.join` does, PapersExpired, UsageWrong, PlaintextRefused, PortInUse, FolderForeign,
        FolderInUse, ClusterSecretWrong, NodeForeign, NodeRemoved.
    """
    _check_usage(node_id, port, capacity_gb, zone, http_port)
    refusals = Refusals()

    def note(failed: FailedHandshake) -> None:
        refusals.note(METHOD, failed.error(f"node {node_id}"), failed.visitor.host)

    with heard(note):
        if code is not None:
            await joining.join(config, node_id, code)
        papers = joining.papers_of(config, node_id)
        trust = Trust(papers, refusals) if papers else None
        if trust is None:
            rpc.check_listen(host, config.cluster.allow_plaintext)
        if http_port:
            rpc.check_http(host, config.cluster.allow_plaintext)
        secret = cluster_secret(config)
        stop = stop_event()
        store = DiskStore.open(
            config.data_folder / f"node_storage_{node_id}",
            node_id,
            capacity_bytes=int(capacity_gb * GIB),
            reserve_bytes=config.node.disk_reserve_mb * MIB,
        )
        try:
            door, meters = NodeDoor(node_id), Meters()
            pulse = Pulse(door.look, services_of("NodeService"))
            server = _build_server(store, door, secret, config.cluster.node_timeout_s, meters, trust=trust)
            pulse.add_to(server)
            credentials = rpc.server_credentials(trust.tls, demand=True) if trust else None
            port = rpc.listen(server, host, port, "the PORT in: cloudgrpc node ID PORT CAPACITY_GB", credentials)
            http = _http_listener(meters, store, door, host, http_port) if http_port else None
            if http is not None:
                await http.start()
            await server.start()
            gateway_host, gateway_port = _gateway_place(config, trust)
            gateway = rpc.address(gateway_host, gateway_port)
            http_address = rpc.address(host, http_port) if http_port else ""
            _announce(store, rpc.address(host, port), gateway, http_address, (await store.usage()).read_only_reason)
            seen_host = _seen_host(host, gateway_host, gateway_port)
            place = Place(seen_host, port, cpus, zone, rpc.address(seen_host, http_port) if http_port else "")

            def joined(pool_bytes: int) -> None:
                door.open()
                print(
                    f"{node_id} joined the gateway at {gateway}; the pool has {size_words(pool_bytes)} now", flush=True
                )

            membership = Membership(store, place, gateway, secret, joined, trust=trust)
            try:
                await until_stopped(
                    stop,
                    membership.keep(),
                    pulse.run(),
                    *([keep_renewed(papers, by_gateway(papers, gateway_host, gateway_port, secret))] if papers else []),
                    *([parent_gone(stop)] if exit_with_parent else []),
                )
            finally:
                await pulse.stop()
                if http is not None:
                    await http.stop()
                await server.stop(GRACE_S)
        finally:
            store.close()


def _check_usage(node_id: str, port: int, capacity_gb: float, zone: str, http_port: int) -> None:
    if not NODE_ID.match(node_id):
        raise UsageWrong(reason=f"node id {node_id!r} must be 1 to 63 of a-z, 0-9 and -, and not begin with -")
    if not 0 <= port <= 65535:
        raise UsageWrong(reason=f"port {port} must be between 0 and 65535")
    if not 0 <= http_port <= 65535:
        raise UsageWrong(reason=f"--http-port {http_port} must be between 0 and 65535")
    if not 0 < capacity_gb * GIB <= MOST_BYTES:
        raise UsageWrong(reason=f"capacity {capacity_gb} GB must be more than 0 and at most {MOST_BYTES // GIB}")
    if not ZONE.match(zone):
        raise UsageWrong(reason=f"zone {zone!r} {ZONE_RULE}")


def _build_server(
    store: DiskStore, door: NodeDoor, secret: AnySecret, timeout_s: float, meters: Meters, *, trust: Trust | None
) -> grpc.aio.Server:
    interceptors = [
        RequestMeter(meters),
        ErrorsToStatuses(trust.refusals.note) if trust else ErrorsToStatuses(),
        *([Identities(AT_NODES, trust.is_revoked)] if trust else []),
        ClusterSecret(secret),
        door,
    ]
    server = grpc.aio.server(interceptors=interceptors, options=rpc.SERVER_OPTIONS)

    def reach(node_id: str, host: str, port: int) -> RemoteStore:
        papers, expected = (trust.tls, node_identity(node_id).host) if trust else (None, "")
        return RemoteStore(node_id, host, port, secret, timeout_s, papers=papers, expected=expected)

    add_node_disk(NodeDisk(store, reach), server, meters)
    return server


def _http_listener(meters: Meters, store: DiskStore, door: NodeDoor, host: str, port: int) -> HttpListener:
    # Only those pay for its imports who want it.
    from cloudgrpc.servers.http_listener import HttpListener
    from cloudgrpc.services.metrics import NodeFigures
    from cloudgrpc.services.observing import build_app

    return HttpListener(build_app(NodeFigures(meters, store, door.look)), host, port, "--http-port")


def _announce(store: DiskStore, address: str, gateway: str, http_address: str, read_only_reason: str) -> None:
    print(
        f"{store.name} listens on {address}, keeps up to {size_words(store.capacity_bytes)} in {store.path}\n"
        f"  now {size_words(store.used_bytes)} in {store.chunk_count} chunks; joins the gateway at {gateway}"
        + (f"\n  metrics at http://{http_address}/metrics" if http_address else "")
        + (f"\n  takes no new chunks: {read_only_reason}" if read_only_reason else ""),
        flush=True,
    )


def _gateway_place(config: Config, trust: Trust | None) -> tuple[str, int]:
    """Where the gateway hears this node: one that joined was told, and that counts until it joins anew."""
    if trust is None:
        return config.gateway.host, config.gateway.port
    joined = read_joined(config.data_folder / FOLDER)
    return (joined.cluster_host, joined.cluster_port) if joined else config.cluster_place


def _seen_host(host: str, gateway_host: str, gateway_port: int) -> str:
    """Where the gateway finds us; when we listen on every address, the one that leads to the gateway."""
    if host not in {"0.0.0.0", "::", "[::]"}:
        return host
    with contextlib.suppress(OSError):
        # Connecting a datagram socket sends nothing; it only chooses the way.
        family, kind, *_, address = socket.getaddrinfo(gateway_host, gateway_port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as way:
            way.connect(address)
            return str(way.getsockname()[0])
    return socket.gethostname()
