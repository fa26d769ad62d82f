"""What stands before every RPC: the one place where errors become statuses, and the guard of internal calls."""

from __future__ import annotations

import hmac
import inspect
import logging
import secrets
from typing import TYPE_CHECKING, Any, NoReturn

import grpc

from cloudgrpc import rpc
from cloudgrpc.errors import CloudError, ClusterSecretWrong, Internal, NotOffered

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

log = logging.getLogger(__name__)

WORDS_BYTES = 2_000  # three times that on the wire, where every byte may be escaped

Handler = Any  # grpc.RpcMethodHandler: its four behaviours are untyped


class ErrorsToStatuses(grpc.aio.ServerInterceptor):
    """Every CloudError becomes its status; everything unexpected becomes INTERNAL with a reference into the log."""

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]], details: grpc.HandlerCallDetails
    ) -> Handler:
        handler = await continuation(details)
        if handler is None:
            return None
        method = str(details.method)
        if handler.response_streaming:
            kind = "stream_stream" if handler.request_streaming else "unary_stream"
            return handler._replace(**{kind: _guard_stream(getattr(handler, kind), method)})
        kind = "stream_unary" if handler.request_streaming else "unary_unary"
        return handler._replace(**{kind: _guard_unary(getattr(handler, kind), method)})


class ClusterSecret(grpc.aio.ServerInterceptor):
    """Only holders of the cluster's secret call NodeService: nodes call gateways, gateways call nodes, nodes nodes."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]], details: grpc.HandlerCallDetails
    ) -> Handler:
        handler = await continuation(details)
        if handler is None or not str(details.method).startswith("/cloudstorage.NodeService/"):
            return handler
        shown = next((value for key, value in details.invocation_metadata or () if key == rpc.SECRET_KEY), "")
        if hmac.compare_digest(shown.encode() if isinstance(shown, str) else shown, self._secret):
            return handler

        async def refuse(_request: object, context: grpc.aio.ServicerContext[Any, Any]) -> NoReturn:
            log.warning("refused %s from %s: wrong cluster secret", details.method, context.peer())
            await _abort(context, ClusterSecretWrong())

        return grpc.unary_unary_rpc_method_handler(refuse)  # every RPC of NodeService is unary


def _guard_unary(behaviour: Callable[..., Any], method: str) -> Callable[..., Any]:
    async def guarded(request: object, context: grpc.aio.ServicerContext[Any, Any]) -> object:
        try:
            answer = behaviour(request, context)
            return await answer if inspect.isawaitable(answer) else answer
        except Exception as error:  # noqa: BLE001 - the one place that turns every failure into a status
            await _fail(context, method, error)

    return guarded


def _guard_stream(behaviour: Callable[..., Any], method: str) -> Callable[..., Any]:
    if not inspect.isasyncgenfunction(behaviour):  # it writes to the context itself
        return _guard_unary(behaviour, method)

    async def guarded(request: object, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[object]:
        try:
            async for answer in behaviour(request, context):
                yield answer
        except Exception as error:  # noqa: BLE001 - the one place that turns every failure into a status
            await _fail(context, method, error)

    return guarded


async def _fail(context: grpc.aio.ServicerContext[Any, Any], method: str, error: Exception) -> NoReturn:
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if isinstance(error, NotImplementedError):  # what the generated servicers raise
        await _abort(context, NotOffered(method=method.rpartition("/")[2]))
    if isinstance(error, CloudError):
        log.debug("%s: %s: %s", method, error.code, error)
        await _abort(context, error)
    reference = secrets.token_hex(4)
    log.error("%s failed, reference %s", method, reference, exc_info=error)
    await _abort(context, Internal(reference=reference))


async def _abort(context: grpc.aio.ServicerContext[Any, Any], error: CloudError) -> NoReturn:
    await context.abort(rpc.status_of(error), _short(str(error)), rpc.trailers_of(error))


def _short(words: str) -> str:
    """Words may repeat a caller's own input; with trailers of 8 KiB or more a client sees only a broken stream."""
    encoded = words.encode(errors="replace")
    return words if len(encoded) <= WORDS_BYTES else encoded[:WORDS_BYTES].decode(errors="ignore") + " …"
