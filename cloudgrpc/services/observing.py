"""What a role tells over HTTP about itself, to those who watch it: /metrics, /healthz, /readyz."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from cloudgrpc import __version__

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from prometheus_client import CollectorRegistry
    from starlette.requests import Request

    from cloudgrpc.actions.readiness import Ready


class Observed(Protocol):
    """A role that can be watched."""

    registry: CollectorRegistry

    async def refresh(self) -> None:
        """Look anew at what the registry is to tell. Never fails."""

    @property
    def look(self) -> Callable[[], Awaitable[Ready]]:
        """Whether it can do its work."""


def build_app(observed: Observed) -> Starlette:
    return Starlette(routes=routes(observed))


def routes(observed: Observed) -> list[Route]:
    async def metrics(_request: Request) -> Response:
        await observed.refresh()
        return Response(generate_latest(observed.registry), media_type=CONTENT_TYPE_LATEST)

    async def alive(_request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def ready(_request: Request) -> Response:
        told = await observed.look()
        answer = {"ready": not told.troubles, "troubles": told.troubles, "version": __version__}
        return JSONResponse(answer, 503 if told.troubles else 200)

    return [Route("/metrics", metrics), Route("/healthz", alive), Route("/readyz", ready)]
