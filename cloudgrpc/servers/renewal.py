"""Certificates that renew themselves while a role runs: the gateway asks its own authority, a node asks the gateway."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

import grpc

from cloudgrpc import rpc
from cloudgrpc.errors import AuthorityMissing, CloudError
from cloudgrpc.links import Link
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.pb.cloud_storage_pb2_grpc import NodeServiceStub
from cloudgrpc.trust.gateway_papers import certify
from cloudgrpc.trust.identity import THE_GATEWAY

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from cloudgrpc.core.rotation import AnySecret
    from cloudgrpc.trust.authority import Authority
    from cloudgrpc.trust.papers import Papers

    Renew = Callable[[], Awaitable[None]]

log = logging.getLogger(__name__)

LOOK_S = 2.0  # between two looks whether it is time, since another authority may sign from any moment on
LONGEST_WAIT_S = 60.0
CALL_S = 20.0


async def keep_renewed(papers: Papers, renew: Renew, clock: Callable[[], float] = time.time) -> None:
    """Renew whenever it is time, until cancelled; what fails is tried again."""
    wait_s, told = LOOK_S, ""
    while True:
        await asyncio.sleep(min(wait_s, max(0.2, (papers.expires_at - clock()) / 10)))
        if papers.renew_at > clock():
            continue
        try:
            await renew()
        except Exception as error:  # whatever it is, such as a full disk: it may be over at the next try
            if str(error) != told:
                until = time.strftime("%Y-%m-%d %H:%M", time.localtime(papers.expires_at))
                log.warning(
                    "the certificate of %s, good until %s, is not renewed: %s",
                    papers.identity.name,
                    until,
                    error if isinstance(error, CloudError) else f"{type(error).__name__}: {error}",
                    exc_info=None if isinstance(error, CloudError) else error,
                )
            told, wait_s = str(error), min(wait_s * 2, LONGEST_WAIT_S)
        else:
            log.info("the certificate of %s was renewed: %s", papers.identity.name, papers.serial)
            told, wait_s = "", LOOK_S


def by_authority(authority: Authority | None, papers: Papers) -> Renew:
    """For the gateway; None: the authority is on another machine."""

    async def renew() -> None:
        if authority is None:
            raise AuthorityMissing
        await asyncio.to_thread(certify, authority, papers, papers.names)

    return renew


def by_gateway(papers: Papers, host: str, port: int, secret: AnySecret) -> Renew:
    """For a node; `host` and `port` are the gateway's, where it hears nodes."""

    async def renew() -> None:
        request = pb.RenewCertificateRequest(node_id=papers.identity.name, csr=await asyncio.to_thread(papers.request))
        link: Link[Any] = Link(host, port, NodeServiceStub, papers=lambda: papers.tls, expected=THE_GATEWAY.host)
        try:
            metadata = ((rpc.SECRET_KEY, secret.current),)
            reply = await link.calls.RenewCertificate(request, timeout=CALL_S, metadata=metadata)
        except grpc.aio.AioRpcError as failure:
            raise await link.why(failure) or rpc.error_of(failure, link.address) from failure
        finally:
            await link.close()
        await asyncio.to_thread(papers.accept, reply.certificate, reply.authorities)

    return renew
