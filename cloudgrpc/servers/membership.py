"""A node's talk with the gateway: register until heard, then heartbeat, and register again when forgotten."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc

from cloudgrpc import rpc
from cloudgrpc.errors import (
    BadInput,
    CloudError,
    ClusterSecretWrong,
    Missing,
    NodeForeign,
    NodeIdTaken,
    NodeRemoved,
    NotNow,
)
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.pb.cloud_storage_pb2_grpc import NodeServiceStub

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudgrpc.chunks.disk import DiskStore

log = logging.getLogger(__name__)

FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 5.0
CALL_S = 5.0
SHORTEST_HEARTBEAT_S = 0.05  # a gateway that names no time must not be flooded
# Waiting mends none of these: a person has to.
FINAL = (ClusterSecretWrong, NodeForeign, NodeRemoved, BadInput)


@dataclass(frozen=True)
class Place:
    """Where the gateway reaches this node, what fails together with it, and what it has to offer."""

    host: str
    port: int
    cpu_cores: int
    zone: str = ""
    metrics_address: str = ""  # where it answers HTTP; "": it does not


class Membership:
    """`on_joined` is called with the pool's capacity in bytes whenever the gateway has taken the node in."""

    def __init__(
        self, store: DiskStore, place: Place, gateway_address: str, secret: str, on_joined: Callable[[int], None]
    ) -> None:
        self._store = store
        self._place = place
        self._gateway = gateway_address
        self._metadata = ((rpc.SECRET_KEY, secret),)
        self._on_joined = on_joined
        self._told: type[CloudError] | None = None  # the trouble that the log has heard of

    async def keep(self) -> None:
        """Stay registered until cancelled.

        Raises: ClusterSecretWrong, NodeForeign, NodeRemoved, BadInput; then a person has to act.
        """
        async with grpc.aio.insecure_channel(self._gateway, options=rpc.CHANNEL_OPTIONS) as channel:
            stub = NodeServiceStub(channel)
            while True:
                heartbeat_s = await self._register(stub)
                await self._heartbeat_until_forgotten(stub, heartbeat_s)

    async def _register(self, stub: NodeServiceStub) -> float:
        """The time between heartbeats, once the gateway has taken us in."""
        wait_s = FIRST_WAIT_S
        while True:
            try:
                response = await self._call(stub.RegisterNode, await self._introduction())
                await self._store.adopt(response.cluster_id)
            except FINAL:
                raise
            except CloudError as error:
                self._tell(error)
            else:
                self._told = None
                self._on_joined(response.pool_capacity_bytes)
                return max(float(response.heartbeat_s), SHORTEST_HEARTBEAT_S)
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, LONGEST_WAIT_S)

    async def _heartbeat_until_forgotten(self, stub: NodeServiceStub, heartbeat_s: float) -> None:
        while True:
            await asyncio.sleep(heartbeat_s)
            try:
                await self._call(stub.Heartbeat, await self._sign_of_life())
            except (Missing, NotNow) as error:
                log.info("registering again: %s", error)
                return
            except CloudError as error:
                self._tell(error)
            else:
                if self._told:
                    log.info("the gateway at %s answers again", self._gateway)
                self._told = None

    async def _introduction(self) -> pb.RegisterNodeRequest:
        usage = await self._store.usage()
        identity = self._store.identity
        return pb.RegisterNodeRequest(
            node_id=identity.node_id,
            host=self._place.host,
            port=self._place.port,
            storage_capacity=self._store.capacity_bytes,
            cpu_cores=self._place.cpu_cores,
            instance_id=identity.instance_id,
            cluster_id=identity.cluster_id or "",
            storage_used=usage.used_bytes,
            chunk_count=usage.chunk_count,
            read_only=usage.read_only,
            read_only_reason=usage.read_only_reason,
            zone=self._place.zone,
            metrics_address=self._place.metrics_address,
        )

    async def _sign_of_life(self) -> pb.HeartbeatRequest:
        usage = await self._store.usage()
        return pb.HeartbeatRequest(
            node_id=self._store.name,
            storage_used=usage.used_bytes,
            chunk_count=usage.chunk_count,
            instance_id=self._store.identity.instance_id,
            read_only=usage.read_only,
            read_only_reason=usage.read_only_reason,
        )

    async def _call(self, method: Any, request: object) -> Any:
        """`method`: one of the stub's, whose types are of the synchronous kind."""
        try:
            return await method(request, timeout=CALL_S, metadata=self._metadata)
        except grpc.aio.AioRpcError as failure:
            raise rpc.error_of(failure, self._gateway) from failure

    def _tell(self, error: CloudError) -> None:
        """Once for each kind of trouble, since this goes on until it ends."""
        if type(error) is self._told:
            return
        self._told = type(error)
        if isinstance(error, NodeIdTaken):
            log.warning("%s Waiting for it to go; it may have stopped only now, and is then noticed soon.", error)
        else:
            log.warning("waiting for the gateway at %s: %s", self._gateway, error)
