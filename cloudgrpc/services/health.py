"""gRPC's own health service and reflection: for what sends calls to this process, and for people with grpcurl."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, NoReturn

from grpc_health.v1 import health, health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_reflection.v1alpha import reflection

from cloudgrpc.pb import cloud_storage_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    import grpc

    from cloudgrpc.actions.readiness import Ready

log = logging.getLogger(__name__)

EVERY_S = 1.0
ALL = ""  # the whole process, as gRPC's health protocol names it
PACKAGE = pb.DESCRIPTOR.package
WRITING = (f"{PACKAGE}.FileService", f"{PACKAGE}.UploadService")
STATUSES = {True: HealthCheckResponse.SERVING, False: HealthCheckResponse.NOT_SERVING}


class Pulse:
    """Tells of each service whether it serves. `look`: whether it can; `services`: their whole names; those in WRITING,
    and the whole, serve only while something can be written."""

    def __init__(self, look: Callable[[], Awaitable[Ready]], services: Collection[str]) -> None:
        self._look = look
        self._services = services
        self._health = health.aio.HealthServicer()

    def add_to(self, server: grpc.aio.Server) -> None:
        """With reflection of all that is served."""
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        names = [*self._services, health.SERVICE_NAME, reflection.SERVICE_NAME]
        reflection.enable_server_reflection(names, server)

    async def run(self) -> NoReturn:
        """Until cancelled."""
        while True:
            try:
                await self.beat()
            except Exception:
                log.exception("looking whether all is served failed and is tried again")
            await asyncio.sleep(EVERY_S)

    async def beat(self) -> None:
        ready = await self._look()
        for name in (ALL, *self._services):
            serves = ready.can_answer and (ready.can_write or name not in {ALL, *WRITING})
            await self._health.set(name, STATUSES[serves])

    async def stop(self) -> None:
        """Nothing is served from now on."""
        await self._health.enter_graceful_shutdown()


def services_of(*names: str) -> list[str]:
    """Their whole names; without any: of all there are."""
    return [f"{PACKAGE}.{name}" for name in names or pb.DESCRIPTOR.services_by_name]
