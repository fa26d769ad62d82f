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
    CertificateRevoked,
    CloudError,
    ClusterSecretWrong,
    Disagreed,
    GatewayUnreachable,
    IdentityWrong,
    Missing,
    NodeForeign,
    NodeIdTaken,
    NodeRemoved,
    NotNow,
)
from cloudgrpc.links import Link
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.pb.cloud_storage_pb2_grpc import NodeServiceStub
from cloudgrpc.trust.bundle import bundle_digest
from cloudgrpc.trust.identity import THE_GATEWAY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cloudgrpc.actions.refusals import Refusals
    from cloudgrpc.chunks.disk import DiskStore
    from cloudgrpc.core.rotation import AnySecret
    from cloudgrpc.trust.identity import Shown
    from cloudgrpc.trust.papers import Papers

    Talk = Link[Any]  # the stubs' own types are of the synchronous kind

log = logging.getLogger(__name__)

FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 5.0
CALL_S = 5.0
SHORTEST_HEARTBEAT_S = 0.05  # a gateway that names no time must not be flooded
# Waiting mends none of these: a person has to.
FINAL = (ClusterSecretWrong, NodeForeign, NodeRemoved, BadInput, CertificateRevoked, IdentityWrong)


@dataclass(frozen=True)
class Place:
    """Where the gateway reaches this node, what fails together with it, and what it has to offer."""

    host: str
    port: int
    cpu_cores: int
    zone: str = ""
    metrics_address: str = ""  # where it answers HTTP; "": it does not


@dataclass
class Trust:
    """What a node with a certificate has besides: its papers, what it refused, and whom it is to refuse."""

    papers: Papers
    refusals: Refusals
    revoked: frozenset[str] = frozenset()  # serials, as the gateway told last

    def tls(self) -> rpc.Tls:
        return self.papers.tls

    async def refusal(self, shown: Shown) -> CloudError | None:
        """Why the certificate is refused, though its dates are good; None: it is not."""
        if shown.serial not in self.revoked:
            return None
        return CertificateRevoked(name=shown.identity.host, serial=shown.serial)


class Membership:
    """`on_joined` is called with the pool's capacity in bytes whenever the gateway has taken the node in. `trust`: None
    for plaintext."""

    def __init__(
        self,
        store: DiskStore,
        place: Place,
        gateway_address: str,
        secret: AnySecret,
        on_joined: Callable[[int], None],
        *,
        trust: Trust | None = None,
    ) -> None:
        self._store = store
        self._place = place
        self._gateway = gateway_address
        self._secret = secret
        self._on_joined = on_joined
        self._trust = trust
        self._has_joined = False
        self._told: type[CloudError] | None = None  # the trouble that the log has heard of

    async def keep(self) -> None:
        """Stay registered until cancelled.

        Raises: ClusterSecretWrong, NodeForeign, NodeRemoved, BadInput; then a person has to act.
        """
        host, _, port = self._gateway.rpartition(":")
        papers = self._trust.tls if self._trust else None
        link: Talk = Link(host, int(port), NodeServiceStub, papers=papers, expected=THE_GATEWAY.host)
        try:
            while True:
                heartbeat_s = await self._register(link)
                await self._heartbeat_until_forgotten(link, heartbeat_s)
        finally:
            await link.close()

    async def _register(self, link: Talk) -> float:
        """The time between heartbeats, once the gateway has taken us in."""
        wait_s = FIRST_WAIT_S
        while True:
            try:
                response = await self._call(link, "RegisterNode", await self._introduction())
                await self._store.adopt(response.cluster_id)
                self._refuse(response.revoked_serials)
            except FINAL as error:
                # Once it was right, only a rotation went wrong: the file is read again, and may yet be put right.
                if not (self._has_joined and isinstance(error, ClusterSecretWrong)):
                    raise
                self._tell(error)
            except CloudError as error:
                self._tell(error)
            else:
                self._told = None
                self._has_joined = True
                self._on_joined(response.pool_capacity_bytes)
                return max(float(response.heartbeat_s), SHORTEST_HEARTBEAT_S)
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, LONGEST_WAIT_S)

    async def _heartbeat_until_forgotten(self, link: Talk, heartbeat_s: float) -> None:
        while True:
            await asyncio.sleep(heartbeat_s)
            try:
                await self._heartbeat(link)
            except ClusterSecretWrong as error:
                self._tell(error)
            except FINAL:
                raise
            except Disagreed as error:
                self._tell(error)
            except (Missing, NotNow) as error:
                log.info("registering again: %s", error)
                return
            except CloudError as error:
                self._tell(error)
            else:
                if self._told:
                    log.info("the gateway at %s answers again", self._gateway)
                self._told = None

    async def _heartbeat(self, link: Talk) -> None:
        refused = self._trust.refusals.waiting() if self._trust else []
        request = await self._sign_of_life()
        request.refused.extend(
            pb.RefusedCall(error_code=one.error_code, message=one.message, method=one.method, peer=one.peer)
            for one in refused
        )
        if self._trust:
            request.authorities_digest = bundle_digest(self._trust.papers.bundle)
        response = await self._call(link, "Heartbeat", request)
        self._refuse(response.revoked_serials)
        if self._trust:
            self._trust.refusals.told(refused)
            if response.authorities:
                self._trust.papers.learn(response.authorities)

    def _refuse(self, serials: Iterable[str]) -> None:
        if self._trust:
            self._trust.revoked = frozenset(serials)

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

    async def _call(self, link: Talk, method: str, request: object) -> Any:
        metadata = ((rpc.SECRET_KEY, self._secret.current),)
        try:
            return await getattr(link.calls, method)(request, timeout=CALL_S, metadata=metadata)
        except grpc.aio.AioRpcError as failure:
            error = rpc.error_of(failure, self._gateway)
            why = await link.why(failure) if isinstance(error, GatewayUnreachable) else None
            raise why or error from failure

    def _tell(self, error: CloudError) -> None:
        """Once for each kind of trouble, since this goes on until it ends."""
        if type(error) is self._told:
            return
        self._told = type(error)
        if isinstance(error, NodeIdTaken):
            log.warning("%s Waiting for it to go; it may have stopped only now, and is then noticed soon.", error)
        else:
            log.warning("waiting for the gateway at %s: %s", self._gateway, error)
