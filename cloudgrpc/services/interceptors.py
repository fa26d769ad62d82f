"""What stands before every RPC: the meter, the one place where errors become statuses, the guard of internal calls."""

from __future__ import annotations

import hmac
import inspect
import logging
import secrets
import time
import traceback
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
from google.protobuf.message import DecodeError

from cloudgrpc import rpc
from cloudgrpc.core.peers import VISITOR, visitor_of
from cloudgrpc.errors import CloudError, ClusterSecretWrong, Internal, InvalidField, NotOffered

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from cloudgrpc.actions.pacing import Pacing
    from cloudgrpc.core.rotation import AnySecret
    from cloudgrpc.meters import Meters

    Check = Callable[[object], object]  # gives a request back as it is. Raises: InvalidField when it cannot be read

log = logging.getLogger(__name__)

UNREADABLE = object()
NODE_SERVICE = "/cloudstorage.NodeService/"
TOLD = frozenset({rpc.CLIENT_KEY, "user-agent", "x-forwarded-for"})

Context = grpc.aio.ServicerContext[Any, Any]
Handler = Any  # grpc.RpcMethodHandler: its four behaviours are untyped


class RequestMeter(grpc.aio.ServerInterceptor):
    """Counts every call by its method and status, and how long it took. Stands outside of all others."""

    def __init__(self, meters: Meters) -> None:
        self._meters = meters

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]], details: grpc.HandlerCallDetails
    ) -> Handler:
        handler = await continuation(details)
        if handler is None:
            # Under one name: callers make up as many as they like.
            self._meters.requests.labels("other", "UNIMPLEMENTED").inc()
            return None
        kind, method = _kind(handler), str(details.method).removeprefix("/")
        return handler._replace(**{kind: self._metered(getattr(handler, kind), method)})

    def _metered(self, behaviour: Callable[..., Any], method: str) -> Callable[..., Any]:
        began = time.monotonic()

        def note(context: Context, failure: BaseException | None) -> None:
            self._meters.request_seconds.labels(method).observe(time.monotonic() - began)
            self._meters.requests.labels(method, _status(context, failure)).inc()

        if inspect.isasyncgenfunction(behaviour):

            async def streaming(request: object, context: Context) -> AsyncIterator[object]:
                try:
                    async for answer in behaviour(request, context):
                        yield answer
                except BaseException as error:
                    request = None  # gRPC keeps the failure, and with it this frame
                    note(context, error)
                    raise
                note(context, None)

            return streaming

        async def answering(request: object, context: Context) -> object:
            try:
                answer = await behaviour(request, context)
            except BaseException as error:
                request = None  # as above
                note(context, error)
                raise
            note(context, None)
            return answer

        return answering


class ErrorsToStatuses(grpc.aio.ServerInterceptor):
    """Every CloudError becomes its status; everything unexpected becomes INTERNAL with a reference into the log.

    `on_error(method, error)` hears of every CloudError.
    """

    def __init__(self, on_error: Callable[[str, CloudError], None] = lambda *_: None) -> None:
        self._on_error = on_error

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]], details: grpc.HandlerCallDetails
    ) -> Handler:
        handler = await continuation(details)
        if handler is None:
            return None
        kind = _kind(handler)
        behaviour = getattr(handler, kind)
        # One that writes to the context itself is guarded like one that answers once.
        guard = self._guard_stream if inspect.isasyncgenfunction(behaviour) else self._guard_unary
        parse = handler.request_deserializer and _forgiving(handler.request_deserializer)
        check = _readable_each if parse and handler.request_streaming else _readable
        return handler._replace(request_deserializer=parse, **{kind: guard(behaviour, str(details.method), check)})

    def _guard_unary(self, behaviour: Callable[..., Any], method: str, check: Check) -> Callable[..., Any]:
        async def guarded(request: object, context: Context) -> object:
            try:
                answer = behaviour(check(request), context)
                return await answer if inspect.isawaitable(answer) else answer
            except Exception as error:  # noqa: BLE001 - the one place that turns every failure into a status
                request = None  # gRPC keeps the failure, and with it this frame
                await self._fail(context, method, error)

        return guarded

    def _guard_stream(self, behaviour: Callable[..., Any], method: str, check: Check) -> Callable[..., Any]:
        async def guarded(request: object, context: Context) -> AsyncIterator[object]:
            try:
                async for answer in behaviour(check(request), context):
                    yield answer
            except Exception as error:  # noqa: BLE001 - the one place that turns every failure into a status
                request = None  # gRPC keeps the failure, and with it this frame
                await self._fail(context, method, error)

        return guarded

    async def _fail(self, context: Context, method: str, error: Exception) -> NoReturn:
        if isinstance(error, grpc.aio.AbortError):
            raise error
        if isinstance(error, NotImplementedError):  # what the generated servicers raise
            _clear_frames(error)
            await _abort(context, NotOffered(method=method.rpartition("/")[2]))
        if isinstance(error, CloudError):
            log.debug("%s: %s: %s", method, error.code, error)
            self._on_error(method, error)
            _clear_frames(error)
            await _abort(context, error)
        reference = secrets.token_hex(4)
        log.error("%s failed, reference %s", method, reference, exc_info=error)
        await _abort(context, Internal(reference=reference))


