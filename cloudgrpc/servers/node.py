"""The role of a storage node: opens its folder, listens, and stays registered with the gateway."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING

import grpc

from cloudgrpc import rpc
from cloudgrpc.actions.node_disk import NodeDisk
from cloudgrpc.chunks.disk import DiskStore
from cloudgrpc.chunks.remote import RemoteStore
from cloudgrpc.config import GIB, MIB
from cloudgrpc.core.introductions import MOST_BYTES, NODE_ID
from cloudgrpc.core.units import size_words
from cloudgrpc.errors import UsageWrong
from cloudgrpc.servers.membership import Membership, Place
from cloudgrpc.servers.process import parent_gone, run_async, stop_event, until_stopped
from cloudgrpc.servers.secrets_store import shared_secret
from cloudgrpc.services.interceptors import ClusterSecret, ErrorsToStatuses
from cloudgrpc.services.node_disk import NodeDoor, add_node_disk

if TYPE_CHECKING:
    import argparse

    from cloudgrpc.config import Config

GRACE_S = 1.0


def run(config: Config, args: argparse.Namespace) -> None:
    """`args`: node_id, port, capacity_gb, host, cpus (None: all of this machine's), exit_with_parent."""
    rpc.tune_allocator()
    cpus = args.cpus or os.cpu_count() or 1
    with_parent = bool(getattr(args, "exit_with_parent", False))
    role = serve(config, args.node_id, args.port, args.capacity_gb, args.host, cpus=cpus, exit_with_parent=with_parent)
    run_async(role)


async def serve(
    config: Config,
    node_id: str,
    port: int,
    capacity_gb: float,
    host: str,
    *,
    cpus: int,
    exit_with_parent: bool = False,
) -> None:
    """Run until told to stop. `port` 0: any that is free.

    Raises: UsageWrong, PlaintextRefused, PortInUse, FolderForeign, FolderInUse, ClusterSecretWrong, NodeForeign.
    """
    _check_usage(node_id, port, capacity_gb)
    rpc.check_listen(host, config.cluster.allow_plaintext)
    secret = shared_secret(config, ("cluster", "secret"))
    stop = stop_event()
    store = DiskStore.open(
        config.data_folder / f"node_storage_{node_id}",
        node_id,
        capacity_bytes=int(capacity_gb * GIB),
        reserve_bytes=config.node.disk_reserve_mb * MIB,
    )
    try:
        door = NodeDoor(node_id)
        server = _build_server(store, door, secret, config.cluster.node_timeout_s)
        port = rpc.listen(server, host, port, "the PORT in: cloudgrpc node ID PORT CAPACITY_GB")
        await server.start()
        gateway = rpc.address(config.gateway.host, config.gateway.port)
        _announce(store, rpc.address(host, port), gateway)
        place = Place(_seen_host(host, config.gateway.host, config.gateway.port), port, cpus)

        def joined(pool_bytes: int) -> None:
            door.open()
            print(f"{node_id} joined the gateway at {gateway}; the pool has {size_words(pool_bytes)} now", flush=True)

        membership = Membership(store, place, gateway, secret, joined)
        try:
            await until_stopped(stop, membership.keep(), *([parent_gone(stop)] if exit_with_parent else []))
        finally:
            await server.stop(GRACE_S)
    finally:
        store.close()


def _check_usage(node_id: str, port: int, capacity_gb: float) -> None:
    if not NODE_ID.match(node_id):
        raise UsageWrong(reason=f"node id {node_id!r} must be 1 to 63 of a-z, 0-9 and -, and not begin with -")
    if not 0 <= port <= 65535:
        raise UsageWrong(reason=f"port {port} must be between 0 and 65535")
    if not 0 < capacity_gb * GIB <= MOST_BYTES:
        raise UsageWrong(reason=f"capacity {capacity_gb} GB must be more than 0 and at most {MOST_BYTES // GIB}")


def _build_server(store: DiskStore, door: NodeDoor, secret: str, timeout_s: float) -> grpc.aio.Server:
    interceptors = [ErrorsToStatuses(), ClusterSecret(secret), door]
    server = grpc.aio.server(interceptors=interceptors, options=rpc.SERVER_OPTIONS)
    add_node_disk(NodeDisk(store, lambda host, port: RemoteStore("", host, port, secret, timeout_s)), server)
    return server


def _announce(store: DiskStore, address: str, gateway: str) -> None:
    print(
        f"{store.name} listens on {address}, keeps up to {size_words(store.capacity_bytes)} in {store.path}\n"
        f"  now {size_words(store.used_bytes)} in {store.chunk_count} chunks; joins the gateway at {gateway}",
        flush=True,
    )


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
