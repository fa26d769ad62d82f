"""Who is calling, by the certificate that was shown: on the ports where everybody must show one."""

from __future__ import annotations

import functools
import inspect
import logging
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import grpc

from cloudgrpc.core.peers import VISITOR, visitor_of
from cloudgrpc.errors import CertificateOver, IdentityWrong
from cloudgrpc.trust.bundle import issuer_id
from cloudgrpc.trust.identity import GATEWAY, NODE, Shown, identity_of, serial_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from cloudgrpc.errors import CloudError

    Context = grpc.aio.ServicerContext[Any, Any]
    Handler = Any  # grpc.RpcMethodHandler: its four behaviours are untyped

log = logging.getLogger(__name__)

NODE_SERVICE = "/cloudstorage.NodeService/"
CERTIFICATE = "x509_pem_cert"  # as gRPC names it
MOST_KNOWN = 1024

ANYBODY = frozenset({GATEWAY, NODE})  # that is one of the cluster's own
ONLY_GATEWAYS, ONLY_NODES = frozenset({GATEWAY}), frozenset({NODE})
# Who may call what of NodeService: the gateway's half, where a node speaks of itself only, and a node's. Nodes fetch
# chunks from each other, and change nothing there.
AT_GATEWAYS: Mapping[str, frozenset[str]] = dict.fromkeys(("RegisterNode", "Heartbeat", "RenewCertificate"), ONLY_NODES)
AT_NODES: Mapping[str, frozenset[str]] = {"RetrieveChunk": ANYBODY}


# Of the call under way; None where nobody has to show one.
CALLER: ContextVar[Shown | None] = ContextVar("caller", default=None)


class Identities(grpc.aio.ServerInterceptor):
    """Comes behind ErrorsToStatuses, in whose task the call runs.

    `allowed`: the roles that may call a method of NodeService; gateways may call those that are not named. Of other
    services, such as health, everybody may. `refusal(shown)`: why a certificate whose dates are good is refused; None:
    it is not.
    """

    def __init__(
        self,
        allowed: Mapping[str, frozenset[str]],
        refusal: Callable[[Shown], Awaitable[CloudError | None]],
    ) -> None:
        self._allowed = allowed
        self._refusal = refusal

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]], details: grpc.HandlerCallDetails
    ) -> Handler:
        handler = await continuation(details)
        if handler is None:
            return None
        method = str(details.method)

        async def check(request: object, context: Context) -> None:
            await self._check(method, request, context)

        kinds = {False: "unary", True: "stream"}
        kind = f"{kinds[handler.request_streaming]}_{kinds[handler.response_streaming]}"
        return handler._replace(**{kind: _behind(check, getattr(handler, kind))})

    async def _check(self, method: str, request: object, context: Context) -> None:
        """Raises: IdentityWrong, CertificateOver, and what `refusal` says."""
        VISITOR.set(visitor_of(context.peer(), "", "", behind_proxy=False))
        name = method.removeprefix(NODE_SERVICE)
        roles = self._allowed.get(name, ONLY_GATEWAYS) if name != method else ANYBODY
        shown = shown_by(context)
        if shown is None or shown.identity.role not in roles:
            told = shown.identity.host if shown else "none of this cluster's"
            raise _told(context, IdentityWrong(method=name, needed=_words(roles), shown=told))
        if shown.expires_at < time.time():  # the connection is older
            raise _told(context, CertificateOver(name=shown.identity.host, serial=shown.serial))
        if error := await self._refusal(shown):
            raise _told(context, error)
        spoken_of = getattr(request, "node_id", "") if roles == ONLY_NODES else ""
        if roles == ONLY_NODES and spoken_of != shown.identity.name:
            needed = f"the node {spoken_of!r} that it speaks of"
            raise _told(context, IdentityWrong(method=name, needed=needed, shown=shown.identity.host))
        CALLER.set(shown)


def shown_by(context: Context) -> Shown | None:
    """None: nothing, or no certificate of the cluster's."""
    pem = next(iter(context.auth_context().get(CERTIFICATE, ())), b"")
    return _read(bytes(pem)) if pem else None


@functools.lru_cache(MOST_KNOWN)
def _read(pem: bytes) -> Shown | None:
    from cryptography import x509

    certificate = x509.load_pem_x509_certificate(pem)
    identity = identity_of(certificate)
    if identity is None:
        return None
    since, until = (
        int(moment.timestamp()) for moment in (certificate.not_valid_before_utc, certificate.not_valid_after_utc)
    )
    return Shown(identity, serial_of(certificate), issuer_id(certificate), since, until)


def _told(context: Context, error: CloudError) -> CloudError:
    log.warning("refused %s: %s", context.peer(), error)
    return error


def _words(roles: frozenset[str]) -> str:
    return " or ".join(f"a {role}" for role in sorted(roles))


def _behind(check: Callable[[object, Context], Awaitable[None]], behaviour: Callable[..., Any]) -> Callable[..., Any]:
    if inspect.isasyncgenfunction(behaviour):

        async def streaming(request: object, context: Context) -> AsyncIterator[object]:
            await check(request, context)
            async for answer in behaviour(request, context):
                yield answer

        return streaming

    async def answering(request: object, context: Context) -> object:
        await check(request, context)
        answer = behaviour(request, context)
        return await answer if inspect.isawaitable(answer) else answer

    return answering