class Visitors(grpc.aio.ServerInterceptor):
    """Tells every call who makes it, and lets nobody make too many. Nodes are not counted.

    Comes behind ErrorsToStatuses, in whose task the call runs.
    """

    def __init__(self, pacing: Pacing, *, behind_proxy: bool) -> None:
        self._pacing = pacing
        self._behind_proxy = behind_proxy

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]], details: grpc.HandlerCallDetails
    ) -> Handler:
        handler = await continuation(details)
        if handler is None:
            return None
        told = {key: str(value) for key, value in details.invocation_metadata or () if key in TOLD}
        is_counted = not str(details.method).startswith(NODE_SERVICE)

        def arrive(context: Context) -> None:
            client = told.get(rpc.CLIENT_KEY) or told.get("user-agent") or ""
            visitor = visitor_of(
                context.peer(), told.get("x-forwarded-for", ""), client, behind_proxy=self._behind_proxy
            )
            VISITOR.set(visitor)
            if is_counted and visitor.host:
                self._pacing.take(visitor.host)

        kind = _kind(handler)
        return handler._replace(**{kind: _after(arrive, getattr(handler, kind))})


def _after(arrive: Callable[[Context], None], behaviour: Callable[..., Any]) -> Callable[..., Any]:
    if inspect.isasyncgenfunction(behaviour):

        async def streaming(request: object, context: Context) -> AsyncIterator[object]:
            arrive(context)
            async for answer in behaviour(request, context):
                yield answer

        return streaming

    async def answering(request: object, context: Context) -> object:
        arrive(context)
        answer = behaviour(request, context)
        return await answer if inspect.isawaitable(answer) else answer

    return answering


class ClusterSecret(grpc.aio.ServerInterceptor):
    """Only holders of the cluster's secret call NodeService: nodes call gateways, gateways call nodes, nodes nodes."""

    def __init__(self, secret: AnySecret) -> None:
        self._secret = secret

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]], details: grpc.HandlerCallDetails
    ) -> Handler:
        handler = await continuation(details)
        if handler is None or not str(details.method).startswith(NODE_SERVICE):
            return handler
        shown = next((value for key, value in details.invocation_metadata or () if key == rpc.SECRET_KEY), "")
        shown = shown.encode() if isinstance(shown, str) else shown
        # All of them, so that the time tells nothing of which one it was.
        same = [hmac.compare_digest(shown, accepted.encode()) for accepted in self._secret.accepted]
        if any(same):
            return handler

        async def refuse(_request: object, context: Context) -> NoReturn:
            log.warning("refused %s from %s: wrong cluster secret", details.method, context.peer())
            if not VISITOR.get().host:  # where no interceptor before this one tells who it is
                VISITOR.set(visitor_of(context.peer(), "", "", behind_proxy=False))
            raise ClusterSecretWrong

        return grpc.unary_unary_rpc_method_handler(refuse)  # every RPC of NodeService is unary


def _clear_frames(error: BaseException | None) -> None:
    """gRPC keeps a failure until the garbage collection, which seldom comes: hundreds of refused requests of 4 MiB each
    would be held by the frames of its trace."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _forgiving(parse: Callable[[bytes], object]) -> Callable[[bytes], object]:
    """gRPC would answer UNKNOWN for what cannot be parsed, and print a trace."""

    def parsed(packed: bytes) -> object:
        try:
            return parse(packed)
        except DecodeError:
            return UNREADABLE

    return parsed


def _readable(request: object) -> object:
    if request is UNREADABLE:
        raise InvalidField(field="message", reason="cannot be read")
    return request


async def _readable_each(requests: Any) -> AsyncIterator[object]:
    async for request in requests:
        yield _readable(request)


def _status(context: Context, failure: BaseException | None) -> str:
    """How a call ended, by gRPC's name for it."""
    if failure is None:
        return "OK"
    code = context.code()
    if isinstance(code, grpc.StatusCode) and code is not grpc.StatusCode.OK:
        return code.name
    return "CANCELLED"  # the caller went away: that cancels the task, or closes the generator


def _kind(handler: Handler) -> str:
    """Which of a handler's four behaviours it has."""
    words = {False: "unary", True: "stream"}
    return f"{words[handler.request_streaming]}_{words[handler.response_streaming]}"


async def _abort(context: Context, error: CloudError) -> NoReturn:
    await context.abort(rpc.status_of(error), rpc.short(str(error)), rpc.trailers_of(error))
